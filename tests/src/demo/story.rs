//! What happens, step by step.

use super::{
    meter::{Meter, answered_by, failed, first, last},
    scene::{self, FIRST, Scene, instances, name, vips},
    signals::Interruption,
    table::Row,
    view::{Caption, REDRAW, View},
};
use crate::{
    lab::{
        client::Sample,
        config::{RegistryKind, Timing},
        curl::Download,
    },
    stats::chi_square_p,
};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// The backend that dies.
const DIES: u8 = 1;
/// The backend that is drained.
const DRAINED: u8 = 2;
/// The backend that is added.
const ADDED: u8 = FIRST;
const DOWNLOADS: usize = 8;
const DOWNLOAD_SECONDS: u64 = 28;

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// A row for each step.
    pub(super) rows: Vec<Row>,
    broken: Vec<String>,
}

impl Report {
    /// Fails if Navigator did not keep what it promises.
    pub(super) fn verdict(&self) -> Result<()> {
        if !self.broken.is_empty() {
            bail!("not as it should be: {}", self.broken.join("; "));
        }
        Ok(())
    }

    fn step(&mut self, step: &str, samples: &[Sample], figure: String) {
        self.rows.push(Row {
            step: step.to_owned(),
            requests: samples.len() as u64,
            failed: failed(samples),
            figure,
        });
    }

    fn none_may_fail(&mut self, step: &str, samples: &[Sample]) {
        let why = samples.iter().find_map(|s| s.outcome.as_ref().err());
        if let Some(why) = why {
            let count = failed(samples);
            self.broken
                .push(format!("{step}: {count} requests failed ({why})"));
        }
    }
}

/// The story's state.
struct Teller<'a, 'lab> {
    scene: Scene<'lab>,
    meter: Meter,
    view: View,
    report: Report,
    interruption: &'a Interruption,
}

/// Builds the scene and goes through all the steps.
pub(super) fn tell(registry: RegistryKind, interruption: &Interruption) -> Result<Report> {
    let mut view = View::new();
    view.announce("builds a network: a client, a balancer, five backends with nginx");
    let lab = scene::network()?;
    let told = Scene::set(&lab, registry, interruption).and_then(|scene| {
        let mut teller = Teller {
            meter: scene.clients(),
            scene,
            view,
            report: Report::default(),
            interruption,
        };
        teller.tell()?;
        Ok(teller.report)
    });
    if told.is_err() {
        interruption.check()?;
        eprintln!("{}", lab.logs());
    }
    told
}

impl Teller<'_, '_> {
    fn tell(&mut self) -> Result<()> {
        self.share()?;
        self.die()?;
        let (downloads, from_drained) = self.start_downloads()?;
        self.drain()?;
        self.add()?;
        self.kill_daemon()?;
        self.restart_daemon()?;
        self.finish_downloads(downloads, from_drained)
    }

    fn share(&mut self) -> Result<()> {
        let step = "four backends share the load";
        self.view
            .announce("four backends share the load of four VIPs, new connections all the time");
        self.watch(step, 6)?;
        let samples = self.meter.end_step();
        let p = vips().map(|vip| evenness(&samples, vip.target));
        let worst = p.into_iter().fold(1.0, f64::min);
        self.report.none_may_fail(step, &samples);
        self.report.step(
            step,
            &samples,
            format!("even on every VIP: chi-square p ≥ {worst:.3}"),
        );
        Ok(())
    }

    fn die(&mut self) -> Result<()> {
        let dead = name(DIES);
        let step = format!("{dead} dies: its nginx is killed");
        self.view.announce(&step);
        self.scene.kill(DIES)?;
        let died = Instant::now();
        self.watch(&step, 6)?;
        let samples = self.meter.end_step();
        let took = last(&samples, died, |s| s.outcome.is_err());
        let allowed = Timing::QUICK.longest_detection();
        if took > allowed {
            let broken = format!("{dead} got connections for {took:?}, allowed {allowed:?}");
            self.report.broken.push(broken);
        }
        let figure = format!(
            "no new connection after {} (allowed {})",
            seconds(took),
            seconds(allowed)
        );
        self.report.step(&step, &samples, figure);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let drained = name(DRAINED);
        let step = format!("{drained} is drained");
        self.view.announce(&step);
        let since = Instant::now();
        for (service, address) in instances(DRAINED) {
            let address = address.to_string();
            let args = ["instances", "drain", service, &address];
            self.scene.daemon.cli_ok(&args)?;
        }
        self.watch(&step, 6)?;
        let samples = self.meter.end_step();
        let took = last(&samples, since, answered_by(&drained));
        self.report.none_may_fail(&step, &samples);
        let figure = format!("no new connection after {}", seconds(took));
        self.report.step(&step, &samples, figure);
        Ok(())
    }

