//! Runs a test command, shows its output as it comes and counts results.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::tally::Tally;
use crate::{process, progress::say};

/// Runs to the end; a command that does not run, breaks off or runs no test is a failure.
pub(crate) fn run(command: &mut Command, out: &mut impl Write) -> Tally {
    let mut counted = Tally::default();
    match try_run(command, out, &mut counted) {
        Ok(success) => counted.concluded(success),
        Err(error) => {
            say(format_args!("{error:#}"));
            counted.concluded(false)
        }
    }
}

fn try_run(command: &mut Command, out: &mut impl Write, counted: &mut Tally) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| process::cannot_start(command))?;
    let shown = match child.stdout.take() {
        Some(output) => relay(output, out, counted),
        None => Ok(()),
    };
    let status = child.wait().context("cannot wait for the tests")?;
    shown.context("cannot show the tests' output")?;
    Ok(status.success())
}

/// Shows each line when it is complete; what a test prints need not be text.
fn relay(source: impl Read, out: &mut impl Write, counted: &mut Tally) -> io::Result<()> {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        if let Some(tally) = Tally::parse(&String::from_utf8_lossy(&line)) {
            *counted = [*counted, tally].into_iter().sum();
        }
        line.clear();
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results that these tests make up must not reach their own output, where they would count.
    fn shell(script: &str) -> Tally {
        run(Command::new("sh").args(["-c", script]), &mut io::sink())
    }

    #[test]
    fn results_of_several_binaries_are_added_up() {
        let script = "echo 'test result: ok. 2 passed; 0 failed'; \
                      echo 'test result: FAILED. 1 passed; 1 failed'; exit 101";
        let expected = Tally {
            passed: 3,
            failed: 1,
        };
        assert_eq!(shell(script), expected);
    }

    #[test]
    fn output_is_shown_as_it_is() {
        let mut shown = Vec::new();
        let script = r"printf 'one\n\377\nno end'";
        run(Command::new("sh").args(["-c", script]), &mut shown);
        assert_eq!(shown, b"one\n\xff\nno end");
    }

    #[test]
    fn a_crash_after_good_results_is_a_failure() {
        let script = "echo 'test result: ok. 2 passed; 0 failed'; kill -9 $$";
        let expected = Tally {
            passed: 2,
            failed: 1,
        };
        assert_eq!(shell(script), expected);
    }

    #[test]
    fn a_command_that_does_not_start_is_a_failure() {
        let tally = run(&mut Command::new("/no/such/program"), &mut io::sink());
        assert_eq!(tally, Tally::FAILED);
    }
}
