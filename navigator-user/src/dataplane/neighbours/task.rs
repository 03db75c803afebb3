//! The resolver's loop: what to look at, and when.

use super::{
    HopChange,
    events::{Event, Events},
    judge::{Host, Neighbour, Sight, Verdict},
};
use crate::{
    dataplane::NextHop,
    netlink::{Netlink, NetlinkError, NetlinkResult, route::Route},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};

/// Everything is looked at again this often, whatever the events say.
const RESYNC: Duration = Duration::from_secs(30);
/// Events about routes come in bursts; one look follows a burst.
const SETTLE: Duration = Duration::from_millis(50);
/// Between attempts to talk to a kernel that does not.
const RETRY: Duration = Duration::from_secs(1);

/// One watched host.
#[derive(Default)]
struct Entry {
    host: Host,
    /// On the way to it, as last seen.
    neighbour: Option<Neighbour>,
}

pub(super) struct Task {
    netlink: Netlink,
    events: Events,
    wanted: watch::Receiver<BTreeSet<IpAddr>>,
    report: mpsc::Sender<HopChange>,
    hosts: BTreeMap<IpAddr, Entry>,
    /// Neighbours that the kernel was asked to manage.
    kept: BTreeSet<Neighbour>,
    /// When everything is looked at next.
    resync: Instant,
    /// How long the last look at everything took.
    cost: Duration,
    /// The last trouble with the kernel, so that it is logged once.
    trouble: String,
}

/// The reader is gone.
struct Gone;

impl Task {
    pub(super) fn new(
        wanted: watch::Receiver<BTreeSet<IpAddr>>,
        report: mpsc::Sender<HopChange>,
    ) -> NetlinkResult<Self> {
        Ok(Self {
            netlink: Netlink::open()?,
            events: subscribe()?,
            wanted,
            report,
            hosts: BTreeMap::new(),
            kept: BTreeSet::new(),
            resync: Instant::now() + RESYNC,
            cost: Duration::ZERO,
            trouble: String::new(),
        })
    }

    pub(super) async fn run(mut self) {
        while self.step().await.is_ok() {}
    }

    async fn step(&mut self) -> Result<(), Gone> {
        let due = self.hosts.values().filter_map(|e| e.host.due()).min();
        let wake = due.map_or(self.resync, |due| due.min(self.resync));
        tokio::select! {
            () = self.report.closed() => Err(Gone),
            changed = self.wanted.changed() => {
                changed.map_err(|_| Gone)?;
                self.follow_wanted().await
            }
            events = self.events.next() => match events {
                Ok(events) => self.follow(&events).await,
                Err(e) => self.reopen(&e.to_string()).await,
            },
            () = sleep_until(wake.into()) => self.follow_time().await,
        }
    }

    async fn follow_wanted(&mut self) -> Result<(), Gone> {
        let wanted = self.wanted.borrow_and_update().clone();
        self.hosts.retain(|host, _| wanted.contains(host));
        let mut new = Vec::new();
        for host in wanted {
            self.hosts.entry(host).or_insert_with(|| {
                new.push(host);
                Entry::default()
            });
        }
        self.look_at(new).await?;
        self.release_unused().await;
        Ok(())
    }

    async fn follow(&mut self, events: &[Event]) -> Result<(), Gone> {
        let now = Instant::now();
        for event in events {
            match event {
                // Never busier with routes than a tenth of the time.
                Event::Topology => {
                    self.resync = self.resync.min(now + SETTLE.max(self.cost * 10));
                }
                Event::Missed => self.resync = now,
                Event::Neighbour(neighbour) => {
                    let hosts = self
                        .hosts
                        .iter()
                        .filter(|(_, entry)| entry.neighbour.as_ref() == Some(neighbour));
                    let hosts = hosts.map(|(host, _)| *host).collect();
                    self.look_at(hosts).await?;
                }
            }
        }
        Ok(())
    }

    async fn follow_time(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if now < self.resync {
            let due = |entry: &Entry| entry.host.due().is_some_and(|due| due <= now);
            let hosts = self.hosts.iter().filter(|(_, entry)| due(entry));
            let hosts = hosts.map(|(host, _)| *host).collect();
            return self.look_at(hosts).await;
        }
        self.resync = now + RESYNC;
        self.look_at(self.hosts.keys().copied().collect()).await?;
        self.release_unused().await;
        self.cost = now.elapsed();
        Ok(())
    }

