//! A TCP connection that a test can cut: forwards a port of 127.0.0.1 to a server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Forwards until it is dropped.
pub struct Forwarder {
    address: SocketAddr,
    /// `None` while cut.
    connections: Arc<Mutex<Option<JoinSet<()>>>>,
    accepting: AbortHandle,
}

impl Forwarder {
    /// Forwards a free port of 127.0.0.1 to `server`.
    pub async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Some(JoinSet::new())));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&connections)));
        Ok(Self {
            address,
            connections,
            accepting: accepting.abort_handle(),
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections, and new ones at once, until [`Self::mend`].
    pub fn cut(&self) {
        *self.lock() = None;
    }

    /// Forwards again.
    pub fn mend(&self) {
        *self.lock() = Some(JoinSet::new());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    connections: Arc<Mutex<Option<JoinSet<()>>>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = connections.as_mut() {
            connections.spawn(forward(client, server));
        }
    }
}

/// Until either side closes; what goes wrong the two sides see for themselves.
async fn forward(mut client: TcpStream, server: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
