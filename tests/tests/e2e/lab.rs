//! The lab itself: without it, the other tests prove nothing.

use crate::support::{all_answered, run};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab, Plan,
    client::{ask_many, get},
    curl::Download,
    etcd::Etcd,
    nginx::Nginx,
    wrk::{Connections, Wrk},
};
use std::net::SocketAddr;

const PLAN: Plan = Plan {
    clients: 1,
    backends: 1,
    far: 1,
};

#[test]
fn hosts_reach_each_other() {
    run(PLAN, |lab| {
        let near = Nginx::start(lab, &lab.backends[0])?;
        let _far = Nginx::start(lab, &lab.far[0])?;
        let addresses = [lab::backend(0), lab::far(0)];
        for address in addresses.into_iter().flat_map(|(v4, v6)| [v4, v6]) {
            all_answered(&ask_many(lab.client(), (address, 80).into(), 20))?;
        }
        near.kill();
        let refused: SocketAddr = (lab::backend(0).0, 80).into();
        ensure!(lab.client().enter(move || get(refused, "/")).is_err());
        Ok(())
    });
}

#[test]
fn tools_measure_what_they_say() {
    run(PLAN, |lab| {
        let server = Nginx::start(lab, &lab.backends[0])?;
        let target = (lab::backend(0).1, 80).into();
        let mut download = Download::start(lab, lab.client(), "whole", target, 2)?;
        ensure!(download.backend()? == "b1");
        download.finish()?;
        for connections in [Connections::KeptAlive, Connections::OnePerRequest] {
            let report = Wrk::start(lab.client(), target, 1, connections)?.finish()?;
            ensure!(report.requests > 100 && report.errors == 0, "{report:?}");
        }

        let mut cut = Download::start(lab, lab.client(), "cut", target, 10)?;
        cut.backend()?;
        let wrk = Wrk::start(lab.client(), target, 1, Connections::KeptAlive)?;
        sleep_half_a_second();
        server.kill();
        ensure!(cut.finish().is_err(), "a download outlived its server");
        let report = wrk.finish()?;
        ensure!(
            report.errors > 0,
            "wrk overlooked a dead server: {report:?}"
        );
        Ok(())
    });
}

#[test]
fn etcd_keeps_its_data_over_a_stop() {
    run(PLAN, |lab: &Lab| -> Result<()> {
        let mut etcd = Etcd::start(lab)?;
        etcd.put("/services/web/10.0.0.1:80", "{}")?;
        etcd.stop()?;
        ensure!(etcd.ctl(&["--command-timeout=1s", "get", "/"]).is_err());
        etcd.resume()?;
        let got = etcd.ctl(&["get", "--prefix", "/services/"])?;
        ensure!(got == "/services/web/10.0.0.1:80\n{}\n", "{got:?}");
        Ok(())
    });
}

fn sleep_half_a_second() {
    std::thread::sleep(std::time::Duration::from_millis(500));
}
