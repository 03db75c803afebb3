//! The programs that building, the suites, the demo and the benchmarks run.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::{Scope, apt};
use crate::process;

/// A program, or a file, that must be there.
pub(crate) struct Tool {
    /// A command, or an absolute path.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    /// Debian packages that bring it; the first on offer is taken.
    packages: &'static [&'static str],
    /// Where others find it.
    home: &'static str,
    /// The least that needs it.
    scope: Scope,
}

/// All of them.
const ALL: &[Tool] = &[
    Tool {
        name: "protoc",
        why: "builds the etcd client",
        packages: &["protobuf-compiler"],
        home: "https://protobuf.dev",
        scope: Scope::Build,
    },
    Tool {
        name: "/usr/include/google/protobuf/descriptor.proto",
        why: "builds the etcd client",
        packages: &["libprotobuf-dev"],
        home: "https://protobuf.dev",
        scope: Scope::Build,
    },
    tool(
        "etcd",
        "a registry",
        &["etcd-server", "etcd"],
        "https://etcd.io",
    ),
    tool(
        "etcdctl",
        "writes to etcd",
        &["etcd-client"],
        "https://etcd.io",
    ),
    tool(
        "nginx",
        "the backends",
        &["nginx-light", "nginx"],
        "https://nginx.org",
    ),
    tool("curl", "HTTP requests", &["curl"], "https://curl.se"),
    tool("wrk", "HTTP load", &["wrk"], "https://github.com/wg/wrk"),
    tool(
        "ip",
        "network namespaces",
        &["iproute2"],
        "https://wiki.linuxfoundation.org/networking/iproute2",
    ),
    tool(
        "ethtool",
        "turns offloads off",
        &["ethtool"],
        "https://kernel.org/pub/software/network/ethtool",
    ),
    tool(
        "tcpdump",
        "looks at packets",
        &["tcpdump"],
        "https://www.tcpdump.org",
    ),
    tool(
        "dig",
        "DNS questions",
        &["bind9-dnsutils", "dnsutils"],
        "https://www.isc.org/bind",
    ),
    tool(
        "python3",
        "runs schemathesis",
        &["python3"],
        "https://www.python.org",
    ),
    tool(
        "qemu-system-x86_64",
        "boots other kernels",
        &["qemu-system-x86"],
        "https://www.qemu.org",
    ),
    tool(
        "cpio",
        "packs what they boot",
        &["cpio"],
        "https://www.gnu.org/software/cpio",
    ),
    tool(
        "depmod",
        "orders their modules",
        &["kmod"],
        "https://github.com/kmod-project/kmod",
    ),
    Tool {
        name: "haproxy",
        why: "a proxy to compare with",
        packages: &["haproxy"],
        home: "https://www.haproxy.org",
        scope: Scope::Bench,
    },
    Tool {
        name: "/usr/lib/nginx/modules/ngx_stream_module.so",
        why: "a proxy to compare with",
        packages: &["libnginx-mod-stream"],
        home: "https://nginx.org",
        scope: Scope::Bench,
    },
];

impl Tool {
    /// Where it is.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        if self.name.starts_with('/') {
            return file(self.name);
        }
        process::find(self.name)
    }
}

/// Installs what is missing, where that is possible.
///
/// # Errors
/// Something stays missing; the error names it and how to get it.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    let missing = missing(scope);
    if missing.is_empty() {
        return Ok(());
    }
    if apt::is_there() && process::is_root() {
        install(&missing)?;
    }
    let missing = self::missing(scope);
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", describe(&missing, apt::is_there()));
}

const fn tool(
    name: &'static str,
    why: &'static str,
    packages: &'static [&'static str],
    home: &'static str,
) -> Tool {
    Tool {
        name,
        why,
        packages,
        home,
        scope: Scope::All,
    }
}

fn missing(scope: Scope) -> Vec<&'static Tool> {
    needed(scope).filter(|tool| tool.find().is_none()).collect()
}

/// What is needed for so much.
pub(crate) fn needed(scope: Scope) -> impl Iterator<Item = &'static Tool> {
    ALL.iter().filter(move |tool| tool.scope <= scope)
}

/// A file; an include file of protoc's that was installed by hand is beside the program.
fn file(path: &str) -> Option<PathBuf> {
    let name = path.trim_start_matches("/usr/include/");
    let beside = process::find("protoc")
        .and_then(|protoc| Some(protoc.parent()?.parent()?.join("include").join(name)));
    let told = env::var_os("PROTOC_INCLUDE").map(|dir| Path::new(&dir).join(name));
    [Some(PathBuf::from(path)), beside, told]
        .into_iter()
        .flatten()
        .find(|file| file.exists())
}

fn install(missing: &[&Tool]) -> Result<()> {
    let on_offer = || -> Vec<&str> {
        let names = missing.iter();
        names
            .filter_map(|tool| apt::first_on_offer(tool.packages))
            .collect()
    };
    let mut packages = on_offer();
    if packages.len() < missing.len() {
        apt::update()?;
        packages = on_offer();
    }
    if packages.is_empty() {
        return Ok(());
    }
    // Package lists that are older than the archive name files that are gone.
    apt::install(&packages).or_else(|_| {
        apt::update()?;
        apt::install(&packages)
    })
}

fn describe(missing: &[&Tool], apt: bool) -> String {
    let mut lines = Vec::new();
    for tool in missing {
        let Tool {
            name, why, home, ..
        } = tool;
        lines.push(format!("missing: {name} ({why}; {home})"));
    }
    let mut packages: Vec<_> = missing
        .iter()
        .filter_map(|tool| tool.packages.first())
        .copied()
        .collect();
    packages.dedup();
    let packages = packages.join(" ");
    lines.push(if apt {
        format!("To get them, as root:\n  apt-get install --no-install-recommends {packages}")
    } else {
        format!("To get them, install your system's packages for: {packages} (Debian's names)")
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let some: Vec<_> = ALL
            .iter()
            .filter(|tool| ["etcd", "wrk"].contains(&tool.name))
            .collect();
        let text = describe(&some, true);
        assert!(
            text.contains("missing: etcd (a registry; https://etcd.io)"),
            "{text}"
        );
        assert!(
            text.ends_with("apt-get install --no-install-recommends etcd-server wrk"),
            "{text}"
        );
        assert!(!describe(&some, false).contains("apt-get"));
    }

    #[test]
    fn building_needs_less_than_testing() {
        let count = |scope| needed(scope).count();
        assert!(count(Scope::Build) < count(Scope::All));
        assert!(count(Scope::All) < count(Scope::Bench));
    }
}
