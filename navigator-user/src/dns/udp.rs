//! Datagrams, one after the other: an answer is made without waiting for anything.

use super::{Desk, MAX_QUESTION};
use std::time::Duration;
use tokio::{net::UdpSocket, time::sleep};

/// Pause after an error of the socket.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(socket: &UdpSocket, desk: &Desk) {
    let mut question = [0; MAX_QUESTION];
    loop {
        let (length, peer) = match socket.recv_from(&mut question).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("DNS: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some((answer, room)) = desk.answer(&question[..length], peer.ip()) else {
            continue;
        };
        let bytes = match answer.to_vec() {
            Ok(bytes) if bytes.len() <= room => Ok(bytes),
            // The client asks again by TCP.
            _ => answer.truncate().to_vec(),
        };
        if let Ok(bytes) = bytes {
            // A client that is gone is none of ours; a full buffer drops, as a network does.
            let _ = socket.try_send_to(&bytes, peer);
        }
    }
}
