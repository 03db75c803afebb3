//! When checks are made and what is reported of them, on a paused clock.

use super::*;
use crate::probes::{ProbeReport, Prober, ProberSettings};
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::{sleep, timeout},
};

fn start(fake: &Fake, capacity: usize) -> (Prober, Receiver<ProbeReport>) {
    let (tx, rx) = channel(capacity);
    let settings = ProberSettings::new(defaults());
    (Prober::start_with(settings, tx, fake.clone()), rx)
}

async fn next(reports: &mut Receiver<ProbeReport>) -> ProbeReport {
    let waited = timeout(3600 * SECOND, reports.recv()).await;
    waited.expect("a report within an hour").unwrap()
}

fn drain(reports: &mut Receiver<ProbeReport>) -> Vec<ProbeReport> {
    std::iter::from_fn(|| reports.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_single_new_instance_is_checked_at_once() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 16);
    prober.set_targets(vec![target(0)]);
    sleep(123 * SECOND).await;
    drain(&mut reports);
    let added = Instant::now();
    prober.set_targets(vec![target(0), target(1)]);
    let report = next(&mut reports).await;
    assert_eq!(report.key, target(1).key);
    assert!(report.changed && report.health == Health::Healthy);
    assert!(added.elapsed() <= Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn many_new_instances_are_spread_over_one_interval() {
    let fake = Fake::new(PASS);
    let (mut prober, _reports) = start(&fake, 16);
    let began = Instant::now();
    prober.set_targets((0..10_000).map(target).collect());
    sleep(Duration::from_millis(4400)).await;
    fake.look(|log| {
        let mut load = [0; 44];
        for (_, at) in &log.starts {
            load[((*at - began).as_millis() / 100).min(43) as usize] += 1;
        }
        let even = load.iter().all(|n| (180..=220).contains(n));
        assert!(even, "first checks per 100 ms: {load:?}");
    });
    sleep(2 * SECOND).await;
    assert!(
        (0..10_000)
            .step_by(997)
            .all(|n| !fake.starts_of(&target(n)).is_empty())
    );
    assert!(prober.figures().checks >= 10_000);
    assert!(prober.figures().late_max < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn an_interval_counts_from_start_to_start() {
    let fake = Fake::new(Behaviour {
        takes: Duration::from_millis(1500),
        ..PASS
    });
    let (mut prober, _reports) = start(&fake, 16);
    prober.set_targets(vec![target(0)]);
    sleep(1000 * SECOND).await;
    let starts = fake.starts_of(&target(0));
    let pauses: Vec<_> = starts
        .windows(2)
        .map(|w| (w[1] - w[0]).as_millis())
        .collect();
    assert!(pauses.len() > 150);
    assert!(
        pauses.iter().all(|p| (4499..=5502).contains(p)),
        "{pauses:?}"
    );
    let (low, high) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(high - low > 300, "there is no jitter: {low} to {high}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_instance_is_neither_checked_nor_reported() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 64);
    fake.set_one(&target(1), SILENT);
    prober.set_targets(vec![target(0), target(1)]);
    sleep(SECOND).await;
    drain(&mut reports);
    prober.set_targets(vec![]);
    sleep(60 * SECOND).await;
    assert!(drain(&mut reports).is_empty());
    assert_eq!(fake.starts_of(&target(0)).len(), 1);
    assert_eq!(fake.look(|log| (log.running, log.cancelled)), (0, 1));
    assert_eq!(
        (prober.figures().targets, prober.figures().in_flight),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn other_times_leave_the_count_of_failures_as_it_is() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 64);
    prober.set_targets(vec![target(0)]);
    next(&mut reports).await;
    fake.set(FAIL);
    assert_eq!(next(&mut reports).await.health, Health::Healthy);
    assert_eq!(next(&mut reports).await.health, Health::Healthy);
    let mut retimed = target(0);
    retimed.check.interval = Some(20 * SECOND);
    prober.set_targets(vec![retimed]);
    let third = next(&mut reports).await;
    assert_eq!((third.health, third.changed), (Health::Unhealthy, true));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_interval_counts_from_the_last_check() {
    let fake = Fake::new(PASS);
    let (mut prober, _reports) = start(&fake, 64);
    let mut slow = target(0);
    slow.check.interval = Some(600 * SECOND);
    prober.set_targets(vec![slow]);
    sleep(100 * SECOND).await;
    prober.set_targets(vec![target(0)]);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(
        fake.starts_of(&target(0)).len(),
        2,
        "the next check was overdue"
    );
}

#[tokio::test(start_paused = true)]
async fn another_check_begins_with_the_health_that_was_known() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 64);
    prober.set_targets(vec![target(0)]);
    assert!(next(&mut reports).await.changed);
    let mut moved = target(0);
    moved.check.port = Some(8080);
    let set = Instant::now();
    prober.set_targets(vec![moved]);
    let report = next(&mut reports).await;
    assert_eq!((report.health, report.changed), (Health::Healthy, false));
    assert!(set.elapsed() <= Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn the_same_targets_again_change_nothing() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 64);
    for _ in 0..10 {
        let mut again = target(0);
        again.initial = Health::Unhealthy;
        prober.set_targets(vec![target(0), again]);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fake.starts_of(&target(0)).len(), 1);
    assert_eq!(drain(&mut reports).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_adopted_health_counts_until_the_first_verdict() {
    let fake = Fake::new(FAIL);
    let (mut prober, mut reports) = start(&fake, 64);
    let adopted = |n, initial| Target {
        initial,
        ..target(n)
    };
    prober.set_targets(vec![
        adopted(0, Health::Unhealthy),
        adopted(1, Health::Healthy),
    ]);
    let first = next(&mut reports).await;
    assert_eq!(first.key, target(0).key);
    assert_eq!((first.health, first.changed), (Health::Unhealthy, false));
    sleep(10 * SECOND).await;
    let mine: Vec<_> = drain(&mut reports)
        .into_iter()
        .filter(|report| report.key == target(1).key)
        .collect();
    assert_eq!(mine.iter().filter(|report| report.changed).count(), 1);
    assert_eq!(mine.last().unwrap().health, Health::Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn no_check_means_healthy_at_once() {
    let fake = Fake::new(SILENT);
    let (mut prober, mut reports) = start(&fake, 64);
    let unchecked = target_at(target(0).key.address, CheckKind::None);
    prober.set_targets(vec![unchecked]);
    let report = reports.try_recv().unwrap();
    assert_eq!((report.health, report.changed), (Health::Healthy, true));
    sleep(60 * SECOND).await;
    assert!(fake.look(|log| log.starts.is_empty()));
    prober.set_targets(vec![target(0)]);
    let failed = next(&mut reports).await;
    assert_eq!(failed.detail, "Fail", "now it is checked");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sleeps_does_not_stop_checks() {
    let fake = Fake::new(PASS);
    let (mut prober, _reports) = start(&fake, 1);
    prober.set_targets((0..200).map(target).collect());
    sleep(60 * SECOND).await;
    assert!(fake.look(|log| log.starts.len()) > 200 * 10);
}

#[tokio::test(start_paused = true)]
async fn every_change_arrives_however_late_it_is_read() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 1);
    // After its first check none is made for an hour that could repeat the verdict.
    let seldom = |n| {
        let mut target = target(n);
        target.check.interval = Some(3600 * SECOND);
        target
    };
    prober.set_targets((0..200).map(seldom).collect());
    sleep(60 * SECOND).await;
    let mut changed = std::collections::BTreeSet::new();
    while changed.len() < 200 {
        let report = timeout(60 * SECOND, reports.recv()).await;
        let report = report.expect("a report that was kept").unwrap();
        assert!(report.changed && report.health == Health::Healthy);
        changed.insert(report.key);
    }
    assert_eq!(fake.look(|log| log.starts.len()), 200);
}

#[tokio::test(start_paused = true)]
async fn silent_targets_are_bounded_and_do_not_delay_the_others() {
    let fake = Fake::new(SILENT);
    let (tx, _reports) = channel(16);
    let settings = ProberSettings {
        min_in_flight: 4,
        ..ProberSettings::new(defaults())
    };
    let mut prober = Prober::start_with(settings, tx, fake.clone());
    prober.set_targets((0..1000).map(target).collect());
    sleep(300 * SECOND).await;
    let limit = prober.figures().in_flight_limit;
    assert_eq!(limit, 400, "1000 targets x 2 s / 5 s");
    assert!(fake.look(|log| log.most_running) <= limit);
    let starts = fake.starts_of(&target(7));
    assert!(starts.len() > 50, "{} checks in 60 intervals", starts.len());
    prober.set_targets(vec![]);
    prober.set_targets(vec![target(0)]);
    sleep(SECOND).await;
    prober.set_targets(vec![target(0)]);
    assert_eq!(prober.figures().in_flight_limit, 4);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_could_not_be_made_counts_for_nothing() {
    let fake = Fake::new(PASS);
    let (mut prober, mut reports) = start(&fake, 64);
    prober.set_targets(vec![target(0)]);
    assert_eq!(next(&mut reports).await.health, Health::Healthy);
    fake.set(Behaviour {
        verdict: Verdict::Inconclusive,
        takes: Duration::ZERO,
    });
    sleep(100 * SECOND).await;
    let seen = drain(&mut reports);
    assert!(seen.len() > 10);
    assert!(
        seen.iter()
            .all(|r| r.health == Health::Healthy && !r.changed)
    );
    assert_eq!(prober.figures().inconclusive, seen.len() as u64);
    assert_eq!(prober.figures().failed, 0);
}

#[tokio::test(start_paused = true)]
async fn no_task_outlives_the_prober() {
    let fake = Fake::new(SILENT);
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let (mut prober, mut reports) = start(&fake, 64);
    prober.set_targets((0..100).map(target).collect());
    sleep(SECOND).await;
    prober.set_targets((50..100).map(target).collect());
    drop(prober);
    sleep(SECOND).await;
    let after = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!((after, fake.look(|log| log.running)), (before, 0));
    while reports.recv().await.is_some() {}
}
