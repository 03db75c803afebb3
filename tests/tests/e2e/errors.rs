//! Everything that can be wrong at a start is said in one line with the way out.

use crate::support::{plan, run, web_config, web4};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    Lab,
    config::{Config, Mode, RegistryKind},
    navigator::{Ended, Navigator, binary, cli, ended},
};
use std::fs;

/// Runs the daemon with a configuration with which it must not start.
fn refused(lab: &Lab, config: &str) -> Result<Ended> {
    let path = lab.write("refused.toml", config)?;
    let mut command = lab.balancer.command("timeout");
    command
        .arg("10")
        .arg(binary()?)
        .args(["run", "--config"])
        .arg(path);
    let ended = ended(&lab.balancer, command)?;
    ensure!(
        ended.code == 1,
        "exit code {}: {}",
        ended.code,
        ended.stderr
    );
    Ok(ended)
}

/// The message must hold all these words, in one line.
fn says(ended: &Ended, words: &[&str]) -> Result<()> {
    let line = ended
        .stderr
        .lines()
        .find(|line| words.iter().all(|word| line.contains(word)));
    ensure!(line.is_some(), "no line has {words:?}:\n{}", ended.stderr);
    ensure!(
        !ended.stderr.contains("panicked"),
        "it panicked:\n{}",
        ended.stderr
    );
    Ok(())
}

#[test]
fn without_root() {
    run(plan(1), |lab| {
        // The program may lie where nobody else may look.
        let program = lab.file("navigator-for-all");
        fs::copy(binary()?, &program)?;
        let config = lab.write("nobody.toml", &config().text())?;
        let mut command = lab.balancer.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .args(["timeout", "10"])
            .arg(program)
            .args(["run", "--config"])
            .arg(config);
        let ended = ended(&lab.balancer, command)?;
        ensure!(ended.code == 1, "{ended:?}");
        says(&ended, &["root"])
    });
}

#[test]
fn without_the_interface() {
    run(plan(1), |lab| {
        let text = config().text().replace("\"eth0\"", "\"eth7\"");
        says(&refused(lab, &text)?, &["eth7"])
    });
}

#[test]
fn beside_another_daemon() {
    run(plan(1), |lab| {
        let daemon = Navigator::start(lab, &config())?;
        let pid = daemon.snapshot()?.daemon.pid;
        let same_state = format!("socket = \"/run/other.sock\"\n{}", config().text());
        says(
            &refused(lab, &same_state)?,
            &["/var/lib/navigator", "state"],
        )?;
        let same_pins = format!("state = \"/run/other\"\n{same_state}");
        says(&refused(lab, &same_pins)?, &["/sys/fs/bpf/navigator"])?;
        ensure!(
            daemon.snapshot()?.daemon.pid == pid,
            "the first one was harmed"
        );
        Ok(())
    });
}

#[test]
fn with_a_wrong_configuration() {
    run(plan(1), |lab| {
        let good = config().text();
        let cases: &[(&str, String, &[&str])] = &[
            ("no TOML", "interfaces = [".into(), &[":1:", "array"]),
            (
                "unknown key",
                format!("interface = \"eth0\"\n{good}"),
                &[":1:", "interface"],
            ),
            (
                "bad address",
                good.replace(&web4().ip().to_string(), "10.77.1.300"),
                &[".toml:", "address", "10.77.1.300"],
            ),
            (
                "bad mode",
                good.replace("\"l2\"", "\"l3\""),
                &[".toml:", "mode", "l3"],
            ),
            (
                "bad port",
                good.replace("port = 80", "port = 65536"),
                &[".toml:", "port", "65536"],
            ),
        ];
        for (what, text, words) in cases {
            ensure!(*text != good, "{what}: the case changes nothing");
            let path = lab.write("wrong.toml", text)?;
            let path = path.to_string_lossy();
            let checked = cli(&lab.balancer, &["config", "check", &path])?;
            ensure!(checked.code == 5, "{what}: {checked:?}");
            says(&checked, words).map_err(|why| why.context(*what))?;
            says(&refused(lab, text)?, words).map_err(|why| why.context(*what))?;
        }
        let path = lab.write("good.toml", &good)?;
        let checked = cli(&lab.balancer, &["config", "check", &path.to_string_lossy()])?;
        ensure!(checked.code == 0, "a good file: {checked:?}");
        Ok(())
    });
}

#[test]
fn commands_without_a_daemon() {
    run(plan(1), |lab| {
        for args in [
            &["status"][..],
            &["vips"],
            &["backends"],
            &["services", "list"],
        ] {
            let ended = cli(&lab.balancer, args)?;
            ensure!(ended.code == 4, "{args:?}: {ended:?}");
            ensure!(ended.stdout.is_empty(), "{args:?}: {ended:?}");
            says(&ended, &["navigator.sock", "run"])?;
        }
        let usage = cli(&lab.balancer, &["no-such-command"])?;
        ensure!(usage.code == 2, "{usage:?}");
        Ok(())
    });
}

#[test]
fn naming_what_is_not_there() {
    run(plan(1), |lab| {
        let daemon = Navigator::start(lab, &config())?;
        let ended = daemon.cli(&["backends", "no-such-vip"])?;
        ensure!(ended.code == 3, "{ended:?}");
        says(&ended, &["no-such-vip"])?;
        let ended = daemon.cli(&["instances", "drain", "web", "10.0.0.1:99"])?;
        ensure!(ended.code == 3, "{ended:?}");
        // What the configuration file lists, only the configuration file removes.
        let listed = "10.77.0.21:80";
        let ended = daemon.cli(&["services", "deregister", "listed", listed])?;
        ensure!(ended.code == 1, "{ended:?}");
        says(&ended, &[listed])
    });
}

/// One VIP of the registry's service and one of a listed instance.
fn config() -> Config {
    let listed = (navigator_tests::lab::backend(0).0, 80).into();
    web_config(RegistryKind::Embedded)
        .vip("listed", navigator_tests::lab::vip4(9), "listed", Mode::L2)
        .service("listed", &[(listed, 100)])
}
