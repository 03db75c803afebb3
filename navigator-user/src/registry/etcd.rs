//! The registry in etcd.
