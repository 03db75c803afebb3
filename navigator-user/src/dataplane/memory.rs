//! The data plane in memory, for tests.
