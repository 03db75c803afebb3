//! Makes this host a good DSR backend: navigator backend up, down, status.
