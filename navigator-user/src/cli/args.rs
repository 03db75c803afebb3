//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use navigator_core::{
    entry::{format_duration, parse_duration, parse_endpoint},
    model::{DEFAULT_WEIGHT, MAX_WEIGHT, Ports, ServerId, ServiceName},
};
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

/// Shortest and longest life of a registration without renewal.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// An L4 load balancer: virtual addresses, forwarded to healthy instances of services by XDP.
#[derive(Parser, Debug)]
#[command(name = "navigator", version, max_term_width = 100)]
pub struct Cli {
    /// The daemon's socket.
    #[arg(
        long,
        global = true,
        env = "NAVIGATOR_SOCKET",
        value_name = "PATH",
        default_value = crate::api::DEFAULT_SOCKET
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the daemon.
    Run(RunArgs),
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the daemon, its registry, VIPs, dropped packets and problems.
    Status(ReaderArgs),
    /// Show packets as they come: who sent what, and what became of it.
    Trace(Box<TraceArgs>),
    /// List the reasons under which packets are passed, dropped or answered, and what each means.
    Reasons {
        /// Format of the output.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show the VIPs.
    Vips(ReaderArgs),
    /// Show the backends of one VIP or of all.
    Backends {
        /// Name of a VIP.
        vip: Option<String>,
        /// How to print.
        #[command(flatten)]
        reader: ReaderArgs,
    },
    /// Look at services, register and deregister their instances.
    #[command(subcommand)]
    Services(ServicesCommand),
    /// Give orders for an instance, whatever it registered.
    #[command(subcommand)]
    Instances(InstancesCommand),
    /// Show what the checks say: the verdict, since when, and what the last check found, when, and
    /// how long it took. Fails with 5 if any instance that is shown is unhealthy.
    Health {
        /// Name of a service.
        name: Option<ServiceName>,
        /// How to print.
        #[command(flatten)]
        reader: ReaderArgs,
    },
    /// Show what happened: registrations, verdicts, orders, VIPs, refused entries.
    Events(EventsArgs),
    /// List the instances of a service that take new clients: address, weight, labels.
    Discover {
        /// Name of the service.
        name: ServiceName,
        /// How to print.
        #[command(flatten)]
        reader: ReaderArgs,
        /// Where the registry is.
        #[command(flatten)]
        etcd: EtcdArgs,
    },
    /// Keep an instance registered until this command is ended (SIGTERM, SIGINT), or for as long as
    /// another command runs and passes its check.
    Register(Box<RegisterArgs>),
    /// Set or remove a VIP.
    #[command(subcommand)]
    Vip(VipCommand),
    /// Stop forwarding: take the program and all its state out of the kernel.
    Detach(DetachArgs),
    /// Make this host a good backend for direct server return.
    #[command(subcommand)]
    Backend(super::backend::BackendCommand),
    /// Tokens for those who call the API over TLS.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make one: print it once, and the hash that the configuration is to have.
    New,
}

/// How readers print.
#[derive(Args, Clone, Copy, Debug)]
pub struct ReaderArgs {
    /// Format of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Show it again whenever it changed, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// Format of the output.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For people, with all there is.
    Wide,
    /// For programs; with --watch, one document a line.
    Json,
    /// For programs and people.
    Yaml,
}

impl Format {
    /// Whether it is a table.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Services.
#[derive(Subcommand, Debug)]
pub enum ServicesCommand {
    /// List the services, with how many instances each has.
    List(ReaderArgs),
    /// Show the instances of a service.
    Get {
        /// Name of the service.
        name: ServiceName,
        /// Show the entries that were refused, and why, in place of the instances.
        #[arg(long)]
        rejected: bool,
        /// How to print.
        #[command(flatten)]
        reader: ReaderArgs,
    },
    /// Register an instance until it is deregistered (`navigator register` keeps one registered
    /// while something runs).
    Register {
        /// What to register.
        #[command(flatten)]
        entry: EntryArgs,
        /// Where the registry is.
        #[command(flatten)]
        etcd: EtcdArgs,
    },
    /// Take an instance out of the registry.
    Deregister {
        /// Which instance.
        #[command(flatten)]
        instance: InstanceArgs,
        /// Where the registry is.
        #[command(flatten)]
        etcd: EtcdArgs,
    },
}

/// Which events are shown, and how.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Go on with what happens, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Only what happened after the event of this number.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub after: u64,
    /// Only what concerns this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Only what concerns this VIP.
    #[arg(long, value_name = "NAME")]
    pub vip: Option<ServiceName>,
    /// A line of text, or a document.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Which packets are shown, and how. Without a filter: all that are for a VIP.
#[derive(Args, Clone, Debug, Default)]
pub struct TraceArgs {
    /// Only packets for this VIP (and those dropped at its address before it was clear for which).
    #[arg(long, value_name = "NAME")]
    pub vip: Option<String>,
    /// Only packets of clients at this address or in this network.
    #[arg(long, value_name = "ADDR[/PREFIX]")]
    pub client: Option<String>,
    /// Only packets that left under these reasons (see `navigator reasons`), or all that were
    /// `forwarded`, `passed`, `dropped` or `replied`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub reason: Vec<String>,
    /// Only packets for this backend.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub backend: Option<String>,
    /// Only one packet in N of these, by chance.
    #[arg(long, value_name = "1/N")]
    pub sample: Option<String>,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time, at most (and by default) 10m.
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<String>,
    /// Write the packets to this file too, as pcapng with explanations as comments; `-` is the
    /// standard output, and nothing else goes there then.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// In the file, put beside each packet what was sent to the backend.
    #[arg(long, requires = "pcap")]
    pub sent: bool,
    /// In JSON, add the first 128 bytes of each packet, as it came and as it left.
    #[arg(long)]
    pub bytes: bool,
    /// A line of text or of JSON for each packet.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Where the registry is, for commands that can do without the daemon.
#[derive(Args, Clone, Debug)]
pub struct EtcdArgs {
    /// Speak to etcd at these endpoints instead of to the daemon.
    #[arg(
        long,
        env = "NAVIGATOR_ETCD",
        value_name = "ENDPOINT",
        value_delimiter = ','
    )]
    pub etcd: Vec<String>,
}

/// An instance of a service.
#[derive(Args, Clone, Debug)]
pub struct InstanceArgs {
    /// Name of the service.
    pub name: ServiceName,
    /// Where the instance listens.
    #[arg(help = "Where the instance listens, for example 10.0.0.5:80 or [2001:db8::5]:80", value_name = "ADDR:PORT", value_parser = parse_endpoint)]
    pub address: SocketAddr,
}

/// What to register, and for how long.
#[derive(Args, Debug)]
pub struct RegisterArgs {
    /// What to register.
    #[command(flatten)]
    pub entry: EntryArgs,
    /// Time after which it is gone when this command dies without a word.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = ttl)]
    pub ttl: Duration,
    /// Where the registry is.
    #[command(flatten)]
    pub etcd: EtcdArgs,
    /// A command to run: it is registered once it passes its check and deregistered before it is
    /// stopped; signals are passed on to it, and its exit code is this command's.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// What stands in the registry of an instance.
#[derive(Args, Debug)]
pub struct EntryArgs {
    /// Which instance.
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// Check it by an HTTP GET of this path, for example /health.
    #[arg(long, value_name = "PATH", group = "check")]
    pub check_http: Option<String>,
    /// Check that it accepts TCP connections (the default).
    #[arg(long, group = "check")]
    pub check_tcp: bool,
    /// Do not check it: it is healthy for as long as it is registered.
    #[arg(long, group = "check")]
    pub no_check: bool,
    /// Its share of new flows relative to the other instances; 0 drains it.
    #[arg(long, default_value_t = DEFAULT_WEIGHT, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_WEIGHT)))]
    pub weight: u16,
    /// What it writes into its QUIC connection ids, in hexadecimal digits; may be repeated.
    #[arg(long, value_name = "HEX")]
    pub quic_server_id: Vec<ServerId>,
}

/// Orders for an instance.
#[derive(Subcommand, Debug)]
pub enum InstancesCommand {
    /// Give it no new flows; it keeps those that it has for the VIP's drain time.
    Drain(InstanceArgs),
    /// End its drain or its maintenance.
    Enable(InstanceArgs),
    /// Give it no flows at all; those that it has go to others.
    Maintenance(InstanceArgs),
    /// Give it another weight than it registered.
    Weight {
        /// Which instance.
        #[command(flatten)]
        instance: InstanceArgs,
        /// 0 to 1000, or `default` for its own.
        #[arg(value_parser = weight_order)]
        weight: WeightOrder,
    },
}

/// A weight that is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WeightOrder {
    /// The one that the instance registered.
    Default,
    /// This one.
    Fixed(u16),
}

/// VIPs in the registry.
#[derive(Subcommand, Debug)]
pub enum VipCommand {
    /// Add a VIP, or change it.
    Set(Box<VipArgs>),
    /// Remove a VIP: its packets are no longer forwarded.
    Remove {
        /// Its name.
        name: ServiceName,
    },
}

/// A VIP.
#[derive(Args, Debug)]
pub struct VipArgs {
    /// Its name.
    pub name: ServiceName,
    /// Virtual address, or a prefix such as 2001:db8:1::/64.
    #[arg(long)]
    pub address: String,
    /// Port, a range such as 8000-8999, or 0 for all ports.
    #[arg(long, value_name = "PORTS")]
    pub port: Ports,
    /// Transport protocol.
    #[arg(long, value_parser = ["tcp", "udp", "both"], default_value = "tcp")]
    pub protocol: String,
    /// The service whose instances serve it.
    #[arg(long)]
    pub service: ServiceName,
    /// How packets reach the backends: `l2` on the same LAN, `ipip` and `gue` anywhere, `nat` anywhere
    /// and on any port, with no change to them.
    #[arg(long, value_parser = ["l2", "ipip", "gue", "nat"], default_value = "l2")]
    pub mode: String,
    /// Slots of its table, a prime; fixed for its life.
    #[arg(long)]
    pub slots: Option<u32>,
    /// UDP flows across table changes.
    #[arg(long, value_parser = ["rehash", "sticky"])]
    pub udp: Option<String>,
    /// What keeps a client's flows together: nothing, or its address.
    #[arg(long, value_parser = ["none", "source"])]
    pub affinity: Option<String>,
    /// Go by QUIC connection ids: configuration (0 to 6) and length of the server id, for
    /// example 0:3; may be repeated.
    #[arg(long, value_name = "CONFIG:LENGTH", value_parser = quic_config)]
    pub quic: Vec<(u8, u8)>,
    /// Packets for other ports of its address.
    #[arg(long, value_parser = ["drop", "pass"])]
    pub unserved: Option<String>,
    /// Connections of a backend that died.
    #[arg(long, value_parser = ["keep", "reset"])]
    pub on_down: Option<String>,
    /// New flows while no backend is healthy.
    #[arg(long, value_parser = ["drop", "open"])]
    pub on_empty: Option<String>,
    /// How long a drained backend keeps its flows, for example 5m.
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
}

/// How to run the daemon.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/navigator/navigator.toml"
    )]
    pub config: PathBuf,
    /// Log every packet that is dropped, by the number of its reason. Slow: for a short look.
    #[arg(long)]
    pub log_drops: bool,
}

/// Configuration files.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say what is wrong with a file, and where.
    Check {
        /// The file.
        #[arg(default_value = "/etc/navigator/navigator.toml")]
        file: PathBuf,
    },
}

/// What to detach.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct DetachArgs {
    /// The configuration file of the daemon whose state it is.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of the pins.
    #[arg(long, value_name = "DIR")]
    pub pins: Option<PathBuf>,
}

fn quic_config(text: &str) -> Result<(u8, u8), String> {
    let both = text.split_once(':');
    let both = both.and_then(|(config, length)| Some((config.parse().ok()?, length.parse().ok()?)));
    both.ok_or_else(|| "write CONFIG:LENGTH, for example 0:3".to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).map_err(|error| error.to_string())?;
    if TTL.contains(&ttl) {
        return Ok(ttl);
    }
    let (low, high) = (format_duration(*TTL.start()), format_duration(*TTL.end()));
    Err(format!("use {low} to {high}"))
}

fn weight_order(text: &str) -> Result<WeightOrder, String> {
    if text == "default" {
        return Ok(WeightOrder::Default);
    }
    match text.parse() {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(WeightOrder::Fixed(weight)),
        _ => Err(format!("use 0 to {MAX_WEIGHT}, or `default`")),
    }
}
