//! What runs in the machine: the daemon and the test binaries, as they were built for this one.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace::Workspace};

/// The suites that a kernel decides about: what the verifier says, real devices, and what each
/// packet becomes.
const SUITES: [&str; 3] = ["programs", "guest", "packets"];

/// Paths of built programs.
pub(crate) struct Payload {
    /// The `navigator` program.
    pub(crate) navigator: PathBuf,
    /// Test binaries, in the order in which they run.
    pub(crate) tests: Vec<(&'static str, PathBuf)>,
}

impl Payload {
    /// Builds the test binaries, or those of these names; the daemon was built with the workspace.
    ///
    /// # Errors
    /// One does not compile, or there is none of that name.
    pub(crate) fn build(workspace: &Workspace, names: &[String]) -> Result<Self> {
        if let Some(unknown) = names.iter().find(|name| !SUITES.contains(&name.as_str())) {
            let known = SUITES.join(", ");
            bail!("no suite {unknown:?} runs in a machine; there are: {known}");
        }
        let wanted = |suite: &&str| names.is_empty() || names.iter().any(|name| name == suite);
        let suites: Vec<_> = SUITES.into_iter().filter(wanted).collect();
        let mut command = workspace.cargo();
        command.args(["test", "--no-run", "--quiet", "--package=navigator-tests"]);
        command.args(["--message-format=json-render-diagnostics"]);
        for suite in &suites {
            command.args(["--test", suite]);
        }
        let messages = process::capture(&mut command)?;
        let mut tests = Vec::new();
        for suite in suites {
            let file = messages.lines().find_map(|line| executable(line, suite));
            tests.push((
                suite,
                file.with_context(|| format!("no test binary {suite}"))?,
            ));
        }
        let navigator = workspace.target.join("debug/navigator");
        if !navigator.exists() {
            bail!(
                "{} is missing: run `cargo xtask build`",
                navigator.display()
            );
        }
        Ok(Self { navigator, tests })
    }
}

/// The path in Cargo's message about a target of this name.
fn executable(message: &str, target: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == target).then_some(())?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_of_a_target_is_found() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"packets","kind":["test"]},
                       "executable":"/t/packets-1"}"#;
        assert_eq!(
            executable(line, "packets"),
            Some(PathBuf::from("/t/packets-1"))
        );
        assert_eq!(executable(line, "guest"), None);
        assert_eq!(executable("no message", "packets"), None);
    }
}
