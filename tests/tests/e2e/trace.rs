//! Seeing packets: during real traffic, for as long as somebody looks and no longer.

use crate::support::{SOON, Web, all_answered, plan, run, web4};
use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use navigator_tests::lab::{
    Lab,
    client::{ask, ask_many},
    config::RegistryKind,
    host::Host,
    navigator::{Ended, binary, cli},
    process::Process,
    wait,
    wrk::{Connections, Wrk},
};
use navigator_user::{api::trace::Line, trace::packet::Packet};
use std::net::SocketAddr;

/// The program that runs while nobody looks, and the other one, as far as the kernel keeps names.
const PLAIN: &str = "navigator";
const TRACED: &str = "navigator_trace";

/// The name of the program on an interface.
fn program(host: &Host) -> Result<String> {
    let links: serde_json::Value = serde_json::from_str(&host.sh("ip -j link show dev eth0")?)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64();
    let id = id.with_context(|| format!("no program: {links}"))?;
    // Other programs may go while they are listed.
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| u64::from(program.id()) == id);
    let program = program.with_context(|| format!("program {id} is gone"))?;
    Ok(program.name_as_str().unwrap_or_default().to_owned())
}

fn until_program(lab: &Lab, name: &str) -> Result<()> {
    wait::until(&format!("the program is {name}"), SOON, || {
        let found = program(&lab.balancer)?;
        ensure!(found == name, "it is {found}");
        anyhow::Ok(())
    })
    .map(drop)
}

/// Starts `navigator trace`, which goes on until it is ended.
fn start(lab: &Lab, what: &str, args: &[&str]) -> Result<Process> {
    let mut command = lab.balancer.command(binary()?);
    command.arg("trace").args(args);
    lab.balancer.start(what, command)
}

fn packets(text: &str) -> Result<Vec<Packet>> {
    let lines = text.lines().map(serde_json::from_str::<Line>);
    let mut packets = Vec::new();
    for line in lines {
        if let Line::Packet(packet) = line? {
            packets.push(*packet);
        }
    }
    Ok(packets)
}

#[test]
fn packets_are_seen_while_traffic_goes_on() {
    run(plan(2), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100, 100])?;
        ensure!(program(&lab.balancer)? == PLAIN);
        let wrk = Wrk::start(lab.client(), web4(), 6, Connections::OnePerRequest)?;
        let client = "10.77.0.11/32";
        let seen = web.daemon.cli_ok(&[
            "trace", "--vip", "web4", "--client", client, "--count", "50", "-o", "json",
        ])?;
        let seen = packets(&seen)?;
        ensure!(seen.len() == 50, "{} packets", seen.len());
        for packet in &seen {
            ensure!(packet.verdict == "forwarded", "{packet:?}");
            ensure!(packet.vip.as_deref() == Some("web4"), "{packet:?}");
            ensure!(packet.interface == "eth0", "{packet:?}");
            let source = packet.source.as_deref().unwrap_or_default();
            ensure!(source.starts_with("10.77.0.11:"), "{packet:?}");
            let backend = packet.backend.as_ref().context("no backend")?;
            ensure!(backend.mode == "l2", "{packet:?}");
            // The second backend took slots from the first: those are at risk.
            let state = packet.slot.as_ref().map(|slot| slot.state.as_str());
            ensure!(matches!(state, Some("at_rest" | "at_risk")), "{packet:?}");
        }
        until_program(lab, PLAIN)?;
        // Two at once, each sees its own.
        let dropped = start(
            lab,
            "dropped",
            &["--reason", "drop_unserved", "--count", "1", "-o", "json"],
        )?;
        let other = start(lab, "other", &["--vip", "web6", "-o", "json"])?;
        wait::until("both look", SOON, || {
            let looking = [&dropped, &other]
                .iter()
                .all(|p| p.stdout().contains("begin"));
            ensure!(looking, "{:?}", other.stderr());
            anyhow::Ok(())
        })?;
        ensure!(program(&lab.balancer)? == TRACED);
        let unserved = SocketAddr::new(web4().ip(), 81);
        lab.client().enter(move || ask(unserved));
        let (seen, _) = wait::until("the drop is seen", SOON, || {
            let seen = packets(&dropped.stdout())?;
            ensure!(seen.len() == 1, "{seen:?}");
            Ok(seen)
        })?;
        ensure!(
            seen[0].reason.as_deref() == Some("drop_unserved"),
            "{seen:?}"
        );
        ensure!(
            packets(&other.stdout())?.is_empty(),
            "web4's packets are web6's"
        );
        drop((dropped, other));
        until_program(lab, PLAIN)?;
        let report = wrk.finish()?;
        ensure!(report.requests > 500 && report.errors == 0, "{report:?}");
        Ok(())
    });
}

