//! The faces for programs, as programs see them: the API over TLS against its own description,
//! and discovery by DNS with `dig`.

use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab, Plan,
    config::{Config, RegistryKind},
    navigator::{Ended, Navigator, ended},
    nginx::Nginx,
    wait,
};
use navigator_user::api::access::Token;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

const PLAN: Plan = Plan {
    clients: 1,
    backends: 2,
    far: 0,
};
/// Where the API listens, as clients name it.
const API: &str = "https://localhost:7443";
/// How long the property-based run may go on.
const RUN: &str = "60";
/// Longest wait for a change.
const SOON: Duration = Duration::from_secs(10);

fn run(test: impl FnOnce(&Lab) -> Result<()>) {
    let lab = Lab::new(PLAN).unwrap_or_else(|why| panic!("cannot build the lab: {why:#}"));
    if let Err(why) = test(&lab) {
        panic!("{why:#}");
    }
}

/// What a client of the TLS listener needs.
struct Pass {
    ca: PathBuf,
    operator: Token,
    reader: Token,
}

/// A daemon with a TLS listener and DNS; `web` has two instances, of which the first one serves.
fn start(lab: &Lab) -> Result<(Navigator<'_>, Pass, Nginx)> {
    let server = Nginx::start(lab, &lab.backends[0])?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // One with the name of what it signed would pass for that itself.
    params
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority)?;
    let pass = Pass {
        ca: lab.write("ca.pem", &authority.pem())?,
        operator: Token::random(),
        reader: Token::random(),
    };
    let blocks = format!(
        "[api]\nrequests_per_second = 1000000\nburst = 1000000\n\
         [[api.listen]]\naddress = \"127.0.0.1:7443\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [[api.access]]\nname = \"operator\"\ntoken_sha256 = \"{}\"\nroles = [\"operate\"]\n\
         [[api.access]]\nname = \"reader\"\ntoken_sha256 = \"{}\"\nroles = [\"read\"]\n\
         [dns]\nlisten = \"127.0.0.1:53\"\ndomain = \"nav.example\"",
        lab.write("api.pem", &certificate.pem())?.display(),
        lab.write("api.key", &key.serialize_pem())?.display(),
        pass.operator.hash(),
        pass.reader.hash(),
    );
    let instance = |index| (SocketAddr::new(lab::backend(index).0, 80), 100);
    let config = Config::new(RegistryKind::Embedded)
        .also(&blocks)
        .service("web", &[instance(0), instance(1)]);
    Ok((Navigator::start(lab, &config)?, pass, server))
}

fn on_balancer(lab: &Lab, program: impl AsRef<Path>, args: &[&str]) -> Result<Ended> {
    let mut command = lab.balancer.command(program);
    command.args(args);
    ended(&lab.balancer, command)
}

/// Where `cargo xtask setup` puts it.
fn schemathesis() -> Result<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/schemathesis/bin/schemathesis");
    ensure!(
        path.exists(),
        "{} is missing: run `cargo xtask setup`",
        path.display()
    );
    Ok(path)
}

/// Random and odd calls, made of the OpenAPI document. Streams are left out: they do not end.
#[test]
fn the_api_has_no_server_error_and_answers_as_it_says() {
    run(|lab| {
        let (mut daemon, pass, _server) = start(lab)?;
        // A read that waits would only wait.
        let settings = lab.write("schemathesis.toml", "[parameters]\n\"query.wait\" = 0\n")?;
        let token = format!("Authorization: Bearer {}", pass.operator.reveal());
        let document = format!("{API}/v1/openapi.json");
        let (ca, settings) = (
            pass.ca.display().to_string(),
            settings.display().to_string(),
        );
        let ended = on_balancer(
            lab,
            schemathesis()?,
            &[
                "--config-file",
                &settings,
                "run",
                &document,
                "--tls-verify",
                &ca,
                "--header",
                &token,
                "--exclude-path",
                "/v1/events",
                "--exclude-path",
                "/v1/trace",
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                "--phases",
                "examples,coverage,fuzzing,stateful",
                "--max-time",
                RUN,
                "--request-timeout",
                "20",
                "--suppress-health-check",
                "all",
                "--seed",
                "1",
            ],
        )?;
        eprintln!("{}", ended.stdout);
        ensure!(
            ended.code == 0,
            "exit code {}: {}",
            ended.code,
            ended.stderr
        );
        daemon.wait_until_ready()?;
        daemon.stop()
    });
}

