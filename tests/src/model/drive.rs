//! Sends the packets, and compares.

use super::{
    balancer::{Balancer, client},
    classic::Classic,
    world::{SLOTS, VIP, World, host_of},
};
use crate::packet::flow;
use anyhow::{Context, Result, ensure};
use navigator_common::slot::slot_index;
use navigator_user::dataplane::VipPlan;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{fmt, time::Duration};

/// How long, and of how many flows.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything random follows from it.
    pub seed: u64,
    /// Connections that are alive at any time.
    pub flows: u32,
    /// Changes.
    pub changes: u32,
}

/// After so many changes every connection sends a segment.
const CHECKPOINT: u32 = 25;
/// After so many changes time passes: up to an hour, so that no connection is silent for longer
/// than a window.
const TIME_STEP: u32 = 12;
/// After so many changes the daemon starts again.
const RESTART: u32 = 90;
/// Connections in a thousand that end after a change; as many begin.
const BIRTHS: u32 = 3;
/// Connections in a thousand that send a segment after a change.
const SAMPLE: u32 = 10;

/// What was seen after a change.
#[derive(Clone, Debug)]
pub struct Point {
    /// Connections that each of the classic ways broke so far.
    pub broken: Vec<u64>,
    /// Share of the slots that were at risk.
    pub at_risk: f64,
    /// Share of the slots that were tracked, at risk or not.
    pub tracked: f64,
    /// Flows that Navigator remembered, as a share of those alive.
    pub remembered: f64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The classic ways.
    pub names: Vec<String>,
    /// One for each change.
    pub points: Vec<Point>,
    /// Packets that were sent through the real program.
    pub packets: u64,
    /// Connections that were alive at some time.
    pub connections: u64,
    /// Of those, how many Navigator moved off a usable backend, with the change after which
    /// it was seen: must be empty.
    pub moved: Vec<String>,
    /// Flows that found no room in the cache: must be 0 for the rest to mean anything.
    pub not_remembered: u64,
    /// Slots whose window closed in the course.
    pub windows_closed: u64,
    /// Slots that came to rest again.
    pub settled: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = &self.points;
        let most = |of: fn(&Point) -> f64| 100.0 * points.iter().map(of).fold(0.0, f64::max);
        writeln!(
            out,
            "{} changes, {} connections, {} packets\n\
             moved off a usable backend by Navigator: {}\n\
             windows closed: {} slots; at rest again: {}; flows without room: {}\n\
             at most {:.1} % of the slots were at risk, {:.1} % tracked, and as many flows \
             remembered as {:.1} % of those alive",
            points.len(),
            self.connections,
            self.packets,
            self.moved.len(),
            self.windows_closed,
            self.settled,
            self.not_remembered,
            most(|point| point.at_risk),
            most(|point| point.tracked),
            most(|point| point.remembered),
        )?;
        let broken = points.last().map_or(&[][..], |point| &point.broken);
        for (name, broken) in self.names.iter().zip(broken) {
            writeln!(out, "broken by {name}: {broken}")?;
        }
        Ok(())
    }
}

/// A connection of which Navigator has seen the first packet.
#[derive(Clone, Copy)]
struct Connection {
    id: u32,
    slot: u32,
    /// The host that it is at, and that one's generation then; `None` while nobody takes it.
    home: Option<(usize, u32)>,
}

struct Drive {
    balancer: Balancer,
    world: World,
    /// Whom the table names, by slot.
    owners: Vec<Option<usize>>,
    classic: Vec<Classic>,
    connections: Vec<Connection>,
    next_id: u32,
    random: StdRng,
    report: Report,
}

/// Runs the whole life. Progress goes to standard error.
///
/// # Errors
/// Without root or BPF, or if the program does what no model would.
pub fn run(settings: Settings) -> Result<Report> {
    let flows = settings.flows as usize;
    let mut world = World::new()?;
    let mut balancer = Balancer::new()?;
    let plan = world.plan()?;
    balancer.apply(&plan)?;
    let classic = vec![
        Classic::stateless(),
        Classic::lru(flows / 10, 10),
        Classic::lru(flows / 2, 50),
    ];
    let mut drive = Drive {
        balancer,
        world,
        owners: owners(&plan),
        report: Report {
            names: classic.iter().map(|c| c.name.clone()).collect(),
            points: Vec::new(),
            packets: 0,
            connections: 0,
            moved: Vec::new(),
            not_remembered: 0,
            windows_closed: 0,
            settled: 0,
        },
        classic,
        connections: Vec::with_capacity(flows),
        next_id: 0,
        random: StdRng::seed_from_u64(settings.seed),
    };
    for _ in 0..settings.flows {
        let connection = drive.open()?;
        drive.connections.push(connection);
    }
    for number in 1..=settings.changes {
        drive
            .step(number)
            .with_context(|| format!("change {number}, seed {}", settings.seed))?;
        if number % 100 == 0 {
            eprintln!("{number} of {} changes", settings.changes);
        }
    }
    drive.send_all("the end")?;
    drive.finish()
}

