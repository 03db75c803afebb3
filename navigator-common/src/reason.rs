//! Why a packet left the program: one name each, and what is counted beside.

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Handed to the host's network stack, untouched.
    Pass,
    /// Discarded.
    Drop,
    /// Answered by the program itself: the frame is the answer by now, and leaves by the way it came.
    Reply,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $verdict:ident;)+) => {
        /// Why a packet was not forwarded. A forwarded packet has no entry
        /// here: it is counted under its backend.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Reason { $($(#[doc = $doc])+ $variant),+ }

        impl Reason {
            /// Every reason, in the order of its counter.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason with this [`Reason::index`].
            #[inline(always)]
            pub const fn from_index(index: u32) -> Option<Self> {
                match index {
                    $(index if index == Self::$variant as u32 => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name in counters, metrics and commands.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What becomes of the packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict),+ }
            }

            /// What it means, for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start()),+ }
            }
        }
    };
}

reasons! {
    /// The frame is for another MAC address (or a broadcast or multicast one), or comes from one of these.
    PassOtherMac = "pass_other_mac", Pass;
    /// Neither IPv4 nor IPv6.
    PassNotIp = "pass_not_ip", Pass;
    /// Too short to hold the IP header that its Ethernet type announces.
    PassTruncated = "pass_truncated", Pass;
    /// The destination address is no VIP address.
    PassNotVip = "pass_not_vip", Pass;
    /// ICMP or ICMPv6 to a VIP address, but neither an echo request nor an error about a flow of
    /// a VIP; the host answers if it holds the address.
    PassIcmp = "pass_icmp", Pass;
    /// No VIP serves this port or protocol of a VIP address, and the address's policy is to pass.
    PassUnserved = "pass_unserved", Pass;
    /// No VIP serves this port or protocol of a VIP address, and the address's policy is to drop.
    DropUnserved = "drop_unserved", Drop;
    /// For a VIP address, with lengths that contradict each other or cut a header short.
    DropMalformed = "drop_malformed", Drop;
    /// A later fragment for a VIP address whose first one did not come, or more than half a minute ago.
    DropFragment = "drop_fragment", Drop;
    /// A fragment for a VIP address that cannot be a part of an honest packet: a first one that
    /// does not hold the headers, one that overlaps them, has an odd length, or ends beyond the
    /// longest packet.
    DropBadFragment = "drop_bad_fragment", Drop;
    /// For a VIP address, with IPv6 extension headers that are too many, too long or misplaced,
    /// or a routing header that has not been followed to its end.
    DropExtension = "drop_extension", Drop;
    /// From an address that nobody can have who sends to a VIP: multicast, broadcast, loopback,
    /// unspecified, or the VIP itself.
    DropSource = "drop_source", Drop;
    /// For a VIP address, from or to TCP or UDP port 0.
    DropPortZero = "drop_port_zero", Drop;
    /// For a VIP address, with a wrong IPv4 header checksum.
    DropChecksum = "drop_checksum", Drop;
    /// For a VIP address, with a TTL or hop limit of 0.
    DropTtl = "drop_ttl", Drop;
    /// For a VIP, from the MAC address of this interface or of the very backend that it would
    /// go to: it was forwarded once and came back.
    DropLoop = "drop_loop", Drop;
    /// An echo request to a VIP address was answered.
    ReplyEcho = "reply_echo", Reply;
    /// An echo request to a VIP address above the limit of 1,000 a second and CPU.
    DropEchoLimit = "drop_echo_limit", Drop;
    /// An ICMP error to a VIP address that quotes too little of a packet to tell its flow.
    DropIcmpQuote = "drop_icmp_quote", Drop;
    /// The VIP has no backend for this flow.
    DropNoBackend = "drop_no_backend", Drop;
    /// The backend's next hop has no known MAC address.
    DropNoNeighbour = "drop_no_neighbour", Drop;
    /// The packet with its tunnel header is longer than the way to its backend takes; whoever
    /// sent it was told what fits.
    ReplyTooBig = "reply_too_big", Reply;
    /// The packet with its tunnel header is longer than the way to its backend takes, and must
    /// not be answered: above the limit of answers, an error itself, or IPv6 that is short already.
    DropTooBig = "drop_too_big", Drop;
    /// The packet with its tunnel header would be longer than an IP packet can be.
    DropTooLong = "drop_too_long", Drop;
    /// The driver left no room in front of the packet for a tunnel header.
    DropNoHeadroom = "drop_no_headroom", Drop;
    /// The interface that leads to the backend could not be used.
    DropNoEgress = "drop_no_egress", Drop;
    /// For a NAT source address that is this host's own, and of no NAT flow.
    PassNatHost = "pass_nat_host", Pass;
    /// A TCP segment for a NAT VIP that opens no connection, of no known flow.
    DropNatUnknown = "drop_nat_unknown", Drop;
    /// Of a NAT flow whose backend can no longer serve it.
    DropNatGone = "drop_nat_gone", Drop;
    /// A new flow of a NAT VIP, and the NAT tables are full.
    DropNatFull = "drop_nat_full", Drop;
    /// A new flow of a NAT VIP, and no source port was free in 16 tries.
    DropNatPorts = "drop_nat_ports", Drop;
    /// A new flow of a NAT VIP whose place in the NAT tables another flow has.
    DropNatCollision = "drop_nat_collision", Drop;
    /// For a NAT source address, and of no NAT flow.
    DropNatStray = "drop_nat_stray", Drop;
    /// The maps contradict each other; never seen in a healthy system.
    DropCorrupt = "drop_corrupt", Drop;
}

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// Something notable on the way of a packet that was forwarded from a tracked slot.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Event { $($(#[doc = $doc])+ $variant),+ }

        impl Event {
            /// Every event, in the order of its counter.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in counters, metrics and commands.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start()),+ }
            }
        }
    };
}

