//! How many requests each peer may make: a bucket that fills with time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Peers that are kept apart at a time; what more there are share one bucket.
const PEERS: usize = 4096;

/// How many requests a peer may make.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// For long, each second.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: 100,
            burst: 200,
        }
    }
}

/// The buckets of all peers.
#[derive(Debug)]
pub struct RateLimit {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
    shared: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may be made, as of `at`.
    left: f64,
    at: Duration,
}

impl RateLimit {
    /// All peers may begin with a burst.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
            shared: full(rate, Duration::ZERO),
        }
    }

    /// Takes one request of a peer, `now` after any start.
    ///
    /// # Errors
    /// With the time until the next one, if it has made too many.
    pub fn take(&mut self, ip: IpAddr, now: Duration) -> Result<(), Duration> {
        let rate = self.rate;
        let peer = network(ip);
        if self.buckets.len() >= PEERS && !self.buckets.contains_key(&peer) {
            // One that is full again says nothing that a new one would not.
            let burst = f64::from(rate.burst);
            self.buckets
                .retain(|_, bucket| bucket.filled(rate, now).left < burst);
        }
        let room = self.buckets.len() < PEERS || self.buckets.contains_key(&peer);
        let bucket = match room {
            true => self.buckets.entry(peer).or_insert(full(rate, now)),
            false => &mut self.shared,
        };
        *bucket = bucket.filled(rate, now);
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let seconds = (1.0 - bucket.left) / f64::from(rate.per_second.max(1));
        Err(Duration::from_secs_f64(seconds))
    }
}

fn full(rate: Rate, now: Duration) -> Bucket {
    Bucket {
        left: f64::from(rate.burst),
        at: now,
    }
}

impl Bucket {
    fn filled(self, rate: Rate, now: Duration) -> Self {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let left = self.left + passed * f64::from(rate.per_second);
        Self {
            left: left.min(f64::from(rate.burst)),
            at: now,
        }
    }
}

/// Whoever has one IPv6 address has the rest of its /64, too.
pub(in crate::api) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let bits = ip.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
    };

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut limit = RateLimit::new(RATE);
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(limit.take(ip(1), at(0)), Ok(()));
        }
        assert_eq!(limit.take(ip(1), at(0)), Err(at(100)));
        assert_eq!(limit.take(ip(2), at(0)), Ok(()), "another peer");
        assert_eq!(limit.take(ip(1), at(100)), Ok(()));
        assert!(limit.take(ip(1), at(100)).is_err());
    }

    #[test]
    fn many_peers_do_not_fill_the_memory_and_idle_ones_make_room() {
        let mut limit = RateLimit::new(RATE);
        for number in 0..20_000 {
            let _ = limit.take(ip(number), Duration::ZERO);
        }
        assert_eq!(limit.buckets.len(), PEERS);
        let later = Duration::from_secs(60);
        assert_eq!(limit.take(ip(19_999), later), Ok(()));
        assert_eq!(limit.buckets.len(), 1);
    }

    #[test]
    fn a_network_is_one_peer() {
        let mut limit = RateLimit::new(RATE);
        for host in 0..3 {
            let ip: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into();
            assert_eq!(limit.take(ip, Duration::ZERO), Ok(()));
        }
        let ip: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into();
        assert!(limit.take(ip, Duration::ZERO).is_err());
    }
}
