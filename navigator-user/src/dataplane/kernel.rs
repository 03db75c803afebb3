//! The data plane in BPF maps.
