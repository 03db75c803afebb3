//! Seeing packets: who asked for which, and what becomes of the records.
//!
//! ```text
//! navigator trace ──► GET /v1/trace ──► Hub: who traces what, until when
//!                          ▲             │  ▲
//!                          │   filters   ▼  │ records
//!                          │       data plane: `navigator_traced` in the link, while
//!                          └─ packets ── anybody traces; else `navigator`
//! ```
//!
//! [`hub`] holds what is wanted, and whoever wants it may vanish at any time;
//! the data plane makes it true whenever it looks. [`request`] is what can be
//! asked for, [`packet`] what is told of a packet.

pub mod hub;
pub mod packet;
pub mod request;
pub(crate) mod time;

#[cfg(test)]
pub(crate) mod tests;
