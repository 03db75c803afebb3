//! Lists and watches of an etcd that is well.

use super::*;
use navigator_tests::etcd::{EtcdOptions, EtcdServer};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// More than two pages.
const MANY: usize = 12_000;

fn roomy() -> EtcdServer {
    EtcdServer::start_with(EtcdOptions {
        arguments: vec!["--max-txn-ops=20000".to_owned()],
        ..EtcdOptions::default()
    })
    .unwrap()
}

fn many(value: &str) -> impl Iterator<Item = (String, String)> {
    (0..MANY).map(move |index| {
        let key = format!("/services/web/10.0.{}.{}:80", index / 256, index % 256);
        (key, format!("{value}{index}"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_is_listed_and_what_comes_is_watched() {
    let server = EtcdServer::start().unwrap();
    server.put("/services/web/10.0.0.1:80", "one").unwrap();
    server.put("/elsewhere", "no").unwrap();
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    assert_eq!(watch.synced().await.len(), 1);
    server.put("/navigator/vips/web", "vip").unwrap();
    server.put("/elsewhere", "no").unwrap();
    server.put("/services/web/10.0.0.1:80", "two").unwrap();
    assert!(server.delete("/services/web/10.0.0.1:80").unwrap());
    let changes: Vec<_> = watch.changes(3).await.iter().map(brief).collect();
    assert_eq!(
        changes,
        [
            "+/navigator/vips/web=vip",
            "+/services/web/10.0.0.1:80=two",
            "-/services/web/10.0.0.1:80",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_comes_in_pages_of_one_revision() {
    let server = roomy();
    server.put_all(many("a")).unwrap();
    let registry = registry(&[server.endpoint()]);
    let (entries, revision) = registry.list("/services/").await.unwrap();
    let mut expected: Vec<_> = many("a").collect();
    expected.sort();
    assert_eq!(entries.iter().map(pair).collect::<Vec<_>>(), expected);
    assert_eq!(revision, server.revision().unwrap());

    let mut watch = Watch::new(&registry);
    assert_eq!(watch.synced().await.len(), MANY);
    // All of them change at one revision, while lists are read: each list is of one moment.
    let mixed = async {
        for _ in 0..10 {
            let (entries, _) = registry.list("/services/").await.unwrap();
            let old = entries
                .iter()
                .filter(|entry| entry.value[0] == b'a')
                .count();
            assert!(old == 0 || old == MANY, "{old} of {MANY} are old");
        }
    };
    let write = tokio::task::spawn_blocking(move || server.put_all(many("b")).map(|()| server));
    mixed.await;
    let _server = write.await.unwrap().unwrap();
    watch.changes(MANY).await;
    assert_eq!(watch.state, many("b").collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_too_long_are_read_in_smaller_ones() {
    let server = roomy();
    server.put_all(many("x")).unwrap();
    let registry = EtcdRegistry::new(EtcdSettings {
        endpoints: vec![server.endpoint()],
        max_message: 100_000,
        ..EtcdSettings::default()
    });
    let mut watch = Watch::new(&registry);
    assert_eq!(watch.synced().await.len(), MANY);
    // One event too long to be taken: there is a list in its place, not a loop.
    server.put_all(many("y")).unwrap();
    while watch.state != many("y").collect() {
        watch.next().await;
    }
    server.put("/services/web/10.0.0.0:80", "z").unwrap();
    let changes = watch.changes(1).await;
    assert_eq!(brief(&changes[0]), "+/services/web/10.0.0.0:80=z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_listed_again_now_and_then() {
    let server = EtcdServer::start().unwrap();
    let registry = EtcdRegistry::new(EtcdSettings {
        endpoints: vec![server.endpoint()],
        relist: Duration::from_millis(200),
        ..EtcdSettings::default()
    });
    let mut watch = Watch::new(&registry);
    for _ in 0..3 {
        assert!(watch.synced().await.is_empty());
    }
    server.put("/navigator/vips/web", "vip").unwrap();
    while watch.state.is_empty() {
        let event = watch.next().await;
        assert!(!matches!(event, RegistryEvent::Lost { .. }), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_no_text_do_no_harm() {
    let server = EtcdServer::start().unwrap();
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    watch.synced().await;
    use std::os::unix::ffi::OsStrExt as _;
    let key = std::ffi::OsStr::from_bytes(b"/services/\xff\xfe");
    server
        .etcdctl([std::ffi::OsStr::new("put"), key, "x".as_ref()])
        .unwrap();
    let changes = watch.changes(1).await;
    assert_eq!(brief(&changes[0]), "+/services/\u{fffd}\u{fffd}=x");
}

/// Watchers that etcd counts.
fn watchers(server: &EtcdServer) -> f64 {
    let address = server.endpoint().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
    line.expect("etcd counts its watchers").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_nobody_listens() {
    let server = EtcdServer::start().unwrap();
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    watch.synced().await;
    server.put("/navigator/vips/web", "vip").unwrap();
    watch.changes(1).await;
    assert_eq!(watchers(&server), 3.0);
    drop(watch);
    let ended = async {
        while watchers(&server) > 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("the watchers go");
}
