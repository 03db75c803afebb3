//! The kinds of load.

use crate::lab::{
    Lab, tool,
    wrk::{Connections, Wrk},
};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Many requests on each connection.
    KeepAlive,
    /// A connection for each request.
    Close,
    /// One long download.
    Bulk,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::KeepAlive, Self::Close, Self::Bulk];

    /// Its name in figures.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Close => "close",
            Self::Bulk => "bulk",
        }
    }
}

/// What one run gave.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    /// Requests, or gigabits for a bulk transfer.
    pub(super) per_second: f64,
    pub(super) p99_ms: f64,
}

/// Puts a path under load.
pub(super) fn run(lab: &Lab, target: SocketAddr, kind: Kind, seconds: u32) -> Result<Sample> {
    let connections = match kind {
        Kind::KeepAlive => Connections::KeptAlive,
        Kind::Close => Connections::OnePerRequest,
        Kind::Bulk => return bulk(lab, target, seconds),
    };
    let report = Wrk::start(lab.client(), target, seconds, connections)?.finish()?;
    ensure!(
        report.errors == 0 && report.requests > 0,
        "{} of {} requests failed",
        report.errors,
        report.requests
    );
    Ok(Sample {
        per_second: report.rate,
        p99_ms: report.p99_ms,
    })
}

/// Downloads for so many seconds; the file is longer than that.
fn bulk(lab: &Lab, target: SocketAddr, seconds: u32) -> Result<Sample> {
    /// curl's exit code for a transfer that took too long, as it is meant to here.
    const TIME_IS_UP: i32 = 28;
    let mut command = lab.client().command(tool("curl")?);
    command
        .args(["--silent", "--fail", "--globoff", "--output", "/dev/null"])
        .args(["--write-out", "%{size_download} %{time_total}"])
        .args(["--max-time", &seconds.to_string()])
        .arg(format!("http://{target}/big"));
    let output = lab.client().enter(move || command.output())?;
    let ended = output.status.code();
    ensure!(
        output.status.success() || ended == Some(TIME_IS_UP),
        "curl ended with {ended:?}"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let (bytes, time) = text.split_once(' ').context("curl said nothing")?;
    let (bytes, time): (f64, f64) = (bytes.parse()?, time.parse()?);
    ensure!(bytes > 0.0 && time > 0.0, "nothing was downloaded");
    Ok(Sample {
        per_second: bytes * 8.0 / 1e9 / time,
        p99_ms: f64::NAN,
    })
}
