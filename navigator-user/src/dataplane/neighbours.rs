//! Next hops, kept true by netlink.
