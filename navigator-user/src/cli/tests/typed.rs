//! What can be typed.

use crate::cli::args::{Cli, Command, Format, InstancesCommand, VipCommand, WeightOrder};
use clap::{CommandFactory, Parser, error::ErrorKind};
use std::{path::Path, time::Duration};

type Test = anyhow::Result<()>;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_commands_make_sense() {
    Cli::command().debug_assert();
}

#[test]
fn readers_take_a_format_and_the_socket() -> Test {
    let cli = parse("navigator backends web -o json --watch --socket /tmp/s")?;
    assert_eq!(cli.socket, Path::new("/tmp/s"));
    let Command::Backends { vip, reader } = cli.command else {
        anyhow::bail!("{cli:?}");
    };
    assert_eq!(vip.as_deref(), Some("web"));
    assert_eq!((reader.output, reader.watch), (Format::Json, true));
    Ok(())
}

#[test]
fn a_registration_is_read() -> Test {
    let cli = parse(
        "navigator register web [2001:db8::5]:80 --check-http /health --weight 0 --ttl 2m --etcd a:1,http://b:2",
    )?;
    let Command::Register(args) = cli.command else {
        anyhow::bail!("{cli:?}");
    };
    assert_eq!(
        args.entry.instance.key().to_string(),
        "web/[2001:db8::5]:80"
    );
    assert_eq!(args.entry.check_http.as_deref(), Some("/health"));
    assert_eq!((args.entry.weight, args.ttl), (0, Duration::from_secs(120)));
    assert_eq!(args.etcd.etcd, ["a:1", "http://b:2"]);
    Ok(())
}

#[test]
fn orders_and_vips_are_read() -> Test {
    let cli = parse("navigator instances weight web 10.0.0.1:80 default")?;
    assert!(matches!(
        cli.command,
        Command::Instances(InstancesCommand::Weight {
            weight: WeightOrder::Default,
            ..
        })
    ));
    let cli = parse("navigator vip set web --address 192.0.2.1 --port 80 --service web")?;
    let Command::Vip(VipCommand::Set(args)) = cli.command else {
        anyhow::bail!("{cli:?}");
    };
    assert_eq!((args.protocol.as_str(), args.mode.as_str()), ("tcp", "l2"));
    Ok(())
}

#[test]
fn a_trace_is_read() -> Test {
    let cli = parse(
        "navigator trace --vip web --reason dropped,forwarded --sample 1/10 --count 5 --pcap - -o text",
    )?;
    let Command::Trace(args) = cli.command else {
        anyhow::bail!("{cli:?}");
    };
    assert_eq!(args.reason, ["dropped", "forwarded"]);
    assert_eq!((args.count, args.output), (Some(5), Format::Table));
    assert!(parse("navigator trace --sent").is_err(), "into which file?");
    assert!(parse("navigator trace --count 0").is_err());
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases = [
        (
            "navigator",
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ),
        ("navigator stats", ErrorKind::InvalidSubcommand),
        ("navigator status -o xml", ErrorKind::InvalidValue),
        ("navigator discover Web", ErrorKind::ValueValidation),
        (
            "navigator register web localhost:80",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator register web 0.0.0.0:80",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator register web 10.0.0.1:80 --weight 1001",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator register web 10.0.0.1:80 --ttl 15",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator register web 10.0.0.1:80 --ttl 999ms",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator register web 10.0.0.1:80 --no-check --check-tcp",
            ErrorKind::ArgumentConflict,
        ),
        (
            "navigator instances weight web 10.0.0.1:80 1001",
            ErrorKind::ValueValidation,
        ),
        (
            "navigator vip set web --port 80",
            ErrorKind::MissingRequiredArgument,
        ),
        ("navigator vip set web --mode dnat", ErrorKind::InvalidValue),
        ("navigator detach", ErrorKind::MissingRequiredArgument),
    ];
    for (line, kind) in cases {
        match parse(line) {
            Ok(cli) => panic!("{line} was taken: {cli:?}"),
            Err(error) => {
                assert_eq!(error.kind(), kind, "{line}: {error}");
                assert_eq!(error.exit_code(), 2, "{line}");
            }
        }
    }
}
