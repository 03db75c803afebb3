//! Raw registry and configuration entries, made sense of.
