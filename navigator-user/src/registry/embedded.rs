//! The registry in this process.
