//! Every call, with every kind of caller. Which calls there are comes from the OpenAPI document,
//! which the router is made of.

use super::double::Double;
use crate::{
    api::{
        self, ApiState,
        access::{Grant, Peer, Principal, Rate, Role, Shows, Token},
        fixture, openapi,
    },
    events::EventLog,
};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header::AUTHORIZATION},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use navigator_core::entry::Rules;
use std::sync::Arc;
use tokio::sync::watch;

type Test = anyhow::Result<()>;

const RATE: Rate = Rate {
    per_second: 1_000_000,
    burst: 1_000_000,
};

struct World {
    router: TowerToHyperService<Router>,
    tokens: Vec<(Grant, Token)>,
    _snapshots: watch::Sender<(u64, Arc<crate::snapshot::Snapshot>)>,
}

impl World {
    fn new(rate: Rate) -> Self {
        let grants = [
            Grant::Read,
            Grant::Register("web".to_owned()),
            Grant::Register("api-*".to_owned()),
            Grant::Operate,
        ];
        let tokens: Vec<_> = grants.map(|grant| (grant, Token::random())).into();
        let principals = tokens.iter().map(|(grant, token)| Principal {
            name: grant.to_string(),
            shows: Shows::Token(token.hash()),
            grants: vec![grant.clone()],
        });
        let (snapshots, receiver) = watch::channel((7, Arc::new(fixture::snapshot())));
        let state = ApiState {
            snapshots: receiver,
            events: Arc::new(EventLog::new(1)),
            registry: Arc::new(Double::default()),
            config_keys: Arc::default(),
            rules: Arc::new(Rules::default()),
            tracers: Arc::default(),
            leases: Arc::default(),
        };
        let router = api::router(state, principals.collect(), rate);
        Self {
            router: TowerToHyperService::new(router),
            tokens,
            _snapshots: snapshots,
        }
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> anyhow::Result<StatusCode> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut request = request.body(Body::from(body.to_owned()))?;
        request.extensions_mut().insert(Peer::Remote {
            ip: [192, 0, 2, 7].into(),
            certificate: None,
        });
        Ok(self.router.call(request).await?.status())
    }

    fn token(&self, grant: &str) -> &str {
        let found = self
            .tokens
            .iter()
            .find(|(there, _)| there.to_string() == grant);
        found.map_or("", |(_, token)| token.reveal())
    }
}

/// Each call with its role: its parameters filled in, and a query that most refuse, so that none
/// that is let through takes long.
fn calls() -> Vec<(Method, String, Role, bool)> {
    let document = api::document();
    let roles = openapi::roles(&document);
    let mut calls = Vec::new();
    for (template, item) in &document.paths.paths {
        for (method, _) in openapi::operations(item) {
            let role = roles.get(&(method.to_string(), template.clone()));
            let role = role.unwrap_or_else(|| panic!("{method} {template} names no role"));
            let about_web = template.contains("{name}");
            let mut path = template.replace("{name}", "web").replace("{id}", "1");
            path = path.replace("{address}", "10.0.0.5:80");
            if method == Method::POST && path.ends_with(":80") {
                path += ":drain";
            }
            calls.push((method, path + "?sample=x", *role, about_web));
        }
    }
    calls
}

#[tokio::test]
async fn every_call_refuses_those_who_may_not_make_it() -> Test {
    let world = World::new(RATE);
    let calls = calls();
    assert!(calls.len() > 20, "{calls:?}");
    let unknown = Token::random();
    for (method, path, role, about_web) in &calls {
        for token in [None, Some(""), Some(unknown.reveal())] {
            let status = world.ask(method, path, token, "").await?;
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} {token:?}"
            );
        }
        for (grant, token) in &world.tokens {
            let may = match (grant, role) {
                (Grant::Operate, _) | (Grant::Read, Role::Read) => true,
                (Grant::Register(pattern), Role::Register) => pattern == "web" || !about_web,
                _ => false,
            };
            let status = world.ask(method, path, Some(token.reveal()), "").await?;
            let refused = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&status);
            assert_eq!(refused, !may, "{method} {path} with {grant}: {status}");
        }
    }
    for path in ["/", "/v1", "/v1/services/web/instances", "/v2/snapshot"] {
        let status = world.ask(&Method::GET, path, None, "").await?;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let status = world.ask(&Method::PATCH, "/v1/services", None, "").await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let read = Some(world.token("read"));
    let status = world.ask(&Method::PATCH, "/v1/services", read, "").await?;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let status = world.ask(&Method::HEAD, "/v1/services", None, "").await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let status = world.ask(&Method::HEAD, "/v1/services", read, "").await?;
    assert_eq!(status, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_registrant_ends_no_lease_but_its_own() -> Test {
    let world = World::new(RATE);
    let (web, api) = (world.token("register:web"), world.token("register:api-*"));
    let ttl = r#"{"ttl_seconds":15}"#;
    let post = Method::POST;
    let granted = world.ask(&post, "/v1/leases", Some(web), ttl).await?;
    assert_eq!(granted, StatusCode::OK);
    for (token, status) in [(api, StatusCode::GONE), (web, StatusCode::NO_CONTENT)] {
        let renewed = world
            .ask(&post, "/v1/leases/1/renew", Some(token), "")
            .await?;
        assert_eq!(renewed, status);
        let ended = world
            .ask(&Method::DELETE, "/v1/leases/1", Some(token), "")
            .await?;
        assert_eq!(ended, status);
    }
    let granted = world.ask(&post, "/v1/leases", Some(api), ttl).await?;
    assert_eq!(granted, StatusCode::OK);
    let path = "/v1/services/web/instances/10.0.0.5:80?lease=2";
    let body = r#"{"name":"web","address":"10.0.0.5","port":80}"#;
    let bound = world.ask(&Method::PUT, path, Some(web), body).await?;
    assert_eq!(bound, StatusCode::GONE, "the lease is another's");
    let operator = Some(world.token("operate"));
    let bound = world.ask(&Method::PUT, path, operator, body).await?;
    assert_eq!(bound, StatusCode::NO_CONTENT);
    Ok(())
}

#[tokio::test]
async fn who_asks_too_often_has_to_wait() -> Test {
    let world = World::new(Rate {
        per_second: 1,
        burst: 3,
    });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.ask(&Method::GET, "/livez", Some("guess"), "").await?);
    }
    let refused = StatusCode::UNAUTHORIZED;
    let wait = StatusCode::TOO_MANY_REQUESTS;
    assert_eq!(statuses, [refused, refused, refused, wait]);
    Ok(())
}

#[tokio::test]
async fn a_connection_of_unknown_origin_may_do_nothing() -> Test {
    let world = World::new(RATE);
    let request = Request::builder().uri("/livez").body(Body::empty())?;
    let status = world.router.call(request).await?.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    Ok(())
}
