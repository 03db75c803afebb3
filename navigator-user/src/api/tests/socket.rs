//! The socket and its connections.

use super::double::Daemon;
use crate::api::{BindError, bind};
use std::{fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;

type Test = anyhow::Result<()>;

#[tokio::test]
async fn only_owner_and_group_may_use_the_socket() -> Test {
    let daemon = Daemon::start()?;
    let mode = |path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o7777);
    assert_eq!(mode(daemon.socket.as_path())?, 0o660);
    assert_eq!(
        mode(daemon.socket.parent().unwrap_or(&daemon.socket))?,
        0o755
    );
    daemon.stop().await
}

#[tokio::test]
async fn a_live_daemon_keeps_its_socket() -> Test {
    let daemon = Daemon::start()?;
    let refused = bind(&daemon.socket);
    assert!(
        matches!(refused, Err(BindError::InUse { .. })),
        "{refused:?}"
    );
    assert_eq!(daemon.ask("GET /livez", "").await?.status, 200);
    let socket = daemon.socket.clone();
    daemon.stop().await?;
    assert!(!socket.exists(), "an orderly end removes the socket");
    Ok(())
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced() -> Test {
    let directory = TempDir::with_prefix("navigator-api-")?;
    let path = directory.path().join("s");
    drop(bind(&path)?);
    assert!(path.exists());
    bind(&path)?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() -> Test {
    let directory = TempDir::with_prefix("navigator-api-")?;
    let path = directory.path().join("s");
    fs::write(&path, "precious")?;
    let refused = bind(&path);
    assert!(
        matches!(refused, Err(BindError::NotASocket { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path)?, "precious");
    let long = directory.path().join("x".repeat(200));
    let refused = bind(&long);
    assert!(matches!(refused, Err(BindError::Io { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() -> Test {
    let daemon = Daemon::start()?;
    let answer = daemon.ask("GET /v2", "").await?;
    assert_eq!(answer.problem()?, (404, "no_route".to_owned()));
    let answer = daemon.ask("POST /v1/snapshot", "").await?;
    assert_eq!(answer.problem()?, (405, "no_method".to_owned()));
    let answer = daemon.ask("PATCH /v1/vips/web", "").await?;
    assert_eq!(answer.problem()?, (405, "no_method".to_owned()));
    daemon.stop().await
}

#[tokio::test]
async fn more_clients_than_connections_are_served_in_turn() -> Test {
    let daemon = Daemon::start()?;
    let asks = (0..300).map(|_| daemon.ask("GET /v1/snapshot?index=7&wait=0.2", ""));
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer?.status, 200);
    }
    daemon.stop().await
}

#[tokio::test]
async fn the_end_does_not_wait_for_blocking_reads() -> Test {
    let daemon = Daemon::start()?;
    let socket = daemon.socket.clone();
    let receivers = daemon.snapshots.receiver_count();
    let reader = tokio::spawn(async move {
        crate::cli::client::Client::new(&socket)
            .get_changed::<serde_json::Value>(
                "/v1/snapshot",
                Some(7),
                std::time::Duration::from_secs(60),
            )
            .await
    });
    // A read that is under way has a receiver of its own.
    while daemon.snapshots.receiver_count() == receivers {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    daemon.stop().await?;
    assert!(reader.await?.is_err());
    Ok(())
}
