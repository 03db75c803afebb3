//! The HTTP check: one HTTP/1.1 request on a connection of its own. The
//! status decides; redirects are not followed and the body is not looked at.

use super::check::{Deadline, Outcome, connect};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Uri,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{future::pending, net::SocketAddr};
use tokio::net::TcpStream;

/// What is asked, and what is a pass.
pub(super) struct Request<'a> {
    /// Request target, starting with `/`.
    pub(super) path: &'a str,
    /// `Host` header; by default the address and port that are asked.
    pub(super) host: Option<&'a str>,
    pub(super) method: &'a str,
    /// Lowest and highest status that pass.
    pub(super) expect: (u16, u16),
    pub(super) headers: &'a [(String, String)],
}

/// Bytes of an answer's head that are read at most.
const HEAD_LIMIT: usize = 16 << 10;
/// Bytes of an answer's body that are read at most, so that most servers can close first.
const BODY_LIMIT: usize = 4 << 10;

/// Asks once. `Err` is an outcome as well: the way out of a failed step.
pub(super) async fn check(
    address: SocketAddr,
    request: &Request<'_>,
    deadline: Deadline,
) -> Result<Outcome, Outcome> {
    let message = request.message(address)?;
    let stream = connect(address, deadline).await?;
    let mut answer = None;
    let exchange = exchange(stream, message, &mut answer);
    let ended = deadline.bound("HTTP answer", exchange).await;
    // Once the status is there it decides, however the body went on.
    match (answer, ended) {
        (Some(status), _) => Ok(request.judge(status)),
        (None, Ok(Err(error))) => Err(Outcome::fail(words(&error))),
        (None, Ok(Ok(()))) => Err(Outcome::fail("connection closed without an HTTP answer")),
        (None, Err(late)) => Err(late),
    }
}

impl Request<'_> {
    /// The request to send; what cannot be sent fails the check.
    fn message(&self, address: SocketAddr) -> Result<hyper::Request<Empty<Bytes>>, Outcome> {
        let unfit = |what: &str, value: &str| {
            Outcome::fail(format!("check {what} {value:?} cannot be sent"))
        };
        let mut message = hyper::Request::new(Empty::new());
        *message.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| unfit("method", self.method))?;
        *message.uri_mut() = self
            .path
            .parse::<Uri>()
            .ok()
            .filter(|uri| uri.authority().is_none())
            .ok_or_else(|| unfit("path", self.path))?;
        let headers = message.headers_mut();
        for (name, value) in self.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("header", name))?;
            let value = HeaderValue::from_str(value).map_err(|_| unfit("header value", value))?;
            headers.append(name, value);
        }
        let authority = address.to_string();
        let host = self.host.unwrap_or(&authority);
        let host = HeaderValue::from_str(host).map_err(|_| unfit("host", host))?;
        complete(headers, host, self.host.is_some());
        Ok(message)
    }

    fn judge(&self, status: u16) -> Outcome {
        let (low, high) = self.expect;
        if (low..=high).contains(&status) {
            return Outcome::pass(format!("HTTP {status}"));
        }
        let expected = if low == high {
            low.to_string()
        } else {
            format!("{low}-{high}")
        };
        Outcome::fail(format!("HTTP {status}, expected {expected}"))
    }
}

/// Sets what every check sends, over or beside the headers that were configured.
fn complete(headers: &mut HeaderMap, host: HeaderValue, host_was_set: bool) {
    // There is no body and only one request: headers that frame either would be lies.
    for framing in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::EXPECT,
    ] {
        headers.remove(framing);
    }
    if host_was_set || !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "navigator/",
            env!("CARGO_PKG_VERSION")
        )));
}

/// Sends the request and writes the status to `answer` as soon as it is there.
async fn exchange(
    stream: TcpStream,
    message: hyper::Request<Empty<Bytes>>,
    answer: &mut Option<u16>,
) -> hyper::Result<()> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await?;
    let talk = async {
        let response = sender.send_request(message).await?;
        *answer = Some(response.status().as_u16());
        read_some(response.into_body()).await
    };
    // The connection only moves while it is polled, and may end before its
    // last answer was taken from it.
    let drive = async {
        let _ = connection.await;
        pending::<hyper::Result<()>>().await
    };
    tokio::select! { done = talk => done, never = drive => never }
}

async fn read_some(mut body: Incoming) -> hyper::Result<()> {
    let mut read = 0;
    while read < BODY_LIMIT && !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        read += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
}

/// A failed exchange in words.
fn words(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        return format!(
            "the head of the HTTP answer is over {} KiB",
            HEAD_LIMIT >> 10
        );
    }
    if error.is_parse() {
        return "the answer is not HTTP/1".into();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "connection closed without an HTTP answer".into();
    }
    match std::error::Error::source(error) {
        Some(source) => format!("HTTP exchange failed: {source}"),
        None => format!("HTTP exchange failed: {error}"),
    }
}
