//! `cargo xtask setup`: finds or installs what building, testing and the demo need.
//!
//! Three parts, each a module that can say what is there and get what is not: programs
//! ([`tools`]), a Rust compiler and a linker for BPF ([`compiler`], [`linker`]), and the BPF file
//! system ([`bpffs`]). The other commands call [`ensure`], which is silent and quick when
//! everything is there.

pub(crate) mod apt;
mod bpffs;
mod compiler;
mod debian;
mod linker;
mod schemathesis;
mod services;
mod tools;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::compiler::Compiler;
use crate::workspace::Workspace;

/// How much has to be there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// What compiling needs.
    Build,
    /// That, and what the suites and the demo run.
    All,
    /// That, and what benchmarks compare with.
    Bench,
}

/// What turns the BPF crates into objects.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    /// The `bpf-linker` program.
    pub(crate) linker: PathBuf,
}

/// Installs what is missing.
///
/// # Errors
/// Something is missing and cannot be had; the error lists every such thing and how to get it.
pub(crate) fn ensure(workspace: &Workspace, scope: Scope) -> Result<Toolchain> {
    let mut problems = Vec::new();
    if let Err(error) = tools::ensure(scope) {
        problems.push(format!("{error:#}"));
    }
    if scope >= Scope::All
        && let Err(error) = bpffs::ensure()
    {
        problems.push(format!("{error:#}"));
    }
    if scope >= Scope::All
        && let Err(error) = schemathesis::ensure(workspace)
    {
        problems.push(format!("{error:#}"));
    }
    match ensure_toolchain(workspace) {
        Ok(toolchain) if problems.is_empty() => return Ok(toolchain),
        Ok(_) => {}
        Err(error) => problems.push(format!("{error:#}")),
    }
    bail!("set-up is not complete\n\n{}", problems.join("\n\n"));
}

/// Prints what is there and what is missing; fails if anything is.
pub(crate) fn report(workspace: &Workspace) -> ExitCode {
    let mut complete = true;
    let mut line = |name: &str, state: Result<String, String>| match state {
        Ok(text) => println!("ok       {name}: {text}"),
        Err(text) => {
            complete = false;
            println!("missing  {name}: {text}");
        }
    };
    let compiler = compiler::find(&workspace.toolchain);
    match &compiler {
        Some(compiler) => line("BPF compiler", Ok(compiler.to_string())),
        None => line("BPF compiler", Err("a rustc with rust-src".to_owned())),
    }
    let linker = compiler
        .and_then(|compiler| linker::find(&workspace.toolchain, &compiler))
        .map(|linker| linker.display().to_string());
    line("BPF linker", linker.ok_or_else(|| "bpf-linker".to_owned()));
    // What only benchmarks run is not missed: they get it when they need it.
    for tool in tools::needed(Scope::All) {
        let found = tool.find().map(|file| file.display().to_string());
        line(tool.name, found.ok_or_else(|| tool.why.to_owned()));
    }
    let program = schemathesis::find(workspace).map(|file| file.display().to_string());
    let missing = || format!("version {}, from PyPI", schemathesis::VERSION);
    line("schemathesis", program.ok_or_else(missing));
    let mounted = if bpffs::is_mounted() {
        Ok("mounted".to_owned())
    } else {
        Err("not mounted".to_owned())
    };
    line(bpffs::PATH, mounted);
    if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn ensure_toolchain(workspace: &Workspace) -> Result<Toolchain> {
    let dir = &workspace.toolchain;
    if let Some(compiler) = compiler::find(dir)
        && let Some(linker) = linker::find(dir, &compiler)
    {
        return Ok(Toolchain { compiler, linker });
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock(workspace)?;
    // Another run may have finished the work while this one waited for the lock.
    let compiler = match compiler::find(dir) {
        Some(compiler) => compiler,
        None => compiler::install(dir)?,
    };
    let linker = match linker::find(dir, &compiler) {
        Some(linker) => linker,
        None => linker::install(dir, &compiler)?,
    };
    Ok(Toolchain { compiler, linker })
}

fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.toolchain.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
