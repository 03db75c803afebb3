//! Weighted Maglev: slot tables.
