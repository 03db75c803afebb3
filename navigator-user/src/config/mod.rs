//! The configuration file: TOML, read with the place of every value, so that
//! whatever is wrong is told with line, column, key, value and cure, all of it
//! at once.
//!
//! `[[vip]]` and `[[service]]` blocks become the same registry entries that
//! anybody else would write ([`Config::entries`]) and pass the same validation.

mod api;
mod blocks;
mod dns;
mod json;
mod nat;
mod problem;
mod reader;
mod settings;
mod values;

#[cfg(test)]
mod tests;

pub use problem::{ConfigError, Problem};

use crate::api::{
    Limits,
    access::{Principal, Rate},
    tls::TlsFiles,
};
use crate::dataplane::{kernel::Attach, nat::Timeouts, store::Sizes, tunnel::TunnelSettings};
use crate::dns::DnsConfig;
use navigator_core::{entry::Cidr, health};
use reader::{Reader, Section};
use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use toml::de::DeTable;

/// Where the configuration is looked for.
pub const DEFAULT_PATH: &str = "/etc/navigator/navigator.toml";
/// Where maps and links are pinned unless told otherwise.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/navigator";

/// Bytes of a configuration file that are read at most.
const SIZE_LIMIT: u64 = 4 << 20;

/// The configuration of the daemon.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The file's name, for messages.
    pub source_name: String,
    /// Where packets for the VIPs come in; at least one, no two the same.
    pub interfaces: Vec<String>,
    /// Who answers for the VIPs on the network.
    pub announce: Announce,
    /// How the program is attached.
    pub attach: Attach,
    /// The API's Unix socket.
    pub socket: PathBuf,
    /// Directory on a BPF file system for maps and links.
    pub pins: PathBuf,
    /// Directory for what must outlive the daemon.
    pub state: PathBuf,
    /// If not empty: instances elsewhere are refused.
    pub backend_cidrs: Vec<Cidr>,
    /// Where services and VIPs come from, besides this file.
    pub registry: RegistryConfig,
    /// What a check that does not say otherwise uses.
    pub health: health::Settings,
    /// How long a window stays open, and a silent flow is remembered.
    pub window: Duration,
    /// Sizes of the tables.
    pub limits: Sizes,
    /// Settings of the tunnel modes.
    pub tunnels: TunnelSettings,
    /// What mode `nat` needs of this host.
    pub nat: NatConfig,
    /// Who reaches the API how, besides by the socket.
    pub api: ApiConfig,
    /// Discovery by DNS, if it is wanted.
    pub dns: Option<DnsConfig>,
    /// What looks wrong and is allowed.
    pub warnings: Vec<Problem>,
    vips: Vec<(String, Vec<u8>)>,
    instances: Vec<(String, Vec<u8>)>,
}

/// What mode `nat` needs of this host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NatConfig {
    /// Addresses that NAT flows start from, this host's own or free ones of its LAN. Without one
    /// of a family its VIPs cannot be in mode `nat`.
    pub addresses: Vec<IpAddr>,
    /// First and last source port; what is left by the host's own connections, if not set.
    pub ports: Option<(u16, u16)>,
    /// How long silent flows live.
    pub timeouts: Timeouts,
}

/// Who reaches the API how, besides by the socket.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ApiConfig {
    /// TLS listeners.
    pub listeners: Vec<Face>,
    /// Who may do what there.
    pub access: Vec<Principal>,
    /// How many connections there may be, on the socket and on each listener.
    pub limits: Limits,
    /// How many requests each address may make of the listeners.
    pub rate: Rate,
}

/// One TLS listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Face {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it shows and trusts.
    pub files: TlsFiles,
}

/// Who answers for the VIPs on the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announce {
    /// Somebody else, for example a static route.
    None,
    /// This host: the VIPs are held on the first interface.
    Address,
}

/// Where services and VIPs come from, besides the configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistryConfig {
    /// A store in the daemon itself, kept in the state directory.
    Embedded,
    /// An etcd cluster.
    Etcd {
        /// URLs of its members; at least one.
        endpoints: Vec<String>,
    },
}

impl RegistryConfig {
    /// The word for it in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd { .. } => "etcd",
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If it cannot be read, or with everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source_name = path.display().to_string();
        let text = read(path).map_err(|problem| ConfigError {
            source_name: source_name.clone(),
            problems: vec![problem],
        })?;
        Self::parse(&text, &source_name)
    }

    /// Reads a configuration; `source_name` is for messages.
    ///
    /// # Errors
    /// With everything that is wrong in it.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, ConfigError> {
        let reader = Reader::new(text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        let config = if errors.is_empty() {
            let root = Section::new(&reader, "", 0..0, tree.get_ref());
            Some(settings::read(root))
        } else {
            // What comes after a slip in the syntax may be read quite wrongly: no more is said of it.
            errors.iter().for_each(|error| reader.bad_syntax(error));
            None
        };
        let (problems, warnings) = reader.finish();
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                source_name: source_name.to_owned(),
                warnings,
                ..config
            }),
            _ => Err(ConfigError {
                source_name: source_name.to_owned(),
                problems,
            }),
        }
    }

    /// The `[[vip]]` and `[[service]]` blocks as registry entries: keys and JSON values,
    /// VIPs first, each in the order of the file. No key occurs twice.
    pub fn entries(&self) -> Vec<(String, Vec<u8>)> {
        self.vips.iter().chain(&self.instances).cloned().collect()
    }

    /// Number of `[[vip]]` blocks.
    pub fn vip_count(&self) -> usize {
        self.vips.len()
    }

    /// Number of instances in all `[[service]]` blocks.
    pub fn instance_count(&self) -> usize {
        self.instances.len()
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |what: String, cure: &str| Problem {
        place: None,
        key: String::new(),
        value: String::new(),
        what,
        cure: cure.to_owned(),
    };
    let unreadable = |error: io::Error| {
        let cure = match error.kind() {
            io::ErrorKind::NotFound => "give the path of the configuration with --config",
            io::ErrorKind::PermissionDenied => "run as a user who may read it",
            _ => "check that it is a file",
        };
        problem(format!("cannot be read ({error})"), cure)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        let what = format!("larger than {} MiB", SIZE_LIMIT >> 20);
        return Err(problem(what, "keep that many instances in a registry"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        problem(format!("byte {at} is not UTF-8"), "save it as UTF-8")
    })
}
