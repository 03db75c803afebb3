//! The cluster's identity: hash key and table seed. Made once, kept in the
//! registry; while maps are pinned, theirs counts, because another key would
//! move every flow.

use crate::registry::{Registry, RegistryError};
use anyhow::{Result, bail};
use navigator_common::hash::HashKey;
use navigator_core::model::keys;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Hash key and table seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) hash_key: HashKey,
    pub(super) plan_seed: u64,
}

/// The identity as the registry keeps it. Words are hexadecimal text: JSON numbers lose
/// what a double cannot hold.
#[derive(Serialize, Deserialize)]
struct Stored {
    hash_key: [String; 5],
    plan_seed: String,
}

/// Pause between two tries to read the registry.
const RETRY: Duration = Duration::from_secs(1);

/// The pinned identity, else that of the registry, made if there is none. Waits for the
/// registry as long as it takes: without a key there is nothing to forward by. Every time
/// that it cannot be reached `waiting` is told why.
pub(super) async fn find(
    pinned: Option<(HashKey, u64)>,
    registry: &dyn Registry,
    mut waiting: impl FnMut(&str),
) -> Result<Identity> {
    if let Some((hash_key, plan_seed)) = pinned {
        return Ok(Identity {
            hash_key,
            plan_seed,
        });
    }
    let mut warned = false;
    loop {
        match registry
            .put_if_absent(keys::CLUSTER, Identity::random().to_json()?)
            .await
        {
            Ok(value) => return Identity::from_json(&value),
            Err(RegistryError::Unreachable { endpoint, why }) => {
                waiting(&why);
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(
                        "registry {endpoint} cannot be reached ({why}): nothing is forwarded until it can; \
                         start it, or correct registry.endpoints"
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Identity {
    fn random() -> Self {
        Self {
            hash_key: HashKey::from_words(rand::random()),
            plan_seed: rand::random(),
        }
    }

    fn to_json(self) -> Result<Vec<u8>> {
        let stored = Stored {
            hash_key: self.hash_key.words().map(|word| format!("{word:016x}")),
            plan_seed: format!("{:016x}", self.plan_seed),
        };
        Ok(serde_json::to_vec(&stored)?)
    }

    fn from_json(value: &[u8]) -> Result<Self> {
        let parsed = || {
            let stored: Stored = serde_json::from_slice(value).ok()?;
            let mut words = [0; 5];
            for (word, text) in words.iter_mut().zip(&stored.hash_key) {
                *word = u64::from_str_radix(text, 16).ok()?;
            }
            let plan_seed = u64::from_str_radix(&stored.plan_seed, 16).ok()?;
            Some(Self {
                hash_key: HashKey::from_words(words),
                plan_seed,
            })
        };
        let Some(identity) = parsed() else {
            // The value is a secret: it is not shown.
            bail!(
                "the registry's key {} is no cluster identity: delete it while no balancer forwards, \
                 and a new one is made",
                keys::CLUSTER
            );
        };
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_registry() -> Result<()> {
        let identity = Identity::random();
        assert_eq!(Identity::from_json(&identity.to_json()?)?, identity);
        Ok(())
    }

    #[test]
    fn a_damaged_identity_is_refused_without_showing_it() {
        let error =
            Identity::from_json(br#"{"hash_key":["secret"]}"#).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains(keys::CLUSTER) && !text.contains("secret")));
    }
}
