//! `navigator trace`: packets as they come.

mod pcap;
mod text;

use super::{
    args::{Format, TraceArgs},
    client::{Client, LineStream},
    failure::{Exit, Failure, Outcome},
    output,
    render::Look,
};
use crate::{
    api::trace::Line,
    trace::{packet::Packet, request::Query},
};
use pcap::Capture;
use std::{fmt::Write as _, io, ops::ControlFlow, path::Path};
use text::Columns;
use tokio::signal::unix::{SignalKind, signal};

/// Shows packets until interrupted, until there were as many as are wanted, or until time is up.
pub(super) async fn trace(client: &Client, args: TraceArgs) -> Outcome {
    let stop = |kind| {
        signal(kind).map_err(|error| Failure::error(format!("signals cannot be caught: {error}")))
    };
    let (mut interrupt, mut terminate) = (
        stop(SignalKind::interrupt())?,
        stop(SignalKind::terminate())?,
    );
    let mut sink = Sink::open(&args)?;
    let mut lines = client.stream(&path(&args)).await?;
    let mut seen = Seen::default();
    let ended = loop {
        let outcome = tokio::select! {
            outcome = seen.take_next(&mut lines, &mut sink, args.count) => outcome,
            _ = interrupt.recv() => Ok(ControlFlow::Break(None)),
            _ = terminate.recv() => Ok(ControlFlow::Break(None)),
        };
        match outcome {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(why)) => break Ok(why),
            Err(failure) => break Err(failure),
        }
    };
    seen.summarize(ended.as_ref().ok().and_then(Option::as_deref));
    ended.map(drop)
}

fn path(args: &TraceArgs) -> String {
    let query = Query {
        vip: args.vip.clone(),
        client: args.client.clone(),
        reason: (!args.reason.is_empty()).then(|| args.reason.join(",")),
        backend: args.backend.clone(),
        sample: args.sample.clone(),
        duration: args.duration.clone(),
        bytes: Some(args.bytes || args.pcap.is_some()),
    };
    let mut path = "/v1/trace".to_owned();
    // Every field is a plain value: an object without one inside.
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&query) else {
        return path;
    };
    for (number, (name, value)) in fields.iter().enumerate() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        path.push(if number == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        path.push_str(&escape(&value));
    }
    path
}

/// A value as it may stand in a query.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    packets: u64,
    lost: u64,
}

/// Whether it goes on; if it does not, why, unless that is what was asked for.
type GoesOn = ControlFlow<Option<String>>;

impl Seen {
    async fn take_next(
        &mut self,
        lines: &mut LineStream,
        sink: &mut Sink,
        count: Option<u64>,
    ) -> Outcome<GoesOn> {
        let Some(line) = lines.next().await? else {
            return Err(Failure::new(
                Exit::Unreachable,
                "the daemon ended the trace",
            ));
        };
        let goes_on = sink.write(&line)?;
        match line {
            Line::Begin { .. } => {}
            Line::Packet(_) => self.packets += 1,
            Line::Lost { packets } => self.lost += packets,
            Line::End { why } => return Ok(ControlFlow::Break(Some(why))),
        }
        if goes_on.is_break() || count == Some(self.packets) {
            return Ok(ControlFlow::Break(None));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn summarize(&self, why: Option<&str>) {
        let lost = match self.lost {
            0 => String::new(),
            lost => format!(
                ", {lost} more were not told of: ask for fewer (--vip, --client, --reason, --sample)"
            ),
        };
        let why = why.map(|why| format!("; ended: {why}")).unwrap_or_default();
        let packets = if self.packets == 1 {
            "packet"
        } else {
            "packets"
        };
        eprintln!("navigator: {} {packets}{lost}{why}", self.packets);
    }
}

/// Where packets go.
struct Sink {
    look: Look,
    format: Option<Format>,
    columns: Columns,
    capture: Option<Capture<Box<dyn io::Write>>>,
    sent: bool,
}

impl Sink {
    fn open(args: &TraceArgs) -> Outcome<Self> {
        let to_stdout = args.pcap.as_deref() == Some(Path::new("-"));
        let capture = match &args.pcap {
            Some(file) => Some(open_capture(file)?),
            None => None,
        };
        Ok(Self {
            look: Look::of_stdout(),
            format: (!to_stdout).then_some(args.output),
            columns: Columns::default(),
            capture,
            sent: args.sent,
        })
    }

    fn write(&mut self, line: &Line) -> Outcome<output::Reader> {
        if let (Some(capture), Line::Packet(packet)) = (&mut self.capture, line) {
            match write_capture(capture, packet, self.sent) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ControlFlow::Break(()));
                }
                written => written.map_err(|error| Failure::error(format!("pcap: {error}")))?,
            }
        }
        match (self.format, line) {
            (None, _) => Ok(ControlFlow::Continue(())),
            (Some(format @ (Format::Json | Format::Yaml)), line) => {
                output::print(&output::stream_of(line, format)?)
            }
            (Some(Format::Table | Format::Wide), Line::Begin { .. }) => {
                output::print(&self.columns.title())
            }
            (Some(Format::Table | Format::Wide), Line::Packet(packet)) => {
                output::print(&self.columns.line(self.look, packet))
            }
            (Some(Format::Table | Format::Wide), Line::Lost { packets }) => {
                output::print(&format!("… {packets} packets more were not told of\n"))
            }
            (Some(Format::Table | Format::Wide), Line::End { .. }) => Ok(ControlFlow::Continue(())),
        }
    }
}

fn open_capture(file: &Path) -> Outcome<Capture<Box<dyn io::Write>>> {
    let failed = |error: io::Error| Failure::error(format!("{}: {error}", file.display()));
    let out: Box<dyn io::Write> = if file == Path::new("-") {
        Box::new(io::stdout())
    } else {
        Box::new(std::fs::File::create(file).map_err(failed)?)
    };
    Capture::begin(out).map_err(failed)
}

fn write_capture(
    capture: &mut Capture<Box<dyn io::Write>>,
    packet: &Packet,
    sent: bool,
) -> io::Result<()> {
    capture.came(packet)?;
    if sent { capture.left(packet) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_was_typed() {
        let args = TraceArgs {
            vip: Some("web".to_owned()),
            client: Some("2001:db8::/32".to_owned()),
            reason: vec!["forwarded".to_owned(), "drop_unserved".to_owned()],
            sample: Some("1/100".to_owned()),
            ..TraceArgs::default()
        };
        assert_eq!(
            path(&args),
            "/v1/trace?bytes=false&client=2001%3Adb8%3A%3A%2F32&reason=forwarded%2Cdrop_unserved&sample=1%2F100&vip=web"
        );
    }
}