#[test]
fn curl_is_let_in_by_a_token_only() {
    run(|lab| {
        let (_daemon, pass, _server) = start(lab)?;
        let ca = pass.ca.display().to_string();
        let url = format!("{API}/v1/services/web");
        let drain = format!("{url}/instances/{}:80:drain", lab::backend(0).0);
        let curl = |token: &str, method: &str, url: &str| {
            let header = format!("Authorization: Bearer {token}");
            let args = ["-s", "-w", "\n%{http_code}", "--cacert", &ca, "-X", method];
            let ended = on_balancer(lab, "curl", &[&args[..], &["-H", &header, url]].concat())?;
            ensure!(ended.code == 0, "{ended:?}");
            anyhow::Ok(ended.stdout)
        };
        let shown = curl(pass.reader.reveal(), "GET", &url)?;
        ensure!(
            shown.contains("\"name\":\"web\"") && shown.ends_with("\n200"),
            "{shown}"
        );
        let refused = curl("guess", "GET", &url)?;
        ensure!(
            refused.contains("unauthenticated") && refused.ends_with("\n401"),
            "{refused}"
        );
        let refused = curl(pass.reader.reveal(), "POST", &drain)?;
        ensure!(
            refused.contains("forbidden") && refused.ends_with("\n403"),
            "{refused}"
        );
        let drained = curl(pass.operator.reveal(), "POST", &drain)?;
        ensure!(drained.contains("\"drain\":true"), "{drained}");
        let plain = on_balancer(lab, "curl", &["-s", "http://localhost:7443/livez"])?;
        ensure!(plain.code != 0, "without TLS: {plain:?}");
        Ok(())
    });
}

#[test]
fn dig_finds_healthy_instances() {
    run(|lab| {
        let (daemon, _pass, server) = start(lab)?;
        let dig = |args: &[&str]| {
            let all = [&["@127.0.0.1", "+noall", "+answer", "+comments"], args].concat();
            let ended = on_balancer(lab, "dig", &all)?;
            ensure!(ended.code == 0, "{ended:?}");
            anyhow::Ok(ended.stdout)
        };
        let (first, second) = (lab::backend(0).0.to_string(), lab::backend(1).0.to_string());
        wait::until("the sick one is not told", SOON, || {
            let told = dig(&["web.nav.example", "A"])?;
            ensure!(told.contains("NOERROR") && told.contains(&first), "{told}");
            ensure!(!told.contains(&second), "{told}");
            anyhow::Ok(())
        })?;
        let told = dig(&["_web._tcp.nav.example", "SRV"])?;
        ensure!(
            told.contains("0 100 80 ") && told.contains(".addr.nav.example."),
            "{told}"
        );
        let told = dig(&["+tcp", "web.nav.example", "A"])?;
        ensure!(told.contains(&first), "{told}");
        let told = dig(&["web.nav.example", "AAAA"])?;
        ensure!(
            told.contains("NOERROR") && told.contains("ANSWER: 0"),
            "{told}"
        );
        let told = dig(&["none.nav.example", "A"])?;
        ensure!(told.contains("NXDOMAIN"), "{told}");
        let told = dig(&["example.com", "A"])?;
        ensure!(told.contains("REFUSED"), "{told}");
        let drain = format!("{first}:80");
        daemon.cli_ok(&["instances", "drain", "web", &drain])?;
        wait::until("the draining one is not told", SOON, || {
            let told = dig(&["web.nav.example", "A"])?;
            ensure!(told.contains("NOERROR") && !told.contains(&first), "{told}");
            anyhow::Ok(())
        })?;
        drop(server);
        Ok(())
    });
}
