//! Linearizable lists, page by page at one revision.

use super::{link::Link, trouble::Trouble};
use crate::registry::{Entry, RegistryError, RegistryResult};
use etcd_client::{GetOptions, GetResponse, KeyValue, ResponseHeader};

/// Lists that are started over because their revision was compacted on the way.
const COMPACTIONS: usize = 3;

/// A moment in the life of one etcd cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Moment {
    pub(super) cluster: u64,
    pub(super) revision: i64,
}

impl From<&ResponseHeader> for Moment {
    fn from(header: &ResponseHeader) -> Self {
        Self {
            cluster: header.cluster_id(),
            revision: header.revision(),
        }
    }
}

/// What was found, and when.
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    pub(super) at: Moment,
}

/// All entries under all `prefixes`, at one revision.
///
/// # Errors
/// When any page of it cannot be had: part of a list is none.
pub(super) async fn list(link: &Link, prefixes: &[&str]) -> RegistryResult<Listing> {
    let mut tries = 1;
    loop {
        match Pages::new(link).read(prefixes).await {
            Err(Trouble::NoRevision(_)) if tries < COMPACTIONS => tries += 1,
            Err(trouble) => return Err(error(link, trouble, prefixes)),
            Ok(listing) => return Ok(listing),
        }
    }
}

fn error(link: &Link, trouble: Trouble, prefixes: &[&str]) -> RegistryError {
    let action = format!("list {}", prefixes.join(", "));
    trouble.into_error(link.describe(), &action, None)
}

struct Pages<'a> {
    link: &'a Link,
    page_size: i64,
    at: Option<Moment>,
    entries: Vec<Entry>,
}

impl<'a> Pages<'a> {
    fn new(link: &'a Link) -> Self {
        Self {
            link,
            page_size: link.settings.page_size.max(1),
            at: None,
            entries: Vec::new(),
        }
    }

    async fn read(mut self, prefixes: &[&str]) -> Result<Listing, Trouble> {
        for prefix in prefixes {
            self.read_prefix(prefix).await?;
        }
        Ok(Listing {
            at: self.at.unwrap_or_default(),
            entries: self.entries,
        })
    }

    async fn read_prefix(&mut self, prefix: &str) -> Result<(), Trouble> {
        let mut start = first_key(prefix);
        let end = range_end(prefix);
        loop {
            let page = match self.page(&start, &end).await {
                Err(Trouble::TooLarge(_)) if self.page_size > 1 => {
                    self.page_size /= 2;
                    continue;
                }
                page => page?,
            };
            self.check(&page)?;
            self.entries.extend(page.kvs().iter().map(entry));
            match page.kvs().last() {
                Some(last) if page.more() => start = key_after(last.key()),
                None if page.more() => {
                    return Err(Trouble::Refused("a page came without keys".to_owned()));
                }
                _ => return Ok(()),
            }
        }
    }

    async fn page(&self, start: &[u8], end: &[u8]) -> Result<GetResponse, Trouble> {
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(self.page_size)
            .with_revision(self.at.map_or(0, |at| at.revision));
        let limit = self.link.settings.request_timeout * 4;
        let max_message = self.link.settings.max_message;
        self.link
            .request(limit, |client| {
                let options = options.clone();
                async move {
                    let mut client = client.kv_client().max_decoding_message_size(max_message);
                    client.get(start, Some(options)).await
                }
            })
            .await
    }

    /// Every page must be of the cluster that answered first.
    fn check(&mut self, page: &GetResponse) -> Result<(), Trouble> {
        let Some(now) = page.header().map(Moment::from) else {
            return Err(Trouble::Refused("a page came without a header".to_owned()));
        };
        let at = self.at.get_or_insert(now);
        if at.cluster == now.cluster {
            return Ok(());
        }
        Err(Trouble::Refused(format!(
            "the endpoints are of different clusters ({:x} and {:x}): name members of one",
            at.cluster, now.cluster
        )))
    }
}

/// An entry as etcd has it. A key that is no text keeps its place with
/// replacement characters, which no valid key has.
pub(super) fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec(),
        created: kv.create_revision(),
        modified: kv.mod_revision(),
        leased: kv.lease() != 0,
    }
}

/// etcd spells "from the first key" and "to the last" as a zero byte.
fn first_key(prefix: &str) -> Vec<u8> {
    match prefix {
        "" => vec![0],
        prefix => prefix.into(),
    }
}

/// The first key after all keys with this prefix.
fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        // No byte of UTF-8 is 255.
        Some(last) => *last += 1,
        None => end.push(0),
    }
    end
}

fn key_after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everything_is_spelled_with_zero_bytes() {
        assert_eq!((first_key(""), range_end("")), (vec![0], vec![0]));
    }

    proptest! {
        #[test]
        fn the_range_holds_the_prefix_and_nothing_else(prefix in ".{1,8}", key in any::<Vec<u8>>()) {
            let inside = (first_key(&prefix)..range_end(&prefix)).contains(&key);
            prop_assert_eq!(inside, key.starts_with(prefix.as_bytes()));
            let mut under = prefix.as_bytes().to_vec();
            under.extend(&key);
            prop_assert!((first_key(&prefix)..range_end(&prefix)).contains(&under));
        }
    }
}
