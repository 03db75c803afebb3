//! Packet tables: packet in, verdict, packet out to the byte, and the counters
//! that change, and no others. By BPF_PROG_TEST_RUN, which needs root.
//!
//! A row reads like a sentence of the specification; `navigator_tests::packet`
//! has the packets, the outcomes and the runner.

#[path = "packets/world.rs"]
mod world;

#[path = "packets/affinity.rs"]
mod affinity;
#[path = "packets/again.rs"]
mod again;
#[path = "packets/at_risk.rs"]
mod at_risk;
#[path = "packets/at_risk_crowd.rs"]
mod at_risk_crowd;
#[path = "packets/at_risk_end.rs"]
mod at_risk_end;
#[path = "packets/at_risk_icmp.rs"]
mod at_risk_icmp;
#[path = "packets/corrupt.rs"]
mod corrupt;
#[path = "packets/drop.rs"]
mod drop;
#[path = "packets/extensions.rs"]
mod extensions;
#[path = "packets/floods.rs"]
mod floods;
#[path = "packets/fragments.rs"]
mod fragments;
#[path = "packets/icmp_echo.rs"]
mod icmp_echo;
#[path = "packets/icmp_errors.rs"]
mod icmp_errors;
#[path = "packets/jumbo.rs"]
mod jumbo;
#[path = "packets/kinds.rs"]
mod kinds;
#[path = "packets/l2.rs"]
mod l2;
#[path = "packets/malformed.rs"]
mod malformed;
#[path = "packets/nat.rs"]
mod nat;
#[path = "packets/nat_icmp.rs"]
mod nat_icmp;
#[path = "packets/nat_life.rs"]
mod nat_life;
#[path = "packets/nat_odd.rs"]
mod nat_odd;
#[path = "packets/on_down.rs"]
mod on_down;
#[path = "packets/outer_source.rs"]
mod outer_source;
#[path = "packets/pass.rs"]
mod pass;
#[path = "packets/quic.rs"]
mod quic;
#[path = "packets/redirect.rs"]
mod redirect;
#[path = "packets/refuse.rs"]
mod refuse;
#[path = "packets/select.rs"]
mod select;
#[path = "packets/too_big.rs"]
mod too_big;
#[path = "packets/trace.rs"]
mod trace;
#[path = "packets/tunnels.rs"]
mod tunnels;
#[path = "packets/udp.rs"]
mod udp;
#[path = "packets/vips.rs"]
mod vips;
#[path = "packets/vlan.rs"]
mod vlan;
#[path = "packets/windows.rs"]
mod windows;
