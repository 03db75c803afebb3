//! Generic UDP Encapsulation, variant 0 without options, as Linux's `fou` devices have it.

/// The UDP port that receivers listen on unless they are told otherwise (IANA: gue).
pub const DEFAULT_PORT: u16 = 6080;

/// Length of the UDP and the GUE header together.
pub const HEADERS: u32 = 8 + 4;

/// Bits of a flow's hash in the UDP source port.
pub const SOURCE_PORT_BITS: u32 = 14;

/// The lowest source port: all are dynamic ones (RFC 6335).
pub const FIRST_SOURCE_PORT: u16 = 0xc000;
