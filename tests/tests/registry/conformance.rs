//! One script, both registries: the same answers and the same events.

use super::*;
use navigator_tests::etcd::EtcdServer;
use navigator_user::registry::{LeaseId, RegistryError, WATCHED, embedded::EmbeddedRegistry};
use tempfile::TempDir;

const ONE: &str = "/services/web/10.0.0.1:80";
const TWO: &str = "/services/web/10.0.0.2:80";
const NEIGHBOUR: &str = "/services/web2/10.0.0.1:80";
const VIP: &str = "/navigator/vips/web";
const ORDER: &str = "/navigator/orders/web/10.0.0.1:80";
const CLUSTER: &str = "/navigator/cluster";

/// What a registry answered and what its watch told, with revisions counted from the start.
#[derive(Default, PartialEq, Debug)]
struct Record {
    answers: Vec<String>,
    /// By prefix: etcd watches each on its own.
    events: BTreeMap<&'static str, Vec<String>>,
    last_revision: i64,
}

impl Record {
    fn answer(&mut self, name: &str, answer: impl std::fmt::Debug) {
        self.answers.push(format!("{name}: {answer:?}"));
    }

    fn change(&mut self, change: &Change, base: i64) {
        let (key, what) = match change {
            Change::Delete(key) => (key, brief(change)),
            Change::Put(entry) => (&entry.key, show(entry, base)),
        };
        let prefix = WATCHED.iter().find(|prefix| key.starts_with(**prefix));
        self.events
            .entry(prefix.expect("a watched key"))
            .or_default()
            .push(what);
    }
}

fn show(entry: &Entry, base: i64) -> String {
    let (key, value) = pair(entry);
    let (created, modified) = (entry.created - base, entry.modified - base);
    format!(
        "+{key}={value} created {created} modified {modified} leased {}",
        entry.leased
    )
}

async fn list(registry: &dyn Registry, prefix: &str, base: i64) -> (Vec<String>, i64) {
    let (entries, revision) = registry.list(prefix).await.unwrap();
    let entries = entries.iter().map(|entry| show(entry, base)).collect();
    (entries, revision - base)
}

fn ended<T: std::fmt::Debug>(result: Result<T, RegistryError>, lease: LeaseId) -> bool {
    matches!(result, Err(RegistryError::LeaseEnded(id)) if id == lease.0)
}

async fn run(registry: &dyn Registry) -> Record {
    let mut record = Record::default();
    let put = async |key: &str, value: &str, lease: Option<LeaseId>| {
        registry.put(key, value.into(), lease).await
    };
    put(ONE, "before", None).await.unwrap();
    put(CLUSTER, "secret", None).await.unwrap();
    let (_, base) = registry.list("").await.unwrap();
    let mut watch = Watch::new(registry);
    let first = watch.synced().await;
    record.answer(
        "synced",
        first
            .iter()
            .map(|entry| show(entry, base))
            .collect::<Vec<_>>(),
    );

    put(ONE, "again", None).await.unwrap();
    put(VIP, "vip", None).await.unwrap();
    put(NEIGHBOUR, "other", None).await.unwrap();
    record.answer("unwatched", put(CLUSTER, "changed", None).await.is_ok());
    record.answer(
        "there",
        registry.put_if_absent(ONE, b"no".to_vec()).await.unwrap(),
    );
    record.answer(
        "new",
        registry.put_if_absent(TWO, b"yes".to_vec()).await.unwrap(),
    );
    record.answer("empty value", put(ORDER, "", None).await.is_ok());
    record.answer("empty key", put("", "x", None).await.is_ok());
    record.answer("deleted", registry.delete(TWO).await.unwrap());
    record.answer("deleted again", registry.delete(TWO).await.unwrap());
    record.answer("service", list(registry, "/services/web/", base).await);
    record.answer("nothing", list(registry, "/services/x/", base).await);
    record.answer("all", list(registry, "", base).await);

    let modified = |entries: Vec<Entry>| entries.first().map_or(0, |entry| entry.modified);
    let revision = modified(registry.list(ONE).await.unwrap().0);
    for (name, expected, value) in [
        ("exchanged late", revision - 1, Some("late")),
        ("exchanged what is there as new", 0, Some("new")),
        ("exchanged", revision, Some("exchanged")),
        ("deleted the wrong version", revision, None),
    ] {
        let value = value.map(|value| value.as_bytes().to_vec());
        let done = registry.exchange(ONE, expected, value, None).await;
        record.answer(name, done.unwrap());
    }
    let revision = modified(registry.list(ONE).await.unwrap().0);
    let deleted = registry.exchange(ONE, revision, None, None).await;
    record.answer("deleted this version", deleted.unwrap());
    let created = registry.exchange(ONE, 0, Some(b"created".to_vec()), None);
    record.answer("created", created.await.unwrap());

    let lease = registry.grant(Duration::from_secs(60)).await.unwrap();
    put(ONE, "leased", Some(lease)).await.unwrap();
    put(VIP, "leased", Some(lease)).await.unwrap();
    put(VIP, "released", None).await.unwrap();
    record.answer("renewed", registry.keep_alive(lease).await.is_ok());
    record.answer("revoked", registry.revoke(lease).await.is_ok());
    record.answer("revoked again", registry.revoke(lease).await.is_ok());
    record.answer(
        "renewed late",
        ended(registry.keep_alive(lease).await, lease),
    );
    record.answer(
        "bound late",
        ended(put(ONE, "late", Some(lease)).await, lease),
    );

    let short = registry.grant(Duration::from_secs(1)).await.unwrap();
    put(TWO, "short", Some(short)).await.unwrap();
    let mut last = 0;
    loop {
        let RegistryEvent::Changed { changes, revision } = watch.next().await else {
            panic!("only changes follow");
        };
        last = revision.max(last);
        changes
            .iter()
            .for_each(|change| record.change(change, base));
        let services = &record.events[WATCHED[0]];
        if services
            .iter()
            .filter(|event| **event == format!("-{TWO}"))
            .count()
            == 2
        {
            break;
        }
    }
    record.answer("expired", ended(registry.keep_alive(short).await, short));
    record.answer("in the end", list(registry, "", base).await);
    record.last_revision = last - base;
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_registries_do_the_same() {
    let server = EtcdServer::start().unwrap();
    let by_etcd = run(&registry(&[server.endpoint()])).await;
    let directory = TempDir::with_prefix("navigator-registry-").unwrap();
    let path = directory.path().join("registry.redb");
    let by_file = run(&EmbeddedRegistry::open(&path).unwrap()).await;
    assert_eq!(by_etcd, by_file);
    // Both may be wrong in the same way.
    let answers = by_file.answers.join("\n");
    for expected in [
        "deleted: true",
        "deleted again: false",
        "renewed late: true",
        "bound late: true",
        "expired: true",
        "empty key: false",
    ] {
        assert!(answers.contains(expected), "{expected}: {answers}");
    }
    let services = &by_file.events[WATCHED[0]];
    assert_eq!(services.len(), 11, "{services:#?}");
    assert_eq!(
        services[0],
        format!("+{ONE}=again created -1 modified 1 leased false")
    );
    assert_eq!(services[5], format!("-{ONE}"), "{services:#?}");
}
