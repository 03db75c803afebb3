use super::*;
use crate::model::CheckKind;
use proptest::prelude::*;

fn settings() -> impl Strategy<Value = Settings> {
    (
        100u64..10_000,
        1u64..10_000,
        1u32..6,
        1u32..6,
        100u64..3_000,
    )
        .prop_map(|(interval, timeout, rise, fall, fast)| {
            let raw = Settings {
                interval: Duration::from_millis(interval),
                timeout: Duration::from_millis(timeout),
                rise,
                fall,
                fast_interval: Duration::from_millis(fast),
            };
            raw.for_check(&check())
        })
}

fn check() -> CheckSpec {
    CheckSpec {
        kind: CheckKind::Tcp,
        port: None,
        interval: None,
        timeout: None,
        rise: None,
        fall: None,
    }
}

/// Runs results (`+` pass, `-` fail) through a machine; says after each one
/// its health (`?`, `H` or `U`), and `!` behind it when `observe` reported a change.
fn run(initial: Health, results: &str) -> String {
    let mut machine = Machine::with_initial(Settings::default(), initial);
    let step = |result: char| {
        let reported = machine.observe(result == '+');
        let health = match machine.health() {
            Health::Unknown => "?",
            Health::Healthy => "H",
            Health::Unhealthy => "U",
        };
        assert!(reported.is_none_or(|health| health == machine.health()));
        format!("{health}{}", if reported.is_some() { "!" } else { "" })
    };
    results.chars().map(step).collect()
}

#[test]
fn verdicts_follow_the_table() {
    use Health::*;
    for (initial, results, expected, what) in [
        (Unknown, "+", "H!", "the first pass decides"),
        (Unknown, "-", "U!", "the first failure decides"),
        (Unknown, "+--+--", "H!HHHHH", "two failures are not three"),
        (Unknown, "+---", "H!HHU!", "three failures in a row"),
        (Unknown, "-+-+-", "U!UUUU", "one pass is not two"),
        (Unknown, "-++", "U!UH!", "two passes in a row"),
        (Unknown, "+---++---", "H!HHU!UH!HHU!", "and round again"),
        (Healthy, "-", "U!", "an inherited verdict yields at once"),
        (Healthy, "+--", "HHH", "once confirmed it takes a row"),
        (Unhealthy, "+", "H!", "and so for an inherited bad one"),
    ] {
        assert_eq!(run(initial, results), expected, "{what}");
    }
}

#[test]
fn the_pause_is_short_while_a_change_is_under_way() {
    let Settings {
        interval,
        fast_interval,
        ..
    } = Settings::default();
    let mut machine = Machine::new(Settings::default());
    assert_eq!(machine.pause(), fast_interval, "no verdict yet");
    for (pass, pause, what) in [
        (true, interval, "settled"),
        (false, fast_interval, "one failure"),
        (true, interval, "which was a slip"),
        (false, fast_interval, "one failure"),
        (false, fast_interval, "two failures"),
        (false, interval, "decided"),
        (true, fast_interval, "one pass"),
        (true, interval, "decided again"),
    ] {
        machine.observe(pass);
        assert_eq!(machine.pause(), pause, "{what}");
    }
}

#[test]
fn a_checks_own_settings_win_within_bounds() {
    let defaults = Settings::default();
    assert_eq!(defaults.for_check(&check()), defaults);
    let own = defaults.for_check(&CheckSpec {
        interval: Some(Duration::from_millis(1)),
        rise: Some(7),
        fall: Some(0),
        ..check()
    });
    assert_eq!(own.interval, MIN_INTERVAL);
    assert_eq!(own.timeout, MIN_INTERVAL);
    assert_eq!(own.fast_interval, MIN_INTERVAL);
    assert_eq!((own.rise, own.fall), (7, 1));
}

proptest! {
    #[test]
    fn health_changes_only_after_a_full_row_and_then_always(settings in settings(), results: Vec<bool>) {
        let mut machine = Machine::new(settings);
        let mut seen = Vec::new();
        for pass in results {
            let before = machine.health();
            let changed = machine.observe(pass);
            seen.push(pass);
            prop_assert_eq!(changed.is_some(), machine.health() != before);
            let (needed, target) = if pass {
                (settings.rise, Health::Healthy)
            } else {
                (settings.fall, Health::Unhealthy)
            };
            let row = seen.iter().rev().take_while(|&&result| result == pass).count() as u32;
            let decides = before == Health::Unknown || row >= needed;
            prop_assert_eq!(machine.health(), if decides { target } else { before });
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth(millis in 0u64..100_000_000, fraction in 0.0..1.0) {
        let pause = Duration::from_millis(millis);
        let jittered = jittered(pause, fraction);
        prop_assert!(jittered <= pause + pause / 10);
        prop_assert!(jittered >= pause - pause / 10);
    }

    /// Simulates checks against a target that answers at once until it dies, and never after.
    #[test]
    fn a_dead_target_is_unhealthy_within_the_bound(settings in settings(), dies_after_millis in 0u64..60_000, fractions in proptest::collection::vec(0.0..1.0, 1..20)) {
        let dies = Duration::from_millis(dies_after_millis);
        let mut machine = Machine::new(settings);
        let mut fractions = fractions.into_iter().cycle();
        let mut now = Duration::ZERO;
        machine.observe(true);
        while machine.health() == Health::Healthy {
            let fraction = fractions.next().unwrap_or(0.5);
            now += jittered(machine.pause(), fraction);
            let alive = now < dies;
            now += if alive { Duration::ZERO } else { settings.timeout };
            machine.observe(alive);
        }
        let took = now - dies;
        prop_assert!(took <= settings.detection_bound(), "{:?} > {:?}", took, settings.detection_bound());
        let spelled = (settings.interval + settings.fast_interval * (settings.fall - 1)).mul_f64(1.1) + settings.timeout * settings.fall;
        prop_assert!(took <= spelled + Duration::from_micros(1));
    }
}

#[test]
fn jitter_survives_any_number() {
    for fraction in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
        let pause = Duration::from_secs(10);
        let jittered = jittered(pause, fraction);
        assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&jittered));
    }
    assert!(jittered(Duration::MAX, 0.99) > Duration::MAX / 2);
}
