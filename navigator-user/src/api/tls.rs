//! TLS listeners: what they show, whom they trust, and how both change while they listen.

use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
        version::TLS13,
    },
};

/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The files of a listener, all PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Its certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// Authorities of the clients' certificates; without it clients show tokens only.
    pub client_ca: Option<PathBuf>,
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TlsError {
    /// The file, or the files.
    pub file: String,
    /// What is wrong with it, and what to do.
    pub why: String,
}

impl TlsError {
    fn new(file: &Path, why: impl Into<String>) -> Self {
        Self {
            file: file.display().to_string(),
            why: why.into(),
        }
    }
}

/// TLS as the files say, which may be replaced at any time.
pub struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    /// When the files that it was made of were written.
    stamps: Vec<Option<SystemTime>>,
    looked: Instant,
    /// What was wrong with newer files.
    trouble: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or is not what it should be.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let state = State {
            stamps: stamps(&files),
            acceptor: acceptor(&files)?,
            looked: Instant::now(),
            trouble: None,
        };
        Ok(Self {
            files,
            state: Mutex::new(state),
        })
    }

    /// What new connections are to be accepted with. Files that were replaced are read again; if
    /// the new ones are wrong, the old ones stay in force, which is logged once.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            let stamps = stamps(&self.files);
            if stamps != state.stamps || state.trouble.is_some() {
                state.renew(&self.files, stamps);
            }
        }
        state.acceptor.clone()
    }
}

impl State {
    fn renew(&mut self, files: &TlsFiles, stamps: Vec<Option<SystemTime>>) {
        match acceptor(files) {
            Ok(acceptor) => {
                tracing::info!(certificate = %files.certificate.display(), "certificate renewed");
                self.acceptor = acceptor;
                self.stamps = stamps;
                self.trouble = None;
            }
            Err(error) => {
                let why = error.to_string();
                if self.trouble.as_ref() != Some(&why) {
                    tracing::error!("the certificate stays the old one: {why}");
                }
                self.trouble = Some(why);
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let all = [
        Some(&files.certificate),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    let written = |file: &PathBuf| fs::metadata(file).and_then(|data| data.modified()).ok();
    all.into_iter().flatten().map(written).collect()
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let certificates = read_certificates(&files.certificate)?;
    let key = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| TlsError::new(&files.key, format!("no private key in PEM: {error}")))?;
    let both = || {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        PathBuf::from(format!("{certificate} and {key}"))
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::new(&both(), error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| TlsError::new(file, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            // Who shows none may still show a token.
            let verifier = verifier.allow_unauthenticated().build();
            let verifier = verifier.map_err(|error| TlsError::new(file, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| TlsError::new(&both(), error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificates of a PEM file; at least one.
pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let certificates = CertificateDer::pem_reader_iter(BufReader::new(&text[..]));
    let certificates: Result<Vec<_>, _> = certificates.collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(TlsError::new(file, "has no certificate in PEM"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsError::new(file, format!("is no PEM: {error}"))),
    }
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::new(file, format!("cannot be read: {error}")))
}
