//! One check of one target: connect, ask, judge, and say in words what was found.

use super::{Target, http};
use navigator_core::model::CheckKind;
use std::{future::Future, io, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// What was found, in words.
    pub(super) detail: String,
}

/// What a check says of the instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Pass,
    Fail,
    /// This host could not make the check; that says nothing of the instance.
    Inconclusive,
}

impl Outcome {
    pub(super) fn pass(detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Pass,
            detail: detail.into(),
        }
    }

    pub(super) fn fail(detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            detail: detail.into(),
        }
    }
}

/// The moment at which a running check has failed, and the time that it is given in all.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self {
            at: Instant::now() + timeout,
            timeout,
        }
    }

    /// Waits for `work`, at most until the deadline; else fails with "no `what` within 2s".
    pub(super) async fn bound<T>(
        self,
        what: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, Outcome> {
        timeout_at(self.at, work)
            .await
            .map_err(|_| Outcome::fail(format!("no {what} within {:?}", self.timeout)))
    }
}

/// Makes the check once; connecting and answering together take at most `timeout`.
pub(super) async fn run(target: &Target, timeout: Duration) -> Outcome {
    let deadline = Deadline::after(timeout);
    let address = address_of(target);
    let result = match &target.check.kind {
        CheckKind::None => Ok(Outcome::pass(NOT_CHECKED)),
        CheckKind::Tcp => tcp(address, deadline).await,
        CheckKind::Http {
            path,
            host,
            method,
            expect,
            headers,
        } => {
            let request = http::Request {
                path,
                host: host.as_deref(),
                method,
                expect: *expect,
                headers,
            };
            http::check(address, &request, deadline).await
        }
    };
    result.unwrap_or_else(|outcome| outcome)
}

/// The detail of an instance that asked for no check.
pub(super) const NOT_CHECKED: &str = "not checked";

/// Where the check goes.
fn address_of(target: &Target) -> SocketAddr {
    let mut address = target.key.address;
    if let Some(port) = target.check.port {
        address.set_port(port);
    }
    address
}

async fn tcp(address: SocketAddr, deadline: Deadline) -> Result<Outcome, Outcome> {
    let stream = connect(address, deadline).await?;
    // Nothing was said, so nothing can be lost: closing with RST keeps the
    // thousands of TIME_WAIT entries away that closing first would leave here.
    let _ = stream.set_zero_linger();
    Ok(Outcome::pass("connection accepted"))
}

/// Connects; a failure comes back in words.
pub(super) async fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, Outcome> {
    deadline
        .bound("answer", TcpStream::connect(address))
        .await?
        .map_err(|error| judge(&error))
}

/// What a failed connect says of the instance.
fn judge(error: &io::Error) -> Outcome {
    let verdict = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) => {
            Verdict::Inconclusive
        }
        _ => Verdict::Fail,
    };
    Outcome {
        verdict,
        detail: words(error),
    }
}

/// A failed connect in words.
fn words(error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused",
        Some(libc::ECONNRESET | libc::ECONNABORTED) => "connection reset",
        Some(libc::EHOSTUNREACH) => "no route to host",
        Some(libc::ENETUNREACH) => "network is unreachable",
        Some(libc::ETIMEDOUT) => "no answer",
        Some(libc::EADDRNOTAVAIL) => "this host has no address to reach it from",
        Some(libc::EAFNOSUPPORT) => "this host does not speak its address family",
        Some(libc::EPERM | libc::EACCES) => "this host's own firewall forbids the connection",
        Some(libc::EMFILE | libc::ENFILE) => {
            "this host has no file descriptor left for the check (raise the limit on open files)"
        }
        Some(libc::EAGAIN) => "this host has no local port left for the check",
        Some(libc::ENOBUFS | libc::ENOMEM) => "this host has no memory left for the check",
        _ => return format!("cannot connect: {error}"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_this_hosts_fault_is_not_held_against_the_instance() {
        for (code, verdict) in [
            (libc::EMFILE, Verdict::Inconclusive),
            (libc::ENFILE, Verdict::Inconclusive),
            (libc::ENOMEM, Verdict::Inconclusive),
            (libc::ECONNREFUSED, Verdict::Fail),
            (libc::EHOSTUNREACH, Verdict::Fail),
            (libc::ENETUNREACH, Verdict::Fail),
        ] {
            let outcome = judge(&io::Error::from_raw_os_error(code));
            assert_eq!(outcome.verdict, verdict, "{}", outcome.detail);
        }
    }

    #[test]
    fn errors_are_told_in_plain_words() {
        let told = |code| words(&io::Error::from_raw_os_error(code));
        assert_eq!(told(libc::ECONNREFUSED), "connection refused");
        assert_eq!(told(libc::EHOSTUNREACH), "no route to host");
        assert!(told(libc::EMFILE).contains("limit on open files"));
        assert!(told(libc::EPROTO).starts_with("cannot connect: "));
    }
}
