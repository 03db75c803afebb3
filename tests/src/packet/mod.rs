//! Packet tables: a packet goes in, a verdict, a packet and counters come out.
//!
//! Packets are built by `etherparse`, which computes lengths and checksums by
//! its own code, so that what the program makes of them is held against
//! something that the program has no part in.
//!
//! | file | what it is |
//! |---|---|
//! | `addresses` | who is who in the tables |
//! | `frame`, `edit`, `fragment` | packets: whole, spoilt, in parts or with IPv6 extension headers |
//! | `icmp`, `checksum` | ICMP messages; checksums, computed anew |
//! | `expect` | what a packet leaves as |
//! | `flow` | the hash of a packet's flow, by the contract's own function |
//! | `nat` | what full NAT makes of packets |
//! | `bed`, `counters` | the program over tables that the real writer filled |
//! | `loaded` | programs that one test after the other gets |
//! | `record` | whether a traced packet's record is the truth |
//! | `row`, `diff` | one line of a table, and how a wrong one is told |
//! | `script` | packets and table changes in sequence |

pub mod addresses;
pub mod bed;
pub mod checksum;
mod counters;
mod diff;
pub mod edit;
pub mod expect;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod icmp;
mod loaded;
pub mod nat;
mod record;
pub mod row;
pub mod script;

pub use addresses::{Family, LOCAL_MAC, ROUTER_MAC};
pub use frame::{Tcp, tcp, udp};
