//! `events`: what happened, and what happens.

use super::{
    args::{EventsArgs, Format},
    client::{Client, EventStream},
    failure::Outcome,
    output,
    render::clean,
};
use crate::{api::word, events::Event};
use std::time::Duration;
use tokio::time::sleep;

/// How long what is kept may take to arrive, when nothing is waited for.
const KEPT: f64 = 0.5;
/// Pause before a stream that ended is resumed.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints events, those that are kept first.
pub(super) async fn events(client: &Client, args: &EventsArgs) -> Outcome {
    let mut after = args.after;
    let mut trouble = false;
    loop {
        let ended = read(client, args, &mut after).await;
        match ended {
            Ok(Ended::Reader) => return Ok(()),
            Ok(Ended::Stream) if !args.follow => return Ok(()),
            Ok(Ended::Stream) => trouble = false,
            Err(failure) if !args.follow || after == args.after => return Err(failure),
            // The daemon may be started again: what follows it need not be.
            Err(failure) => {
                if !std::mem::replace(&mut trouble, true) {
                    eprintln!("navigator: {failure}; trying on");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// What came to an end.
enum Ended {
    /// Nobody reads the output any more.
    Reader,
    /// There are no more events, or the daemon ended.
    Stream,
}

async fn read(client: &Client, args: &EventsArgs, after: &mut u64) -> Outcome<Ended> {
    let mut path = format!("/v1/events?after={after}");
    for (key, name) in [("service", &args.service), ("vip", &args.vip)] {
        if let Some(name) = name {
            path += &format!("&{key}={name}");
        }
    }
    if !args.follow {
        path += &format!("&seconds={KEPT}");
    }
    let mut stream: EventStream = client.events(&path).await?;
    while let Some(event) = stream.next().await? {
        *after = event.id;
        let line = match args.output {
            Format::Table | Format::Wide => line(&event),
            format => output::stream_of(&event, format)?,
        };
        if output::print(&line)?.is_break() {
            return Ok(Ended::Reader);
        }
    }
    Ok(Ended::Stream)
}

fn line(event: &Event) -> String {
    let parts = [
        event.service.clone(),
        event.vip.as_ref().map(|vip| format!("VIP {vip}")),
        event.address.map(|address| address.to_string()),
    ];
    let subject: Vec<_> = parts.into_iter().flatten().collect();
    let time = super::render::clock(event.time);
    let text = format!(
        "{} {time} {:<12} {} {}",
        event.id,
        word(&event.kind),
        subject.join(" "),
        clean(&event.what)
    );
    format!("{}\n", text.trim_end())
}
