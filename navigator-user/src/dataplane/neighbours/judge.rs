//! What a look at the kernel's tables means for one host, given what was
//! reported before. Pure: time is an argument.

use crate::dataplane::NextHop;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long a host without a route, carrier or source address may be one.
pub(super) const ROUTE_PATIENCE: Duration = Duration::from_millis(500);
/// How long a neighbour may take to answer. The kernel gives up after 3 s
/// (three requests, a second apart) unless it was told otherwise.
pub(super) const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(5);

/// An interface and an address behind it.
pub(super) type Neighbour = (u32, IpAddr);

/// What a look found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    /// The way to the host.
    Hop(NextHop),
    /// The host can never be reached over Ethernet, as things are set up.
    Never(String),
    /// There is no route, or what it needs is not there.
    NoRoute(String),
    /// There is a route, but the neighbour's MAC address is not known.
    NoNeighbour {
        /// Whose.
        neighbour: Neighbour,
        /// The kernel asked for it and got no answer.
        failed: bool,
        /// In words.
        why: String,
    },
}

/// What to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing, or nothing yet.
    Rest,
    /// Tell the reader.
    Report(Option<NextHop>, String),
    /// Ask for the neighbour, if there is one. [`Host::due`] says when to look again.
    Check(Option<Neighbour>),
}

/// What is known of one host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Host {
    reported: Option<Option<NextHop>>,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Doubt {
    neighbour: Option<Neighbour>,
    until: Instant,
}

impl Host {
    /// When to look again, if a doubt is being checked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.doubt.map(|d| d.until)
    }

    /// Judges what was seen at `now`.
    pub(super) fn judge(&mut self, sight: Sight, now: Instant) -> Verdict {
        match sight {
            Sight::Hop(hop) => self.settle(Some(hop), String::new()),
            Sight::Never(why) => self.settle(None, why),
            Sight::NoRoute(why) => self.doubt(None, false, ROUTE_PATIENCE, why, now),
            Sight::NoNeighbour {
                neighbour,
                failed,
                why,
            } => self.doubt(Some(neighbour), failed, NEIGHBOUR_PATIENCE, why, now),
        }
    }

    fn settle(&mut self, hop: Option<NextHop>, why: String) -> Verdict {
        self.doubt = None;
        if self.reported == Some(hop) {
            return Verdict::Rest;
        }
        self.reported = Some(hop);
        Verdict::Report(hop, why)
    }

    /// A failure counts only once a check of the same thing was under way: the
    /// kernel's word from before the check is what raised the doubt.
    fn doubt(
        &mut self,
        neighbour: Option<Neighbour>,
        failed: bool,
        patience: Duration,
        why: String,
        now: Instant,
    ) -> Verdict {
        if self.reported == Some(None) {
            return self.settle(None, why);
        }
        match self.doubt {
            Some(doubt) if doubt.neighbour == neighbour => {
                if failed || now >= doubt.until {
                    self.settle(None, why)
                } else {
                    Verdict::Rest
                }
            }
            _ => {
                let until = now + patience;
                self.doubt = Some(Doubt { neighbour, until });
                Verdict::Check(neighbour)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NEIGHBOUR: Neighbour = (7, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

    fn hop(last: u8) -> NextHop {
        NextHop {
            mac: [2, 0, 0, 0, 0, last],
            ifindex: 7,
            source: Ipv4Addr::new(10, 0, 0, 1).into(),
            on_link: true,
            mtu: 1500,
        }
    }

    fn silent(failed: bool) -> Sight {
        Sight::NoNeighbour {
            neighbour: NEIGHBOUR,
            failed,
            why: "silent".to_owned(),
        }
    }

    fn no_route() -> Sight {
        Sight::NoRoute("no route".to_owned())
    }

    /// A host whose hop was reported.
    fn reached(now: Instant) -> Host {
        let mut host = Host::default();
        assert_eq!(
            host.judge(Sight::Hop(hop(2)), now),
            Verdict::Report(Some(hop(2)), String::new())
        );
        host
    }

    #[test]
    fn the_same_hop_is_reported_once_and_another_at_once() {
        let now = Instant::now();
        let mut host = reached(now);
        assert_eq!(host.judge(Sight::Hop(hop(2)), now), Verdict::Rest);
        assert_eq!(
            host.judge(Sight::Hop(hop(3)), now),
            Verdict::Report(Some(hop(3)), String::new())
        );
    }

    #[test]
    fn a_failed_neighbour_is_asked_once_more_before_it_is_lost() {
        let now = Instant::now();
        let mut host = reached(now);
        assert_eq!(
            host.judge(silent(true), now),
            Verdict::Check(Some(NEIGHBOUR))
        );
        assert_eq!(host.due(), Some(now + NEIGHBOUR_PATIENCE));
        assert_eq!(host.judge(silent(false), now), Verdict::Rest);
        assert_eq!(
            host.judge(silent(true), now),
            Verdict::Report(None, "silent".to_owned())
        );
        assert_eq!(host.judge(silent(true), now), Verdict::Rest);
    }

    #[test]
    fn a_neighbour_that_answers_the_check_was_never_lost() {
        let now = Instant::now();
        let mut host = reached(now);
        host.judge(silent(true), now);
        assert_eq!(host.judge(Sight::Hop(hop(2)), now), Verdict::Rest);
        assert_eq!(host.due(), None);
    }

    #[test]
    fn a_neighbour_that_never_answers_is_lost_when_patience_ends() {
        let now = Instant::now();
        let mut host = Host::default();
        host.judge(silent(false), now);
        assert_eq!(host.judge(silent(false), now), Verdict::Rest);
        assert_eq!(
            host.judge(silent(false), now + NEIGHBOUR_PATIENCE),
            Verdict::Report(None, "silent".to_owned())
        );
    }

    #[test]
    fn a_route_that_comes_back_in_time_was_never_lost() {
        let now = Instant::now();
        let mut host = reached(now);
        assert_eq!(host.judge(no_route(), now), Verdict::Check(None));
        assert_eq!(host.judge(Sight::Hop(hop(2)), now), Verdict::Rest);
        host.judge(no_route(), now);
        assert_eq!(
            host.judge(no_route(), now + ROUTE_PATIENCE),
            Verdict::Report(None, "no route".to_owned())
        );
    }

    #[test]
    fn an_old_failure_of_another_neighbour_does_not_count() {
        let now = Instant::now();
        let mut host = reached(now);
        host.judge(no_route(), now);
        assert_eq!(
            host.judge(silent(true), now),
            Verdict::Check(Some(NEIGHBOUR))
        );
    }

    #[test]
    fn what_can_never_be_reached_is_said_at_once() {
        let mut host = reached(Instant::now());
        assert_eq!(
            host.judge(Sight::Never("it is this host".to_owned()), Instant::now()),
            Verdict::Report(None, "it is this host".to_owned())
        );
    }
}
