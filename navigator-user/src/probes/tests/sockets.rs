//! What checks make of real servers on loopback.

use super::*;
use crate::probes::{Prober, ProberSettings, check};
use std::{future::Future, net::IpAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
/// Long enough for any answer that comes at all.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// A server that treats every connection with `serve`; ends with the test's runtime.
async fn server<F>(ip: IpAddr, serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads a request's head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers every request with `answer`, then closes.
async fn answering(answer: &'static str) -> SocketAddr {
    server(V4, move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// A server that answers with `head`, then with `more` for ever.
async fn endless(head: &'static str, more: &'static str) -> SocketAddr {
    server(V4, move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(more.as_bytes()).await.is_ok() {}
    })
    .await
}

fn http(path: &str) -> CheckKind {
    CheckKind::Http {
        path: path.into(),
        host: None,
        method: "GET".into(),
        expect: (200, 399),
        headers: vec![],
    }
}

async fn probe(address: SocketAddr, kind: CheckKind, timeout: Duration) -> (Verdict, String) {
    let outcome = check::run(&target_at(address, kind), timeout).await;
    (outcome.verdict, outcome.detail)
}

async fn ask(address: SocketAddr) -> (Verdict, String) {
    probe(address, http("/health"), LONG).await
}

fn failed(detail: &str) -> (Verdict, String) {
    (Verdict::Fail, detail.into())
}

fn passed(detail: &str) -> (Verdict, String) {
    (Verdict::Pass, detail.into())
}

/// An address at which nothing listens; held so that nobody else takes it.
fn closed_port(ip: IpAddr) -> (socket2::Socket, SocketAddr) {
    let domain = socket2::Domain::for_address((ip, 0).into());
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[tokio::test]
async fn tcp_passes_when_the_connection_is_accepted_and_leaves_by_reset() {
    for ip in [V4, V6] {
        let (tx, mut rx) = mpsc::channel(1);
        let address = server(ip, move |mut stream| {
            let tx = tx.clone();
            async move {
                let end = stream.read_u8().await.map_err(|error| error.kind());
                tx.send(end).await.unwrap();
            }
        })
        .await;
        assert_eq!(
            probe(address, CheckKind::Tcp, LONG).await,
            passed("connection accepted")
        );
        let end = rx.recv().await.unwrap();
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    for ip in [V4, V6] {
        let (_held, address) = closed_port(ip);
        for kind in [CheckKind::Tcp, http("/")] {
            assert_eq!(
                probe(address, kind, LONG).await,
                failed("connection refused")
            );
        }
    }
}

#[tokio::test]
async fn a_host_that_drops_packets_does_not_answer() {
    let (held, address) = closed_port(V4);
    held.listen(0).unwrap();
    // The one place in the backlog is taken, so further SYNs are dropped.
    let _taken = TcpStream::connect(address).await.unwrap();
    for kind in [CheckKind::Tcp, http("/")] {
        assert_eq!(
            probe(address, kind, SHORT).await,
            failed("no answer within 200ms")
        );
    }
}

#[tokio::test]
async fn the_status_decides() {
    let ok = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(ask(ok).await, passed("HTTP 200"));
    let old = answering("HTTP/1.0 204 No Content\r\n\r\n").await;
    assert_eq!(ask(old).await, passed("HTTP 204"));
    let interim = answering("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(ask(interim).await, passed("HTTP 200"));
    let bad = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(ask(bad).await, failed("HTTP 503, expected 200-399"));
    let mut only_204 = http("/");
    if let CheckKind::Http { expect, .. } = &mut only_204 {
        *expect = (204, 204);
    }
    assert_eq!(
        probe(ok, only_204, LONG).await,
        failed("HTTP 200, expected 204")
    );
}

#[tokio::test]
async fn a_redirect_passes_and_is_not_followed() {
    let (tx, mut rx) = mpsc::channel(8);
    let address = server(V4, move |mut stream| {
        let tx = tx.clone();
        async move {
            tx.send(read_head(&mut stream).await).await.unwrap();
            let answer = "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    assert_eq!(ask(address).await, passed("HTTP 302"));
    assert!(
        rx.recv()
            .await
            .unwrap()
            .starts_with("GET /health HTTP/1.1\r\n")
    );
    assert!(rx.try_recv().is_err(), "it asked again");
}

/// What a server at `ip` is sent by the check `kind`.
async fn request_of(ip: IpAddr, kind: CheckKind) -> (SocketAddr, Vec<String>) {
    let (tx, mut rx) = mpsc::channel(8);
    let address = server(ip, move |mut stream| {
        let tx = tx.clone();
        async move {
            tx.send(read_head(&mut stream).await).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    assert_eq!(probe(address, kind, LONG).await, passed("HTTP 200"));
    let head = rx.recv().await.unwrap();
    (
        address,
        head.trim_end().lines().map(str::to_lowercase).collect(),
    )
}

#[tokio::test]
async fn the_request_names_the_instance_and_closes() {
    for ip in [V4, V6] {
        let (address, head) = request_of(ip, http("/health?deep=1")).await;
        assert_eq!(head[0], "get /health?deep=1 http/1.1");
        assert!(head.contains(&format!("host: {address}")), "{head:?}");
        assert!(head.contains(&"connection: close".into()), "{head:?}");
        assert!(
            head.iter()
                .any(|line| line.starts_with("user-agent: navigator/"))
        );
    }
}

#[tokio::test]
async fn the_request_carries_what_was_configured() {
    let kind = CheckKind::Http {
        path: "/".into(),
        host: Some("shop.example".into()),
        method: "HEAD".into(),
        expect: (200, 200),
        headers: vec![
            ("X-Probe".into(), "a b".into()),
            ("Connection".into(), "keep-alive".into()),
            ("Content-Length".into(), "7".into()),
            ("User-Agent".into(), "mine".into()),
        ],
    };
    let (_, mut head) = request_of(V4, kind).await;
    assert_eq!(head.remove(0), "head / http/1.1");
    head.sort();
    assert_eq!(
        head,
        [
            "connection: close",
            "host: shop.example",
            "user-agent: mine",
            "x-probe: a b"
        ]
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_fails_with_the_value() {
    let address = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let (verdict, detail) = probe(address, http("/a b"), LONG).await;
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(detail, r#"check path "/a b" cannot be sent"#);
}

#[tokio::test]
async fn the_check_goes_to_its_own_port_if_it_names_one() {
    let address = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let (_held, instance) = closed_port(V4);
    let mut target = target_at(instance, http("/"));
    target.check.port = Some(address.port());
    assert_eq!(check::run(&target, LONG).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn silence_and_slowness_end_by_the_timeout() {
    let never = server(V4, |mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let late = "no HTTP answer within 200ms";
    assert_eq!(probe(never, http("/"), SHORT).await, failed(late));
    let dripping = server(V4, |mut stream| async move {
        read_head(&mut stream).await;
        for byte in "HTTP/1.1 200 OK\r\nx-padding: more\r\n".bytes().cycle() {
            let _ = stream.write_u8(byte).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(probe(dripping, http("/"), SHORT).await, failed(late));
}

#[tokio::test]
async fn what_is_not_http_fails() {
    let ssh = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert_eq!(ask(ssh).await, failed("the answer is not HTTP/1"));
    let binary = answering("\0\u{1}\u{2}\u{3}").await;
    assert_eq!(ask(binary).await, failed("the answer is not HTTP/1"));
    let http09 = answering("<html>hello</html>\r\n\r\n").await;
    assert_eq!(ask(http09).await, failed("the answer is not HTTP/1"));
    let mute = answering("").await;
    assert_eq!(
        ask(mute).await,
        failed("connection closed without an HTTP answer")
    );
    let cut = answering("HTTP/1.1 200 OK\r\ncontent-").await;
    assert_eq!(
        ask(cut).await,
        failed("connection closed without an HTTP answer")
    );
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let too_large = failed("the head of the HTTP answer is over 16 KiB");
    let headers = endless(
        "HTTP/1.1 200 OK\r\n",
        "x-padding: more and more and more\r\n",
    )
    .await;
    assert_eq!(ask(headers).await, too_large);
    let line = endless("HTTP/1.1 200 OK\r\nx-padding: ", "0123456789abcdef").await;
    assert_eq!(ask(line).await, too_large);
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-padding: {}\r\n\r\n",
        "x".repeat(20 << 10)
    );
    assert_eq!(ask(answering(head.leak()).await).await, too_large);
    let body = endless("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef").await;
    assert_eq!(ask(body).await, passed("HTTP 200"));
}

#[tokio::test]
async fn a_body_that_stalls_or_breaks_does_not_change_the_verdict() {
    let stalls = server(V4, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(probe(stalls, http("/"), SHORT).await, passed("HTTP 200"));
    let breaks = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour").await;
    assert_eq!(ask(breaks).await, passed("HTTP 200"));
    let chunks = answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(ask(chunks).await, passed("HTTP 200"));
}

#[tokio::test]
async fn a_server_that_dies_is_found_unhealthy_and_found_again() {
    // An address of its own, so that nobody takes the port while it is free.
    let listener = TcpListener::bind((Ipv4Addr::new(127, 77, 0, 1), 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let quick = Settings {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        fast_interval: Duration::from_millis(100),
        ..defaults()
    };
    let (tx, mut reports) = mpsc::channel(64);
    let mut prober = Prober::start(ProberSettings::new(quick), tx);
    prober.set_targets(vec![target_at(address, CheckKind::Tcp)]);
    let mut change = async || loop {
        let report = tokio::time::timeout(LONG, reports.recv())
            .await
            .unwrap()
            .unwrap();
        if report.changed {
            return (report.health, report.detail);
        }
    };
    assert_eq!(
        change().await,
        (Health::Healthy, "connection accepted".into())
    );
    drop(listener);
    assert_eq!(
        change().await,
        (Health::Unhealthy, "connection refused".into())
    );
    let _again = TcpListener::bind(address).await.unwrap();
    assert_eq!(
        change().await,
        (Health::Healthy, "connection accepted".into())
    );
}
