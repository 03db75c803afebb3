//! Whatever stands in a registry, it is read or refused: entries that look like
//! entries, with keys that are known and values that mostly do not suit them,
//! and sound entries whose text was damaged.

use super::*;

/// Sound values, by the key that they stand under.
const SOUND: [(&str, &str); 5] = [
    (
        KEY,
        r#"{"name":"web","address":"10.0.0.5","port":80,"health_check_endpoint":"/health"}"#,
    ),
    (
        KEY,
        r#"{"name":"web","address":"10.0.0.5","port":80,"weight":50,"check":{"kind":"http",
        "path":"/x","host":"a.example","method":"GET","expect":"200-299","headers":{"X-A":"b"},
        "port":81,"interval":"5s","timeout":"1s","rise":2,"fall":3},"tags":["a",1]}"#,
    ),
    (
        VIP,
        r#"{"address":"192.0.2.10","port":80,"service":"web","protocol":"tcp","mode":"ipip",
        "slots":251,"udp":"sticky","unserved":"pass","on_down":"reset","on_empty":"open",
        "drain":"5m"}"#,
    ),
    (
        VIP,
        r#"{"address":"2001:db8::10","port":443,"service":"web"}"#,
    ),
    (
        "/navigator/orders/web/10.0.0.5:80",
        r#"{"drain":true,"weight":7}"#,
    ),
];

/// Keys of entries, some of them wrong.
fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        KEY,
        VIP,
        "/navigator/orders/web/10.0.0.5:80",
        "/services/web/[2001:db8::5]:80",
        "/services/web/10.0.0.5:0",
        "/services//10.0.0.5:80",
        "/navigator/vips/",
        "/services/web/192.0.2.1:80",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "\\PC{0,30}"]
}

/// A value that a field may have or not.
fn any_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "web",
        "/",
        "/health",
        "http",
        "tcp",
        "udp",
        "both",
        "none",
        "l2",
        "ipip",
        "gue",
        "nat",
        "10.0.0.5",
        "2001:db8::5",
        "::ffff:10.0.0.5",
        "0.0.0.0",
        "10.0.0.0/8",
        "drop",
        "pass",
        "keep",
        "reset",
        "open",
        "sticky",
        "rehash",
        "5s",
        "0s",
        "-1s",
        "99999999h",
        "1.5m",
        "200",
        "200-299",
        "299-200",
        "GET",
        "G E T",
        "\u{0}",
        "a\r\nb",
    ]);
    let leaf = prop_oneof![
        3 => words.prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => prop::sample::select(vec![0i64, 1, -1, 80, 100, 251, 1000, 1001, 65_535, 65_536, i64::MAX, i64::MIN]).prop_map(Value::from),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_field(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_field() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "name",
        "address",
        "port",
        "health_check_endpoint",
        "check",
        "kind",
        "path",
        "host",
        "method",
        "expect",
        "headers",
        "interval",
        "timeout",
        "rise",
        "fall",
        "weight",
        "service",
        "protocol",
        "mode",
        "slots",
        "udp",
        "unserved",
        "on_down",
        "on_empty",
        "drain",
        "end_port",
        "affinity",
        "tags",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

/// A sound entry with fields that were replaced, added or taken out.
fn unsuitable() -> impl Strategy<Value = (String, Vec<u8>)> {
    let changes = prop::collection::vec((any_field(), prop::option::of(any_value())), 0..5);
    (0..SOUND.len(), prop::option::of(any_key()), changes).prop_map(|(sound, other, changes)| {
        let (key, text) = SOUND[sound];
        let mut entry: Value = serde_json::from_str(text).unwrap();
        for (field, value) in changes {
            let fields = entry.as_object_mut().unwrap();
            match value {
                Some(value) => drop(fields.insert(field, value)),
                None => drop(fields.remove(&field)),
            }
        }
        let key = other.unwrap_or_else(|| key.to_owned());
        (key, serde_json::to_vec(&entry).unwrap())
    })
}

/// A sound entry with some of its bytes changed.
fn damaged() -> impl Strategy<Value = (String, Vec<u8>)> {
    let edits = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0usize..6,
            prop::collection::vec(any::<u8>(), 0..6),
        ),
        1..4,
    );
    (0..SOUND.len(), edits).prop_map(|(sound, edits)| {
        let (key, text) = SOUND[sound];
        let mut bytes = text.as_bytes().to_vec();
        for (at, cut, put) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put);
        }
        (key.to_owned(), bytes)
    })
}

/// It is refused in words that can be shown: short, about something, in one line.
fn can_be_shown(rejection: &Rejection) -> Result<(), TestCaseError> {
    let shown = rejection.to_string();
    prop_assert!(!rejection.detail.is_empty());
    prop_assert!(rejection.detail.len() < 600, "{shown}");
    prop_assert!(!shown.contains(['\n', '\r', '\0']), "{shown:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_read_is_written_and_read_the_same((key, value) in prop_oneof![unsuitable(), damaged()]) {
        match parse_instance(&key, &value, true, &rules()) {
            Ok(instance) => {
                let again = serde_json::to_vec(&instance_json(&instance)).unwrap();
                let key = keys::instance(&instance.key);
                prop_assert_eq!(parse_instance(&key, &again, true, &rules()), Ok(instance));
            }
            Err(rejection) => can_be_shown(&rejection)?,
        }
        match parse_vip(&key, &value) {
            Ok(vip) => {
                let again = serde_json::to_vec(&vip_json(&vip)).unwrap();
                prop_assert_eq!(parse_vip(&key, &again), Ok(vip));
            }
            Err(rejection) => can_be_shown(&rejection)?,
        }
        if let Err(rejection) = parse_order(&key, &value) {
            can_be_shown(&rejection)?;
        }
    }
}

/// Else the properties would be about refusals only.
#[test]
fn the_sound_entries_are_read() {
    for (key, value) in SOUND {
        let value = value.as_bytes();
        let read = [
            parse_instance(key, value, true, &rules()).is_ok(),
            parse_vip(key, value).is_ok(),
            parse_order(key, value).is_ok(),
        ];
        assert!(read.contains(&true), "{key}");
    }
}
