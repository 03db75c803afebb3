//! The loop: the sole writer of the data plane.
