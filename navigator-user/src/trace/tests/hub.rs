//! Tracers that come and go.

use super::telling::record;
use crate::trace::{
    hub::{Ending, Hub, TooMany},
    request::Request,
};
use navigator_common::trace::TRACERS;
use std::{sync::Arc, time::Duration};
use tokio::time::{advance, timeout};

type Test = anyhow::Result<()>;

/// Begins a trace, which the data plane lets see packets from time 100 on.
async fn begin(hub: &Arc<Hub>, duration: u64) -> anyhow::Result<crate::trace::hub::Trace> {
    let mut trace = hub.begin(Request {
        duration: Duration::from_secs(duration),
        ..Request::default()
    })?;
    for wanted in hub.wanted() {
        hub.sees(wanted.tracer, 100);
    }
    let ready = trace.ready().await;
    ready.map_err(|ending| anyhow::anyhow!("{ending}"))?;
    Ok(trace)
}

#[tokio::test]
async fn records_go_to_those_whose_filters_asked_for_them() -> Test {
    let hub = Arc::<Hub>::default();
    let (mut first, mut second) = (begin(&hub, 60).await?, begin(&hub, 60).await?);
    for (filters, time) in [(0b01, 100), (0b11, 101), (0b10, 99), (0b10, 102)] {
        hub.deliver(&navigator_common::trace::TraceRecord {
            filters,
            time,
            ..record()
        });
    }
    let times = |trace: &mut crate::trace::hub::Trace| {
        std::iter::from_fn(|| trace.another())
            .map(|r| r.time)
            .collect::<Vec<_>>()
    };
    assert_eq!(times(&mut first), [100, 101]);
    // That of time 99 is from before the second one saw anything.
    assert_eq!(times(&mut second), [101, 102]);
    Ok(())
}

#[tokio::test]
async fn so_many_may_trace_and_whoever_goes_makes_room() -> Test {
    let hub = Arc::<Hub>::default();
    let mut all = Vec::new();
    for _ in 0..TRACERS {
        all.push(begin(&hub, 60).await?);
    }
    assert_eq!(hub.begin(Request::default()).err(), Some(TooMany));
    let before = hub.wanted();
    all.remove(1);
    timeout(Duration::from_secs(1), hub.changed()).await?;
    assert_eq!(hub.tracers(), TRACERS - 1);
    let last = begin(&hub, 60).await?;
    let now = hub.wanted();
    // The place is the old one, the tracer another: what is left of the old one's records is not its own.
    assert_eq!((before[1].filter, now[1].filter), (1, 1));
    assert_ne!(before[1].tracer, now[1].tracer);
    drop((all, last));
    assert!(hub.wanted().is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_trace_ends_when_its_time_is_up() -> Test {
    let hub = Arc::<Hub>::default();
    let mut trace = begin(&hub, 5).await?;
    advance(Duration::from_millis(4999)).await;
    assert_eq!(hub.wanted().len(), 1);
    advance(Duration::from_millis(1)).await;
    assert!(hub.wanted().is_empty());
    assert_eq!(trace.next().await.err(), Some(Ending::TimeUp));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_tracer_that_reads_nothing_loses_records_and_is_given_up() -> Test {
    let hub = Arc::<Hub>::default();
    let mut trace = begin(&hub, 600).await?;
    let mut sent = 0;
    while trace.lost() == 0 {
        hub.deliver(&record());
        sent += 1;
        anyhow::ensure!(sent < 1 << 20, "no bound");
    }
    advance(Duration::from_secs(9)).await;
    hub.deliver(&record());
    assert_eq!((hub.wanted().len(), trace.lost()), (1, 1));
    advance(Duration::from_secs(2)).await;
    assert!(hub.wanted().is_empty());
    let mut read = 0;
    let ending = loop {
        match trace.next().await {
            Ok(_) => read += 1,
            Err(ending) => break ending,
        }
    };
    assert_eq!((read, ending), (sent - 1, Ending::Stalled));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_who_cannot_see_is_told_why_and_one_whom_nobody_answers_too() -> Test {
    let hub = Arc::<Hub>::default();
    let mut trace = hub.begin(Request::default())?;
    hub.refuse(hub.wanted()[0].tracer, "the verifier says no");
    let refused = Ending::Refused("the verifier says no".to_owned());
    assert_eq!(trace.ready().await, Err(refused));
    assert_eq!(hub.tracers(), 0);
    let mut trace = hub.begin(Request::default())?;
    assert!(matches!(trace.ready().await, Err(Ending::Refused(_))));
    Ok(())
}

#[tokio::test]
async fn what_the_ring_lost_may_have_been_anybodys() -> Test {
    let hub = Arc::<Hub>::default();
    let (first, second) = (begin(&hub, 60).await?, begin(&hub, 60).await?);
    hub.lose(3);
    assert_eq!((first.lost(), second.lost()), (3, 3));
    assert_eq!(first.lost(), 0, "it is told once");
    Ok(())
}
