//! Whatever is written, it is read or refused.

use super::*;
use proptest::prelude::*;

/// A valid text with some of its bytes' worth of characters changed.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        0..EXAMPLE.len(),
        0usize..30,
        prop_oneof![
            Just(String::new()),
            "\\PC{0,12}",
            "[\\[\\]{}=\"'\n.#,0-9a-z-]{0,12}"
        ],
    );
    proptest::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, cut, put) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
        }
        text.into_iter().collect()
    })
}

/// A text of known keys with values that mostly do not suit them.
fn unsuitable() -> impl Strategy<Value = String> {
    let section = prop::sample::select(vec![
        "[health]",
        "[registry]",
        "[limits]",
        "[tunnel]",
        "[[vip]]",
        "[[service]]",
        "[service.check]",
        "[[service.instances]]",
        "[check]",
    ]);
    let key = prop::sample::select(vec![
        "interfaces",
        "announce",
        "socket",
        "backend_cidrs",
        "registry",
        "health",
        "limits",
        "tunnel",
        "source",
        "gue_port",
        "vip",
        "service",
        "name",
        "address",
        "port",
        "protocol",
        "mode",
        "slots",
        "drain",
        "check",
        "kind",
        "path",
        "expect",
        "headers",
        "interval",
        "timeout",
        "rise",
        "instances",
        "weight",
        "meta",
        "endpoints",
        "flow_sets",
        "fast_interval",
        "backends",
    ]);
    let value = prop::sample::select(vec![
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "true",
        "''",
        "'x'",
        "'web'",
        "'192.0.2.1'",
        "'10.0.0.1:80'",
        "[]",
        "[1]",
        "['eth0']",
        "[{}]",
        "[[]]",
        "{}",
        "{ kind = 'http' }",
        "{ a.b.c = [{ d = 1 }] }",
        "1979-05-27",
        "99999999999999999999",
        "0xff",
        "80",
        "'5s'",
        "'99999999h'",
        "1e400",
    ]);
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let lines = proptest::collection::hash_set(line, 0..6)
        .prop_map(|set| set.into_iter().collect::<String>());
    proptest::collection::vec((section, lines), 0..6).prop_map(|sections| {
        let sections = sections
            .into_iter()
            .map(|(section, lines)| format!("{section}\n{lines}"));
        format!("interfaces = ['eth0']\n{}", sections.collect::<String>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in "[\\PC\n\t]{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_accepted_the_registry_accepts(text in prop_oneof![mutated(), unsuitable()]) {
        match parse(&text) {
            Ok(config) => {
                prop_assert!(!config.interfaces.is_empty());
                vips(&config);
                instances(&config);
            }
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                prop_assert!(error.problems.iter().all(|problem| !problem.what.is_empty()));
            }
        }
    }
}
