//! Connections: a bounded number, each bounded in time.

use super::{ApiState, MAX_WAIT, router};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::errno::Errno;
use std::{io, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// Time for a client to send a request's head; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Age at which a connection is closed after the request in hand, so that clients
/// that do not read their answers cannot use up the connections.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Time for requests in hand when the daemon ends.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers requests until `shutdown`, then gives those in hand a moment to finish
/// and removes the socket.
///
/// # Errors
/// The listener is broken. A want of descriptors or memory is waited out.
pub async fn serve(
    listener: UnixListener,
    state: ApiState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = router(state);
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut short_of_resources = false;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    short_of_resources = false;
                    connections.spawn(connection(stream, router.clone(), closed.clone()));
                }
                Err(error) if passes(&error) => {
                    if !std::mem::replace(&mut short_of_resources, true) {
                        tracing::warn!("API: cannot accept a connection, trying on: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => return Err(error),
            },
        }
    }
    remove_socket(&listener);
    drop(listener);
    drop(closing);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Blocking reads may have a minute to go: those who read them see the connection end.
    let _ = timeout(GRACE, drained).await;
    Ok(())
}

fn passes(error: &io::Error) -> bool {
    let waits = [
        Errno::ECONNABORTED,
        Errno::EINTR,
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
    ];
    waits
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn remove_socket(listener: &UnixListener) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    if let Some(path) = address.as_pathname()
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!("socket {}: cannot be removed: {error}", path.display());
    }
}

async fn connection(stream: UnixStream, router: Router, mut closed: watch::Receiver<()>) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let ended = tokio::select! {
        result = &mut serving => result,
        () = async { tokio::select! { _ = closed.changed() => {}, () = sleep(MAX_AGE) => {} } } => {
            serving.as_mut().graceful_shutdown();
            let rest = MAX_WAIT + HEAD_TIMEOUT;
            timeout(rest, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("API connection: {error}");
    }
}
