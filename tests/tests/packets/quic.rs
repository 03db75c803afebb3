//! QUIC by connection id (draft-ietf-quic-load-balancers, unencrypted ids):
//! packets made by hand, with the draft's own vectors among them.

use crate::world::{PORT, UDP};
use anyhow::Result;
use navigator_common::reason::{Event, Reason};
use navigator_core::model::{ForwardMode, Protocol, QuicConfigs, ServerId, VipKey};
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    expect::{l2, passed},
    frame::{self, Tcp},
    row::{Row, row},
};
use navigator_user::dataplane::{Dataplane as _, Steering, VipSettings};
use std::net::SocketAddr;

/// A packet with a short header: first octet, connection id, then what is encrypted.
fn short(id: &[u8]) -> Vec<u8> {
    [&[0x40 | 0x1d][..], id, &[0xa5; 24]].concat()
}

/// A packet with a long header of this version, and of this type in bits that mean nothing to
/// a balancer.
fn long(first: u8, version: u32, id: &[u8]) -> Vec<u8> {
    let head = [0x80 | first];
    let source = [4, 1, 2, 3, 4];
    [
        &head[..],
        &version.to_be_bytes(),
        &[id.len() as u8],
        id,
        &source,
        &[0x5a; 60],
    ]
    .concat()
}

/// Bytes of hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(|&[high, low]| digit(high) << 4 | digit(low))
        .collect()
}

/// A QUIC VIP; backend 1 owns all slots, the others only have server ids.
struct Scene {
    bed: Bed,
    family: Family,
    settings: VipSettings,
}

/// Server ids of the backends; configuration 0 has three bytes, 1 has five, 6 has fifteen.
const IDS: [(u8, &str); 5] = [
    (1, "010101"),
    (2, "c4605e"),
    (2, "350d28b420"),
    (3, "aabbcc"),
    (4, "0f0e0d0c0b0a09080706050403020f"),
];

impl Scene {
    fn new(family: Family, protocol: Protocol) -> Result<Self> {
        let mut quic = QuicConfigs::default();
        for (config, length) in [(0, 3), (1, 5), (6, 15)] {
            quic.set(config, length);
        }
        let ids: Result<Vec<(ServerId, SocketAddr)>, _> = IDS
            .iter()
            .map(|(number, id)| Ok((id.parse()?, family.backend(*number, PORT))))
            .collect::<Result<_, navigator_core::model::BadServerId>>();
        let settings = VipSettings {
            steering: Steering {
                quic,
                server_ids: ids?,
                ..Steering::default()
            },
            ..bed::vip(family.vip(1, PORT), protocol, ForwardMode::L2)
        };
        let mut scene = Self {
            bed: Bed::new()?,
            family,
            settings,
        };
        scene.serve([Role::Active; 4])?;
        Ok(scene)
    }

    /// Gives the backends these roles; the first active one owns all slots.
    fn serve(&mut self, roles: [Role; 4]) -> Result<()> {
        let backend = |number| self.family.backend(number, PORT);
        let all: Vec<_> = (1..).map(backend).zip(roles).collect();
        self.bed.serve(&self.settings, &all)?;
        Ok(())
    }

    fn key(&self) -> VipKey {
        self.settings.key
    }

    /// `payload` from some port of a client goes to the backend that its connection id names.
    fn by_id(&self, name: &str, payload: &[u8], backend: u8) -> Row {
        self.goes(name, payload, backend, Event::QuicById)
    }

    /// It goes where its addresses and ports lead.
    fn by_tuple(&self, name: &str, payload: &[u8], backend: u8) -> Row {
        self.goes(name, payload, backend, Event::QuicByTuple)
    }

    fn goes(&self, name: &str, payload: &[u8], backend: u8, event: Event) -> Row {
        let client = self.family.client(9, 40_000);
        let packet = frame::udp(client, self.family.vip(1, PORT), payload);
        let to = self.family.backend(backend, PORT);
        row(name, packet, |frame: &[u8]| {
            l2(self.key(), to)(frame).with(&[event])
        })
    }
}

#[test]
fn a_connection_id_names_its_server() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family, UDP)?;
        let vector_0 = hex("07c4605e4504cc4f");
        let vector_1 = hex("2a350d28b4203487d9700b");
        let longest = hex("d30f0e0d0c0b0a09080706050403020f01020304");
        let rows = [
            scene.by_id("the draft's first vector", &short(&vector_0), 2),
            scene.by_id("the draft's second vector", &short(&vector_1), 2),
            scene.by_id("fifteen bytes", &short(&longest), 4),
            scene.by_id("another server", &short(&hex("07aabbcc00000000")), 3),
            scene.by_id(
                "random bits for the length",
                &short(&hex("1faabbcc00000000")),
                3,
            ),
            scene.by_id("a handshake packet", &long(0x20, 1, &vector_0), 2),
            scene.by_id("the answer to a retry", &long(0x00, 1, &vector_0), 2),
            scene.by_id("another version", &long(0x7f, 0xdead_beef, &vector_1), 2),
            scene.by_id(
                "a longer id",
                &long(0, 1, &hex("07c4605e4504cc4f00010203")),
                2,
            ),
        ];
        scene.bed.check(&rows)?;
    }
    Ok(())
}

