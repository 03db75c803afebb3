//! How long a silent flow lives: by what was seen of its two sides.

use navigator_common::{flow::coarse_seconds, nat::seen};
use std::time::Duration;

/// For how long a flow may be silent, by phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP, before the handshake is over.
    pub opening: Duration,
    /// TCP, open.
    pub established: Duration,
    /// TCP, one side has ended its part.
    pub half_closed: Duration,
    /// TCP, both sides have ended their parts, or one has reset the connection.
    pub closed: Duration,
    /// UDP, without an answer so far.
    pub udp: Duration,
    /// UDP, answered.
    pub udp_replied: Duration,
}

/// Where the defaults come from says `docs/decisions/005-nat-timeouts-and-ports.md`.
impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            opening: seconds(30),
            established: seconds(2 * 3600 + 10 * 60),
            half_closed: seconds(4 * 60),
            closed: seconds(60),
            udp: seconds(30),
            udp_replied: seconds(180),
        }
    }
}

/// Where a flow is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// TCP, before the handshake is over.
    Opening,
    /// TCP, open.
    Established,
    /// TCP, one side has ended its part.
    HalfClosed,
    /// TCP, over.
    Closed,
    /// UDP, without an answer so far.
    Unreplied,
    /// UDP, answered.
    Replied,
}

impl Phase {
    /// The phase of a flow of which this was seen, as flags of [`seen`].
    pub const fn of(protocol: u8, client: u8, backend: u8) -> Self {
        const TCP: u8 = 6;
        let both = client & backend;
        let either = client | backend;
        if protocol != TCP {
            if backend & seen::DATA != 0 {
                Self::Replied
            } else {
                Self::Unreplied
            }
        } else if either & seen::RST != 0 || both & seen::FIN != 0 {
            Self::Closed
        } else if either & seen::FIN != 0 {
            Self::HalfClosed
        } else if client & seen::DATA != 0 && backend != 0 {
            Self::Established
        } else {
            Self::Opening
        }
    }

    /// Whether flows of this phase may go early while the tables are nearly full.
    pub const fn gives_way(self) -> bool {
        matches!(self, Self::Opening | Self::Closed | Self::Unreplied)
    }
}

/// What a flow that gives way gets while the tables are nearly full: time for the answer to a
/// SYN, or for the last segments of a connection.
const PRESSED: Duration = Duration::from_secs(5);

impl Timeouts {
    /// Coarse time units after which a silent flow ends; fewer while the tables are nearly full.
    pub fn lifetime(&self, phase: Phase, pressed: bool) -> u32 {
        let timeout = match phase {
            Phase::Opening => self.opening,
            Phase::Established => self.established,
            Phase::HalfClosed => self.half_closed,
            Phase::Closed => self.closed,
            Phase::Unreplied => self.udp,
            Phase::Replied => self.udp_replied,
        };
        let timeout = if pressed && phase.gives_way() {
            timeout.min(PRESSED)
        } else {
            timeout
        };
        coarse_seconds(timeout.as_secs())
    }

    /// No flow ends earlier than this.
    pub fn shortest(&self, pressed: bool) -> u32 {
        [
            Phase::Opening,
            Phase::Established,
            Phase::HalfClosed,
            Phase::Closed,
            Phase::Unreplied,
            Phase::Replied,
        ]
        .map(|phase| self.lifetime(phase, pressed))
        .into_iter()
        .min()
        .unwrap_or(0)
    }
}
