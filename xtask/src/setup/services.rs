//! Keeps services from starting when their packages are installed.
//!
//! The suites run their own etcd and nginx; this host must not suddenly have others. Debian asks
//! `/usr/sbin/policy-rc.d` before a package may start its service, so one that says no is put
//! there for as long as the installation lasts. It looks for this process each time it is asked,
//! so that it stops counting even if this process is killed; the next set-up then removes it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{self as std_process, Command},
};

use anyhow::{Context as _, Result};

use crate::process;

const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where the host's own policy, if it has one, waits meanwhile.
const ASIDE: &str = "/usr/sbin/policy-rc.d.navigator-saved";
const MARK: &str = "# Put here by Navigator's set-up";
/// The exit code for "may not be started".
const DENIED: i32 = 101;

/// Services stay off until this ends.
pub(crate) struct Quiet {
    /// Whether the policy is ours to remove.
    ours: bool,
}

impl Quiet {
    /// Puts the policy in place, unless the host's own already says no.
    pub(crate) fn begin() -> Result<Self> {
        restore();
        if denies() {
            return Ok(Self { ours: false });
        }
        if Path::new(POLICY).exists() {
            fs::rename(POLICY, ASIDE).with_context(|| format!("cannot move {POLICY} aside"))?;
        }
        let quiet = Self { ours: true };
        fs::write(POLICY, script(std_process::id()))
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {POLICY}"))?;
        Ok(quiet)
    }

    /// Also keeps the packages' services from starting with the next boot.
    pub(crate) fn end(self, packages: &[&str]) {
        if process::find("systemctl").is_none() {
            return;
        }
        for service in packages.iter().filter_map(|package| service_of(package)) {
            let mut command = Command::new("systemctl");
            // Where systemd is installed but does not run there is nothing to turn off.
            let _ = process::capture(command.args(["disable", "--quiet", service]));
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            restore();
        }
    }
}

fn restore() {
    let ours = fs::read_to_string(POLICY).is_ok_and(|text| text.contains(MARK));
    if ours {
        let _ = fs::remove_file(POLICY);
    }
    if !Path::new(POLICY).exists() {
        let _ = fs::rename(ASIDE, POLICY);
    }
}

fn denies() -> bool {
    Command::new(POLICY)
        .args(["etcd", "start"])
        .status()
        .is_ok_and(|status| status.code() == Some(DENIED))
}

fn script(pid: u32) -> String {
    format!(
        "#!/bin/sh\n{MARK}, process {pid}.\n\
         if [ -d /proc/{pid} ]; then exit {DENIED}; fi\n\
         if [ -x {ASIDE} ]; then exec {ASIDE} \"$@\"; fi\nexit 0\n"
    )
}

fn service_of(package: &str) -> Option<&'static str> {
    match package {
        "etcd-server" | "etcd" => Some("etcd"),
        "nginx-light" | "nginx" => Some("nginx"),
        "haproxy" => Some("haproxy"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::{DENIED, script};

    fn ask(script: String) -> Option<i32> {
        let status = Command::new("sh").args(["-c", &script]).status();
        status.ok().and_then(|status| status.code())
    }

    #[test]
    fn the_policy_denies_only_while_its_process_lives() {
        assert_eq!(ask(script(id())), Some(DENIED));
        assert_eq!(ask(script(u32::MAX)), Some(0));
    }
}
