//! Which suites there are, and how each is run.

use std::{ffi::OsStr, fmt, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// A part of what `cargo xtask test` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Formatting, lints and documentation.
    Checks,
    /// The tests inside the crates.
    Unit,
    /// A file of `tests/tests`, by its name.
    File(String),
    /// Some of these on other kernels, in emulated machines.
    Vm,
}

impl Suite {
    /// Whether it makes network namespaces or loads programs into the kernel.
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether it starts the daemon, and the programs that `setup` installs for that.
    pub(crate) fn runs_the_daemon(&self) -> bool {
        matches!(self, Self::File(_) | Self::Vm)
    }

    /// Cargo's command for its tests.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command.arg("test");
        match self {
            Self::Checks | Self::Unit | Self::Vm => {
                command.args(["--lib", "--bins", "--no-fail-fast"])
            }
            Self::File(name) => command.args(["--package=navigator-tests", "--test", name]),
        };
        command
    }

    /// Cargo's command for its tests, with what is passed on to them.
    pub(crate) fn command(&self, workspace: &Workspace, extra: &[String]) -> Command {
        let mut command = self.cargo(workspace);
        command.arg("--").args(options(self, extra));
        command
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Checks => "checks",
            Self::Unit => "unit",
            Self::File(name) => name,
            Self::Vm => "vm",
        })
    }
}

/// All suites, in the order in which they run.
pub(crate) fn discover(workspace: &Workspace) -> Result<Vec<Suite>> {
    let files = files(&workspace.root.join("tests/tests"))?;
    let files = files.into_iter().map(Suite::File);
    Ok([Suite::Checks, Suite::Unit]
        .into_iter()
        .chain(files)
        .chain([Suite::Vm])
        .collect())
}

/// The integration tests that Cargo finds in a directory: `NAME.rs` and `NAME/main.rs`.
fn files(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").exists() {
            let name = path.file_stem().and_then(OsStr::to_str);
            names.extend(name.map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

/// Those with these names, or all if there are no names.
///
/// # Errors
/// There is no such suite.
pub(crate) fn choose(all: Vec<Suite>, names: &[String]) -> Result<Vec<Suite>> {
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<_> = all.iter().map(Suite::to_string).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no suite {unknown:?}; there are: {}",
            known.join(", ")
        );
    }
    let chosen = |suite: &Suite| names.contains(&suite.to_string());
    Ok(all.into_iter().filter(chosen).collect())
}

/// Options for the test binaries: suites share the kernel, so their tests run one by one.
fn options(suite: &Suite, extra: &[String]) -> Vec<String> {
    let chosen = extra.iter().any(|arg| arg.starts_with("--test-threads"));
    let mut options = extra.to_vec();
    if suite.needs_root() && !chosen {
        options.push("--test-threads=1".to_owned());
    }
    options
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    fn all() -> Vec<Suite> {
        vec![Suite::Checks, Suite::Unit, Suite::File("e2e".to_owned())]
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn suites_are_found_as_cargo_finds_them() -> Result<()> {
        let dir = env::temp_dir().join(format!("navigator-xtask-suites-{}", process::id()));
        for inner in ["packets", "support"] {
            fs::create_dir_all(dir.join(inner))?;
        }
        for file in ["e2e.rs", "packets/main.rs", "support/mod.rs", "notes.md"] {
            fs::write(dir.join(file), "")?;
        }
        let found = files(&dir);
        fs::remove_dir_all(&dir)?;
        assert_eq!(found?, ["e2e", "packets"]);
        assert!(files(&dir)?.is_empty());
        Ok(())
    }

    #[test]
    fn names_choose_suites() {
        assert!(matches!(choose(all(), &[]), Ok(chosen) if chosen == all()));
        let chosen = choose(all(), &names(&["e2e", "unit"]));
        assert!(matches!(chosen, Ok(chosen) if chosen == all()[1..]));
        let error =
            choose(all(), &names(&["e2"])).map_or_else(|it| it.to_string(), |_| String::new());
        assert_eq!(
            error,
            "there is no suite \"e2\"; there are: checks, unit, e2e"
        );
    }

    #[test]
    fn tests_that_share_the_kernel_run_one_by_one_unless_told_otherwise() {
        let [_, unit, e2e] = all().try_into().unwrap_or_else(|_| unreachable!());
        assert_eq!(options(&e2e, &[]), ["--test-threads=1"]);
        assert_eq!(options(&unit, &names(&["one"])), ["one"]);
        assert_eq!(
            options(&e2e, &names(&["--test-threads=4"])),
            ["--test-threads=4"]
        );
    }
}
