//! HTTP clients of our own: one connection a request, and a record of who answered when.

use super::host::Host;
use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Longest wait for a connection, and for every part of an answer.
fn patience() -> Duration {
    Duration::from_secs(5) * super::wait::slowness()
}

/// What a server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The header `X-Backend`.
    pub backend: String,
}

/// One request on a connection of its own.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where it was sent.
    pub target: SocketAddr,
    /// When the connection was begun.
    pub start: Instant,
    /// How long it took to the last byte.
    pub took: Duration,
    /// The name of the backend that answered with status 200, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Asks for `path` on a new connection, from the network namespace of the calling thread.
///
/// # Errors
/// No connection, no answer in time, or one that is not HTTP.
pub fn get(target: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&target, patience()).context("connect")?;
    stream.set_read_timeout(Some(patience()))?;
    stream.set_write_timeout(Some(patience()))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("receive")?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Result<Answer> {
    let mut lines = answer.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.get(..3)?.parse().ok());
    let Some(status) = status else {
        bail!(
            "not an HTTP answer: {:?}",
            answer.get(..80).unwrap_or(answer)
        );
    };
    let backend = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-backend"))
        .map_or_else(String::new, |(_, value)| value.to_owned());
    Ok(Answer { status, backend })
}

/// Many clients on one host that go on until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `workers` clients that ask one target after the other for `/`,
    /// with a pause of `pace` after every request.
    pub fn start(host: &Host, targets: &[SocketAddr], workers: usize, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let workers = (0..workers)
            .map(|first| {
                let (stop, samples) = (Arc::clone(&stop), Arc::clone(&samples));
                let targets = targets.to_vec();
                host.enter(move || {
                    std::thread::spawn(move || work(&targets, first, pace, &stop, &samples))
                })
            })
            .collect();
        Self {
            stop,
            samples,
            workers,
        }
    }

    /// What happened since sample number `from`.
    pub fn since(&self, from: usize) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.get(from..).unwrap_or_default().to_vec()
    }

    /// Stops the clients after their current requests; returns everything that happened.
    pub fn finish(mut self) -> Vec<Sample> {
        self.halt();
        self.since(0)
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt();
    }
}

fn work(
    targets: &[SocketAddr],
    first: usize,
    pace: Duration,
    stop: &AtomicBool,
    samples: &Mutex<Vec<Sample>>,
) {
    for &target in targets.iter().cycle().skip(first % targets.len().max(1)) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let sample = ask(target);
        samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sample);
        std::thread::sleep(pace);
    }
}

/// One request for `/` as a sample.
pub fn ask(target: SocketAddr) -> Sample {
    let start = Instant::now();
    let outcome = match get(target, "/") {
        Ok(answer) if answer.status == 200 => Ok(answer.backend),
        Ok(answer) => Err(format!("HTTP {}", answer.status)),
        Err(why) => Err(format!("{why:#}")),
    };
    Sample {
        target,
        start,
        took: start.elapsed(),
        outcome,
    }
}

/// `count` requests for `/` from a host, four at a time.
pub fn ask_many(host: &Host, target: SocketAddr, count: usize) -> Vec<Sample> {
    const WORKERS: usize = 4;
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let mine = (count + number) / WORKERS;
            host.enter(move || {
                std::thread::spawn(move || (0..mine).map(|_| ask(target)).collect::<Vec<_>>())
            })
        })
        .collect();
    let results = workers.into_iter().map(JoinHandle::join);
    results.flat_map(Result::unwrap_or_default).collect()
}

/// The requests that failed, in words, for messages.
pub fn failures(samples: &[Sample]) -> Vec<String> {
    let failed = samples.iter().filter_map(|sample| {
        let why = sample.outcome.as_ref().err()?;
        Some(format!("{}: {why}", sample.target))
    });
    failed.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use super::*;

    #[test]
    fn an_answer_is_read_and_rubbish_refused() {
        let good = "HTTP/1.1 200 OK\r\nServer: x\r\nx-backend: b2\r\n\r\nX-Backend: no\r\n";
        let answer = parse(good).unwrap();
        assert_eq!((answer.status, answer.backend.as_str()), (200, "b2"));
        assert!(parse("").is_err());
        assert!(parse("SSH-2.0-x\r\n").is_err());
    }
}
