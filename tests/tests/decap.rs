//! `navigator_decap` by test run: packet in, verdict and packet out to the
//! byte, and the one counter that changes.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, PerCpuArray},
    programs::{TestRun, TestRunOptions, Xdp},
};
use navigator_common::{
    addr::Addr,
    maps::{ALL, DECAP_COUNTERS, DECAP_VIPS, DecapOutcome, globals, programs},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const OTHER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);

/// The UDP port that the program unwraps GUE from: not the usual one.
const GUE_PORT: u16 = 6081;

/// Loaded, with [`VIP4`] and [`VIP6`] as its VIPs.
struct Decap(Ebpf);

impl Decap {
    fn load() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "this test loads BPF programs: run it as root"
        );
        let mut loader = EbpfLoader::new();
        loader.override_global(globals::GUE_PORT, &GUE_PORT, true);
        for spec in ALL {
            loader.map_max_entries(spec.name, 1);
        }
        let mut object = loader.load(navigator_user::backend_host::OBJECT)?;
        let vips = object.map_mut(DECAP_VIPS.name).context("no VIPs map")?;
        let mut vips: HashMap<_, [u64; 2], u64> = vips.try_into()?;
        for ip in [IpAddr::from(VIP4), VIP6.into()] {
            let addr = Addr::from(ip);
            vips.insert([addr.hi, addr.lo], 1, 0)?;
        }
        let program: &mut Xdp = object
            .program_mut(programs::DECAP)
            .context("no program")?
            .try_into()?;
        program.load()?;
        Ok(Self(object))
    }

    fn counters(&self) -> Result<Vec<u64>> {
        let map = self.0.map(DECAP_COUNTERS.name).context("no counters map")?;
        let map: PerCpuArray<_, u64> = map.try_into()?;
        DecapOutcome::ALL
            .iter()
            .map(|outcome| Ok(map.get(&(*outcome as u32), 0)?.iter().sum()))
            .collect()
    }

    /// Verdict, frame afterwards, and the outcome that was counted: exactly one, once.
    fn run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>, DecapOutcome)> {
        let before = self.counters()?;
        let program: &Xdp = self
            .0
            .program(programs::DECAP)
            .context("no program")?
            .try_into()?;
        let mut out = vec![0; frame.len() + 256];
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        })?;
        out.truncate(result.data_size_out as usize);
        let after = self.counters()?;
        let counted: Vec<_> = DecapOutcome::ALL
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(_, (before, after))| before != after)
            .map(|(outcome, (before, after))| (*outcome, after - before))
            .collect();
        ensure!(
            counted.len() == 1 && counted[0].1 == 1,
            "counted {counted:?}"
        );
        Ok((result.return_value, out, counted[0].0))
    }
}