    async fn look_at(&mut self, hosts: Vec<IpAddr>) -> Result<(), Gone> {
        for host in hosts {
            let sight = match self.look(host).await {
                Ok(sight) => sight,
                Err(e) if e.source.kind() == ErrorKind::ConnectionAborted => {
                    return self.reopen(&e.to_string()).await;
                }
                Err(e) => Sight::NoRoute(e.to_string()),
            };
            let Some(entry) = self.hosts.get_mut(&host) else {
                continue;
            };
            match entry.host.judge(sight, Instant::now()) {
                Verdict::Rest => {}
                Verdict::Report(hop, why) => {
                    let change = HopChange { host, hop, why };
                    self.report.send(change).await.map_err(|_| Gone)?;
                }
                Verdict::Check(None) => {}
                Verdict::Check(Some(neighbour)) => self.keep(neighbour).await,
            }
            self.trouble.clear();
        }
        Ok(())
    }

    /// What the kernel's tables say of one host at the moment.
    async fn look(&mut self, host: IpAddr) -> NetlinkResult<Sight> {
        let route = self.netlink.route(host).await?;
        let neighbour = match route {
            Route::Out {
                ifindex, neighbour, ..
            } => Some((ifindex, neighbour)),
            _ => None,
        };
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.neighbour = neighbour;
        }
        let (ifindex, neighbour, source, mtu) = match route {
            Route::Local => return Ok(Sight::Never(format!("{host} is this host itself"))),
            Route::NotUnicast => {
                return Ok(Sight::Never(format!("{host} is not the address of a host")));
            }
            Route::None => return Ok(Sight::NoRoute(format!("there is no route to {host}"))),
            Route::Out {
                ifindex,
                neighbour,
                source,
                mtu,
            } => (ifindex, neighbour, source, mtu),
        };
        let Some(link) = self.netlink.link_by_index(ifindex).await? else {
            return Ok(Sight::NoRoute(format!("the interface to {host} is gone")));
        };
        if !link.up || !link.carrier {
            return Ok(Sight::NoRoute(format!("{} is down", link.name)));
        }
        if link.mac.is_none() {
            return Ok(Sight::Never(format!(
                "the route to {host} leads out of {}, which is not an Ethernet interface",
                link.name
            )));
        }
        let Some(source) = source else {
            return Ok(Sight::NoRoute(format!(
                "{} has no address to reach {host} from",
                link.name
            )));
        };
        let found = self.netlink.neighbour(neighbour, ifindex).await?;
        let hop = found.as_ref().and_then(|n| n.mac).map(|mac| NextHop {
            mac,
            ifindex,
            source,
            on_link: neighbour == host,
            mtu: path_mtu(link.mtu, mtu),
        });
        let fixed = found.as_ref().is_some_and(|n| n.fixed);
        // An entry that vanished must be made again before it can resolve.
        if !fixed && !found.as_ref().is_some_and(|n| n.managed) {
            self.keep((ifindex, neighbour)).await;
        }
        let why = format!("{neighbour} does not answer on {}", link.name);
        Ok(match hop {
            Some(hop) => Sight::Hop(hop),
            None if fixed => Sight::NoRoute(why),
            None => Sight::NoNeighbour {
                neighbour: (ifindex, neighbour),
                failed: found.is_some_and(|n| n.failed),
                why,
            },
        })
    }

    /// Has the kernel resolve a neighbour and look after it. A refusal shows
    /// in the next look, as a neighbour without a MAC address.
    async fn keep(&mut self, (ifindex, ip): Neighbour) {
        match self.netlink.keep_neighbour(ip, ifindex).await {
            Ok(()) => {
                self.kept.insert((ifindex, ip));
            }
            Err(e) => tracing::debug!("{e}"),
        }
    }

    /// Gives neighbours that no host needs any more back to the kernel.
    async fn release_unused(&mut self) {
        let used: BTreeSet<_> = self.hosts.values().filter_map(|e| e.neighbour).collect();
        for (ifindex, ip) in self.kept.difference(&used) {
            if let Err(e) = self.netlink.drop_neighbour(*ip, *ifindex).await {
                tracing::debug!("{e}");
            }
        }
        self.kept.retain(|neighbour| used.contains(neighbour));
    }

    /// Trouble with the kernel: starts over with fresh sockets after a pause.
    async fn reopen(&mut self, why: &str) -> Result<(), Gone> {
        if self.trouble != why {
            tracing::warn!("next hops cannot be followed: {why}; trying again every second");
            self.trouble = why.to_owned();
        }
        tokio::select! {
            () = self.report.closed() => return Err(Gone),
            () = tokio::time::sleep(RETRY) => {}
        }
        if let (Ok(netlink), Ok(events)) = (Netlink::open(), subscribe()) {
            (self.netlink, self.events) = (netlink, events);
        }
        self.resync = Instant::now();
        Ok(())
    }
}

/// The longest IP packet that a way takes: what its route says, but no more than its interface takes.
fn path_mtu(link: u32, route: Option<u32>) -> u16 {
    let mtu = route.map_or(link, |route| route.min(link));
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn subscribe() -> NetlinkResult<Events> {
    Events::subscribe().map_err(|source| NetlinkError {
        action: "cannot subscribe to the kernel's network events".to_owned(),
        source,
    })
}
