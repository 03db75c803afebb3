//! Roles, and what they are granted for.

use navigator_core::model::ServiceName;
use std::{fmt, str::FromStr};

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Look at things.
    Read,
    /// Register and deregister instances of a service.
    Register,
    /// Everything.
    Operate,
}

/// What somebody may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Look at things.
    Read,
    /// Register and deregister instances of the services whose names fit the pattern, in which `*`
    /// stands for any characters.
    Register(String),
    /// Everything.
    Operate,
}

/// Why a text is no role.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is no role: use \"read\", \"operate\" or \"register:PATTERN\" with a service name in which * stands for any characters"
)]
pub struct BadRole(pub String);

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Register, Self::Operate];

    /// Its word in the OpenAPI document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Register => "register",
            Self::Operate => "operate",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether one of the grants includes it, for a call about this service if it is about one.
    pub(crate) fn is_granted(self, grants: &[Grant], service: Option<&str>) -> bool {
        grants.iter().any(|grant| match (grant, self) {
            (Grant::Operate, _) | (Grant::Read, Self::Read) => true,
            (Grant::Register(pattern), Self::Register) => {
                service.is_none_or(|name| fits(pattern, name))
            }
            _ => false,
        })
    }
}

impl FromStr for Grant {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        let bad = || BadRole(text.to_owned());
        match text.split_once(':') {
            None if text == "read" => Ok(Self::Read),
            None if text == "operate" => Ok(Self::Operate),
            Some(("register", pattern)) => {
                // With a letter for each star it must be a name.
                let name: Result<ServiceName, _> = pattern.replace('*', "x").parse();
                name.map_err(|_| bad())?;
                Ok(Self::Register(pattern.to_owned()))
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Register(pattern) => write!(f, "register:{pattern}"),
            Self::Operate => f.write_str("operate"),
        }
    }
}

/// The part of `path` that stands where the template has `{name}`, as it was sent: a name that is
/// written with escapes fits no pattern but `*`, and is none of a service either.
pub(super) fn service_in<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let parts = template.split('/').zip(path.split('/'));
    let mut named = parts.filter_map(|(part, value)| (part == "{name}").then_some(value));
    named.next()
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name) in [
            ("web", "web"),
            ("web-*", "web-1"),
            ("web-*", "web-"),
            ("*", "anything"),
            ("*-api", "shop-api"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("web", "web2"),
            ("web", "we"),
            ("web-*", "web"),
            ("*-api", "api"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("web", "w%65b"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn roles_are_read_strictly() {
        for text in ["read", "operate", "register:web-*", "register:*"] {
            let grant: Result<Grant, _> = text.parse();
            assert_eq!(grant.map(|grant| grant.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "Read", "register", "register:", "register:We", "read:x"] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_grant_is_for_its_service() {
        let grants = [Grant::Register("web-*".to_owned())];
        assert!(Role::Register.is_granted(&grants, Some("web-1")));
        assert!(!Role::Register.is_granted(&grants, Some("api")));
        assert!(Role::Register.is_granted(&grants, None));
        assert!(!Role::Read.is_granted(&grants, Some("web-1")));
        assert!(!Role::Operate.is_granted(&grants, Some("web-1")));
        assert!(Role::Register.is_granted(&[Grant::Operate], Some("api")));
        let path = "/v1/services/web/instances/10.0.0.1:80";
        let template = "/v1/services/{name}/instances/{address}";
        assert_eq!(service_in(template, path), Some("web"));
        assert_eq!(service_in("/v1/leases/{id}", "/v1/leases/7"), None);
    }
}
