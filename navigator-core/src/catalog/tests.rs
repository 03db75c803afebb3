#![allow(clippy::unwrap_used, reason = "a test's own input")]

use super::*;
use proptest::prelude::*;

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn entry(key: &str, value: &str, created: i64) -> RawEntry {
    RawEntry {
        key: key.into(),
        value: value.into(),
        created,
        leased: true,
    }
}

fn instance_key(service: &str, ip: &str) -> String {
    format!("/services/{service}/{ip}:80")
}

fn instance(service: &str, ip: &str, weight: i32) -> RawEntry {
    let value = format!(r#"{{"name":"{service}","address":"{ip}","port":80,"weight":{weight}}}"#);
    entry(&instance_key(service, ip), &value, 1)
}

fn vip(name: &str, ip: &str, created: i64) -> RawEntry {
    let value = format!(r#"{{"address":"{ip}","port":80,"service":"web"}}"#);
    entry(&format!("/navigator/vips/{name}"), &value, created)
}

fn config(entry: RawEntry) -> (String, Vec<u8>) {
    (entry.key, entry.value)
}

fn touched(services: &[&str], vips: bool) -> Touched {
    Touched {
        services: services.iter().map(|text| name(text)).collect(),
        vips,
    }
}

fn weight(catalog: &Catalog, service: &str, ip: &str) -> Option<u16> {
    let address = SocketAddr::new(ip.parse().unwrap(), 80);
    Some(
        catalog
            .services()
            .get(&name(service))?
            .get(&address)?
            .weight,
    )
}

/// `key reason`, and `stale` behind it where it is, of everything refused.
fn refused(catalog: &Catalog) -> Vec<String> {
    let line = |entry: RejectedEntry| {
        let stale = if entry.stale { " stale" } else { "" };
        format!("{} {}{stale}", entry.rejection.key, entry.rejection.reason)
    };
    catalog.rejections().into_iter().map(line).collect()
}

#[test]
fn changes_touch_only_what_they_change() {
    let mut catalog = Catalog::new(Rules::default());
    assert_eq!(
        catalog.put(instance("web", "10.0.0.1", 5)),
        touched(&["web"], false)
    );
    assert_eq!(
        catalog.put(instance("api", "10.0.0.2", 5)),
        touched(&["api"], false)
    );
    assert_eq!(
        catalog.put(instance("web", "10.0.0.1", 5)),
        Touched::default()
    );
    assert_eq!(
        catalog.put(instance("web", "10.0.0.1", 6)),
        touched(&["web"], false)
    );
    assert_eq!(weight(&catalog, "web", "10.0.0.1"), Some(6));
    assert_eq!(
        catalog.put(vip("front", "192.0.2.1", 1)),
        touched(&[], true)
    );
    assert_eq!(
        catalog.put(vip("front", "192.0.2.1", 1)),
        Touched::default()
    );
    assert_eq!(
        catalog.delete("/services/web/10.0.0.1:80"),
        touched(&["web"], false)
    );
    assert!(catalog.delete("/services/web/10.0.0.1:80").is_empty());
    assert_eq!(
        catalog.services().keys().collect::<Vec<_>>(),
        [&name("api")]
    );
}

#[test]
fn a_sync_replaces_everything() {
    let mut catalog = Catalog::new(Rules::default());
    let order = entry("/navigator/orders/web/10.0.0.1:80", r#"{"drain":true}"#, 1);
    let all = vec![
        instance("web", "10.0.0.1", 5),
        instance("api", "10.0.0.2", 5),
        vip("front", "192.0.2.1", 1),
        order,
    ];
    assert_eq!(catalog.sync(all.clone()), touched(&["api", "web"], true));
    assert!(catalog.sync(all).is_empty());
    let address = "10.0.0.1:80".parse().unwrap();
    let key = InstanceKey {
        service: name("web"),
        address,
    };
    assert!(catalog.order(&key).drain);
    assert_eq!(
        catalog.sync(vec![instance("web", "10.0.0.1", 5)]),
        touched(&["api", "web"], true)
    );
    assert!(catalog.vips().is_empty() && !catalog.order(&key).drain);
    assert_eq!(catalog.sync(Vec::new()), touched(&["web"], false));
}

#[test]
fn a_bad_new_version_leaves_the_last_valid_one_in_force() {
    let mut catalog = Catalog::new(Rules::default());
    catalog.sync(vec![
        instance("web", "10.0.0.1", 5),
        vip("front", "192.0.2.1", 1),
    ]);
    assert!(catalog.put(instance("web", "10.0.0.1", 1001)).is_empty());
    assert!(catalog.put(vip("front", "0.0.0.0", 1)).is_empty());
    assert!(catalog.put(instance("web", "10.0.0.2", -1)).is_empty());
    assert_eq!(weight(&catalog, "web", "10.0.0.1"), Some(5));
    let bad = [
        "/navigator/vips/front bad_vip stale",
        "/services/web/10.0.0.1:80 bad_weight stale",
        "/services/web/10.0.0.2:80 bad_weight",
    ];
    assert_eq!(refused(&catalog), bad);
    assert!(
        catalog
            .sync(vec![
                instance("web", "10.0.0.1", 1001),
                vip("front", "192.0.2.1", 1)
            ])
            .is_empty()
    );
    assert_eq!(refused(&catalog), [bad[1]]);
    catalog.put(instance("web", "10.0.0.1", 7));
    assert!(refused(&catalog).is_empty());
    assert_eq!(
        catalog.put(entry("/elsewhere", "{}", 1)),
        Touched::default()
    );
    assert_eq!(refused(&catalog), ["/elsewhere key_mismatch"]);
}

#[test]
fn the_configuration_file_wins() {
    let mut catalog = Catalog::new(Rules::default());
    catalog.put(instance("web", "10.0.0.1", 5));
    let key = instance_key("web", "10.0.0.1");
    assert_eq!(catalog.origin(&key), Some(Origin::Registry));
    let listed = || config(instance("web", "10.0.0.1", 9));
    assert_eq!(
        catalog.set_config(vec![listed(), listed()]),
        touched(&["web"], false)
    );
    assert_eq!(catalog.origin(&key), Some(Origin::Config));
    assert_eq!(weight(&catalog, "web", "10.0.0.1"), Some(9));
    let twice = [format!("{key} duplicate stale"), format!("{key} duplicate")];
    assert_eq!(refused(&catalog), twice);
    assert!(catalog.put(instance("web", "10.0.0.1", 6)).is_empty());
    let write = instance("web", "10.0.0.1", 6);
    let rejection = catalog.judge(&write.key, &write.value, true).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::Duplicate);
    assert_eq!(catalog.set_config(Vec::new()), touched(&["web"], false));
    assert_eq!(weight(&catalog, "web", "10.0.0.1"), Some(6));
    catalog.delete(&key);
    assert_eq!(catalog.origin(&key), None);
}

#[test]
fn an_instance_at_a_vips_address_is_refused_in_both_directions() {
    let mut catalog = Catalog::new(Rules::default());
    catalog.put(instance("web", "10.0.0.1", 5));
    assert_eq!(
        catalog.put(vip("front", "10.0.0.1", 1)),
        touched(&["web"], true)
    );
    assert_eq!(refused(&catalog), ["/services/web/10.0.0.1:80 is_vip"]);
    let other = instance("api", "10.0.0.1", 5);
    assert_eq!(
        catalog
            .judge(&other.key, &other.value, true)
            .unwrap_err()
            .reason,
        RejectReason::IsVip
    );
    assert!(catalog.put(other).is_empty());
    assert!(
        catalog.put(vip("back", "10.0.0.1", 2)).is_empty(),
        "a duplicate changes nothing"
    );
    assert_eq!(
        catalog.put(vip("front", "10.0.0.2", 1)),
        touched(&[], true),
        "the other VIP has the address now"
    );
    assert_eq!(
        catalog.delete("/navigator/vips/back"),
        touched(&["api", "web"], true)
    );
    assert!(refused(&catalog).is_empty());
    let both = vec![instance("web", "10.0.0.7", 5), vip("front", "10.0.0.7", 1)];
    catalog.sync(both);
    assert!(catalog.services().is_empty());
}

#[test]
fn of_vips_with_one_address_the_oldest_is_in_force() {
    let mut catalog = Catalog::new(Rules::default());
    let names = |catalog: &Catalog| {
        catalog
            .vips()
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    catalog.put(vip("young", "192.0.2.1", 9));
    assert_eq!(catalog.put(vip("old", "192.0.2.1", 3)), touched(&[], true));
    assert_eq!(names(&catalog), ["old"]);
    assert_eq!(refused(&catalog), ["/navigator/vips/young duplicate"]);
    catalog.set_config(vec![config(vip("listed", "192.0.2.1", 0))]);
    assert_eq!(names(&catalog), ["listed"]);
    catalog.set_config(Vec::new());
    catalog.delete("/navigator/vips/old");
    assert_eq!(names(&catalog), ["young"]);
    assert!(refused(&catalog).is_empty());
}

#[test]
fn a_vip_that_moves_onto_another_stays_where_it_was() {
    let mut catalog = Catalog::new(Rules::default());
    catalog.sync(vec![vip("a", "192.0.2.1", 1), vip("b", "192.0.2.2", 2)]);
    let write = vip("b", "192.0.2.1", 2);
    let rejection = catalog.judge(&write.key, &write.value, false).unwrap_err();
    assert!(
        rejection
            .to_string()
            .contains("192.0.2.1:80/tcp is VIP a's already"),
        "{rejection}"
    );
    assert!(catalog.put(write).is_empty());
    assert_eq!(
        catalog.vips()[&name("b")].key.address.to_string(),
        "192.0.2.2"
    );
    assert_eq!(refused(&catalog), ["/navigator/vips/b duplicate stale"]);
    assert_eq!(catalog.delete("/navigator/vips/a"), touched(&[], true));
    assert_eq!(
        catalog.vips()[&name("b")].key.address.to_string(),
        "192.0.2.1"
    );
}

fn nth(i: usize) -> String {
    format!("10.1.{}.{}", i / 250, i % 250 + 1)
}

#[test]
fn a_service_over_its_limit_keeps_what_it_has_and_admits_the_oldest_later() {
    let mut catalog = Catalog::new(Rules::default());
    let many = |count: usize| {
        (0..count)
            .map(|i| instance("web", &nth(i), 1))
            .collect::<Vec<_>>()
    };
    catalog.sync(many(MAX_INSTANCES_OF_SERVICE));
    let mut late = instance("web", "10.0.0.1", 1);
    late.created = 9;
    let mut later = instance("web", "10.0.0.2", 1);
    later.created = 10;
    let rejection = catalog.judge(&late.key, &late.value, true).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::OverLimit);
    assert!(catalog.put(later).is_empty());
    assert!(catalog.put(late).is_empty());
    assert_eq!(refused(&catalog).len(), 2);
    let again = instance("web", &nth(7), 3);
    assert_eq!(
        catalog.put(again),
        touched(&["web"], false),
        "who is in may change"
    );
    assert_eq!(
        catalog.put(instance("api", "10.0.0.1", 1)),
        touched(&["api"], false)
    );
    catalog.delete(&instance_key("web", &nth(3)));
    assert_eq!(weight(&catalog, "web", "10.0.0.1"), Some(1));
    assert_eq!(refused(&catalog), ["/services/web/10.0.0.2:80 over_limit"]);
    catalog.delete(&instance_key("web", "10.0.0.2"));
    catalog.delete(&instance_key("web", &nth(4)));
    assert_eq!(
        catalog.services()[&name("web")].len(),
        MAX_INSTANCES_OF_SERVICE - 1
    );
}

#[test]
fn all_services_together_have_a_limit() {
    let mut catalog = Catalog::new(Rules::default());
    let per_service = 4000;
    let count = MAX_INSTANCES + 2;
    let all =
        (0..count).map(|i| instance(&format!("s{}", i / per_service), &nth(i % per_service), 1));
    catalog.sync(all.collect());
    let admitted = |catalog: &Catalog| {
        catalog
            .services()
            .values()
            .map(BTreeMap::len)
            .sum::<usize>()
    };
    assert_eq!(
        (admitted(&catalog), refused(&catalog).len()),
        (MAX_INSTANCES, 2)
    );
    assert_eq!(
        catalog.delete(&instance_key("s0", &nth(0))).services.len(),
        2
    );
    assert_eq!(
        (admitted(&catalog), refused(&catalog).len()),
        (MAX_INSTANCES, 1)
    );
}

/// Entries of few keys, so that histories meet themselves. A VIP's address
/// follows from its name, and two names share one.
fn any_entry() -> impl Strategy<Value = RawEntry> {
    let instances = (0u8..2, 1u8..4, 0i32..3).prop_map(|(service, host, weight)| {
        instance(
            ["web", "api"][usize::from(service)],
            &format!("10.0.0.{host}"),
            weight,
        )
    });
    let vips = (0u8..4).prop_map(|i| {
        vip(
            &format!("v{i}"),
            &format!("10.0.0.{}", i / 2 + 1),
            i64::from(9 - i),
        )
    });
    let orders = (1u8..4, any::<bool>()).prop_map(|(host, drain)| {
        entry(
            &format!("/navigator/orders/web/10.0.0.{host}:80"),
            &format!(r#"{{"drain":{drain}}}"#),
            1,
        )
    });
    prop_oneof![instances, vips, orders]
}

proptest! {
    #[test]
    fn step_by_step_leads_to_the_same_as_all_at_once(listed in proptest::collection::vec(any_entry(), 0..4), steps in proptest::collection::vec((any_entry(), 0u8..4), 0..40)) {
        let listed: Vec<_> = listed.into_iter().map(config).collect();
        let mut stepped = Catalog::new(Rules::default());
        stepped.set_config(listed.clone());
        let mut contents = BTreeMap::new();
        for (entry, action) in steps {
            let before = (stepped.services().clone(), stepped.vips().clone());
            let touched = if action == 0 {
                contents.remove(&entry.key);
                stepped.delete(&entry.key)
            } else {
                contents.insert(entry.key.clone(), entry.clone());
                stepped.put(entry)
            };
            prop_assert_eq!(touched.vips, &before.1 != stepped.vips());
            for service in ["web", "api"].map(name) {
                let changed = before.0.get(&service) != stepped.services().get(&service);
                prop_assert!(!changed || touched.services.contains(&service));
            }
        }
        let mut whole = Catalog::new(Rules::default());
        whole.sync(contents.into_values().collect());
        whole.set_config(listed);
        prop_assert_eq!(stepped.services(), whole.services());
        prop_assert_eq!(stepped.vips(), whole.vips());
        prop_assert_eq!(&stepped.orders, &whole.orders);
        let sorted = |catalog: &Catalog| refused(catalog).into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(sorted(&stepped), sorted(&whole));
        for vip in stepped.vips().values() {
            for instances in stepped.services().values() {
                prop_assert!(instances.keys().all(|address| address.ip() != vip.key.address));
            }
        }
    }

    #[test]
    fn no_entry_panics(entries in proptest::collection::vec(("(/services/|/navigator/vips/|/navigator/orders/)?[a-z0-9./:\\[\\]]{0,20}", "[{}\":,a-z0-9]{0,30}", any::<i64>()), 0..10)) {
        let mut catalog = Catalog::new(Rules::default());
        let raw: Vec<_> = entries.iter().map(|(key, value, created)| entry(key, value, *created)).collect();
        catalog.sync(raw);
        for (key, value, created) in &entries {
            catalog.put(entry(key, value, *created));
            let _ = catalog.judge(key, value.as_bytes(), false);
            catalog.delete(key);
        }
        prop_assert!(catalog.rejections().is_empty());
    }
}
