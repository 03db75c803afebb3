//! What can go wrong with a request, by what to do about it.

use crate::registry::{LeaseId, RegistryError};
use etcd_client::Error;
use std::error::Error as _;

/// gRPC status codes, by number: the crate that names them is not a dependency.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ABORTED: i32 = 10;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
}

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The peer or the way to it: another try, or another member, may succeed.
    Transient(String),
    /// An answer that another try would not change.
    Refused(String),
    /// The lease that was named has ended.
    NoLease,
    /// The revision that was asked for is compacted, or has not happened (yet).
    NoRevision(String),
    /// The answer is longer than what is accepted.
    TooLarge(String),
}

impl Trouble {
    /// No answer came in time.
    pub(super) fn silent(limit: std::time::Duration) -> Self {
        Self::Transient(format!("no answer within {:.1} s", limit.as_secs_f32()))
    }

    /// In words.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Transient(why)
            | Self::Refused(why)
            | Self::NoRevision(why)
            | Self::TooLarge(why) => why,
            Self::NoLease => "the lease has ended",
        }
    }

    /// As callers of the registry see it.
    pub(super) fn into_error(
        self,
        endpoint: String,
        action: &str,
        lease: Option<LeaseId>,
    ) -> RegistryError {
        match (self, lease) {
            (Self::NoLease, Some(LeaseId(id))) => RegistryError::LeaseEnded(id),
            (Self::Transient(why), _) => RegistryError::Unreachable { endpoint, why },
            (other, _) => RegistryError::Refused {
                endpoint,
                action: action.to_owned(),
                why: other.why().to_owned(),
            },
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => {
                let why = reason(status.message(), status.source());
                by_code(status.code() as i32, why)
            }
            // The client's own words for an answer with no time to live.
            Error::LeaseKeepAliveError(why) if why.contains("not found") => Self::NoLease,
            Error::TransportError(error) => {
                Self::Transient(reason(&error.to_string(), error.source()))
            }
            Error::IoError(_) | Error::WatchError(_) | Error::LeaseKeepAliveError(_) => {
                Self::Transient(error.to_string())
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

fn by_code(number: i32, why: String) -> Trouble {
    match number {
        code::CANCELLED
        | code::UNKNOWN
        | code::DEADLINE_EXCEEDED
        | code::ABORTED
        | code::INTERNAL
        | code::UNAVAILABLE => Trouble::Transient(why),
        code::NOT_FOUND if why.contains("lease") => Trouble::NoLease,
        code::OUT_OF_RANGE if why.contains("revision") => Trouble::NoRevision(why),
        code::OUT_OF_RANGE if why.contains("too large") => Trouble::TooLarge(why),
        _ => Trouble::Refused(why),
    }
}

/// The message and the innermost cause, which is the one that says something.
fn reason(message: &str, mut source: Option<&dyn std::error::Error>) -> String {
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(cause) if cause != message => format!("{message}: {cause}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_from_failures() {
        let lease = by_code(5, "etcdserver: requested lease not found".to_owned());
        assert_eq!(lease, Trouble::NoLease);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(
            by_code(11, compacted.to_owned()),
            Trouble::NoRevision(compacted.to_owned())
        );
        let long = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        assert_eq!(
            by_code(11, long.to_owned()),
            Trouble::TooLarge(long.to_owned())
        );
        assert!(matches!(
            by_code(14, "no leader".to_owned()),
            Trouble::Transient(_)
        ));
        assert!(matches!(
            by_code(7, "permission denied".to_owned()),
            Trouble::Refused(_)
        ));
        assert!(matches!(by_code(99, "new".to_owned()), Trouble::Refused(_)));
    }

    #[test]
    fn an_ended_lease_names_itself() {
        let error = Trouble::NoLease.into_error("etcd".to_owned(), "renew", Some(LeaseId(0x2a)));
        assert_eq!(error.to_string(), "lease 2a has ended");
    }
}
