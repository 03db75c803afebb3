#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it is"
)]

mod damage;

use super::{state::Saved, *};
use crate::registry::{Change, WATCHED};
use std::fs;
use tempfile::TempDir;

const KEY: &str = "/services/web/10.0.0.1:80";
const SECOND: &str = "/services/web/10.0.0.2:80";
/// Long enough that nothing ends by itself in a test.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(400);

fn place() -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::with_prefix("registry-embedded-").unwrap();
    let path = directory.path().join("state/registry.redb");
    (directory, path)
}

async fn event(watch: &mut mpsc::Receiver<RegistryEvent>) -> RegistryEvent {
    tokio::time::timeout(Duration::from_secs(20), watch.recv())
        .await
        .expect("an event comes")
        .expect("the watch goes on")
}

async fn keys(registry: &EmbeddedRegistry) -> Vec<String> {
    let (entries, _) = registry.list("").await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// The lock goes when the last task that writes is through.
async fn close(registry: EmbeddedRegistry) {
    let path = registry.path.clone();
    drop(registry);
    for _ in 0..500 {
        if Store::open(Path::new(&path)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} stays locked");
}

#[tokio::test]
async fn an_entry_knows_when_it_was_made_and_changed() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    registry.put(KEY, b"one".to_vec(), None).await.unwrap();
    registry.put(SECOND, b"x".to_vec(), None).await.unwrap();
    registry.put(KEY, b"two".to_vec(), None).await.unwrap();
    let (entries, revision) = registry.list("/services/web/10.0.0.1").await.unwrap();
    let expected = Entry {
        key: KEY.to_owned(),
        value: b"two".to_vec(),
        created: 2,
        modified: 4,
        leased: false,
    };
    assert_eq!((entries, revision), (vec![expected], 4));
    assert!(registry.delete(KEY).await.unwrap());
    assert!(!registry.delete(KEY).await.unwrap());
    let (_, revision) = registry.list("/").await.unwrap();
    assert_eq!(revision, 5, "deleting nothing is no change");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    for index in 0..20_u8 {
        let key = format!("/navigator/vips/{index}");
        registry.put(&key, vec![index], None).await.unwrap();
    }
    // The file as a killed process would leave it.
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    let after = EmbeddedRegistry::open(&copy).unwrap();
    assert_eq!(
        after.list("/").await.unwrap(),
        registry.list("/").await.unwrap()
    );
}

#[tokio::test]
async fn revisions_go_on_after_a_restart() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    registry.put(KEY, vec![1], None).await.unwrap();
    registry.delete(KEY).await.unwrap();
    close(registry).await;
    let registry = EmbeddedRegistry::open(&path).unwrap();
    registry.put(KEY, vec![2], None).await.unwrap();
    let (entries, revision) = registry.list("/").await.unwrap();
    assert_eq!((revision, entries[0].created), (4, 4));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_takes_its_entries_along() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let lease = registry.grant(SHORT).await.unwrap();
    let other = registry.grant(LONG).await.unwrap();
    registry.put(KEY, vec![1], Some(lease)).await.unwrap();
    registry.put(SECOND, vec![1], Some(other)).await.unwrap();
    let mut watch = registry.watch();
    let RegistryEvent::Synced { entries, .. } = event(&mut watch).await else {
        panic!("the first event is a list");
    };
    assert!(entries.iter().all(|entry| entry.leased) && entries.len() == 2);
    let gone = event(&mut watch).await;
    let changes = vec![Change::Delete(KEY.to_owned())];
    assert_eq!(
        gone,
        RegistryEvent::Changed {
            changes,
            revision: 4
        }
    );
    let late = registry.keep_alive(lease).await;
    assert!(matches!(late, Err(RegistryError::LeaseEnded(id)) if id == lease.0));
    let late = registry.put(KEY, vec![1], Some(lease)).await;
    assert!(matches!(late, Err(RegistryError::LeaseEnded(_))));
    assert_eq!(keys(&registry).await, [SECOND]);
}

#[tokio::test]
async fn a_renewed_lease_lives_on() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let ttl = Duration::from_secs(2);
    let (kept, left) = (
        registry.grant(ttl).await.unwrap(),
        registry.grant(ttl).await.unwrap(),
    );
    registry.put(KEY, vec![1], Some(kept)).await.unwrap();
    registry.put(SECOND, vec![1], Some(left)).await.unwrap();
    // The one that nobody renews tells that time has passed.
    while registry.list(SECOND).await.unwrap().0.len() == 1 {
        registry.keep_alive(kept).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(keys(&registry).await, [KEY]);
}

