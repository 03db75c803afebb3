//! Reads.

use super::double::Daemon;
use crate::{
    api::fixture,
    snapshot::{ServiceView, Snapshot},
};
use std::{sync::Arc, time::Duration};

type Test = anyhow::Result<()>;

#[tokio::test]
async fn the_snapshot_is_given_whole_with_its_number() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /v1/snapshot", "").await?;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("x-navigator-index: 7"),
        "{}",
        answer.head
    );
    assert!(answer.head.contains("content-type: application/json"));
    let read: Snapshot = serde_json::from_str(&answer.body)?;
    assert_eq!(read, fixture::snapshot());
    daemon.stop().await
}

#[tokio::test]
async fn a_blocking_read_returns_the_newer_snapshot() -> Test {
    let daemon = Daemon::start()?;
    let read = daemon.ask("GET /v1/snapshot?index=7&wait=60", "");
    let publish = async {
        // Time for the read to have begun; if it had not, it would see the newer one all the same.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut newer = fixture::snapshot();
        newer.daemon.pid = 1;
        daemon.snapshots.send((8, Arc::new(newer)))
    };
    let (answer, published) = tokio::join!(read, publish);
    published?;
    let answer = answer?;
    assert!(
        answer.head.contains("x-navigator-index: 8"),
        "{}",
        answer.head
    );
    assert_eq!(answer.json()?["daemon"]["pid"], 1);
    daemon.stop().await
}

#[tokio::test]
async fn a_blocking_read_ends_with_what_there_is() -> Test {
    let daemon = Daemon::start()?;
    for query in [
        "?index=7",
        "?index=7&wait=0.05",
        "?index=6&wait=60",
        "?wait=60",
    ] {
        let answer = daemon.ask(&format!("GET /v1/snapshot{query}"), "").await?;
        assert_eq!(answer.status, 200, "{query}");
        assert!(answer.head.contains("x-navigator-index: 7"), "{query}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused() -> Test {
    let daemon = Daemon::start()?;
    for query in [
        "index=x",
        "wait=61",
        "wait=-1",
        "wait=NaN",
        "indx=1",
        "index=1&index=2",
    ] {
        let answer = daemon.ask(&format!("GET /v1/snapshot?{query}"), "").await?;
        assert_eq!(answer.problem()?, (400, "bad_query".to_owned()), "{query}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn a_service_is_given_with_its_instances() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /v1/services/web", "").await?;
    let service: ServiceView = serde_json::from_str(&answer.body)?;
    assert_eq!(service, *fixture::snapshot().services[0]);
    let answer = daemon.ask("GET /v1/services/none", "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn readiness_follows_the_snapshot_and_liveness_does_not() -> Test {
    let mut starting = fixture::snapshot();
    starting.daemon.ready = false;
    starting.registry.synced = false;
    let daemon = Daemon::with_snapshot(starting)?;
    assert_eq!(daemon.ask("GET /livez", "").await?.status, 200);
    let answer = daemon.ask("GET /readyz", "").await?;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .body
            .contains("not connected for 65s: connection refused")
    );
    let answer = daemon.ask("GET /v1/services/none", "").await?;
    assert_eq!(answer.problem()?, (503, "not_ready".to_owned()));
    let mut synced = fixture::snapshot();
    synced.daemon.ready = false;
    daemon.snapshots.send((8, Arc::new(synced)))?;
    let answer = daemon.ask("GET /v1/services/none", "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    daemon.snapshots.send((9, Arc::new(fixture::snapshot())))?;
    assert_eq!(daemon.ask("GET /readyz", "").await?.status, 200);
    daemon.stop().await
}

#[tokio::test]
async fn metrics_are_in_the_text_format() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /metrics", "").await?;
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    for line in [
        "# TYPE navigator_vip_packets_total counter",
        "navigator_vip_packets_total{vip=\"web\"} 5000",
        "navigator_vip_bytes_total{vip=\"web\"} 640000",
        "navigator_vip_at_risk_slots{vip=\"web\"} 25",
        "navigator_vip_tracked_slots{vip=\"web\"} 5",
        "navigator_windows_closed_total{cause=\"full_cache\"} 9",
        "navigator_slots_settled_total 30",
        "navigator_vip_applied{vip=\"api\"} 0",
        "navigator_backend_slots{vip=\"web\",backend=\"10.0.0.1:80\"} 750",
        "navigator_backend_state{vip=\"web\",backend=\"10.0.0.3:80\",state=\"draining\"} 1",
        "navigator_instance_health{service=\"web\",instance=\"10.0.0.2:80\",health=\"unhealthy\"} 1",
        "navigator_unforwarded_packets_total{reason=\"drop_unserved\"} 7",
        "navigator_flow_events_total{event=\"flow_hit\"} 3",
        "navigator_table_entries{table=\"slots\"} 65537",
        "navigator_rejected_entries{reason=\"bad_port\"} 1",
        "navigator_registry_connected 0",
        "navigator_ready 1",
    ] {
        assert!(
            answer.body.lines().any(|l| l == line),
            "{line} is not in\n{}",
            answer.body
        );
    }
    each_family_is_announced_once(&answer.body);
    daemon.stop().await
}

fn each_family_is_announced_once(text: &str) {
    let mut families = std::collections::BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap_or_default().to_owned();
            assert!(families.insert(current.clone()), "{current} twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert_eq!(name, current);
        }
    }
}
