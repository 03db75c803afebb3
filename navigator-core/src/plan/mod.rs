//! The planner: from what is known of instances to who takes part in a VIP
//! ([`members`]), to a slot table ([`maglev`]), to what becomes of each slot
//! ([`transition`]).

pub mod maglev;
pub mod members;
pub mod transition;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod connections;