events! {
    /// A remembered flow went to its backend.
    FlowHit = "flow_hit";
    /// A flow was remembered.
    FlowRemembered = "flow_remembered";
    /// Another CPU took the entry; the packet was forwarded, its flow not remembered.
    FlowLostRace = "flow_lost_race";
    /// All entries of the set hold established flows; the flow was not remembered.
    FlowSetFull = "flow_set_full";
    /// A flow was put into the NAT tables.
    NatOpened = "nat_opened";
    /// A packet to a QUIC VIP went to the backend that its connection id names.
    QuicById = "quic_by_id";
    /// A packet to a QUIC VIP whose connection id names no backend went by its addresses and ports.
    QuicByTuple = "quic_by_tuple";
}

/// First counter of the events; reasons are counted below it.
pub const FIRST_EVENT: u32 = 96;

/// Entries of the reason counters' array.
pub const COUNTERS: u32 = 128;

impl Reason {
    /// Its entry in the reason counters' array.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }
}

impl Event {
    /// Its entry in the reason counters' array.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        FIRST_EVENT + self as u32
    }
}

/// What a backend was sent, and what it sent back: the value of the backend counters' array.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded: the clients' IP packets, without Ethernet and tunnel headers.
    pub bytes: u64,
    /// Replies of NAT flows; those of other modes go past the balancer.
    pub reply_packets: u64,
    /// Bytes of those replies: IP packets, without Ethernet headers.
    pub reply_bytes: u64,
}

const _: () = {
    assert!(Reason::ALL.len() <= FIRST_EVENT as usize);
    assert!(FIRST_EVENT as usize + Event::ALL.len() <= COUNTERS as usize);
    assert!(size_of::<Traffic>() == 32);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_say_the_verdict() {
        let mut seen = HashSet::new();
        for &reason in Reason::ALL {
            assert!(seen.insert(reason.name()), "{} twice", reason.name());
            let prefix = match reason.verdict() {
                Verdict::Pass => "pass_",
                Verdict::Drop => "drop_",
                Verdict::Reply => "reply_",
            };
            assert!(
                reason.name().starts_with(prefix),
                "{} does not start with {prefix}",
                reason.name()
            );
            assert!(reason.describe().ends_with('.'));
        }
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_index(reason.index()), Some(reason));
        }
        assert_eq!(Reason::from_index(Reason::ALL.len() as u32), None);
        for &event in Event::ALL {
            assert!(seen.insert(event.name()), "{} twice", event.name());
        }
    }
}
