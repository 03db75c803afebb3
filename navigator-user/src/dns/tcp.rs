//! TCP connections: few, short, each with a few questions.

use super::{Desk, MAX_QUESTION};
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// Questions of one connection.
const QUESTIONS: usize = 100;
/// Time to ask, and to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(listener: &TcpListener, desk: &Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let desk = desk.clone();
                    connections.spawn(async move {
                        // A client that breaks off is none of ours.
                        let _ = connection(stream, peer.ip(), &desk).await;
                    });
                }
                Err(error) => {
                    tracing::debug!("DNS: {error}");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

async fn connection(mut stream: TcpStream, peer: IpAddr, desk: &Desk) -> io::Result<()> {
    for _ in 0..QUESTIONS {
        let question = timeout(PATIENCE, read(&mut stream)).await??;
        let Some((answer, _)) = desk.answer(&question, peer) else {
            break;
        };
        let bytes = answer.to_vec().or_else(|_| answer.truncate().to_vec());
        let bytes = bytes.map_err(io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        return Err(io::Error::other("the question is too long"));
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
