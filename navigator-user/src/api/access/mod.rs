//! Who may do what.
//!
//! Whoever may open the Unix socket may do everything. A caller over TCP shows a token or a
//! certificate, and may do what the roles say that the configuration gives to it. Each call needs
//! the role that its operation names in the OpenAPI document; one that names none is nobody's.

mod credentials;
mod leases;
mod limit;
mod roles;

pub use credentials::{BadToken, Token, TokenHash};
pub(crate) use leases::LeaseBook;
pub(super) use limit::network;
pub use limit::{Rate, RateLimit};
pub use roles::{BadRole, Grant, Role};

use super::Problem;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Somebody whom the configuration knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Name, for logs.
    pub name: String,
    /// What they show.
    pub shows: Shows,
    /// What they may do.
    pub grants: Vec<Grant>,
}

/// What somebody shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shows {
    /// A token with this hash.
    Token(TokenHash),
    /// A certificate for this DNS name.
    Certificate(String),
}

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub enum Peer {
    /// The Unix socket.
    Local,
    /// A TLS listener.
    Remote {
        /// The address.
        ip: IpAddr,
        /// The certificate that the client showed and the listener's authority signed.
        certificate: Option<CertificateDer<'static>>,
    },
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Somebody who may open the Unix socket.
    Local,
    /// Somebody whom the configuration knows.
    Known(Arc<Principal>),
}

impl Caller {
    /// Whether every instance and lease is theirs to change.
    pub(crate) fn is_operator(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Known(principal) => principal.grants.contains(&Grant::Operate),
        }
    }

    /// The name that leases are booked under; `None` for operators.
    pub(crate) fn registrant(&self) -> Option<&str> {
        match self {
            Self::Known(principal) if !self.is_operator() => Some(&principal.name),
            _ => None,
        }
    }
}

/// The rules, and what is known of callers.
pub struct Access {
    principals: Vec<Arc<Principal>>,
    roles: BTreeMap<(String, String), Role>,
    limit: Mutex<RateLimit>,
    start: Instant,
}

impl Access {
    /// Rules for these callers; `roles` says what each call needs.
    pub(crate) fn new(
        principals: Vec<Principal>,
        roles: BTreeMap<(String, String), Role>,
        rate: Rate,
    ) -> Self {
        Self {
            principals: principals.into_iter().map(Arc::new).collect(),
            roles,
            limit: Mutex::new(RateLimit::new(rate)),
            start: Instant::now(),
        }
    }

    fn judge(&self, peer: Option<&Peer>, request: &Request) -> Result<Caller, Refusal> {
        let (ip, certificate) = match peer {
            Some(Peer::Local) => return Ok(Caller::Local),
            Some(Peer::Remote { ip, certificate }) => (*ip, certificate.as_ref()),
            // A listener that does not say whom it serves must not open everything.
            None => return Err(Refusal::Unknown),
        };
        self.in_time(ip)?;
        let caller = self
            .recognise(request, certificate)
            .ok_or(Refusal::Unknown)?;
        let Some(path) = request.extensions().get::<MatchedPath>() else {
            return Ok(Caller::Known(caller));
        };
        let method = match request.method().as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let role = self
            .roles
            .get(&(method.to_owned(), path.as_str().to_owned()));
        let service = roles::service_in(path.as_str(), request.uri().path());
        match role {
            Some(role) if role.is_granted(&caller.grants, service) => Ok(Caller::Known(caller)),
            Some(role) => Err(forbidden(&caller, role.word())),
            // A method that the path does not know is answered as such, but for a call without a role.
            None if self.roles.keys().any(|(_, known)| known == path.as_str()) => {
                Ok(Caller::Known(caller))
            }
            None => Err(forbidden(&caller, "operate")),
        }
    }

    fn in_time(&self, ip: IpAddr) -> Result<(), Refusal> {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = limit.take(ip, self.start.elapsed());
        taken.map_err(|wait| Refusal::TooOften { ip, wait })
    }

    fn recognise(
        &self,
        request: &Request,
        certificate: Option<&CertificateDer<'static>>,
    ) -> Option<Arc<Principal>> {
        if let Some(header) = request.headers().get(AUTHORIZATION) {
            let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            return credentials::with_token(&self.principals, token.trim());
        }
        credentials::with_certificate(&self.principals, certificate?)
    }
}

/// Lets a request through that its caller may make.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    match access.judge(peer.as_ref(), &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a request is not let through.
enum Refusal {
    TooOften { ip: IpAddr, wait: Duration },
    Unknown,
    Forbidden { name: String, role: &'static str },
}

fn forbidden(caller: &Principal, role: &'static str) -> Refusal {
    let name = caller.name.clone();
    Refusal::Forbidden { name, role }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::TooOften { ip, wait } => {
                let seconds = format!("{:.0}", wait.as_secs_f64().ceil().max(1.0));
                let detail = format!("too many requests from {ip}: ask again in {seconds} s");
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail);
                ([(RETRY_AFTER, seconds)], problem).into_response()
            }
            Self::Unknown => {
                let detail = "show a token (Authorization: Bearer …) or a client certificate that the configuration knows";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
                let scheme = "Bearer realm=\"navigator\"";
                ([(WWW_AUTHENTICATE, scheme)], problem).into_response()
            }
            Self::Forbidden { name, role } => {
                let detail = format!("{name} may not do this: it needs the role {role:?}");
                Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response()
            }
        }
    }
}
