//! Discovery by DNS: `<service>.<domain>` as A, AAAA and SRV, from the same snapshot as everything.
//!
//! Only instances that take new clients are told. What is answered is a pure function (`answer`);
//! around it are a loop over datagrams and a bounded number of TCP connections, all with limits.

mod answer;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

pub use answer::Zone;

use crate::{
    api::access::{Rate, RateLimit},
    snapshot::Snapshot,
};
use hickory_proto::op::{Message, MessageType};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};

/// Longest question: a name of 255 bytes, and options.
const MAX_QUESTION: usize = 4096;
/// Questions of one address (of IPv6: of one /64).
const RATE: Rate = Rate {
    per_second: 1000,
    burst: 2000,
};

/// What is served, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct DnsConfig {
    /// Where it listens, by UDP and TCP.
    pub listen: SocketAddr,
    /// What is told of services.
    pub zone: Zone,
}

/// The open sockets.
#[derive(Debug)]
pub struct DnsSockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl DnsSockets {
    /// Opens them.
    ///
    /// # Errors
    /// The address is in use, or none of this host's.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(listen).await?;
        // With port 0 the system chooses one: both are to have the same.
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self { udp, tcp })
    }

    /// Where they are.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

/// Who answers.
struct Desk {
    zone: Zone,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    limit: Mutex<RateLimit>,
    start: Instant,
}

impl Desk {
    /// The answer to a message, and how many bytes of one fit into a datagram; `None` for what is
    /// no question, or one too many.
    fn answer(&self, question: &[u8], peer: IpAddr) -> Option<(Message, usize)> {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit.take(peer, self.start.elapsed()).ok()?;
        drop(limit);
        let question = match Message::from_vec(question) {
            Ok(question) => question,
            Err(_) => return Some((answer::malformed(question)?, answer::LEAST)),
        };
        // Whoever answers answers starts a loop.
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let (_, snapshot) = self.snapshots.borrow().clone();
        let room = answer::room(&question);
        Some((answer::answer(&question, &snapshot, &self.zone), room))
    }
}

/// Answers for as long as the daemon runs.
pub async fn serve(
    sockets: DnsSockets,
    zone: Zone,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
) {
    let desk = Arc::new(Desk {
        zone,
        snapshots,
        limit: Mutex::new(RateLimit::new(RATE)),
        start: Instant::now(),
    });
    tokio::join!(
        udp::serve(&sockets.udp, &desk),
        tcp::serve(&sockets.tcp, &desk)
    );
}