impl Drive {
    fn step(&mut self, number: u32) -> Result<()> {
        let mut what = if number.is_multiple_of(10) {
            let host = self.world.flap(&mut self.random);
            self.apply()?;
            self.sample(&format!("{number}: host {host} fails"))?;
            self.world.recover(host);
            format!("{number}: host {host} is back")
        } else {
            format!("{number}: {}", self.world.change(&mut self.random))
        };
        if number.is_multiple_of(RESTART) {
            what += ", and the daemon starts again";
            self.count_windows()?;
            self.world.restart();
            self.balancer.restart()?;
        }
        self.apply()?;
        self.replace()?;
        self.sample(&what)?;
        if number.is_multiple_of(TIME_STEP) {
            let epochs = self.random.random_range(20..420);
            self.world.pass(Duration::from_millis(8590) * epochs.into());
            self.balancer.pass_time(epochs)?;
            self.apply()?;
            self.sample(&format!("{what}, then {epochs} epochs"))?;
        }
        if number.is_multiple_of(CHECKPOINT) {
            self.send_all(&what)?;
        }
        self.note()
    }

    /// Makes what the world is now true.
    fn apply(&mut self) -> Result<()> {
        let plan = self.world.plan()?;
        self.owners = owners(&plan);
        self.balancer.apply(&plan)
    }

    /// A new connection: its SYN and, if that arrived, the first segment behind it.
    fn open(&mut self) -> Result<Connection> {
        let id = self.next_id;
        self.next_id += 1;
        self.report.connections += 1;
        let hash = flow::hash(client(id), VIP, 6);
        let mut connection = Connection {
            id,
            slot: slot_index(hash, SLOTS),
            home: None,
        };
        self.dial(&mut connection)?;
        if connection.home.is_some() {
            self.send(&mut connection, "a new connection")?;
        }
        Ok(connection)
    }

    fn dial(&mut self, connection: &mut Connection) -> Result<()> {
        let to = self.packet(*connection, true)?;
        ensure!(
            to.is_some() == self.world.somebody_takes_new(),
            "flow {}: its SYN went to {to:?}",
            connection.id
        );
        if let Some(host) = to {
            ensure!(
                self.world.takes_new(host),
                "flow {}: its SYN went to host {host}, which takes none",
                connection.id
            );
        }
        connection.home = to.map(|host| (host, self.world.generation(host)));
        Ok(())
    }

    fn packet(&mut self, connection: Connection, opens: bool) -> Result<Option<usize>> {
        self.report.packets += 1;
        let owner = self.owners[connection.slot as usize];
        for classic in &mut self.classic {
            classic.packet(connection.id, opens, owner, &self.world);
        }
        self.balancer.send(connection.id, opens)
    }

    /// A segment of a connection. One whose backend is lost is dialled again.
    fn send(&mut self, connection: &mut Connection, when: &str) -> Result<()> {
        let alive = connection.home.filter(|&(host, generation)| {
            self.world.is_usable(host) && self.world.generation(host) == generation
        });
        let Some((home, _)) = alive else {
            return self.dial(connection);
        };
        let to = self.packet(*connection, false)?;
        if to != Some(home) {
            let id = connection.id;
            let slot = connection.slot;
            self.report.moved.push(format!(
                "after change {when}: flow {id} of slot {slot} went to {to:?}, not to host {home}"
            ));
            self.dial(connection)?;
        }
        Ok(())
    }

    fn send_to(&mut self, index: usize, when: &str) -> Result<()> {
        let mut connection = self.connections[index];
        self.send(&mut connection, when)?;
        self.connections[index] = connection;
        Ok(())
    }

    fn per_mille(&self, share: u32) -> usize {
        (self.connections.len() * share as usize / 1000).max(1)
    }

    fn sample(&mut self, when: &str) -> Result<()> {
        for _ in 0..self.per_mille(SAMPLE) {
            let index = self.random.random_range(0..self.connections.len());
            self.send_to(index, when)?;
        }
        Ok(())
    }

    fn send_all(&mut self, when: &str) -> Result<()> {
        let mut order: Vec<usize> = (0..self.connections.len()).collect();
        order.shuffle(&mut self.random);
        order
            .into_iter()
            .try_for_each(|index| self.send_to(index, when))
    }

    /// Some connections end, as many begin.
    fn replace(&mut self) -> Result<()> {
        for _ in 0..self.per_mille(BIRTHS) {
            let index = self.random.random_range(0..self.connections.len());
            self.connections[index] = self.open()?;
        }
        Ok(())
    }

    fn note(&mut self) -> Result<()> {
        let figures = self.balancer.figures()?;
        let vip = figures.vips.first().context("the VIP is gone")?;
        let share = |slots: u32| f64::from(slots) / f64::from(SLOTS);
        let flows = figures.tables.iter().find(|(name, ..)| *name == "flows");
        let remembered = flows.map_or(0, |(_, used, _)| *used);
        self.report.points.push(Point {
            broken: self.classic.iter().map(|c| c.broken).collect(),
            at_risk: share(vip.at_risk),
            tracked: share(vip.at_risk + vip.tracked),
            remembered: remembered as f64 / self.connections.len() as f64,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Report> {
        let figures = self.balancer.figures()?;
        let full = figures
            .counters
            .iter()
            .find(|(name, _)| *name == "flow_set_full");
        self.report.not_remembered = full.map_or(0, |(_, packets)| *packets);
        self.count_windows()?;
        Ok(self.report)
    }

    /// What became of windows is counted since the daemon's start.
    fn count_windows(&mut self) -> Result<()> {
        let windows = self.balancer.figures()?.windows;
        self.report.windows_closed += windows.closed + windows.closed_early;
        self.report.settled += windows.settled;
        Ok(())
    }
}

/// The host that a plan gives each slot to.
fn owners(plan: &VipPlan) -> Vec<Option<usize>> {
    let hosts: Vec<_> = plan.members.iter().map(|m| host_of(m.address)).collect();
    let owner = |&place: &u32| hosts.get(place as usize).copied().flatten();
    plan.table.iter().map(owner).collect()
}
