//! HTTP over the daemon's socket.

use super::failure::{Exit, Failure};
use crate::{
    api::{INDEX_HEADER, ProblemBody},
    events::Event,
    snapshot::Snapshot,
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header::HOST,
};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, task::AbortHandle, time::timeout};

/// Time for the daemon to answer a request that does not wait for anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer, in bytes: a snapshot of the largest registry is well below.
const MAX_ANSWER: usize = 256 << 20;
/// Longest line of a stream, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Why the daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {path} ({why}): start it with `navigator run --config FILE`, or name its socket with --socket"
    )]
    NotRunning {
        /// The socket.
        path: String,
        /// Why, in words.
        why: &'static str,
    },
    /// The socket may not be opened.
    #[error(
        "not allowed to open {path}: run this as root, or as a member of the group that owns the socket"
    )]
    Denied {
        /// The socket.
        path: String,
    },
    /// It did not answer in time, or not in HTTP.
    #[error("the daemon at {path} did not answer: {why}")]
    Broken {
        /// The socket.
        path: String,
        /// Why, in words.
        why: String,
    },
    /// It answered with a refusal.
    #[error("{}", .0.detail)]
    Refused(ProblemBody),
}

impl ClientError {
    /// Whether the daemon says that what was named does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == StatusCode::NOT_FOUND.as_u16())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused(problem) => match problem.status {
                404 => Exit::NotFound,
                503 | 504 => Exit::Unreachable,
                _ => Exit::Error,
            },
            _ => Exit::Unreachable,
        };
        Self::new(exit, error.to_string())
    }
}

/// Result of a request.
pub type ClientResult<T> = Result<T, ClientError>;

/// Speaks to the daemon; one connection a request.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

// Requests are cut short by dropping them: the connection's task must not outlive that.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// A client of the daemon whose socket this is. Does not connect yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The latest snapshot.
    pub async fn snapshot(&self) -> ClientResult<Snapshot> {
        let answer = self.send(Method::GET, "/v1/snapshot", Bytes::new()).await?;
        self.parse(&answer.body)
    }

    /// Reads a JSON document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> ClientResult<T> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        self.parse(&answer.body)
    }

    /// Reads a JSON document with another index than `index`, or whatever there is
    /// after `wait`; returns its index with it.
    pub async fn get_changed<T: DeserializeOwned>(
        &self,
        path: &str,
        index: Option<u64>,
        wait: Duration,
    ) -> ClientResult<(u64, T)> {
        let path = match index {
            Some(index) => format!("{path}?index={index}&wait={}", wait.as_secs()),
            None => path.to_owned(),
        };
        let limit = ANSWER_TIMEOUT + wait;
        let answer = self.send_within(limit, Method::GET, &path, Bytes::new());
        let answer = answer.await?;
        Ok((answer.index, self.parse(&answer.body)?))
    }

    /// Writes a document.
    pub async fn put(&self, path: &str, body: Vec<u8>) -> ClientResult<()> {
        self.send(Method::PUT, path, body.into()).await.map(drop)
    }

    /// Deletes a document.
    pub async fn delete(&self, path: &str) -> ClientResult<()> {
        self.send(Method::DELETE, path, Bytes::new())
            .await
            .map(drop)
    }

    /// Posts a document; returns the one that comes back.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> ClientResult<T> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error.to_string()))?;
        let answer = self.send(Method::POST, path, body.into()).await?;
        self.parse(&answer.body)
    }

    /// Posts nothing.
    pub async fn post_empty(&self, path: &str) -> ClientResult<()> {
        self.send(Method::POST, path, Bytes::new()).await.map(drop)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> ClientResult<T> {
        serde_json::from_slice(body)
            .map_err(|error| self.broken(format!("its answer is not understood: {error}")))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> ClientResult<Answer> {
        self.send_within(ANSWER_TIMEOUT, method, path, body).await
    }

    async fn send_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> ClientResult<Answer> {
        timeout(limit, self.exchange(method, path, body))
            .await
            .unwrap_or_else(|_| Err(self.broken(format!("nothing within {}s", limit.as_secs()))))
    }

    /// Reads JSON documents, one a line, for as long as they come.
    pub async fn stream(&self, path: &str) -> ClientResult<LineStream> {
        let open = self.open(Method::GET, path, Bytes::new());
        let (answer, connection) = timeout(ANSWER_TIMEOUT, open).await.unwrap_or_else(|_| {
            Err(self.broken(format!("nothing within {}s", ANSWER_TIMEOUT.as_secs())))
        })?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(LineStream {
                client: self.clone(),
                body,
                text: BytesMut::new(),
                _connection: connection,
            });
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.broken(error.to_string()))?;
        Err(self.refused(head.status, &body.to_bytes()))
    }

    /// Reads server-sent events for as long as they come.
    pub async fn events(&self, path: &str) -> ClientResult<EventStream> {
        let lines = self.stream(path).await?;
        Ok(EventStream { lines })
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> ClientResult<Answer> {
        let (answer, _connection) = self.open(method, path, body).await?;
        let (head, body) = answer.into_parts();
        let index = head.headers.get(INDEX_HEADER);
        let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body
            .map_err(|error| self.broken(error.to_string()))?
            .to_bytes();
        if head.status.is_success() {
            let index = index.unwrap_or(0);
            return Ok(Answer { index, body });
        }
        Err(self.refused(head.status, &body))
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> ClientResult<(Response<Incoming>, AbortOnDrop)> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.connect_error(&error))?;
        let broken = |error: hyper::Error| self.broken(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "navigator")
            .body(Full::new(body))
            .map_err(|error| self.broken(format!("{path}: {error}")))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        Ok((answer, connection))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Refused(problem),
            Err(_) => self.broken(format!("it answered {status} without a reason")),
        }
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Broken {
            path: self.path(),
            why,
        }
    }

    fn connect_error(&self, error: &io::Error) -> ClientError {
        let path = self.path();
        match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { path },
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                let why = errno.desc();
                ClientError::NotRunning { path, why }
            }
            _ => self.broken(error.to_string()),
        }
    }

    fn path(&self) -> String {
        self.socket.display().to_string()
    }
}

