//! An etcd that goes away, comes back, forgets, or freezes.

use super::*;
use navigator_tests::{
    etcd::{EtcdOptions, EtcdServer},
    forwarder::Forwarder,
};
use std::{sync::Arc, time::Instant};
use tokio::task::JoinSet;

async fn behind_a_forwarder() -> (EtcdServer, Forwarder, EtcdRegistry) {
    let server = EtcdServer::start().unwrap();
    let address = server.endpoint().replace("http://", "").parse().unwrap();
    let forwarder = Forwarder::start(address).await.unwrap();
    let registry = registry(&[format!("http://{}", forwarder.address())]);
    (server, forwarder, registry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_an_outage_arrive_once_and_in_order() {
    let (server, forwarder, registry) = behind_a_forwarder().await;
    server.put("/services/web/0", "before").unwrap();
    let mut watch = Watch::new(&registry);
    assert_eq!(watch.synced().await.len(), 1);
    forwarder.cut();
    watch.lost().await;
    for index in 1..=3 {
        server
            .put(&format!("/services/web/{index}"), "new")
            .unwrap();
        server
            .put("/navigator/vips/web", &index.to_string())
            .unwrap();
    }
    server.delete("/services/web/0").unwrap();
    forwarder.mend();
    watch.recovered().await;
    let mut changes: Vec<_> = watch.changes(7).await.iter().map(brief).collect();
    // Each prefix in its order.
    changes.sort_by_key(|change| change.contains("vips"));
    assert_eq!(
        changes,
        [
            "+/services/web/1=new",
            "+/services/web/2=new",
            "+/services/web/3=new",
            "-/services/web/0",
            "+/navigator/vips/web=1",
            "+/navigator/vips/web=2",
            "+/navigator/vips/web=3",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_may_be_down_at_the_start_and_restart_later() {
    let mut server = EtcdServer::start().unwrap();
    server.put("/services/web/0", "before").unwrap();
    server.stop().unwrap();
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    let why = watch.lost().await;
    assert!(why.contains("refused"), "{why}");
    let error = registry.list("/").await.unwrap_err().to_string();
    assert!(
        error.contains(&server.endpoint()) && error.contains("cannot be reached"),
        "{error}"
    );
    server.restart().unwrap();
    assert_eq!(watch.synced().await.len(), 1);

    server.stop().unwrap();
    watch.lost().await;
    // Long enough for the waits between attempts to have grown.
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.restart().unwrap();
    server.put("/services/web/1", "after").unwrap();
    let back = Instant::now();
    watch.recovered().await;
    assert_eq!(brief(&watch.changes(1).await[0]), "+/services/web/1=after");
    let took = back.elapsed();
    assert!(
        took < Duration::from_secs(6),
        "a change took {took:?} after etcd was back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacted_history_is_replaced_by_a_list() {
    let (server, forwarder, registry) = behind_a_forwarder().await;
    server.put("/services/web/0", "before").unwrap();
    let mut watch = Watch::new(&registry);
    watch.synced().await;
    forwarder.cut();
    watch.lost().await;
    server.put("/services/web/1", "new").unwrap();
    server.delete("/services/web/0").unwrap();
    let revision = server.revision().unwrap();
    server.etcdctl(["compact", &revision.to_string()]).unwrap();
    forwarder.mend();
    let entries = watch.synced().await;
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect::<Vec<_>>(),
        ["/services/web/1"]
    );
    server.put("/services/web/2", "later").unwrap();
    watch.changes(1).await;
}

/// etcd cancels a watch that cannot keep up once its history is compacted, and
/// says so in a message without a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_survives_compaction() {
    let server = EtcdServer::start().unwrap();
    let registry = Arc::new(registry(&[server.endpoint()]));
    let mut watch = Watch::new(&*registry);
    watch.synced().await;
    // More than fits into all the buffers between etcd and the reader.
    for round in 0..32 {
        let mut writes = JoinSet::new();
        for index in 0..50 {
            let registry = Arc::clone(&registry);
            writes.spawn(async move {
                let value = format!("{round}{}", "v".repeat(2_000)).into_bytes();
                registry
                    .put(&format!("/services/web/{index}"), value, None)
                    .await
            });
        }
        while let Some(written) = writes.join_next().await {
            written.unwrap().unwrap();
        }
    }
    let revision = server.revision().unwrap();
    server.etcdctl(["compact", &revision.to_string()]).unwrap();
    server.put("/services/web/last", "x").unwrap();
    let mut lists = 0;
    while !watch.state.contains_key("/services/web/last") {
        match watch.next().await {
            RegistryEvent::Synced { .. } => lists += 1,
            RegistryEvent::Changed { .. } => {}
            other => panic!("{other:?}: etcd was never away"),
        }
    }
    assert_eq!(watch.state.len(), 51);
    assert!(watch.state["/services/web/7"].starts_with("31v"));
    assert!(lists > 0, "the test did not fill all buffers on the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_is_listed_anew() {
    // With a token of its own, the same cluster comes back at an earlier revision.
    for arguments in [Vec::new(), vec!["--initial-cluster-token=same".to_owned()]] {
        let options = EtcdOptions {
            arguments,
            ..EtcdOptions::default()
        };
        let mut server = EtcdServer::start_with(options).unwrap();
        for index in 0..5 {
            server
                .put(&format!("/services/web/{index}"), "old")
                .unwrap();
        }
        let registry = registry(&[server.endpoint()]);
        let mut watch = Watch::new(&registry);
        assert_eq!(watch.synced().await.len(), 5);
        server.restart_empty().unwrap();
        watch.lost().await;
        watch.synced().await;
        server.put("/services/web/new", "new").unwrap();
        while watch.state.len() != 1 || !watch.state.contains_key("/services/web/new") {
            watch.next().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_is_noticed() {
    let server = EtcdServer::start().unwrap();
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    watch.synced().await;
    server.put("/navigator/vips/web", "liquid").unwrap();
    watch.changes(1).await;
    server.pause().unwrap();
    let frozen = Instant::now();
    let why = watch.lost().await;
    let took = frozen.elapsed();
    assert!(why.contains("no answer within 2.5 s"), "{why}");
    assert!(took < Duration::from_secs(8), "it took {took:?}");
    assert!(
        registry
            .put("/services/web/1", b"x".to_vec(), None)
            .await
            .is_err()
    );
    server.resume().unwrap();
    watch.recovered().await;
    server.put("/navigator/vips/web", "thawed").unwrap();
    while watch.state["/navigator/vips/web"] != "thawed" {
        let event = watch.next().await;
        assert!(matches!(event, RegistryEvent::Changed { .. }), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_and_frozen_members_are_passed_over() {
    let server = EtcdServer::start().unwrap();
    let mut dead = EtcdServer::start().unwrap();
    dead.stop().unwrap();
    let frozen = EtcdServer::start().unwrap();
    frozen.pause().unwrap();
    // It starts at any of them: often enough for each.
    for round in 0..6 {
        let registry = registry(&[dead.endpoint(), frozen.endpoint(), server.endpoint()]);
        let key = format!("/services/web/{round}");
        registry.put(&key, b"x".to_vec(), None).await.unwrap();
        assert!(registry.delete(&key).await.unwrap());
        let mut watch = Watch::new(&registry);
        watch.synced().await;
    }
}

#[tokio::test]
async fn endpoints_that_are_none_are_named() {
    for (endpoints, words) in [
        (vec![], "no endpoint is configured"),
        (vec!["http://".to_owned()], "\"http://\" is not usable"),
        (vec!["ht tp://x y".to_owned()], "is not usable"),
    ] {
        let registry = registry(&endpoints);
        let error = registry.list("/").await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let mut watch = Watch::new(&registry);
        let why = watch.lost().await;
        assert!(why.contains(words), "{why}");
    }
}
