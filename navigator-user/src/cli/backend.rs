//! `navigator backend`: this host as a backend.

use crate::backend_host::{
    self, DEFAULT_PINS, DEFAULT_STATE_DIR, Decap, DecapChoice, Place, Status, UpSettings,
};
use comfy_table::{Table, presets::NOTHING};
use navigator_common::gue;
use std::{net::IpAddr, path::PathBuf, process::ExitCode};

/// Nothing is set up where something was asked for.
const NOT_FOUND: u8 = 3;
/// Something is set up, and no longer as it was left.
const CHECK_FAILED: u8 = 5;

/// Makes this host a backend of VIPs, and undoes it.
#[derive(clap::Subcommand, Debug)]
pub enum BackendCommand {
    /// Set this host up: VIPs on lo, ARP silence, decapsulation
    Up {
        /// A VIP that this host serves; again for each. Earlier ones that are not named are taken out
        #[arg(long = "vip", value_name = "IP", required = true)]
        vips: Vec<IpAddr>,
        /// How to unwrap tunnel packets
        #[arg(long, value_enum, default_value_t)]
        decap: DecapChoice,
        /// The UDP port of GUE packets: `tunnel.gue_port` of the balancers
        #[arg(long, value_name = "PORT", default_value_t = gue::DEFAULT_PORT,
            value_parser = clap::value_parser!(u16).range(1..))]
        gue_port: u16,
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Undo what `up` changed, and nothing else
    Down {
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show what is set up, and whether it is still so
    Status {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        /// Where.
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Where to work.
#[derive(clap::Args, Debug)]
pub struct PlaceArgs {
    /// The interface that packets from the balancer come in by [default: the default route's]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Where changes are recorded
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Where the decapsulation program is pinned, on a BPF file system
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PINS)]
    pins: PathBuf,
}

/// How to print.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

impl From<PlaceArgs> for Place {
    fn from(args: PlaceArgs) -> Self {
        Self {
            interface: args.interface,
            state_dir: args.state_dir,
            pins: args.pins,
        }
    }
}

/// Runs a command in the network namespace of the calling thread. Results go
/// to stdout, remarks to stderr.
pub async fn run(command: BackendCommand) -> anyhow::Result<ExitCode> {
    match command {
        BackendCommand::Up {
            vips,
            decap,
            gue_port,
            place,
        } => {
            let settings = UpSettings {
                place: place.into(),
                vips: vips.into_iter().collect(),
                decap,
                gue_port,
            };
            let report = backend_host::up(&settings).await?;
            remark(&report.notes);
            say(&report.changed);
            let vips: Vec<_> = report.vips.iter().map(ToString::to_string).collect();
            println!(
                "{} is up for {}; tunnels are unwrapped {}",
                report.interface,
                vips.join(", "),
                describe(&report.decap)
            );
            Ok(ExitCode::SUCCESS)
        }
        BackendCommand::Down { place } => {
            match backend_host::down(&place.into()).await? {
                Some(report) => {
                    remark(&report.notes);
                    say(&report.undone);
                    println!("{} is down", report.interface);
                }
                None => println!("nothing was set up"),
            }
            Ok(ExitCode::SUCCESS)
        }
        BackendCommand::Status { output, place } => {
            let all = backend_host::status(&place.into()).await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string_pretty(&all)?),
                Output::Table => print(&all),
            }
            Ok(exit_code(&all))
        }
    }
}

fn exit_code(all: &[Status]) -> ExitCode {
    if all.is_empty() {
        return ExitCode::from(NOT_FOUND);
    }
    if all.iter().any(|s| !s.problems.is_empty()) {
        return ExitCode::from(CHECK_FAILED);
    }
    ExitCode::SUCCESS
}

fn remark(notes: &[String]) {
    for note in notes {
        eprintln!("note: {note}");
    }
}

fn say(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

fn print(all: &[Status]) {
    if all.is_empty() {
        eprintln!("nothing is set up here: `navigator backend up --vip ADDRESS` does it");
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["INTERFACE", "VIP", "ON LO", "DECAP", "UNWRAPPED"]);
    for status in all {
        let unwrapped = status.packets.get("unwrapped");
        for (vip, there) in &status.vips {
            table.add_row([
                status.interface.clone(),
                vip.to_string(),
                if *there { "yes" } else { "no" }.to_owned(),
                describe(&status.decap),
                unwrapped.map_or_else(|| "-".to_owned(), u64::to_string),
            ]);
        }
    }
    println!("{table}");
    for problem in all.iter().flat_map(|s| &s.problems) {
        eprintln!("problem: {problem}");
    }
}

fn describe(decap: &Decap) -> String {
    match decap {
        Decap::Xdp { native: true } => "by XDP (native)".to_owned(),
        Decap::Xdp { native: false } => "by XDP (generic)".to_owned(),
        Decap::Kernel { devices, gue } => {
            let over: Vec<_> = gue.iter().map(ToString::to_string).collect();
            let gue = match over.as_slice() {
                [] => String::new(),
                over => format!(", GUE over {}", over.join(" and ")),
            };
            format!("by {}{gue}", devices.join(", "))
        }
        Decap::None => "not at all".to_owned(),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a refused command line is a failed test"
)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: BackendCommand,
    }

    #[test]
    fn several_vips_of_both_families_are_taken() {
        let line = "x up --vip 192.0.2.10 --vip 2001:db8::10 --interface eth1 --decap xdp";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let BackendCommand::Up {
            vips,
            decap,
            gue_port,
            place,
        } = cli.command
        else {
            panic!("not up");
        };
        assert_eq!(gue_port, 6080);
        assert_eq!(vips.len(), 2);
        assert_eq!(decap, DecapChoice::Xdp);
        let place = Place::from(place);
        assert_eq!(place.interface.as_deref(), Some("eth1"));
        assert_eq!(place.pins, PathBuf::from(DEFAULT_PINS));
    }

    #[test]
    fn each_command_says_what_it_does() {
        use clap::CommandFactory;
        let root = Cli::command();
        root.clone().debug_assert();
        let about = |name: &str| {
            let command = root.find_subcommand(name).unwrap();
            command.get_about().unwrap().to_string()
        };
        assert_eq!(about("down"), "Undo what `up` changed, and nothing else");
        assert!(about("up").starts_with("Set this host up"));
    }

    #[test]
    fn a_vip_is_needed_and_must_be_an_address() {
        for line in [
            "x up",
            "x up --vip web.example",
            "x up --vip 10.0.0.1/24",
            "x raise",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