#[tokio::test]
async fn revoking_deletes_all_at_one_revision() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let lease = registry.grant(LONG).await.unwrap();
    registry.put(KEY, vec![1], Some(lease)).await.unwrap();
    registry.put(SECOND, vec![1], Some(lease)).await.unwrap();
    registry
        .put("/services/web/10.0.0.3:80", vec![1], Some(lease))
        .await
        .unwrap();
    // Written without the lease, an entry is no longer bound to it.
    registry.put(SECOND, vec![2], None).await.unwrap();
    registry.revoke(lease).await.unwrap();
    let (entries, revision) = registry.list("/").await.unwrap();
    assert_eq!((entries.len(), revision), (1, 6));
    assert!(entries[0].key == SECOND && !entries[0].leased);
    registry.revoke(lease).await.unwrap();
}

#[tokio::test]
async fn leases_start_again_when_the_daemon_does() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let ttl = Duration::from_secs(1);
    let (kept, left) = (
        registry.grant(ttl).await.unwrap(),
        registry.grant(ttl).await.unwrap(),
    );
    registry.put(KEY, vec![1], Some(kept)).await.unwrap();
    registry.put(SECOND, vec![1], Some(left)).await.unwrap();
    close(registry).await;
    tokio::time::sleep(ttl + ttl / 2).await;
    let registry = EmbeddedRegistry::open(&path).unwrap();
    assert_eq!(
        keys(&registry).await,
        [KEY, SECOND],
        "nobody could renew meanwhile"
    );
    while registry.list(SECOND).await.unwrap().0.len() == 1 {
        registry.keep_alive(kept).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(keys(&registry).await, [KEY]);
}

#[tokio::test]
async fn a_watch_shows_the_watched_prefixes_in_order() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    registry
        .put("/navigator/cluster", vec![0], None)
        .await
        .unwrap();
    let mut watch = registry.watch();
    let first = RegistryEvent::Synced {
        entries: Vec::new(),
        revision: 2,
    };
    assert_eq!(event(&mut watch).await, first);
    let mut expected = Vec::new();
    for (index, prefix) in WATCHED.iter().enumerate() {
        let key = format!("{prefix}x");
        registry.put("/other", vec![1], None).await.unwrap();
        registry.put(&key, vec![index as u8], None).await.unwrap();
        expected.push(key);
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let RegistryEvent::Changed { changes, .. } = event(&mut watch).await else {
            panic!("only changes follow");
        };
        for change in changes {
            let Change::Put(entry) = change else {
                panic!("nothing was deleted");
            };
            seen.push(entry.key);
        }
    }
    assert_eq!(seen, expected);
    drop(registry);
    assert_eq!(watch.recv().await, None, "the watch ends with the registry");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_gets_everything_anew() {
    let state = RwLock::new(State::new(Saved::default(), Instant::now()));
    let shared = Arc::new(Shared {
        state,
        sooner: Notify::new(),
    });
    let (changes, receiver) = broadcast::channel(4);
    let (sender, mut watch) = mpsc::channel(1);
    tokio::spawn(follow::run(Arc::clone(&shared), receiver, sender));
    let write = |index: u8| {
        let mut state = shared.write();
        let batch = state
            .put(format!("/services/web/{index}"), vec![index], None)
            .unwrap();
        state.apply(&batch, Instant::now());
        changes.send(Arc::new(batch)).unwrap();
    };
    let empty = RegistryEvent::Synced {
        entries: Vec::new(),
        revision: 0,
    };
    assert_eq!(event(&mut watch).await, empty);
    for index in 0..100 {
        write(index);
        tokio::task::yield_now().await;
    }
    let mut lists = 0;
    let mut known = std::collections::BTreeSet::new();
    while known.len() < 100 {
        match event(&mut watch).await {
            RegistryEvent::Synced { entries, .. } => {
                lists += 1;
                known = entries.into_iter().map(|entry| entry.key).collect();
            }
            RegistryEvent::Changed { changes, .. } => {
                known.extend(changes.into_iter().map(|change| match change {
                    Change::Put(entry) => entry.key,
                    Change::Delete(key) => panic!("{key} was not deleted"),
                }));
            }
            other => panic!("{other:?} from a registry in this process"),
        }
    }
    assert!(lists > 0, "what did not fit was replaced by a list");
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let long = registry.put(KEY, vec![0; MAX_VALUE + 1], None).await;
    let error = long.unwrap_err().to_string();
    assert!(
        error.contains(KEY) && error.contains("1048577 bytes"),
        "{error}"
    );
    let nameless = registry.put_if_absent("", Vec::new()).await;
    assert!(
        nameless
            .unwrap_err()
            .to_string()
            .contains("the key is empty")
    );
    let endless = registry.grant(Duration::MAX).await;
    assert!(endless.unwrap_err().to_string().contains("longest lease"));
}
