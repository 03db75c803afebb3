//! The contract between Navigator's XDP programs and its user space.
//!
//! Whatever both sides must agree on is defined here and nowhere else: how an
//! address is spelled in a map ([`addr`]), the flow hash ([`hash`]), the
//! values of every map ([`vip`], [`slot`], [`backend`], [`egress`], [`flow`]), the named
//! reasons and counters ([`reason`]), records of single packets ([`trace`]), and the maps'
//! names, capacities and ABI
//! versions ([`maps`]).
//!
//! Two rules hold for every value in a shared map:
//!
//! * what may change while the program reads it is **one aligned `u64`**,
//!   stored atomically and read once;
//! * the rest of a record is immutable for as long as anything may point at
//!   it; it is rewritten only after a grace period.
//!
//! Every map value is therefore a whole number of `u64` words, with no
//! padding that the compiler chose.
#![no_std]

pub mod addr;
pub mod backend;
pub mod checksum;
pub mod egress;
pub mod flow;
pub mod fragment;
pub mod gue;
pub mod hash;
pub mod limit;
pub mod mac;
pub mod maps;
pub mod nat;
pub mod quic;
pub mod reason;
pub mod slot;
pub mod trace;
pub mod vip;

#[cfg(not(target_endian = "little"))]
compile_error!("Navigator's map layouts are defined for little-endian machines only");
