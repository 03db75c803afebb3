//! Over TLS: who is let in by what, certificates that change, and peers that take too much.

use super::double::Double;
use crate::{
    api::{
        self, ApiState, Limits, Listener,
        access::{Grant, Principal, Rate, Shows, Token},
        fixture, serve,
        tls::{Tls, TlsFiles},
    },
    events::EventLog,
    snapshot::Snapshot,
};
use navigator_core::entry::Rules;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};

type Test = anyhow::Result<()>;

const NAME: &str = "lb.example";

/// An authority, and a certificate of it with its key.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    fn issue(&self, name: &str) -> anyhow::Result<(rcgen::Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        Ok((params.signed_by(&key, &self.0)?, key))
    }

    fn write(&self, name: &str, directory: &Path) -> anyhow::Result<TlsFiles> {
        let (certificate, key) = self.issue(name)?;
        let files = TlsFiles {
            certificate: directory.join("api.pem"),
            key: directory.join("api.key"),
            client_ca: Some(directory.join("ca.pem")),
        };
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        fs::write(directory.join("ca.pem"), self.0.pem())?;
        Ok(files)
    }
}

struct World {
    authority: Authority,
    token: Token,
    address: SocketAddr,
    directory: TempDir,
    _snapshots: watch::Sender<(u64, Arc<Snapshot>)>,
}

impl World {
    async fn start(limits: Limits) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let directory = TempDir::with_prefix("navigator-tls-")?;
        let files = authority.write(NAME, directory.path())?;
        let token = Token::random();
        let principals = vec![
            Principal {
                name: "reader".to_owned(),
                shows: Shows::Token(token.hash()),
                grants: vec![Grant::Read],
            },
            Principal {
                name: "registrant".to_owned(),
                shows: Shows::Certificate("web-1.example".to_owned()),
                grants: vec![Grant::Register("web".to_owned())],
            },
        ];
        let (snapshots, receiver) = watch::channel((7, Arc::new(fixture::snapshot())));
        let state = ApiState {
            snapshots: receiver,
            events: Arc::new(EventLog::new(1)),
            registry: Arc::new(Double::default()),
            config_keys: Arc::default(),
            rules: Arc::new(Rules::default()),
            tracers: Arc::default(),
            leases: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let listener = Listener::Tls(listener, Arc::new(Tls::new(files)?));
        let router = api::router(state, principals, Rate::default());
        tokio::spawn(serve(listener, router, limits, std::future::pending()));
        Ok(Self {
            authority,
            token,
            address,
            directory,
            _snapshots: snapshots,
        })
    }

    async fn connect(&self, shows: Option<&str>) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone())?;
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.authority.issue(name)?;
                let key = PrivateKeyDer::try_from(key.serialize_der())
                    .map_err(|error| anyhow::anyhow!(error))?;
                builder.with_client_auth_cert(vec![certificate.der().clone()], key)?
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(connector
            .connect(ServerName::try_from(NAME)?, stream)
            .await?)
    }

    async fn ask(&self, shows: Option<&str>, line: &str, headers: &str) -> anyhow::Result<String> {
        let mut stream = self.connect(shows).await?;
        let request =
            format!("{line} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // The end may come without a farewell, with a body that was not read.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Ok(answer.get(9..12).unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_token_or_a_certificate_lets_in_and_nothing_else_does() -> Test {
    let world = World::start(Limits::default()).await?;
    let header = format!("Authorization: Bearer {}\r\n", world.token.reveal());
    let read = "GET /v1/services";
    let register = "POST /v1/leases/1/renew";
    assert_eq!(world.ask(None, read, &header).await?, "200");
    assert_eq!(world.ask(None, register, &header).await?, "403");
    assert_eq!(world.ask(None, read, "").await?, "401");
    let certificate = Some("web-1.example");
    assert_eq!(world.ask(certificate, register, "").await?, "410", "let in");
    assert_eq!(world.ask(certificate, read, "").await?, "403");
    let wrong = "Authorization: Bearer guess\r\n";
    assert_eq!(world.ask(certificate, register, wrong).await?, "401");
    assert_eq!(world.ask(Some("web-2.example"), register, "").await?, "401");
    let mut plain = TcpStream::connect(world.address).await?;
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "without TLS there is nothing");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_let_in() -> Test {
    let world = World::start(Limits::default()).await?;
    let other = World {
        authority: Authority::new()?,
        ..World::start(Limits::default()).await?
    };
    let asked = world.ask(Some("web-1.example"), "GET /livez", "").await?;
    assert_eq!(asked, "403");
    // Its client trusts no certificate but its own authority's, and would show one of that.
    assert!(
        other
            .ask(Some("web-1.example"), "GET /livez", "")
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() -> Test {
    let world = World::start(Limits::default()).await?;
    let shown = async || -> anyhow::Result<CertificateDer<'static>> {
        let stream = world.connect(None).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let first = certificates.and_then(|all| all.first());
        Ok(first
            .ok_or_else(|| anyhow::anyhow!("none"))?
            .clone()
            .into_owned())
    };
    let before = shown().await?;
    fs::write(world.directory.path().join("api.pem"), "broken")?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(shown().await?, before, "the old one stays in force");
    world.authority.write(NAME, world.directory.path())?;
    let begin = Instant::now();
    while shown().await? == before {
        anyhow::ensure!(begin.elapsed() < Duration::from_secs(10), "never renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn one_peer_does_not_take_all_connections() -> Test {
    let limits = Limits {
        connections: 8,
        per_peer: 2,
    };
    let world = World::start(limits).await?;
    let first = world.connect(None).await?;
    let _second = world.connect(None).await?;
    assert!(world.connect(None).await.is_err(), "a third one");
    drop(first);
    let begin = Instant::now();
    while world.connect(None).await.is_err() {
        anyhow::ensure!(begin.elapsed() < Duration::from_secs(10), "no room again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn ten_gigabytes_are_refused_at_once() -> Test {
    let world = World::start(Limits::default()).await?;
    let line = "PUT /v1/services/web/instances/10.0.0.5:80";
    let length = "Content-Length: 10000000000\r\n";
    let asked = world.ask(Some("web-1.example"), line, length);
    let status = timeout(Duration::from_secs(5), asked).await??;
    assert_eq!(status, "413");
    let token = format!("Authorization: Bearer {}\r\n{length}", world.token.reveal());
    let asked = world.ask(None, "GET /livez", &token);
    let status = timeout(Duration::from_secs(5), asked).await??;
    assert_eq!(status, "413", "a body that nobody would read");
    Ok(())
}
