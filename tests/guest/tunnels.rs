//! Backends that unwrap by the kernel's tunnel devices, without any program of ours.

use crate::support::{BACKENDS, NAMES, PLAN, REQUESTS, ask, instances, received, run, settle};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab,
    config::{Config, Mode, RegistryKind},
    curl::upload,
    host::Host,
    navigator::{self, Navigator},
    nginx::Nginx,
};
use std::net::IpAddr;

/// Makes the hosts backends whose packets the devices that `tunnels` makes unwrap, and starts
/// their servers. `tunnels` is given a host's addresses and answers with lines of `ip`.
fn serve(
    lab: &Lab,
    vips: &[IpAddr],
    tunnels: impl Fn(IpAddr, IpAddr) -> Vec<String>,
) -> Result<Vec<Nginx>> {
    let hosts = (0..).zip(&lab.backends);
    hosts
        .map(|(index, host)| {
            let (v4, v6) = lab::backend(index);
            let lines = tunnels(v4, v6);
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            host.ip(&lines)?;
            navigator::backend_up(host, vips)?;
            by_the_kernel(host)?;
            Nginx::start(lab, host)
        })
        .collect()
}

/// `navigator backend up` found the devices, and left the unwrapping to them.
fn by_the_kernel(host: &Host) -> Result<()> {
    let links = host.sh("ip link show dev eth0")?;
    ensure!(!links.contains("xdp"), "XDP is on a backend: {links}");
    Ok(())
}

/// Serves VIPs of both families over backends of both, by `mode`. `more` are lines of `ip` that
/// the devices need for that.
fn unwrapped_by_the_kernel(mode: Mode, more: &[&str]) {
    run(PLAN, |lab| {
        let vips = [
            ("four-in-four", lab::vip4(1), "all4"),
            ("six-in-four", lab::vip6(1), "all4"),
            ("four-in-six", lab::vip4(2), "all6"),
            ("six-in-six", lab::vip6(2), "all6"),
        ];
        let addresses = vips.map(|(_, address, _)| address);
        // With a local address: those without are what the kernel makes by itself.
        let _servers = serve(lab, &addresses, |v4, v6| {
            let devices = [
                format!("link add ipip4 type ipip local {v4} remote any"),
                format!("link add sit4 type sit local {v4} remote any"),
                format!("link add any6 type ip6tnl mode any local {v6} remote any"),
                "link set ipip4 up".to_owned(),
                "link set sit4 up".to_owned(),
                "link set any6 up".to_owned(),
            ];
            let more = more.iter().map(|&line| line.to_owned());
            devices.into_iter().chain(more).collect()
        })?;
        let mut config = Config::new(RegistryKind::Embedded)
            .service("all4", &instances(false, BACKENDS))
            .service("all6", &instances(true, BACKENDS));
        for (name, address, service) in vips {
            config = config.vip(name, address, service, mode);
        }
        let daemon = Navigator::start(lab, &config)?;
        for ((name, address, _), device) in vips.iter().zip(["ipip4", "sit4", "any6", "any6"]) {
            settle(&daemon, name, NAMES.len())?;
            let before = received(&lab.backends[0], device)?;
            ask(lab.client(), *address, REQUESTS, &NAMES)?;
            // Full frames on the way that is tunnelled.
            upload(lab, lab.client(), (*address, 80).into(), 200 << 10)?;
            let unwrapped = received(&lab.backends[0], device)? - before;
            ensure!(unwrapped > 0, "{name}: {device} unwrapped nothing");
        }
        Ok(())
    });
}

#[test]
fn ipip_and_ip6tnl_devices_unwrap() {
    unwrapped_by_the_kernel(Mode::Ipip, &[]);
}

#[test]
fn fou_hands_gue_packets_to_them() {
    unwrapped_by_the_kernel(
        Mode::Gue,
        &["fou add port 6080 gue", "-6 fou add port 6080 gue"],
    );
}