    fn add(&mut self) -> Result<()> {
        let added = name(ADDED);
        let step = format!("{added} is added");
        self.view.announce(&step);
        let since = Instant::now();
        self.scene.register(ADDED)?;
        self.watch(&step, 6)?;
        let samples = self.meter.end_step();
        let took = first(&samples, since, answered_by(&added));
        self.report.none_may_fail(&step, &samples);
        let figure = match took {
            Some(took) => format!("first answer after {}", seconds(took)),
            None => {
                self.report.broken.push(format!("{added} got no request"));
                "never got a request".to_owned()
            }
        };
        self.report.step(&step, &samples, figure);
        Ok(())
    }

    fn kill_daemon(&mut self) -> Result<()> {
        let step = "the daemon is killed (SIGKILL)";
        self.view.announce(step);
        self.scene.daemon.kill();
        self.watch(step, 5)?;
        let samples = self.meter.end_step();
        self.report.none_may_fail(step, &samples);
        let figure = "the kernel forwards on its own".to_owned();
        self.report.step(step, &samples, figure);
        Ok(())
    }

    fn restart_daemon(&mut self) -> Result<()> {
        let step = "the daemon is started again";
        self.view.announce(step);
        let since = Instant::now();
        self.scene.daemon.start_again(None)?;
        let took = since.elapsed();
        self.watch(step, 5)?;
        let samples = self.meter.end_step();
        let daemon = self.scene.daemon.snapshot()?.daemon;
        self.report.none_may_fail(step, &samples);
        if !daemon.adopted || daemon.slots_written > 0 {
            let broken = format!("the new daemon wrote {} slots", daemon.slots_written);
            self.report.broken.push(broken);
        }
        let figure = format!(
            "ready after {}, {} slots written",
            seconds(took),
            daemon.slots_written
        );
        self.report.step(step, &samples, figure);
        Ok(())
    }

    /// Starts them; says how many come from the backend that is drained next.
    fn start_downloads(&self) -> Result<(Vec<Download>, usize)> {
        let lab = self.scene.lab;
        let targets = vips();
        let mut downloads = Vec::new();
        for number in 0..DOWNLOADS {
            let target = targets[number % targets.len()].target;
            let name = format!("download-{number}");
            let download = Download::start(lab, lab.client(), &name, target, DOWNLOAD_SECONDS)?;
            downloads.push(download);
        }
        let mut from_drained = 0;
        for download in &mut downloads {
            from_drained += usize::from(download.backend()? == name(DRAINED));
        }
        Ok((downloads, from_drained))
    }

    fn finish_downloads(&mut self, downloads: Vec<Download>, from_drained: usize) -> Result<()> {
        self.view
            .announce("the downloads that went on meanwhile end");
        let requests = downloads.len() as u64;
        let mut failed = 0;
        for download in downloads {
            self.interruption.check()?;
            if let Err(why) = download.finish() {
                failed += 1;
                self.report.broken.push(format!("{why:#}"));
            }
        }
        self.report.rows.push(Row {
            step: "downloads that went on meanwhile".to_owned(),
            requests,
            failed,
            figure: format!(
                "{DOWNLOAD_SECONDS} s each, {from_drained} of them from {}",
                name(DRAINED)
            ),
        });
        Ok(())
    }

    /// Shows the traffic for some seconds.
    fn watch(&mut self, step: &str, seconds: u64) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.interruption.sleep(REDRAW)?;
            let now = self.meter.update();
            let caption = Caption {
                step,
                failed: self.meter.failed(),
                states: self.scene.states(),
            };
            self.view.show(&now, &caption);
        }
        Ok(())
    }
}

/// The probability that a spread over the first backends as uneven as this comes by chance.
fn evenness(samples: &[Sample], vip: std::net::SocketAddr) -> f64 {
    let counts = (0..FIRST).map(|index| {
        let name = name(index);
        let by = answered_by(&name);
        samples.iter().filter(|s| s.target == vip && by(s)).count() as u64
    });
    let counts: Vec<_> = counts.collect();
    chi_square_p(&counts, &[1.0; FIRST as usize])
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