/// A row: what it is, the frame, what is counted, and the frame afterwards if it changes.
struct Row(&'static str, Vec<u8>, DecapOutcome, Option<Vec<u8>>);

fn same(name: &'static str, frame: Vec<u8>, outcome: DecapOutcome) -> Row {
    Row(name, frame, outcome, None)
}

fn check(rows: Vec<Row>) -> Result<()> {
    let mut decap = Decap::load()?;
    for Row(name, frame, outcome, after) in rows {
        let (verdict, out, counted) = decap.run(&frame).context(name)?;
        let wanted = if outcome == DecapOutcome::Malformed {
            XDP_DROP
        } else {
            XDP_PASS
        };
        assert_eq!((counted, verdict), (outcome, wanted), "{name}");
        assert_eq!(out, after.unwrap_or(frame), "{name}");
    }
    Ok(())
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet with `options` (whole words) in its header.
fn v4_with(options: &[u8], destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0xaa, 0xbb, 10, 0, 0, 1]);
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn v4(destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(&[], destination, protocol, payload)
}

fn v6(destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

fn tcp4(destination: Ipv4Addr) -> Vec<u8> {
    v4(destination, 6, b"twenty bytes of TCP, and then data")
}

fn tcp6(destination: Ipv6Addr) -> Vec<u8> {
    v6(destination, 6, b"twenty bytes of TCP, and then data")
}

/// In the outer headers.
const HOST4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

/// With one byte changed.
fn patched(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

/// With the last bytes missing.
fn cut(mut frame: Vec<u8>, by: usize) -> Vec<u8> {
    frame.truncate(frame.len() - by);
    frame
}

#[test]
fn each_pair_of_families_is_unwrapped() -> Result<()> {
    use DecapOutcome::Unwrapped;
    let padded = |mut frame: Vec<u8>| {
        frame.extend([0xee; 7]);
        frame
    };
    let four_in_four = ethernet(IPV4, &v4(HOST4, 4, &tcp4(VIP4)));
    check(vec![
        Row(
            "IPv4 in IPv4",
            four_in_four.clone(),
            Unwrapped,
            Some(ethernet(IPV4, &tcp4(VIP4))),
        ),
        Row(
            "IPv6 in IPv4",
            ethernet(IPV4, &v4(HOST4, 41, &tcp6(VIP6))),
            Unwrapped,
            Some(ethernet(IPV6, &tcp6(VIP6))),
        ),
        Row(
            "IPv4 in IPv6",
            ethernet(IPV6, &v6(HOST6, 4, &tcp4(VIP4))),
            Unwrapped,
            Some(ethernet(IPV4, &tcp4(VIP4))),
        ),
        Row(
            "IPv6 in IPv6",
            ethernet(IPV6, &v6(HOST6, 41, &tcp6(VIP6))),
            Unwrapped,
            Some(ethernet(IPV6, &tcp6(VIP6))),
        ),
        Row(
            "outer options",
            ethernet(IPV4, &v4_with(&[1; 40], HOST4, 4, &tcp4(VIP4))),
            Unwrapped,
            Some(ethernet(IPV4, &tcp4(VIP4))),
        ),
        Row(
            "inner options",
            ethernet(IPV4, &v4(HOST4, 4, &v4_with(&[1; 8], VIP4, 17, b"data"))),
            Unwrapped,
            Some(ethernet(IPV4, &v4_with(&[1; 8], VIP4, 17, b"data"))),
        ),
        Row(
            "no DF in the outer header",
            patched(four_in_four.clone(), 14 + 6, 0),
            Unwrapped,
            Some(ethernet(IPV4, &tcp4(VIP4))),
        ),
        Row(
            "bytes after the outer packet",
            padded(four_in_four),
            Unwrapped,
            Some(padded(ethernet(IPV4, &tcp4(VIP4)))),
        ),
        Row(
            "bytes after the inner packet",
            ethernet(IPV6, &v6(HOST6, 4, &padded(tcp4(VIP4)))),
            Unwrapped,
            Some(ethernet(IPV4, &padded(tcp4(VIP4)))),
        ),
        Row(
            "an inner fragment",
            ethernet(IPV4, &v4(HOST4, 4, &patched(tcp4(VIP4), 6, 0x20))),
            Unwrapped,
            Some(ethernet(IPV4, &patched(tcp4(VIP4), 6, 0x20))),
        ),
    ])
}

#[test]
fn what_is_no_tunnel_packet_is_left_alone() -> Result<()> {
    use DecapOutcome::Passed;
    let mut tagged = ethernet(0x8100, &[0, 5, 8, 0]);
    tagged.extend(v4(HOST4, 4, &tcp4(VIP4)));
    let mut arp = ethernet(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([0; 20]);
    check(vec![
        same(
            "TCP over IPv4 to a VIP",
            ethernet(IPV4, &tcp4(VIP4)),
            Passed,
        ),
        same(
            "TCP over IPv6 to a VIP",
            ethernet(IPV6, &tcp6(VIP6)),
            Passed,
        ),
        same(
            "a fragment of TCP",
            patched(ethernet(IPV4, &tcp4(VIP4)), 20, 0x20),
            Passed,
        ),
        same("ARP", arp, Passed),
        same("802.1Q", tagged, Passed),
        same(
            "IPv6 options before the tunnel",
            ethernet(
                IPV6,
                &v6(
                    HOST6,
                    60,
                    &[&[41, 0, 4, 1, 4, 1, 1, 0], &tcp6(VIP6)[..]].concat(),
                ),
            ),
            Passed,
        ),
        same(
            "an IPv6 fragment of TCP",
            ethernet(
                IPV6,
                &v6(
                    HOST6,
                    44,
                    &[&[6, 0, 0, 1, 0, 0, 0, 1], &[0; 40][..]].concat(),
                ),
            ),
            Passed,
        ),
        same("an Ethernet header alone", ethernet(IPV4, &[]), Passed),
        same(
            "half an IPv4 header",
            cut(ethernet(IPV4, &tcp4(VIP4)), 46),
            Passed,
        ),
        same(
            "half an IPv6 header",
            ethernet(IPV6, &tcp6(VIP6)[..6]),
            Passed,
        ),
    ])
}

#[test]
fn tunnels_of_others_and_fragments_are_left_to_the_host() -> Result<()> {
    use DecapOutcome::Foreign;
    let whole = ethernet(IPV4, &v4(HOST4, 4, &tcp4(VIP4)));
    let fragment = |next: u8| [&[next, 0, 0, 1, 0, 0, 0, 1], &tcp6(VIP6)[..]].concat();
    check(vec![
        same(
            "IPv4 in IPv4",
            ethernet(IPV4, &v4(HOST4, 4, &tcp4(OTHER4))),
            Foreign,
        ),
        same(
            "IPv6 in IPv4",
            ethernet(IPV4, &v4(HOST4, 41, &tcp6(OTHER6))),
            Foreign,
        ),
        same(
            "IPv4 in IPv6",
            ethernet(IPV6, &v6(HOST6, 4, &tcp4(OTHER4))),
            Foreign,
        ),
        same(
            "IPv6 in IPv6",
            ethernet(IPV6, &v6(HOST6, 41, &tcp6(OTHER6))),
            Foreign,
        ),
        same(
            "first IPv4 fragment",
            patched(whole.clone(), 14 + 6, 0x20),
            Foreign,
        ),
        same(
            "later IPv4 fragment",
            patched(whole.clone(), 14 + 7, 1),
            Foreign,
        ),
        same(
            "high bits of the offset",
            patched(whole, 14 + 6, 0x10),
            Foreign,
        ),
        same(
            "IPv6 fragment, IPv6 inside",
            ethernet(IPV6, &v6(HOST6, 44, &fragment(41))),
            Foreign,
        ),
        same(
            "IPv6 fragment, IPv4 inside",
            ethernet(IPV6, &v6(HOST6, 44, &fragment(4))),
            Foreign,
        ),
        same(
            "the VIP's low half in another network",
            ethernet(
                IPV4,
                &v4(
                    HOST4,
                    41,
                    &tcp6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10)),
                ),
            ),
            Foreign,
        ),
    ])
}

/// A UDP datagram to `port` with a GUE header and `inner`.
fn gue_to(port: u16, header: [u8; 4], inner: &[u8]) -> Vec<u8> {
    let mut datagram = 50_000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(((12 + inner.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(header);
    datagram.extend(inner);
    datagram
}

/// As the balancer sends it, with `protocol` inside.
fn gue(protocol: u8, inner: &[u8]) -> Vec<u8> {
    gue_to(GUE_PORT, [0, protocol, 0, 0], inner)
}

#[test]
fn gue_is_unwrapped_in_each_pair_of_families() -> Result<()> {
    use DecapOutcome::Unwrapped;
    let (inner4, inner6) = (tcp4(VIP4), tcp6(VIP6));
    let four = || Some(ethernet(IPV4, &inner4));
    let six = || Some(ethernet(IPV6, &inner6));
    let over4 = |datagram: &[u8]| ethernet(IPV4, &v4(HOST4, 17, datagram));
    let over6 = |datagram: &[u8]| ethernet(IPV6, &v6(HOST6, 17, datagram));
    let mut padded = over4(&gue(4, &inner4));
    padded.extend([0xee; 9]);
    let mut padding = ethernet(IPV4, &inner4);
    padding.extend([0xee; 9]);
    let mut checked = gue(41, &inner6);
    checked[6..8].copy_from_slice(&[0x12, 0x34]);
    check(vec![
        Row("IPv4 over IPv4", over4(&gue(4, &inner4)), Unwrapped, four()),
        Row("IPv6 over IPv4", over4(&gue(41, &inner6)), Unwrapped, six()),
        Row("IPv4 over IPv6", over6(&gue(4, &inner4)), Unwrapped, four()),
        Row("IPv6 over IPv6", over6(&gue(41, &inner6)), Unwrapped, six()),
        Row(
            "outer options",
            ethernet(IPV4, &v4_with(&[1; 40], HOST4, 17, &gue(4, &inner4))),
            Unwrapped,
            four(),
        ),
        Row("bytes after the packet", padded, Unwrapped, Some(padding)),
        Row(
            "a UDP checksum, right or wrong",
            over6(&checked),
            Unwrapped,
            six(),
        ),
    ])
}

#[test]
fn gue_that_is_not_the_balancers_is_left_to_the_host() -> Result<()> {
    use DecapOutcome::{Foreign, Passed};
    let inner = tcp4(VIP4);
    let over4 = |datagram: &[u8]| ethernet(IPV4, &v4(HOST4, 17, datagram));
    let over6 = |datagram: &[u8]| ethernet(IPV6, &v6(HOST6, 17, datagram));
    let header = |bytes| gue_to(GUE_PORT, bytes, &inner);
    let first_fragment = patched(over4(&gue(4, &inner)), 14 + 6, 0x20);
    check(vec![
        same(
            "another port",
            over4(&gue_to(6080, [0, 4, 0, 0], &inner)),
            Passed,
        ),
        same(
            "another port, IPv6",
            over6(&gue_to(6080, [0, 4, 0, 0], &inner)),
            Passed,
        ),
        same("another VIP", over4(&gue(4, &tcp4(OTHER4))), Foreign),
        same("another VIP, IPv6", over6(&gue(41, &tcp6(OTHER6))), Foreign),
        same("options", over4(&header([1, 4, 0, 0])), Foreign),
        same(
            "a control message",
            over4(&header([0x20, 4, 0, 0])),
            Foreign,
        ),
        same("flags", over6(&header([0, 4, 0x80, 0])), Foreign),
        same("more flags", over6(&header([0, 4, 0, 1])), Foreign),
        same("TCP inside", over4(&header([0, 6, 0, 0])), Foreign),
        same(
            "variant 1",
            over4(&gue_to(GUE_PORT, [0x45, 0, 0, 40], &inner)),
            Foreign,
        ),
        same("the first fragment", first_fragment.clone(), Foreign),
        same(
            "a later fragment",
            patched(first_fragment, 14 + 7, 1),
            Passed,
        ),
        same("UDP without ports", over4(&[0xc0]), Passed),
    ])
}

#[test]
fn contradictory_gue_is_dropped() -> Result<()> {
    use DecapOutcome::Malformed;
    let over4 = |datagram: &[u8]| ethernet(IPV4, &v4(HOST4, 17, datagram));
    let over6 = |datagram: &[u8]| ethernet(IPV6, &v6(HOST6, 17, datagram));
    let (sound4, sound6) = (over4(&gue(4, &tcp4(VIP4))), over6(&gue(41, &tcp6(VIP6))));
    let (udp4, udp6) = (14 + 20, 14 + 40);
    check(vec![
        same(
            "UDP length of 11",
            patched(sound4.clone(), udp4 + 5, 11),
            Malformed,
        ),
        same(
            "UDP longer than IPv4",
            patched(sound4.clone(), udp4 + 4, 1),
            Malformed,
        ),
        same(
            "UDP longer than IPv6",
            patched(sound6.clone(), udp6 + 4, 1),
            Malformed,
        ),
        same(
            "nothing behind the ports",
            over4(&gue(4, &[])[..4]),
            Malformed,
        ),
        same("no GUE header", over6(&gue(4, &[])[..8]), Malformed),
        same("nothing inside", over4(&gue(4, &[])), Malformed),
        same(
            "half an inner header",
            over4(&gue(4, &tcp4(VIP4)[..19])),
            Malformed,
        ),
        same(
            "inner longer than the datagram",
            patched(sound4.clone(), udp4 + 5, 30),
            Malformed,
        ),
        same(
            "IPv6 said, IPv4 inside",
            patched(sound4.clone(), udp4 + 9, 41),
            Malformed,
        ),
        same(
            "IPv4 said, IPv6 inside",
            patched(sound6, udp6 + 9, 4),
            Malformed,
        ),
        same("IPv4 past the frame", cut(sound4, 1), Malformed),
    ])
}

#[test]
fn contradictory_tunnel_packets_are_dropped() -> Result<()> {
    use DecapOutcome::Malformed;
    let outer4 = ethernet(IPV4, &v4(HOST4, 4, &tcp4(VIP4)));
    let outer6 = ethernet(IPV6, &v6(HOST6, 41, &tcp6(VIP6)));
    let (inner4, inner6) = (14 + 20, 14 + 40);
    check(vec![
        same(
            "outer version 5",
            patched(outer4.clone(), 14, 0x55),
            Malformed,
        ),
        same(
            "outer IPv6 of version 4",
            patched(outer6.clone(), 14, 0x40),
            Malformed,
        ),
        same(
            "outer header of 16 bytes",
            patched(outer4.clone(), 14, 0x44),
            Malformed,
        ),
        same(
            "outer length below its header",
            patched(outer4.clone(), 14 + 3, 19),
            Malformed,
        ),
        same(
            "outer IPv4 length past the frame",
            cut(outer4.clone(), 1),
            Malformed,
        ),
        same(
            "outer IPv6 length past the frame",
            cut(outer6.clone(), 1),
            Malformed,
        ),
        same(
            "outer header past the frame",
            patched(cut(outer4.clone(), 54), 14, 0x4f),
            Malformed,
        ),
        same(
            "nothing inside IPv4",
            ethernet(IPV4, &v4(HOST4, 4, &[])),
            Malformed,
        ),
        same(
            "nothing inside IPv6",
            ethernet(IPV6, &v6(HOST6, 41, &[])),
            Malformed,
        ),
        same(
            "half an inner IPv4 header",
            ethernet(IPV4, &v4(HOST4, 4, &tcp4(VIP4)[..19])),
            Malformed,
        ),
        same(
            "half an inner IPv6 header",
            ethernet(IPV6, &v6(HOST6, 41, &tcp6(VIP6)[..39])),
            Malformed,
        ),
        same(
            "IPv6 said, IPv4 inside",
            patched(outer4.clone(), 14 + 9, 41),
            Malformed,
        ),
        same(
            "IPv4 said, IPv6 inside",
            patched(outer6.clone(), 14 + 6, 4),
            Malformed,
        ),
        same(
            "inner header of 16 bytes",
            patched(outer4.clone(), inner4, 0x44),
            Malformed,
        ),
        same(
            "inner IPv4 length below its header",
            patched(outer4.clone(), inner4 + 3, 19),
            Malformed,
        ),
        same(
            "inner IPv4 longer than the outer",
            patched(outer4, inner4 + 3, 55),
            Malformed,
        ),
        same(
            "inner IPv6 longer than the outer",
            patched(outer6, inner6 + 5, 35),
            Malformed,
        ),
    ])
}

#[test]
fn frames_of_several_buffers_are_unwrapped() -> Result<()> {
    let data: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
    let inner = v4(VIP4, 6, &data);
    check(vec![
        Row(
            "IPv4 in IPv6",
            ethernet(IPV6, &v6(HOST6, 4, &inner)),
            DecapOutcome::Unwrapped,
            Some(ethernet(IPV4, &inner)),
        ),
        same(
            "cut short in the last buffer",
            cut(ethernet(IPV4, &v4(HOST4, 4, &inner)), 1),
            DecapOutcome::Malformed,
        ),
    ])
}

/// Whatever the bytes are: what is unwrapped is a part of what came and goes
/// to a VIP, what is passed is untouched.
#[test]
fn random_damage_never_leads_to_another_packet() -> Result<()> {
    let mut decap = Decap::load()?;
    let mut random = StdRng::seed_from_u64(7);
    let sound = [
        ethernet(IPV4, &v4(HOST4, 4, &tcp4(VIP4))),
        ethernet(IPV4, &v4(HOST4, 41, &tcp6(VIP6))),
        ethernet(IPV6, &v6(HOST6, 4, &tcp4(VIP4))),
        ethernet(IPV6, &v6(HOST6, 41, &tcp6(VIP6))),
        ethernet(IPV4, &v4(HOST4, 17, &gue(41, &tcp6(VIP6)))),
        ethernet(IPV6, &v6(HOST6, 17, &gue(4, &tcp4(VIP4)))),
    ];
    let mut seen = [0u32; DecapOutcome::ALL.len()];
    for round in 0..4000 {
        let mut frame = sound[round % sound.len()].clone();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(12..14 + 60);
            frame[at] = random.random();
        }
        if random.random_bool(0.1) {
            frame.truncate(random.random_range(14..frame.len()));
        }
        let (verdict, out, outcome) = decap.run(&frame)?;
        seen[outcome as usize] += 1;
        if outcome != DecapOutcome::Unwrapped {
            assert_eq!(out, frame);
            assert_eq!(verdict == XDP_DROP, outcome == DecapOutcome::Malformed);
            continue;
        }
        assert_eq!(out[..12], frame[..12]);
        assert!(frame.ends_with(&out[14..]));
        let to_a_vip = match out[12..14] {
            [0x08, 0x00] => out[14 + 16..14 + 20] == VIP4.octets(),
            [0x86, 0xdd] => out[14 + 24..14 + 40] == VIP6.octets(),
            _ => false,
        };
        assert!(to_a_vip, "{out:02x?}");
    }
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    Ok(())
}
