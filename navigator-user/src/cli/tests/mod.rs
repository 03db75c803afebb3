//! Commands: what can be typed, and what they do to a daemon.

mod commands;
mod typed;
