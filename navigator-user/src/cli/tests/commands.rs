//! What commands do to a daemon.

use crate::{
    api::{fixture, tests::double::Daemon},
    cli::{
        args::{Cli, Command, Format, ReaderArgs},
        carry_out,
        client::Client,
        failure::{Exit, Failure, Outcome},
        lease_client::SocketRegistry,
        readers::View,
        register,
        render::Look,
    },
    registry::LeaseId,
};
use clap::Parser;
use std::path::Path;
use tokio::sync::oneshot;

type Test = anyhow::Result<()>;

/// Carries out a command against a daemon.
async fn run(socket: &Path, line: &str) -> anyhow::Result<Outcome> {
    let words = std::iter::once("navigator").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words)?;
    Ok(carry_out(socket, cli.command).await.map(drop))
}

/// The exit code and message of a command that is to fail.
async fn fail(socket: &Path, line: &str) -> anyhow::Result<Failure> {
    match run(socket, line).await? {
        Ok(()) => anyhow::bail!("{line} did not fail"),
        Err(failure) => Ok(failure),
    }
}

#[tokio::test]
async fn a_missing_daemon_is_named_with_the_way_out() -> Test {
    let directory = tempfile::TempDir::with_prefix("navigator-cli-")?;
    let socket = directory.path().join("s");
    let failure = fail(&socket, "status").await?;
    assert_eq!(failure.exit, Exit::Unreachable);
    assert_eq!(
        failure.message,
        format!(
            "no daemon answers at {} (No such file or directory): start it with `navigator run --config FILE`, or name its socket with --socket",
            socket.display()
        )
    );
    drop(crate::api::bind(&socket)?);
    let failure = fail(&socket, "vips --watch").await?;
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(
        failure.message.contains("(Connection refused)"),
        "{failure}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_no_daemon_is_said_not_to_answer() -> Test {
    let directory = tempfile::TempDir::with_prefix("navigator-cli-")?;
    let socket = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&socket)?;
    let (failure, accepted) = tokio::join!(fail(&socket, "status"), async {
        listener.accept().await.map(drop)
    });
    accepted?;
    let failure = failure?;
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("did not answer"), "{failure}");
    Ok(())
}

#[tokio::test]
async fn readers_print_and_name_what_they_do_not_know() -> Test {
    let daemon = Daemon::start()?;
    run(&daemon.socket, "discover web").await??;
    for (line, message) in [
        ("backends none", "no VIP \"none\"; there is web, api"),
        ("services get none", "no service \"none\"; there is web"),
        ("discover none", "no service none"),
    ] {
        let failure = fail(&daemon.socket, line).await?;
        assert_eq!(failure, Failure::not_found(message));
    }
    daemon.stop().await
}

#[test]
fn json_has_the_field_names_of_the_snapshot() -> Test {
    let args = ReaderArgs {
        output: Format::Json,
        watch: false,
    };
    let snapshot = fixture::snapshot();
    let text = View::Backends(Some("web".to_owned())).render(&snapshot, args, Look::default())?;
    let shown: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(shown, serde_json::to_value(&snapshot.vips[..1])?);
    assert_eq!(shown[0]["backends"][2]["state"], "draining");
    Ok(())
}

