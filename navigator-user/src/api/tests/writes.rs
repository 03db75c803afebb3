//! Writes: validated, kept from what the configuration file lists, put into the registry.

use super::double::Daemon;
use crate::registry::LeaseId;

type Test = anyhow::Result<()>;

const INSTANCE: &str = "/v1/services/web/instances/10.0.0.5:80";
const VALUE: &str = r#"{"name":"web","address":"10.0.0.5","port":80,"health_check_endpoint":"/"}"#;
const KEY: &str = "/services/web/10.0.0.5:80";

#[tokio::test]
async fn an_instance_is_registered_and_deregistered() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask(&format!("PUT {INSTANCE}"), VALUE).await?;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(daemon.registry.entry(KEY), Some((VALUE.to_owned(), None)));
    let answer = daemon.ask(&format!("DELETE {INSTANCE}"), "").await?;
    assert_eq!(answer.status, 204);
    assert_eq!(daemon.registry.entry(KEY), None);
    let answer = daemon.ask(&format!("DELETE {INSTANCE}"), "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn an_ipv6_instance_is_registered() -> Test {
    let daemon = Daemon::start()?;
    let value = r#"{"name":"web","address":"2001:db8::5","port":80}"#;
    for path in ["[2001:db8::5]:80", "%5B2001:db8::5%5D%3A80"] {
        let answer = daemon
            .ask(&format!("PUT /v1/services/web/instances/{path}"), value)
            .await?;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    assert!(
        daemon
            .registry
            .entry("/services/web/[2001:db8::5]:80")
            .is_some()
    );
    daemon.stop().await
}

#[tokio::test]
async fn an_instance_that_is_wrong_is_refused_with_its_reason() -> Test {
    let daemon = Daemon::start()?;
    let cases = [
        (INSTANCE, "{", "bad_json"),
        (
            INSTANCE,
            &VALUE.replace("10.0.0.5", "10.0.0.6"),
            "key_mismatch",
        ),
        (INSTANCE, &VALUE.replace("\"/\"", "\"x\""), "bad_check"),
        (
            INSTANCE,
            &VALUE.replace('}', ",\"weight\":1001}"),
            "bad_weight",
        ),
        ("/v1/services/Web/instances/10.0.0.5:80", VALUE, "bad_name"),
        (
            "/v1/services/we%2Fb/instances/10.0.0.5:80",
            VALUE,
            "bad_name",
        ),
        (
            "/v1/services/web/instances/localhost:80",
            VALUE,
            "bad_address",
        ),
        ("/v1/services/web/instances/10.0.0.5", VALUE, "bad_port"),
        (
            "/v1/services/web/instances/10.0.0.5:80?lease=x",
            VALUE,
            "bad_lease",
        ),
        (
            "/v1/services/web/instances/10.0.0.5:80?laese=1",
            VALUE,
            "bad_query",
        ),
        ("/v1/services/%FF/instances/10.0.0.5:80", VALUE, "bad_path"),
    ];
    for (path, body, reason) in cases {
        let answer = daemon.ask(&format!("PUT {path}"), body).await?;
        assert_eq!(answer.problem()?, (400, reason.to_owned()), "{path} {body}");
    }
    assert_eq!(daemon.registry.entry(KEY), None);
    daemon.stop().await
}

#[tokio::test]
async fn a_long_body_is_refused() -> Test {
    let daemon = Daemon::start()?;
    let body = " ".repeat(64 * 1024 + 1);
    let answer = daemon.ask(&format!("PUT {INSTANCE}"), &body).await?;
    assert_eq!(answer.problem()?, (413, "too_large".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn what_the_configuration_lists_can_only_be_given_orders() -> Test {
    let daemon = Daemon::start()?;
    let instance = "/v1/services/web/instances/10.0.0.1:80";
    let value = VALUE.replace("10.0.0.5", "10.0.0.1");
    let put = daemon.ask(&format!("PUT {instance}"), &value).await?;
    let delete = daemon.ask(&format!("DELETE {instance}"), "").await?;
    for answer in [put, delete] {
        assert_eq!(answer.problem()?, (409, "in_config".to_owned()));
        assert!(
            answer.body.contains("navigator instances drain"),
            "{answer:?}"
        );
    }
    let put = daemon.ask("PUT /v1/vips/web", &vip(1009)).await?;
    let delete = daemon.ask("DELETE /v1/vips/web", "").await?;
    for answer in [put, delete] {
        assert_eq!(answer.problem()?, (409, "in_config".to_owned()));
    }
    let order = daemon
        .ask("PUT /v1/orders/web/10.0.0.1:80", r#"{"drain":true}"#)
        .await?;
    assert_eq!(order.status, 204, "{order:?}");
    daemon.stop().await
}

#[tokio::test]
async fn leases_bind_instances() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon
        .ask("POST /v1/leases", r#"{"ttl_seconds":15}"#)
        .await?;
    assert_eq!(answer.json()?, serde_json::json!({"lease": 1}));
    let put = daemon
        .ask(&format!("PUT {INSTANCE}?lease=1"), VALUE)
        .await?;
    assert_eq!(put.status, 204, "{put:?}");
    let bound = daemon.registry.entry(KEY).and_then(|(_, lease)| lease);
    assert_eq!(bound, Some(LeaseId(1)));
    assert_eq!(daemon.ask("POST /v1/leases/1/renew", "").await?.status, 204);
    assert_eq!(daemon.ask("DELETE /v1/leases/1", "").await?.status, 204);
    assert_eq!(daemon.registry.entry(KEY), None);
    let renew = daemon.ask("POST /v1/leases/1/renew", "").await?;
    assert_eq!(renew.problem()?, (410, "lease_ended".to_owned()));
    let put = daemon
        .ask(&format!("PUT {INSTANCE}?lease=1"), VALUE)
        .await?;
    assert_eq!(put.problem()?, (410, "lease_ended".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn a_lease_that_makes_no_sense_is_refused() -> Test {
    let daemon = Daemon::start()?;
    for (body, reason) in [
        ("", "bad_json"),
        (r#"{"ttl":15}"#, "bad_json"),
        (r#"{"ttl_seconds":0}"#, "bad_ttl"),
        (r#"{"ttl_seconds":86401}"#, "bad_ttl"),
    ] {
        let answer = daemon.ask("POST /v1/leases", body).await?;
        assert_eq!(answer.problem()?, (400, reason.to_owned()), "{body}");
    }
    let answer = daemon.ask("POST /v1/leases/web/renew", "").await?;
    assert_eq!(answer.problem()?, (400, "bad_lease".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn orders_are_kept_and_given_back() -> Test {
    let daemon = Daemon::start()?;
    let path = "/v1/orders/web/10.0.0.5:80";
    let none = daemon.ask(&format!("GET {path}"), "").await?;
    assert_eq!(none.problem()?, (404, "not_found".to_owned()));
    let order = r#"{"drain":true,"weight":5}"#;
    assert_eq!(daemon.ask(&format!("PUT {path}"), order).await?.status, 204);
    // The longer key must not be taken for the shorter one.
    assert_eq!(
        daemon
            .ask("PUT /v1/orders/web/10.0.0.5:8", "{}")
            .await?
            .status,
        204
    );
    let read = daemon.ask("GET /v1/orders/web/10.0.0.5:8", "").await?;
    assert_eq!(read.json()?, serde_json::json!({}));
    let read = daemon.ask(&format!("GET {path}"), "").await?;
    assert_eq!(
        read.json()?,
        serde_json::json!({"drain": true, "weight": 5})
    );
    let bad = daemon
        .ask(&format!("PUT {path}"), r#"{"weight":1001}"#)
        .await?;
    assert_eq!(bad.problem()?, (400, "bad_weight".to_owned()));
    assert_eq!(daemon.ask(&format!("DELETE {path}"), "").await?.status, 204);
    let none = daemon.ask(&format!("DELETE {path}"), "").await?;
    assert_eq!(none.problem()?, (404, "not_found".to_owned()));
    daemon.stop().await
}

fn vip(slots: u32) -> String {
    format!(r#"{{"address":"192.0.2.10","port":80,"service":"web","mode":"l2","slots":{slots}}}"#)
}

#[tokio::test]
async fn a_vip_is_set_and_removed() -> Test {
    let daemon = Daemon::start()?;
    let value = vip(1009).replace("192.0.2.10", "192.0.2.11");
    let answer = daemon.ask("PUT /v1/vips/shop", &value).await?;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(daemon.registry.entry("/navigator/vips/shop").is_some());
    assert_eq!(daemon.ask("DELETE /v1/vips/shop", "").await?.status, 204);
    let answer = daemon.ask("DELETE /v1/vips/shop", "").await?;
    assert_eq!(answer.problem()?, (404, "not_found".to_owned()));
    let answer = daemon.ask("PUT /v1/vips/shop", "{}").await?;
    assert_eq!(answer.status, 400);
    daemon.stop().await
}

#[tokio::test]
async fn an_applied_vip_keeps_its_slots_and_its_address() -> Test {
    let mut snapshot = crate::api::fixture::snapshot();
    snapshot.vips[0].name = "shop".to_owned();
    snapshot.vips[0].slots = 1009;
    let daemon = Daemon::with_snapshot(snapshot)?;
    let answer = daemon.ask("PUT /v1/vips/shop", &vip(2003)).await?;
    assert_eq!(answer.problem()?, (409, "fixed_slots".to_owned()));
    assert!(answer.body.contains("1009 slots"), "{answer:?}");
    let answer = daemon.ask("PUT /v1/vips/other", &vip(1009)).await?;
    assert_eq!(answer.problem()?, (409, "duplicate".to_owned()));
    let answer = daemon.ask("PUT /v1/vips/shop", &vip(1009)).await?;
    assert_eq!(answer.status, 204, "{answer:?}");
    daemon.stop().await
}

#[tokio::test]
async fn an_unreachable_registry_is_said_to_be_so() -> Test {
    let daemon = Daemon::start()?;
    daemon.registry.switch_off();
    let answer = daemon.ask(&format!("PUT {INSTANCE}"), VALUE).await?;
    assert_eq!(answer.problem()?, (503, "registry_unreachable".to_owned()));
    assert!(answer.body.contains("switched off"), "{answer:?}");
    let answer = daemon
        .ask("POST /v1/leases", r#"{"ttl_seconds":15}"#)
        .await?;
    assert_eq!(answer.problem()?, (503, "registry_unreachable".to_owned()));
    daemon.stop().await
}
