//! Every program as the verifier of this kernel sees it. Needs root; `cargo xtask vm` runs it on
//! other kernels.

use navigator_user::dataplane::kernel::verify_programs;
use std::{fs, io::Write};

/// The kernel's own limit is a million; before 5.2 it was this.
const LIMIT: u32 = 100_000;

#[test]
fn the_verifier_accepts_every_program_with_few_instructions() {
    verify("as shipped", false);
}

#[test]
fn the_verifier_accepts_every_program_that_logs_drops() {
    verify("logging drops", true);
}

fn verify(how: &str, log_drops: bool) {
    let verified = verify_programs(log_drops).unwrap_or_else(|error| panic!("{error}"));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!("instructions that Linux {} visited, {how}:", release.trim());
    for program in &verified {
        let count = program.instructions.map(|count| count.to_string());
        text += &format!(
            "\n  {:24} {:>7}",
            program.program,
            count.as_deref().unwrap_or("not told")
        );
    }
    // Not by println!, which the test runner shows of failed tests only.
    let _ = writeln!(std::io::stderr(), "{text}");
    assert!(!verified.is_empty(), "the object holds no program");
    for program in verified {
        let count = program.instructions.unwrap_or(0);
        assert!(
            count <= LIMIT,
            "{}: the verifier visited {count} instructions, more than {LIMIT}",
            program.program
        );
    }
}