#[tokio::test]
async fn orders_add_up_in_the_registry() -> Test {
    let daemon = Daemon::start()?;
    let order = || daemon.registry.entry("/navigator/orders/web/10.0.0.1:80");
    let steps = [
        ("weight web 10.0.0.1:80 7", Some(r#"{"weight":7}"#)),
        (
            "drain web 10.0.0.1:80",
            Some(r#"{"drain":true,"weight":7}"#),
        ),
        ("enable web 10.0.0.1:80", Some(r#"{"weight":7}"#)),
        ("weight web 10.0.0.1:80 default", None),
        ("enable web 10.0.0.1:80", None),
    ];
    for (line, wanted) in steps {
        run(&daemon.socket, &format!("instances {line}")).await??;
        assert_eq!(order().map(|(value, _)| value).as_deref(), wanted, "{line}");
    }
    let failure = fail(&daemon.socket, "instances drain web 10.0.0.9:80").await?;
    assert_eq!(failure.exit, Exit::NotFound);
    assert!(
        failure.message.contains("10.0.0.1:80, 10.0.0.2:80"),
        "{failure}"
    );
    let failure = fail(&daemon.socket, "instances drain none 10.0.0.9:80").await?;
    assert_eq!(failure.exit, Exit::NotFound);
    daemon.stop().await
}

#[tokio::test]
async fn vips_are_set_and_removed() -> Test {
    let daemon = Daemon::start()?;
    let line = "vip set shop --address 2001:db8::7 --port 443 --service web --mode ipip --slots 1009 --drain 1m";
    run(&daemon.socket, line).await??;
    let (value, lease) = daemon
        .registry
        .entry("/navigator/vips/shop")
        .unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&value)?;
    assert_eq!(lease, None);
    assert_eq!(
        value,
        serde_json::json!({
            "address": "2001:db8::7", "port": 443, "protocol": "tcp", "service": "web",
            "mode": "ipip", "slots": 1009, "drain": "1m",
        })
    );
    let failure = fail(&daemon.socket, &line.replace("1009", "1000")).await?;
    assert_eq!(failure.exit, Exit::Error);
    assert!(
        failure.message.contains("slots 1000: must be a prime"),
        "{failure}"
    );
    run(&daemon.socket, "vip remove shop").await??;
    let failure = fail(&daemon.socket, "vip remove shop").await?;
    assert_eq!(failure.exit, Exit::NotFound);
    let failure = fail(&daemon.socket, "vip remove web").await?;
    assert_eq!(failure.exit, Exit::Error);
    assert!(failure.message.contains("configuration file"), "{failure}");
    daemon.stop().await
}

#[tokio::test]
async fn a_registration_lasts_as_long_as_its_command() -> Test {
    let daemon = Daemon::start()?;
    let cli = Cli::try_parse_from("navigator register web 10.0.0.5:80 --no-check".split(' '))?;
    let Command::Register(args) = cli.command else {
        anyhow::bail!("no registration");
    };
    let entry = || daemon.registry.entry("/services/web/10.0.0.5:80");
    let registry = SocketRegistry::new(&daemon.socket);
    let (stop, stopped) = oneshot::channel::<()>();
    let (outcome, ()) = tokio::join!(register::keep(&registry, &args, stopped), async {
        while entry().is_none() {
            tokio::task::yield_now().await;
        }
        let (value, lease) = entry().unwrap_or_default();
        assert_eq!(lease, Some(LeaseId(1)));
        assert!(value.contains(r#""check":{"kind":"none"}"#), "{value}");
        drop(stop);
    });
    outcome?;
    assert_eq!(entry(), None);
    daemon.stop().await
}

#[tokio::test]
async fn a_registration_that_the_daemon_refuses_ends() -> Test {
    let daemon = Daemon::start()?;
    let failure = fail(&daemon.socket, "register web 10.0.0.1:80").await?;
    assert_eq!(failure.exit, Exit::Error);
    assert!(failure.message.contains("configuration file"), "{failure}");
    let failure = fail(
        &daemon.socket,
        "register web 10.0.0.5:80 --check-http health",
    )
    .await?;
    assert!(failure.message.contains("must start with '/'"), "{failure}");
    let failure = fail(&daemon.socket, "services deregister web 10.0.0.5:80").await?;
    assert_eq!(failure.exit, Exit::NotFound);
    daemon.stop().await
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_said_so() -> Test {
    let daemon = Daemon::start()?;
    let read = Client::new(&daemon.socket).get::<u64>("/v1/snapshot").await;
    let message = read.map_err(|error| error.to_string());
    assert!(
        matches!(&message, Err(m) if m.contains("its answer is not understood")),
        "{message:?}"
    );
    daemon.stop().await
}
