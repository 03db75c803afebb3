//! Tokens and certificates, and whom they show.

use super::{Principal, Shows};
use std::{fmt, str::FromStr, sync::Arc};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// Random bytes of a token.
const SECRET: usize = 32;
/// What every token begins with, so that one that got into the wrong place is recognised.
const MARK: &str = "nvt_";

/// A token: a long random text. Nothing but its owner keeps it.
#[derive(Clone)]
pub struct Token(String);

/// The SHA-256 of a token, which is all that the configuration knows. A token is random and long,
/// so its hash needs neither salt nor a slow function.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// Why a text is no hash of a token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be 64 hexadecimal digits, as `navigator token new` prints them")]
pub struct BadToken;

impl Token {
    /// A new one.
    pub fn random() -> Self {
        let secret: [u8; SECRET] = rand::random();
        Self(format!("{MARK}{}", hex(&secret)))
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the configuration is to know of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl TokenHash {
    fn of(token: &str) -> Self {
        use ring::digest::{SHA256, digest};
        let mut hash = [0; 32];
        let digest = digest(&SHA256, token.as_bytes());
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

impl FromStr for TokenHash {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(BadToken);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(BadToken);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whose token it is. All are looked at, whatever is found: the time tells nothing.
pub(super) fn with_token(principals: &[Arc<Principal>], token: &str) -> Option<Arc<Principal>> {
    let shown = TokenHash::of(token);
    let nobody = u32::MAX;
    let mut found = nobody;
    for (index, principal) in (0u32..).zip(principals) {
        if let Shows::Token(hash) = &principal.shows {
            let same = hash.0.ct_eq(&shown.0);
            found.conditional_assign(&index, same);
        }
    }
    principals.get(found as usize).cloned()
}

/// Whose certificate it is. The listener has verified it against its authority.
pub(super) fn with_certificate(
    principals: &[Arc<Principal>],
    certificate: &CertificateDer<'static>,
) -> Option<Arc<Principal>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let shows = |principal: &&Arc<Principal>| match &principal.shows {
        Shows::Certificate(name) => ServerName::try_from(name.as_str())
            .is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok()),
        Shows::Token(_) => false,
    };
    principals.iter().find(shows).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash() {
        let (one, other) = (Token::random(), Token::random());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), MARK.len() + 64);
        let written = one.hash().to_string();
        assert_eq!(written.parse::<TokenHash>(), Ok(one.hash()));
        assert!(!format!("{:?}", one.hash()).contains(&written));
        let principal = |name: &str, token: &Token| {
            Arc::new(Principal {
                name: name.to_owned(),
                shows: Shows::Token(token.hash()),
                grants: Vec::new(),
            })
        };
        let known = [principal("one", &one), principal("other", &other)];
        let whose = |token: &str| with_token(&known, token).map(|found| found.name.clone());
        assert_eq!(whose(one.reveal()).as_deref(), Some("one"));
        assert_eq!(whose(other.reveal()).as_deref(), Some("other"));
        assert_eq!(whose(&written), None, "the hash is no token");
        assert_eq!(whose(""), None);
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(text.parse::<TokenHash>(), Err(BadToken), "{text}");
        }
        // The well-known vector.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_string(), hash);
    }
}
