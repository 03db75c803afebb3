//! `GET /v1/trace`, with a data plane that lets everybody see a packet.

use super::double::Daemon;
use crate::{
    api::trace::Line,
    cli::client::Client,
    trace::{hub::Hub, tests::telling::record},
};
use navigator_common::trace::{TRACERS, TraceRecord};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

type Test = anyhow::Result<()>;

/// Does what the data plane does, until everybody is gone or told that time is up.
async fn play(hub: Arc<Hub>) {
    loop {
        for wanted in hub.wanted() {
            hub.sees(wanted.tracer, 0);
            hub.deliver(&TraceRecord {
                filters: 1 << wanted.filter,
                ..record()
            });
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn packets_come_as_lines_between_a_first_and_a_last_one() -> Test {
    let daemon = Daemon::start()?;
    let plane = tokio::spawn(play(daemon.tracers.clone()));
    let client = Client::new(&daemon.socket);
    let mut lines = client.stream("/v1/trace?duration=200ms&bytes=true").await?;
    let mut all = Vec::new();
    while let Some(line) = lines.next::<Line>().await? {
        all.push(line);
    }
    assert_eq!(all.first(), Some(&Line::Begin { seconds: 0.2 }));
    let why = "its time is up".to_owned();
    assert_eq!(all.last(), Some(&Line::End { why }));
    let packets: Vec<_> = all[1..all.len() - 1]
        .iter()
        .filter_map(|line| match line {
            Line::Packet(packet) => Some(packet),
            _ => None,
        })
        .collect();
    anyhow::ensure!(packets.len() > 2, "{all:?}");
    assert_eq!(
        packets[0].vip.as_deref(),
        Some("192.0.2.1:80/tcp"),
        "no VIP has this name"
    );
    assert!(packets[0].packet.is_some());
    plane.abort();
    daemon.stop().await
}

#[tokio::test]
async fn whoever_goes_is_forgotten() -> Test {
    let daemon = Daemon::start()?;
    let plane = tokio::spawn(play(daemon.tracers.clone()));
    let client = Client::new(&daemon.socket);
    let mut all = Vec::new();
    for _ in 0..TRACERS {
        all.push(client.stream("/v1/trace?vip=web").await?);
    }
    assert_eq!(daemon.tracers.tracers(), TRACERS);
    let fifth = daemon.ask("GET /v1/trace", "").await?.problem()?;
    assert_eq!(fifth, (429, "too_many".to_owned()));
    drop(all);
    let gone = async {
        while daemon.tracers.tracers() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await?;
    plane.abort();
    daemon.stop().await
}

#[tokio::test]
async fn queries_that_cannot_be_are_problems() -> Test {
    let daemon = Daemon::start()?;
    for (query, reason) in [
        ("vip=nobody", "bad_vip"),
        ("client=10.0.0.1%2F8", "bad_client"),
        ("reason=drop_everything", "bad_reason"),
        ("backend=10.0.0.1:port", "bad_backend"),
        ("sample=0", "bad_sample"),
        ("duration=2h", "bad_duration"),
        ("bytes=1", "bad_query"),
        ("vpi=web", "bad_query"),
    ] {
        let answer = daemon.ask(&format!("GET /v1/trace?{query}"), "").await?;
        assert_eq!(answer.problem()?, (400, reason.to_owned()), "{query}");
    }
    assert_eq!(daemon.tracers.tracers(), 0);
    daemon.stop().await
}

#[tokio::test]
async fn a_data_plane_that_refuses_is_a_problem_with_its_reason() -> Test {
    let daemon = Daemon::start()?;
    let hub = daemon.tracers.clone();
    let plane = tokio::spawn(async move {
        loop {
            for wanted in hub.wanted() {
                hub.refuse(wanted.tracer, "the verifier says no");
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    let answer = daemon.ask("GET /v1/trace", "").await?;
    assert_eq!(answer.problem()?, (503, "not_traced".to_owned()));
    assert!(
        answer.body.contains("the verifier says no"),
        "{}",
        answer.body
    );
    plane.abort();
    daemon.stop().await
}
