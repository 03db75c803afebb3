//! Connections: a bounded number, each bounded in time.

use super::{MAX_WAIT, access::Peer, access::network, stall::Unstalled, tls::Tls};
use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::errno::Errno;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Time for a client to send a request's head; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a client may read nothing of what it is sent.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Age at which a connection is closed after the request in hand, so that nobody keeps one for ever.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Time for requests in hand when the daemon ends.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many connections there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// At a time; further ones wait to be accepted.
    pub connections: usize,
    /// At a time from one address (of IPv6: one /64); further ones are closed at once.
    pub per_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            per_peer: 32,
        }
    }
}

/// Where connections come in.
pub enum Listener {
    /// By the Unix socket, which is removed in the end.
    Unix(UnixListener),
    /// By TCP, with TLS.
    Tls(TcpListener, Arc<Tls>),
}

enum Incoming {
    Unix(UnixStream),
    Tls(TcpStream, SocketAddr, Arc<Tls>),
}

impl Listener {
    async fn accept(&self) -> io::Result<Incoming> {
        Ok(match self {
            Self::Unix(listener) => Incoming::Unix(listener.accept().await?.0),
            Self::Tls(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Incoming::Tls(stream, peer, tls.clone())
            }
        })
    }
}

impl Incoming {
    fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tls(_, peer, _) => Some(network(peer.ip())),
        }
    }
}

/// Answers requests until `shutdown`, then gives those in hand a moment to finish
/// and removes the socket.
///
/// # Errors
/// The listener is broken. A want of descriptors or memory is waited out.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut peers = Peers::default();
    let mut short_of_resources = false;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                if let Ok(Some(peer)) = ended {
                    peers.left(peer);
                }
            }
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok(incoming) => {
                    short_of_resources = false;
                    let peer = incoming.peer();
                    if peer.is_none_or(|peer| peers.came(peer, limits.per_peer)) {
                        let (router, closed) = (router.clone(), closed.clone());
                        connections.spawn(async move {
                            answer(incoming, router, closed).await;
                            peer
                        });
                    }
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
    if let Listener::Unix(listener) = &listener {
        remove_socket(listener);
    }
    drop(listener);
    drop(closing);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Blocking reads may have a minute to go: those who read them see the connection end.
    let _ = timeout(GRACE, drained).await;
    Ok(())
}

/// Connections of each peer; no more peers than connections.
#[derive(Default)]
struct Peers(HashMap<IpAddr, usize>);

impl Peers {
    fn came(&mut self, peer: IpAddr, most: usize) -> bool {
        let count = self.0.entry(peer).or_default();
        let room = *count < most;
        *count += usize::from(room);
        room
    }

    fn left(&mut self, peer: IpAddr) {
        if let Some(count) = self.0.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&peer);
            }
        }
    }
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

async fn answer(incoming: Incoming, router: Router, closed: watch::Receiver<()>) {
    match incoming {
        Incoming::Unix(stream) => connection(stream, Peer::Local, router, closed).await,
        Incoming::Tls(stream, address, tls) => {
            let shaken = timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%address, "TLS: {error}"),
                Err(_) => return tracing::debug!(%address, "TLS: no handshake in time"),
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let first = certificates.and_then(|all| all.first());
            let peer = Peer::Remote {
                ip: address.ip().to_canonical(),
                certificate: first.map(|certificate| certificate.clone().into_owned()),
            };
            connection(stream, peer, router, closed).await;
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut closed: watch::Receiver<()>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let stream = TokioIo::new(Unstalled::new(stream, STALL_TIMEOUT));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(stream, service);
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