#[test]
fn a_tracer_or_a_daemon_that_is_killed_leaves_the_ordinary_program() {
    run(plan(2), |lab| {
        let mut web = Web::start(lab, RegistryKind::Embedded, &[100, 100])?;
        // Long enough for all that follows.
        let wrk = Wrk::start(lab.client(), web4(), 25, Connections::OnePerRequest)?;
        let mut tracer = start(lab, "killed", &["-o", "json"])?;
        until_program(lab, TRACED)?;
        wait::until("the tracer in the snapshot", SOON, || {
            let tracers = web.daemon.snapshot()?.daemon.tracers;
            ensure!(tracers == 1, "it says {tracers}");
            anyhow::Ok(())
        })?;
        tracer.kill();
        until_program(lab, PLAIN)?;

        let short = start(lab, "short", &["--duration", "1s", "-o", "json"])?;
        until_program(lab, TRACED)?;
        until_program(lab, PLAIN)?;
        wait::until("the tracer says why it ended", SOON, || {
            ensure!(short.stdout().contains("its time is up"), "it does not");
            anyhow::Ok(())
        })?;

        let orphan = start(lab, "orphan", &["-o", "json"])?;
        until_program(lab, TRACED)?;
        web.daemon.kill();
        ensure!(
            program(&lab.balancer)? == TRACED,
            "nobody was there to change it"
        );
        all_answered(&ask_many(lab.client(), web4(), 20))?;
        web.daemon.start_again(None)?;
        until_program(lab, PLAIN)?;
        ensure!(
            orphan.stderr().contains("navigator: "),
            "{}",
            orphan.stderr()
        );
        let report = wrk.finish()?;
        ensure!(report.requests > 500 && report.errors == 0, "{report:?}");
        Ok(())
    });
}

#[test]
fn a_capture_is_read_by_tcpdump() {
    run(plan(1), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100])?;
        let file = lab.write("seen.pcapng", "")?.display().to_string();
        let tracer = start(lab, "pcap", &["--pcap", &file, "--sent", "--vip", "web4"])?;
        wait::until("it looks", SOON, || {
            ensure!(tracer.stdout().contains("OUTCOME"), "{}", tracer.stderr());
            anyhow::Ok(())
        })?;
        let asked = lab.client().enter(move || ask(web4()));
        ensure!(asked.outcome.is_ok(), "{asked:?}");
        let text = lab.balancer.sh(&format!(
            "tcpdump -e -nr {file} 'tcp[tcpflags] & tcp-syn != 0'"
        ))?;
        // As it came, to the VIP's holder, and as it left, to the backend: the same packet twice.
        let syns: Vec<_> = text
            .lines()
            .filter(|line| line.contains("Flags [S]"))
            .collect();
        ensure!(syns.len() == 2, "{text}");
        ensure!(
            syns.iter()
                .all(|line| line.contains("10.77.0.11.") && line.contains("> 10.77.1.1.80")),
            "{text}"
        );
        let to = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        ensure!(to(syns[0]) != to(syns[1]), "{text}");
        let lines = tracer.stdout();
        println!("{lines}");
        ensure!(
            lines
                .lines()
                .nth(1)
                .is_some_and(|line| line.contains("to 10.77.0.21:80 by l2")),
            "{lines}"
        );
        drop(tracer);
        drop(web);
        Ok(())
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_one_line() {
    run(plan(1), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100])?;
        for (args, said) in [
            (
                &["--vip", "nobody"][..],
                "vip=nobody: there is no VIP of this name",
            ),
            (&["--client", "10.0.0.1/8"], "bits set behind its prefix"),
            (&["--reason", "drop_all"], "there is no reason \"drop_all\""),
            (&["--sample", "half"], "write 1/N"),
            (&["--duration", "1h"], "use 1ms to 10m"),
        ] {
            let Ended {
                code,
                stderr,
                stdout,
            } = cli(&lab.balancer, &[&["trace"], args].concat())?;
            ensure!(
                code == 1 && stdout.is_empty(),
                "{args:?}: {code} {stdout} {stderr}"
            );
            ensure!(
                stderr.lines().count() == 1 && stderr.contains(said),
                "{stderr}"
            );
        }
        ensure!(program(&lab.balancer)? == PLAIN, "a refused one traces");
        let tracers: Vec<_> = (0..4)
            .map(|n| start(lab, &format!("tracer{n}"), &["-o", "json"]))
            .collect::<Result<_>>()?;
        wait::until("four look", SOON, || {
            let looking = tracers
                .iter()
                .filter(|t| t.stdout().contains("begin"))
                .count();
            ensure!(looking == 4, "{looking} look");
            anyhow::Ok(())
        })?;
        let fifth = cli(&lab.balancer, &["trace"])?;
        ensure!(
            fifth.code == 1 && fifth.stderr.contains("4 already trace"),
            "{fifth:?}"
        );
        drop(tracers);
        until_program(lab, PLAIN)?;
        drop(web);
        Ok(())
    });
}
