//! Packets that do not fit the way to their backend with the tunnel's header: who sent them
//! is told what would.

use crate::world::{PORT, TCP, UDP, client, key, packet, payload, transport_header};
use anyhow::{Result, bail, ensure};
use navigator_common::{limit, reason::Reason};
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, IFINDEX, Role},
    edit::padded,
    expect::{Action, Outcome, dropped, gue, ipip, l2, too_big},
    frame::{ETH, ip_packet, tcp_with_options},
    row::{Row, row},
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use std::net::SocketAddr;

/// A mode with the bytes that it puts before a packet, a VIP and its backend.
#[derive(Clone, Copy)]
struct Way {
    mode: ForwardMode,
    inner: Family,
    outer: Family,
    protocol: Protocol,
}

impl Way {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for mode in [ForwardMode::Ipip, ForwardMode::Gue] {
            for inner in Family::BOTH {
                for outer in Family::BOTH {
                    all.extend([TCP, UDP].map(|protocol| Self {
                        mode,
                        inner,
                        outer,
                        protocol,
                    }));
                }
            }
        }
        all
    }

    fn overhead(self) -> usize {
        let udp = if self.mode == ForwardMode::Gue { 12 } else { 0 };
        self.outer.header() + udp
    }

    fn vip(self) -> SocketAddr {
        self.inner
            .vip(1 + self.outer as u8 + 2 * self.mode as u8, PORT)
    }

    fn backend(self) -> SocketAddr {
        self.outer.backend(1, PORT)
    }

    /// A packet of `length` bytes to the VIP.
    fn packet(self, length: usize) -> Vec<u8> {
        let headers = self.inner.header() + transport_header(self.protocol);
        let packet = packet(self.protocol, self.vip(), &payload(length - headers));
        assert_eq!(ip_packet(&packet).len(), length);
        packet
    }

    /// What a packet leaves as that fits.
    fn sent(self, packet: &[u8]) -> Outcome {
        let (vip, backend) = (key(self.vip(), self.protocol), self.backend());
        match self.mode {
            ForwardMode::Gue => gue(vip, backend, self.outer.local())(packet),
            _ => ipip(vip, backend, self.outer.local())(packet),
        }
    }

    fn name(self, what: &str) -> String {
        let Self {
            mode,
            inner,
            outer,
            protocol,
        } = self;
        format!("{mode}, {inner:?} in {outer:?}, {protocol}: {what}")
    }
}

/// A bed in which the way to every backend takes packets of `mtu` bytes.
fn bed(mtu: u16) -> Result<Bed> {
    let mut bed = Bed::new()?;
    for way in Way::all() {
        let settings = bed::vip(way.vip(), way.protocol, way.mode);
        bed.serve(&settings, &[(way.backend(), Role::Active)])?;
        bed.reach_by(way.backend().ip(), IFINDEX, mtu)?;
    }
    Ok(bed)
}

#[test]
fn what_fits_is_sent_and_what_does_not_is_answered() -> Result<()> {
    let mut rows = Vec::new();
    for way in Way::all() {
        let most = 1500 - way.overhead();
        for length in [most - 1, most] {
            let packet = way.packet(length);
            let sent = way.sent(&packet);
            rows.push(row(way.name(&format!("{length} bytes")), packet, |_| sent));
        }
        for length in [most + 1, 1500, 4000, 9000, 60_000] {
            let name = way.name(&format!("{length} bytes"));
            rows.push(row(name, way.packet(length), too_big(most)));
        }
        let packet = way.packet(1500);
        let name = way.name("padded");
        rows.push(row(name, padded(&packet, 1600), too_big(most)));
    }
    bed(1500)?.check(&rows)
}

/// Nobody can make two packets of one here: see decision 008.
#[test]
fn ipv4_without_df_and_with_options_is_answered_too() -> Result<()> {
    let mut rows = Vec::new();
    for way in Way::all() {
        if way.inner == Family::V6 || way.protocol == UDP {
            continue;
        }
        let most = 1500 - way.overhead();
        let options = [1; 40];
        let payload = payload(1480);
        let flags = Tcp::Ack;
        let long = tcp_with_options(client(Family::V4), way.vip(), &options, flags, &payload);
        rows.push(row(way.name("40 bytes of options"), long, too_big(most)));
        // The header's checksum is that of the packet with DF: it is quoted as it came.
        let mut free = way.packet(1500);
        free[ETH + 6] = 0;
        let checksum = header_checksum(&free);
        free[ETH + 10..ETH + 12].copy_from_slice(&checksum);
        rows.push(row(way.name("DF not set"), free, too_big(most)));
    }
    bed(1500)?.check(&rows)
}