/// JSON documents as they come.
pub struct LineStream {
    client: Client,
    body: Incoming,
    text: BytesMut,
    _connection: AbortOnDrop,
}

impl LineStream {
    /// The next one; `None` after the last. May be cut short: nothing is lost.
    pub async fn next<T: DeserializeOwned>(&mut self) -> ClientResult<Option<T>> {
        let line = self.next_line().await?;
        line.map(|line| self.client.parse(&line)).transpose()
    }

    async fn next_line(&mut self) -> ClientResult<Option<BytesMut>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.text.split_to(end + 1)));
            }
            if self.text.len() > MAX_LINE {
                return Err(self
                    .client
                    .broken("its answer has no end of line".to_owned()));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| self.client.broken(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                self.text.extend_from_slice(data);
            }
        }
    }
}

/// Server-sent events as they come.
pub struct EventStream {
    lines: LineStream,
}

impl EventStream {
    /// The next one; `None` when the daemon ended the stream.
    pub async fn next(&mut self) -> ClientResult<Option<Event>> {
        while let Some(line) = self.lines.next_line().await? {
            if let Some(data) = line.strip_prefix(b"data: ") {
                return self.lines.client.parse(data).map(Some);
            }
        }
        Ok(None)
    }
}

struct Answer {
    index: u64,
    body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Exit;

    #[test]
    fn a_socket_that_may_not_be_opened_is_said_to_be_so() {
        let client = Client::new(Path::new("/run/navigator/navigator.sock"));
        let refused = io::Error::from_raw_os_error(Errno::EACCES as i32);
        let failure = Failure::from(client.connect_error(&refused));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(
            failure.message,
            "not allowed to open /run/navigator/navigator.sock: run this as root, or as a member of the group that owns the socket"
        );
    }

    #[test]
    fn refusals_have_exit_codes() {
        let exit = |status| {
            Failure::from(ClientError::Refused(ProblemBody {
                kind: "about:blank".to_owned(),
                title: String::new(),
                status,
                detail: "why".to_owned(),
                reason: String::new(),
            }))
            .exit
        };
        assert_eq!(exit(404), Exit::NotFound);
        assert_eq!(exit(503), Exit::Unreachable);
        assert_eq!(exit(409), Exit::Error);
    }
}