/// Whatever address and port a client has now, its packets go to its server.
#[test]
fn a_client_that_moves_stays_with_its_server() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family, UDP)?;
        let payload = short(&hex("07aabbcc45040001"));
        let to = family.backend(3, PORT);
        let rows: Vec<Row> = (1..100u8)
            .map(|number| {
                let client = family.client(number, 1000 + 600 * u16::from(number));
                let packet = frame::udp(client, family.vip(1, PORT), &payload);
                let expect = |frame: &[u8]| l2(scene.key(), to)(frame).with(&[Event::QuicById]);
                row(format!("from {client}"), packet, expect)
            })
            .collect();
        scene.bed.check(&rows)?;
    }
    Ok(())
}

#[test]
fn what_names_no_server_goes_by_its_tuple() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family, UDP)?;
        let rows = [
            scene.by_tuple("configuration 7", &short(&hex("e7c4605e4504cc4f")), 1),
            scene.by_tuple(
                "a configuration that is not in use",
                &short(&hex("47c4605e4504cc4f")),
                1,
            ),
            scene.by_tuple("an unknown server", &short(&hex("07c4605f4504cc4f")), 1),
            scene.by_tuple(
                "a server of another configuration",
                &short(&hex("27c4605e4504cc4f")),
                1,
            ),
            scene.by_tuple(
                "an initial packet",
                &long(0, 1, &hex("9f8e7d6c5b4a3928")),
                1,
            ),
            scene.by_tuple(
                "its id is too short",
                &long(0, 1, &hex("07c4605e4504cc")),
                1,
            ),
            scene.by_tuple("no connection id", &long(0, 1, &[]), 1),
            scene.by_tuple("cut short", &short(&hex("07c4605e4504cc4f"))[..17], 1),
            scene.by_tuple(
                "cut in the long header",
                &long(0, 1, &hex("07c4605e4504cc4f"))[..22],
                1,
            ),
            scene.by_tuple("one byte", &[0x40], 1),
            scene.by_tuple("nothing", &[], 1),
        ];
        scene.bed.check(&rows)?;
    }
    Ok(())
}

#[test]
fn a_draining_server_keeps_its_connections_and_a_dead_one_does_not() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family, UDP)?;
        let payload = short(&hex("07aabbcc45040001"));
        scene.serve([Role::Active, Role::Active, Role::Draining, Role::Active])?;
        let row = scene.by_id("draining", &payload, 3);
        scene.bed.check(&[row])?;
        scene.serve([Role::Active, Role::Active, Role::Dead, Role::Active])?;
        let row = scene.by_tuple("dead", &payload, 1);
        scene.bed.check(&[row])?;
        // Another instance has the server id from here on.
        if let Some(claim) = scene.settings.steering.server_ids.get_mut(3) {
            claim.1 = family.backend(2, PORT);
        }
        scene.serve([Role::Active, Role::Active, Role::Dead, Role::Active])?;
        let row = scene.by_id("given to another", &payload, 2);
        scene.bed.check(&[row])?;
        scene.settings.steering = Steering::default();
        scene.serve([Role::Active, Role::Active, Role::Dead, Role::Active])?;
        let client = family.client(9, 40_000);
        let plain = frame::udp(client, family.vip(1, PORT), &payload);
        let to = l2(scene.key(), family.backend(1, PORT));
        scene
            .bed
            .check(&[row_of("no longer a QUIC VIP", plain, to)])?;
    }
    Ok(())
}

fn row_of(
    name: &str,
    packet: Vec<u8>,
    to: impl Fn(&[u8]) -> navigator_tests::packet::expect::Outcome,
) -> Row {
    row(name, packet, to)
}

/// TCP to the same VIP knows nothing of connection ids; another VIP's servers are not this one's.
#[test]
fn only_the_udp_of_that_vip_is_looked_into() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family, Protocol::Both)?;
        let client = family.client(9, 40_000);
        let payload = short(&hex("07aabbcc45040001"));
        let segment = frame::tcp(client, family.vip(1, PORT), Tcp::Ack, &payload);
        let own = l2(scene.key(), family.backend(1, PORT));
        let other = VipSettings {
            steering: Steering {
                server_ids: Vec::new(),
                ..scene.settings.steering.clone()
            },
            ..bed::vip(family.vip(2, PORT), UDP, ForwardMode::L2)
        };
        let five = family.backend(5, PORT);
        scene.bed.serve(&other, &[(five, Role::Active)])?;
        let foreign = frame::udp(client, family.vip(2, PORT), &payload);
        let to_five = |frame: &[u8]| l2(other.key, five)(frame).with(&[Event::QuicByTuple]);
        let rows = [
            row_of("TCP", segment, own),
            scene.by_id("UDP", &payload, 3),
            row_of("another VIP", foreign, to_five),
        ];
        scene.bed.check(&rows)?;
        let key = scene.key();
        scene.bed.plane().remove(&key)?;
        let gone = frame::udp(client, family.vip(1, PORT), &payload);
        scene
            .bed
            .check(&[row_of("removed", gone, passed(Reason::PassNotVip))])?;
    }
    Ok(())
}
