//! Keeps one instance registered for as long as it runs.
