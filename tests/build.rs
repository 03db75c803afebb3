//! Finds the object of the frozen programs that the packet benchmark measures against.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=NAVIGATOR_BPF_DIR");
    let dir = env::var_os("NAVIGATOR_BPF_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf"),
        PathBuf::from,
    );
    let object = dir.join("navigator-bench-ebpf");
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.exists() {
        println!(
            "cargo::error=the BPF object {} is missing: run `cargo xtask build` first",
            object.display()
        );
    }
    println!(
        "cargo::rustc-env=NAVIGATOR_BENCH_OBJECT={}",
        object.display()
    );
}