/// The checksum of an IPv4 header without options (RFC 1071), its own field aside.
fn header_checksum(frame: &[u8]) -> [u8; 2] {
    let words = frame[ETH..ETH + 20].chunks(2).enumerate();
    let sum: u32 = words
        .filter(|(place, _)| *place != 5)
        .map(|(_, word)| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

/// No IPv6 host sends less than 1280 bytes for being told to.
#[test]
fn ipv6_is_told_1280_at_least() -> Result<()> {
    let mut rows = Vec::new();
    for way in Way::all() {
        let most = 1300 - way.overhead();
        let name = |what: &str| way.name(&format!("{what}, {most} fit"));
        match way.inner {
            Family::V4 => {
                rows.push(row(name("1281"), way.packet(1281), too_big(most)));
            }
            Family::V6 if most >= 1280 => {
                rows.push(row(name("1281"), way.packet(1281), too_big(most)));
            }
            Family::V6 => {
                let drop = dropped(Reason::DropTooBig);
                rows.push(row(name("1281"), way.packet(1281), too_big(1280)));
                rows.push(row(name("1280"), way.packet(1280), drop));
                let packet = way.packet(most);
                let sent = way.sent(&packet);
                rows.push(row(name("as many"), packet, |_| sent));
            }
        }
    }
    bed(1300)?.check(&rows)
}

#[test]
fn a_way_of_unknown_length_has_no_limit_and_a_new_one_counts_at_once() -> Result<()> {
    let mut bed = bed(0)?;
    let way = Way::all()[0];
    let check = |bed: &mut Bed, mtu: u16, most: usize| -> Result<()> {
        bed.reach_by(way.backend().ip(), IFINDEX, mtu)?;
        let fits = way.packet(most);
        let sent = way.sent(&fits);
        let rows: [Row; 2] = [
            row(way.name("fits"), fits, |_| sent),
            row(way.name("too long"), way.packet(most + 1), too_big(most)),
        ];
        bed.check(&rows)
    };
    let long = way.packet(9000);
    let sent = way.sent(&long);
    bed.check(&[row(way.name("no limit"), long, |_| sent)])?;
    check(&mut bed, 9000, 8980)?;
    check(&mut bed, 1400, 1380)?;
    check(&mut bed, 1500, 1480)
}

#[test]
fn l2_adds_nothing_and_has_no_limit() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let (vip, backend) = (family.vip(1, PORT), family.backend(1, PORT));
        let settings = bed::vip(vip, TCP, ForwardMode::L2);
        bed.serve(&settings, &[(backend, Role::Active)])?;
        bed.reach_by(backend.ip(), IFINDEX, 1500)?;
        let packet = packet(TCP, vip, &payload(9000));
        rows.push(row(
            format!("{family:?}"),
            packet,
            l2(key(vip, TCP), backend),
        ));
    }
    bed.check(&rows)
}

/// Above the limit what does not fit is dropped as it came, and what fits goes on.
#[test]
fn answers_are_limited() -> Result<()> {
    // Each CPU has a bucket of its own.
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let mut bed = bed(1500)?;
    let way = Way::all()[0];
    let long = way.packet(1500);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..4 * limit::BURST {
        match bed.run_uncounted(&long)? {
            (Action::Tx, _) => answered += 1,
            (Action::Drop, frame) if frame == long => refused += 1,
            (action, _) => bail!("{action:?}"),
        }
    }
    ensure!(
        answered >= limit::BURST && refused > 0,
        "{answered} of {} were answered",
        4 * limit::BURST
    );
    // The clock may just have given tokens for a tick.
    for _ in 0..limit::BURST {
        let outcome = bed.run(&long)?;
        if outcome.action == Action::Drop {
            ensure!(outcome == dropped(Reason::DropTooBig)(&long), "{outcome:?}");
            break;
        }
    }
    let fits = way.packet(1400);
    let sent = way.sent(&fits);
    bed.check(&[row("what fits", fits, |_| sent)])
}
