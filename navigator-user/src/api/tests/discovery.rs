//! Discovery: lists, indexes, entity tags, events, orders in a word.

use super::double::{Answer, Daemon};
use crate::{api::fixture, snapshot::Snapshot};
use std::{sync::Arc, time::Duration};

type Test = anyhow::Result<()>;

fn later(change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
    let mut snapshot = fixture::snapshot();
    change(&mut snapshot);
    Arc::new(snapshot)
}

/// With one instance less, as of snapshot 9.
fn less() -> Arc<Snapshot> {
    later(|snapshot| {
        let service = Arc::make_mut(&mut snapshot.services[0]);
        service.instances.pop();
        service.index = 9;
        snapshot.services_index = 9;
    })
}

fn index(answer: &Answer) -> Option<&str> {
    let line = answer
        .head
        .lines()
        .find(|line| line.starts_with("x-navigator-index: "));
    line.map(|line| &line["x-navigator-index: ".len()..])
}

#[tokio::test]
async fn services_are_listed_with_what_takes_clients() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /v1/services", "").await?;
    assert_eq!(
        answer.json()?,
        serde_json::json!([{"name": "web", "index": 5, "instances": 3, "available": 1}])
    );
    let answer = daemon
        .ask("GET /v1/services/web?available=true", "")
        .await?;
    let instances = answer.json()?["instances"].clone();
    assert_eq!(instances.as_array().map(Vec::len), Some(1));
    assert_eq!(instances[0]["address"], "10.0.0.1:80");
    let answer = daemon.ask("GET /v1/vips/web", "").await?;
    assert_eq!(answer.json()?["address"], "192.0.2.10");
    let answer = daemon.ask("GET /v1/vips", "").await?;
    assert_eq!(answer.json()?.as_array().map(Vec::len), Some(2));
    let answer = daemon.ask("GET /v1/vips/none", "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn a_read_waits_for_its_own_service_only() -> Test {
    let daemon = Daemon::start()?;
    let read = daemon.ask("GET /v1/services/web?index=5&wait=60", "");
    let publish = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        daemon.snapshots.send((8, later(|s| s.daemon.pid = 1)))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        daemon.snapshots.send((9, less()))?;
        anyhow::Ok(())
    };
    let (answer, published) = tokio::join!(read, publish);
    published?;
    let answer = answer?;
    assert_eq!(index(&answer), Some("9"));
    assert_eq!(
        answer.json()?["instances"].as_array().map(Vec::len),
        Some(2)
    );
    // An index of another life of the daemon is another index.
    let answer = daemon
        .ask("GET /v1/services/web?index=99&wait=60", "")
        .await?;
    assert_eq!(index(&answer), Some("9"));
    daemon.stop().await
}

#[tokio::test]
async fn a_read_waits_for_a_service_that_is_not_there_yet() -> Test {
    let daemon = Daemon::with_snapshot(Snapshot {
        services: Vec::new(),
        ..fixture::snapshot()
    })?;
    let answer = daemon
        .ask("GET /v1/services/web?index=0&wait=0.05", "")
        .await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    assert_eq!(index(&answer), Some("0"));
    let read = daemon.ask("GET /v1/services/web?index=0&wait=60", "");
    let publish = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        daemon.snapshots.send((9, less()))
    };
    let (answer, published) = tokio::join!(read, publish);
    published?;
    assert_eq!(answer?.status, 200);
    daemon.stop().await
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() -> Test {
    let daemon = Daemon::start()?;
    let path = "GET /v1/services/web";
    let answer = daemon.ask(path, "").await?;
    assert!(answer.head.contains("etag: w/\"5\""), "{}", answer.head);
    for (tag, status) in [
        ("W/\"5\"", 304),
        ("\"4\", \"5\"", 304),
        ("*", 304),
        ("\"4\"", 200),
    ] {
        let headers = format!("If-None-Match: {tag}\r\n");
        let answer = daemon.ask_with(path, &headers, "").await?;
        assert_eq!(answer.status, status, "{tag}");
        assert_eq!(answer.body.is_empty(), status == 304, "{tag}");
    }
    daemon.stop().await
}

const INSTANCE: &str = "/v1/services/web/instances/10.0.0.5:80";
const VALUE: &str = r#"{"name":"web","address":"10.0.0.5","port":80,"health_check_endpoint":"/"}"#;

