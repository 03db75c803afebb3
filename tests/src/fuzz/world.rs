//! What the packets meet: VIPs of every mode and kind, some of whose slots
//! change hands meanwhile.

use super::dice::Dice;
use crate::packet::{
    Family,
    bed::{self, Bed, Role, SLOTS},
    nat,
};
use anyhow::Result;
use navigator_core::model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy};
use navigator_user::dataplane::{Dataplane as _, VipSettings, nat::NatSettings, store::Sizes};
use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

/// Port that every VIP has.
pub const PORT: u16 = 80;

/// The VIPs of one address, or one prefix, of each family.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Number of the addresses.
    pub number: u8,
    /// How backends are reached.
    pub mode: ForwardMode,
    /// The backends' family; the address's own if `None`.
    pub hosts: Option<Family>,
    backends: u8,
    ports: &'static str,
    protocols: &'static [Protocol],
    /// It is a prefix of sixteen addresses, of which this is the first.
    pub is_prefix: bool,
    unserved: UnservedPolicy,
    udp: UdpPolicy,
    /// Its table changes now and then.
    changes: bool,
}

const PLAIN: Kind = Kind {
    number: 1,
    mode: ForwardMode::L2,
    hosts: None,
    backends: 1,
    ports: "80",
    protocols: &[Protocol::Tcp, Protocol::Udp],
    is_prefix: false,
    unserved: UnservedPolicy::Drop,
    udp: UdpPolicy::Rehash,
    changes: false,
};

/// All kinds of VIP there are.
pub const KINDS: [Kind; 12] = [
    PLAIN,
    Kind {
        number: 2,
        unserved: UnservedPolicy::Pass,
        ..PLAIN
    },
    Kind {
        number: 3,
        udp: UdpPolicy::Sticky,
        backends: 3,
        changes: true,
        ..PLAIN
    },
    Kind {
        number: 4,
        mode: ForwardMode::Ipip,
        hosts: Some(Family::V4),
        ..PLAIN
    },
    Kind {
        number: 6,
        mode: ForwardMode::Ipip,
        hosts: Some(Family::V6),
        ..PLAIN
    },
    Kind {
        number: 14,
        mode: ForwardMode::Gue,
        hosts: Some(Family::V4),
        ..PLAIN
    },
    Kind {
        number: 16,
        mode: ForwardMode::Gue,
        hosts: Some(Family::V6),
        ..PLAIN
    },
    Kind {
        number: 20,
        mode: ForwardMode::Nat,
        backends: 2,
        changes: true,
        ..PLAIN
    },
    Kind {
        number: 7,
        backends: 0,
        ..PLAIN
    },
    Kind {
        number: 8,
        ports: "80-1500",
        protocols: &[Protocol::Both],
        ..PLAIN
    },
    Kind {
        number: 9,
        ports: "0",
        protocols: &[Protocol::Both],
        ..PLAIN
    },
    Kind {
        number: 240,
        is_prefix: true,
        ..PLAIN
    },
];

/// A number of no VIP's address.
pub const NO_VIP: u8 = 99;

/// Flows that NAT has room for: few enough to get full.
const NAT_FLOWS: u32 = 4096;

/// How NAT is done: from two addresses of each family, of which the host has one itself.
pub fn nat() -> &'static NatSettings {
    static SETTINGS: LazyLock<NatSettings> = LazyLock::new(|| {
        let mut settings = nat::settings(2);
        let second = |family: Family| family.backend(nat::SOURCE + 1, 0).ip();
        settings.own = Family::BOTH.into_iter().map(second).collect();
        settings
    });
    &SETTINGS
}

/// Numbers of the backends' hosts.
const HOSTS: std::ops::Range<u8> = 1..4;

impl Kind {
    /// The kind of the VIP at an address as packets hold it.
    pub fn at(address: &[u8]) -> Option<&'static Self> {
        let (last, network) = address.split_last()?;
        let family = Family::BOTH
            .into_iter()
            .find(|family| match family.vip(0, PORT).ip() {
                IpAddr::V4(ip) => ip.octets().split_last().is_some_and(|(_, n)| n == network),
                IpAddr::V6(ip) => ip.octets().split_last().is_some_and(|(_, n)| n == network),
            });
        family?;
        let holds = |kind: &&Self| match kind.is_prefix {
            true => last & 0xf0 == kind.number,
            false => *last == kind.number,
        };
        KINDS.iter().find(holds)
    }

    fn members(&self, family: Family) -> Vec<(SocketAddr, Role)> {
        let hosts = self.hosts.unwrap_or(family);
        let numbers = HOSTS.take(self.backends.into());
        let backend = |number| (hosts.backend(number, PORT), Role::Active);
        numbers.map(backend).collect()
    }
}

/// The tables, filled.
pub struct World {
    /// The programs over them.
    pub bed: Bed,
}

impl World {
    /// Every VIP of [`KINDS`].
    ///
    /// # Errors
    /// Without root, or if the data plane refuses.
    pub fn new() -> Result<Self> {
        let sizes = Sizes {
            nat_flows: NAT_FLOWS,
            ..bed::SIZES
        };
        let mut world = Self {
            bed: Bed::with_nat(nat().clone(), sizes)?,
        };
        for kind in KINDS {
            world.serve(&kind, |family| kind.members(family), 0)?;
        }
        Ok(world)
    }

    /// Another table and other states of backends for the VIPs that change, and now and then
    /// a host that cannot be reached for a while, or by a narrow way.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn change(&mut self, dice: &mut Dice) -> Result<()> {
        let shift = dice.below(1000);
        let roles: Vec<_> = HOSTS
            .map(|_| *dice.pick(&[Role::Active, Role::Active, Role::Draining, Role::Dead]))
            .collect();
        for kind in KINDS.iter().filter(|kind| kind.changes) {
            let members = |family| {
                let members = kind.members(family).into_iter();
                let roles = roles.iter().copied();
                members
                    .zip(roles)
                    .map(|((host, _), role)| (host, role))
                    .collect()
            };
            self.serve(kind, members, shift)?;
        }
        self.bed.plane().sweep();
        let host = dice.pick(&Family::BOTH).backend(HOSTS.start, PORT).ip();
        if dice.once_in(4) {
            self.bed.lose(host)
        } else {
            let mtu = *dice.pick(&[0, 0, 600, 1400]);
            self.bed.reach_by(host, bed::IFINDEX, mtu)
        }
    }

    fn serve(
        &mut self,
        kind: &Kind,
        members: impl Fn(Family) -> Vec<(SocketAddr, Role)>,
        shift: usize,
    ) -> Result<()> {
        for family in Family::BOTH {
            for &protocol in kind.protocols {
                let mut vip = VipSettings {
                    unserved: kind.unserved,
                    udp: kind.udp,
                    ..bed::vip(family.vip(kind.number, PORT), protocol, kind.mode)
                };
                vip.key.ports = kind.ports.parse()?;
                if kind.is_prefix {
                    vip.key.prefix -= 4;
                }
                let members = members(family);
                let active: Vec<_> = (0..members.len())
                    .filter(|index| members[*index].1 == Role::Active)
                    .collect();
                let owner = |slot: u32| {
                    let turn = (slot as usize + shift) % SLOTS as usize;
                    (!active.is_empty()).then(|| active[turn % active.len()])
                };
                self.bed.spread(&vip, &members, owner)?;
            }
        }
        Ok(())
    }
}
