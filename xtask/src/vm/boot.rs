//! The machine: an emulated one, so that it boots wherever this runs. It is slow, and right.
//!
//! It has one processor. With several, emulated by as many threads, one may still run an instruction
//! that another has just replaced: now and then a kernel, which replaces its own, panics on the
//! break point that it puts there meanwhile.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    init::{BEGIN, END},
    kernel::Kernel,
};
use crate::{process, progress::say, test::tally::Tally};

const MEGABYTES: u32 = 2048;

/// Boots, shows the console, with `prefix` in front of each line, and counts. A machine that is
/// still running after so many minutes is turned off.
///
/// # Errors
/// The emulator cannot be started.
pub(crate) fn run(
    kernel: &Kernel,
    initramfs: &Path,
    minutes: u32,
    prefix: &str,
    out: &mut impl Write,
) -> Result<Tally> {
    let mut command = command(kernel, initramfs, minutes);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| process::cannot_start(&command))?;
    let console = child.stdout.take().context("the emulator has no output")?;
    let counted = relay(console, prefix, out);
    let status = child.wait().context("cannot wait for the emulator")?;
    if !status.success() {
        say(format_args!(
            "the machine was turned off after {minutes} minutes, or the emulator failed ({status})"
        ));
    }
    Ok(counted?.concluded(status.success()))
}

fn command(kernel: &Kernel, initramfs: &Path, minutes: u32) -> Command {
    let mut command = Command::new("timeout");
    command
        // In the foreground, an interrupt reaches the emulator too.
        .args(["--foreground", "--kill-after=5", &format!("{minutes}m")])
        .arg("qemu-system-x86_64")
        .args(["-accel", "tcg", "-cpu", "qemu64", "-M", "q35"])
        .args(["-m", &MEGABYTES.to_string(), "-smp", "1"])
        .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
        .args(["-no-reboot", "-nic", "none", "-nodefaults"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args([
            "-append",
            "console=ttyS0 panic=-1 loglevel=2 nowatchdog no_timer_check mitigations=off",
        ]);
    command
}

/// Shows what the console says and adds up the results in it. A test binary that breaks off or
/// runs no test is a failure, and so is a machine that runs no test binary to its end.
fn relay(console: impl Read, prefix: &str, out: &mut impl Write) -> Result<Tally> {
    let mut console = BufReader::new(console);
    let (mut whole, mut running) = (Tally::default(), None::<Tally>);
    let mut line = Vec::new();
    // A line at once: other machines may write to the same place.
    let mut show = |text: &str| out.write_all(format!("{prefix}{text}").as_bytes());
    while console
        .read_until(b'\n', &mut line)
        .context("cannot read the console")?
        > 0
    {
        let text = String::from_utf8_lossy(&line).replace('\r', "");
        line.clear();
        if let Some(name) = text.strip_prefix(BEGIN) {
            show(&format!("in the machine: {}\n", name.trim()))?;
            running = Some(Tally::default());
        } else if let Some(code) = text.strip_prefix(END) {
            let ended = running.take().unwrap_or_default();
            whole = [whole, ended.concluded(code.trim() == "0")]
                .into_iter()
                .sum();
        } else {
            show(&text)?;
            if let (Some(sum), Some(tally)) = (&mut running, Tally::parse(&text)) {
                *sum = [*sum, tally].into_iter().sum();
            }
        }
    }
    out.flush()?;
    let rest = running.map(|cut| cut.concluded(false));
    Ok([whole].into_iter().chain(rest).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(console: &str) -> Tally {
        relay(console.as_bytes(), "", &mut std::io::sink()).unwrap_or(Tally::FAILED)
    }

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let console = "navigator-vm: begin one\r\ntest result: ok. 3 passed; 0 failed;\r\n\
                       navigator-vm: end 0\r\nnavigator-vm: begin two\r\n\
                       test result: FAILED. 1 passed; 2 failed;\r\nnavigator-vm: end 101\r\n";
        assert_eq!(counted(console), tally(4, 2));
    }

    #[test]
    fn what_breaks_off_has_failed() {
        let started = "navigator-vm: begin one\n";
        assert_eq!(counted(started), tally(0, 1));
        let crashed = format!("{started}navigator-vm: end 139\n");
        assert_eq!(counted(&crashed), tally(0, 1));
        let empty = format!("{started}test result: ok. 0 passed; 0 failed;\nnavigator-vm: end 0\n");
        assert_eq!(counted(&empty), tally(0, 1));
        assert_eq!(counted("Kernel panic\n").concluded(true), tally(0, 1));
    }
}