#[tokio::test]
async fn a_registration_is_changed_only_in_the_version_that_is_named() -> Test {
    let daemon = Daemon::start()?;
    let put = async |headers: &str| {
        let answer = daemon
            .ask_with(&format!("PUT {INSTANCE}"), headers, VALUE)
            .await?;
        anyhow::Ok(answer.status)
    };
    assert_eq!(put("If-Match: \"1\"\r\n").await?, 412, "it is not there");
    assert_eq!(put("If-None-Match: *\r\n").await?, 204);
    assert_eq!(put("If-None-Match: *\r\n").await?, 412, "it is there");
    let answer = daemon.ask(&format!("GET {INSTANCE}"), "").await?;
    assert_eq!(answer.body, VALUE);
    assert!(answer.head.contains("etag: \"1\""), "{}", answer.head);
    assert_eq!(put("If-Match: \"1\"\r\n").await?, 204);
    assert_eq!(put("If-Match: \"2\"\r\n").await?, 412);
    assert_eq!(put("If-Match: nonsense\r\n").await?, 412);
    assert_eq!(put("If-None-Match: \"1\"\r\n").await?, 400);
    let delete = format!("DELETE {INSTANCE}");
    let answer = daemon.ask_with(&delete, "If-Match: \"7\"\r\n", "").await?;
    assert_eq!(answer.problem()?, (412, "changed".to_owned()));
    let answer = daemon.ask_with(&delete, "If-Match: \"1\"\r\n", "").await?;
    assert_eq!(answer.status, 204);
    let answer = daemon.ask(&format!("GET {INSTANCE}"), "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn a_registration_with_a_time_to_live_answers_with_its_lease() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon
        .ask(&format!("PUT {INSTANCE}?ttl_seconds=15"), VALUE)
        .await?;
    assert_eq!(answer.status, 201);
    let lease = answer.json()?["lease"].as_i64().unwrap_or_default();
    let bound = daemon.registry.entry("/services/web/10.0.0.5:80");
    assert_eq!(
        bound.and_then(|(_, lease)| lease).map(|lease| lease.0),
        Some(lease)
    );
    let answer = daemon
        .ask(&format!("POST /v1/leases/{lease}/renew"), "")
        .await?;
    assert_eq!(answer.status, 204);
    for query in ["ttl_seconds=0", "ttl_seconds=15&lease=1", "ttl_seconds=x"] {
        let answer = daemon
            .ask(&format!("PUT {INSTANCE}?{query}"), VALUE)
            .await?;
        assert_eq!(answer.status, 400, "{query}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn orders_are_given_in_a_word() -> Test {
    let daemon = Daemon::start()?;
    let order = || daemon.registry.entry("/navigator/orders/web/10.0.0.1:80");
    let path = "/v1/services/web/instances/10.0.0.1:80";
    daemon
        .ask("PUT /v1/orders/web/10.0.0.1:80", r#"{"weight":7}"#)
        .await?;
    for (action, wanted) in [
        ("drain", r#"{"drain":true,"weight":7}"#),
        ("maintenance", r#"{"maintenance":true,"weight":7}"#),
        ("enable", r#"{"weight":7}"#),
    ] {
        let answer = daemon.ask(&format!("POST {path}:{action}"), "").await?;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, wanted),
            "{action}"
        );
        assert_eq!(order().map(|(value, _)| value).as_deref(), Some(wanted));
    }
    daemon.ask("DELETE /v1/orders/web/10.0.0.1:80", "").await?;
    daemon.ask(&format!("POST {path}:drain"), "").await?;
    daemon.ask(&format!("POST {path}:enable"), "").await?;
    assert_eq!(order(), None, "nothing is left of it");
    for (path, problem) in [
        (format!("{path}:dance"), (400, "bad_action")),
        (path.to_owned(), (400, "bad_action")),
        (
            "/v1/services/web/instances/10.0.0.9:80:drain".to_owned(),
            (404, "not_found"),
        ),
        (
            "/v1/services/api/instances/10.0.0.9:80:drain".to_owned(),
            (404, "not_found"),
        ),
        (
            "/v1/services/web/instances/nowhere:drain".to_owned(),
            (400, "bad_port"),
        ),
    ] {
        let answer = daemon.ask(&format!("POST {path}"), "").await?;
        assert_eq!(
            answer.problem()?,
            (problem.0, problem.1.to_owned()),
            "{path}"
        );
    }
    daemon.stop().await
}

#[tokio::test]
async fn events_are_told_from_where_the_client_was() -> Test {
    let daemon = Daemon::start()?;
    daemon.snapshots.send((9, less()))?;
    let read = async |query: &str, headers: &str| {
        let line = format!("GET /v1/events?seconds=0.3{query}");
        anyhow::Ok(daemon.ask_with(&line, headers, "").await?.body)
    };
    let all = read("&after=100", "").await?;
    assert!(
        all.contains("id: 101\r\n") || all.contains("id: 101\n"),
        "{all}"
    );
    assert!(all.contains("event: deregistered\n"), "{all}");
    assert!(all.contains(r#""address":"10.0.0.3:80""#), "{all}");
    let none = read("&after=100", "Last-Event-ID: 101\r\n").await?;
    assert!(!none.contains("event:"), "{none}");
    let none = read("", "").await?;
    assert!(!none.contains("event:"), "from now on: {none}");
    let none = read("&after=100&service=api", "").await?;
    assert!(!none.contains("event:"), "another service: {none}");
    let missed = read("&after=7", "").await?;
    assert!(missed.contains("event: missed\n"), "{missed}");
    assert!(missed.contains("id: 101\n"), "{missed}");
    let answer = daemon
        .ask_with("GET /v1/events", "Last-Event-ID: x\r\n", "")
        .await?;
    assert_eq!(answer.problem()?, (400, "bad_event_id".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn the_api_describes_itself() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /v1/openapi.json", "").await?;
    let document = answer.json()?;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    let put = &document["paths"]["/v1/services/{name}/instances/{address}"]["put"];
    assert_eq!(put["security"][0]["token"][0], "register");
    assert_eq!(put["security"][1]["certificate"][0], "register");
    assert!(put["responses"]["default"]["content"]["application/problem+json"].is_object());
    // What it says of a service is what a service looks like.
    let schemas = &document["components"]["schemas"];
    let view = serde_json::to_value(&fixture::snapshot().services[0].instances[0])?;
    let described = &schemas["InstanceView"]["properties"];
    for field in view
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys())
    {
        assert!(described[field].is_object(), "{field} is not described");
    }
    daemon.stop().await
}
