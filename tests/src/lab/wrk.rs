//! wrk: as many requests as it gets through.

use super::{host::Host, process::Process, tool};
use anyhow::{Context, Result, ensure};
use std::{net::SocketAddr, time::Duration};

/// What one run of wrk says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Requests that were answered.
    pub requests: u64,
    /// Connections that could not be made, or broke, requests that timed out or were
    /// answered with an error status.
    pub errors: u64,
    /// Requests per second.
    pub rate: f64,
    /// 99 % of the requests took no longer, in milliseconds.
    pub p99_ms: f64,
}

/// A running wrk.
#[derive(Debug)]
pub struct Wrk {
    process: Process,
    limit: Duration,
}

/// How connections are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connections {
    /// Each for many requests.
    KeptAlive,
    /// Each for one request.
    OnePerRequest,
}

impl Wrk {
    /// Starts 16 connections' worth of requests for `/`, for `seconds`.
    ///
    /// # Errors
    /// wrk is not installed or cannot be started.
    pub fn start(
        host: &Host,
        target: SocketAddr,
        seconds: u32,
        connections: Connections,
    ) -> Result<Self> {
        let mut command = host.command(tool("wrk")?);
        command.args(["-t1", "-c16", "--latency", "--timeout", "10s"]);
        command.arg(format!("-d{seconds}s"));
        if connections == Connections::OnePerRequest {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{target}/"));
        Ok(Self {
            process: host.start(&format!("wrk-{}", target.port()), command)?,
            limit: Duration::from_secs(u64::from(seconds) + 20),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It could not connect at all, or its report cannot be read.
    pub fn finish(mut self) -> Result<Report> {
        let status = self.process.wait(self.limit)?;
        let text = self.process.stdout();
        ensure!(
            status.success(),
            "wrk: {}{}",
            text.trim(),
            self.process.stderr().trim()
        );
        parse(&text).with_context(|| format!("cannot read wrk's report:\n{text}"))
    }
}

fn parse(text: &str) -> Option<Report> {
    let mut report = Report::default();
    for line in text.lines().map(str::trim) {
        if let Some((number, _)) = line.split_once(" requests in ") {
            report.requests = number.parse().ok()?;
        } else if let Some(list) = line.strip_prefix("Socket errors: ") {
            for item in list.split(", ") {
                report.errors += item.split_once(' ')?.1.parse::<u64>().ok()?;
            }
        } else if let Some(number) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            report.errors += number.parse::<u64>().ok()?;
        } else if let Some(time) = line.strip_prefix("99% ") {
            report.p99_ms = milliseconds(time.trim())?;
        } else if let Some(number) = line.strip_prefix("Requests/sec:") {
            report.rate = number.trim().parse().ok()?;
        }
    }
    (report.rate > 0.0 || report.requests == 0).then_some(report)
}

/// `871.00us`, `1.25ms`, `2.01s`, `1.50m`.
fn milliseconds(time: &str) -> Option<f64> {
    let unit = time.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = time.split_at(unit);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use super::*;

    #[test]
    fn every_kind_of_error_counts() {
        let text = "Running 1s test @ http://10.77.1.1:80/\n  1 threads and 16 connections\n\
            \x20 4242 requests in 1.10s, 1.01MB read\n\
            \x20 Socket errors: connect 1, read 2, write 3, timeout 4\n\
            \x20 Non-2xx or 3xx responses: 10\nRequests/sec:   3856.36\n";
        let report = parse(text).unwrap();
        assert_eq!((report.requests, report.errors), (4242, 20));
        assert!((report.rate - 3856.36).abs() < 1e-9);
        assert!(parse("  12 requests in 1s, 1MB read\n").is_none());
    }

    #[test]
    fn the_99th_percentile_is_read_in_every_unit() {
        let p99 = |time: &str| {
            let text =
                format!("     99%  {time}\n  5 requests in 1.00s, 1KB read\nRequests/sec: 5\n");
            parse(&text).unwrap().p99_ms
        };
        assert!((p99("871.00us") - 0.871).abs() < 1e-9);
        assert!((p99("1.25ms") - 1.25).abs() < 1e-9);
        assert!((p99("2.50s") - 2500.0).abs() < 1e-9);
    }
}
