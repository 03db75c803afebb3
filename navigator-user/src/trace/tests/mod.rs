//! What can be asked for, who may ask, and what is told.

mod asking;
mod hub;
pub(crate) mod telling;
