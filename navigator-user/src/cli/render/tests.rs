//! The fixture as people see it.

use super::*;
use crate::api::fixture;

const PLAIN: Look = Look {
    colour: false,
    width: None,
};

#[test]
fn status_is_one_page() {
    assert_eq!(
        status(PLAIN, &fixture::snapshot()),
        "\
navigator   0.1.0, ready, pid 4242, up 2h 5m
interfaces  eth0 (native)
registry    etcd http://127.0.0.1:2379, not connected for 1m 5s: connection refused; revision 42 stays in force
writes      12 slots since the start, after taking over what was pinned
windows     oldest open for 2h 0m, 49 slots closed, 9 early, 30 at rest again
tracing     somebody traces packets: each costs more meanwhile

VIP  ADDRESS                SERVICE  MODE  ACTIVE  AT RISK  PACKETS     BYTES  STATE
web  192.0.2.10:80/tcp      web      l2       1/3     2.5%   1.2k/s  3.4 MB/s  announced
api  [2001:db8::1]:443/tcp  api      ipip     0/0     0.0%      0/s     0 B/s  not applied: slots is full

REASON         PACKETS   RATE  MEANING
pass_not_vip      1000  500/s  The destination address is no VIP address.
drop_unserved        7  3.5/s  No VIP serves this port or protocol of a VIP address, and the address's policy is to drop.
flow_hit             3  1.5/s  A remembered flow went to its backend.

TABLE  USED  CAPACITY  FILL
slots   66k      4.2M  1.6%

problem: VIP api: slots is full\\u{1b}[2J

REJECTED                  REASON    DETAIL
/services/web/10.0.0.9:0  bad_port  port 0 (its last valid version stays in force)
"
    );
}

#[test]
fn a_registry_that_was_never_read_is_not_said_to_be_in_force() {
    let mut starting = fixture::snapshot();
    starting.registry.synced = false;
    let page = status(PLAIN, &starting);
    let line = "registry    etcd http://127.0.0.1:2379, not connected yet: connection refused\n";
    assert!(page.contains(line), "{page}");
}

#[test]
fn a_quiet_status_is_short() {
    let mut quiet = fixture::snapshot();
    quiet.vips.clear();
    quiet.rejected.clear();
    quiet.problems.clear();
    quiet.tables.clear();
    quiet.windows = Default::default();
    quiet.counters.retain(|counter| counter.packets == 0);
    quiet.registry.connected = true;
    quiet.daemon.ready = false;
    quiet.daemon.adopted = false;
    quiet.daemon.tracers = 0;
    assert_eq!(
        status(PLAIN, &quiet),
        "\
navigator   0.1.0, not ready, pid 4242, up 2h 5m
interfaces  eth0 (native)
registry    etcd http://127.0.0.1:2379, connected, revision 42
writes      12 slots since the start

no VIPs
"
    );
}

#[test]
fn backends_show_state_and_share() {
    let snapshot = fixture::snapshot();
    let vips: Vec<_> = snapshot.vips.iter().collect();
    assert_eq!(
        backends(PLAIN, &vips),
        "\
web: 192.0.2.10:80/tcp to service web by l2, 1000 slots, 25 at risk
BACKEND      STATE      WEIGHT  SHARE            SLOTS  AT RISK  PACKETS     BYTES  WHY
10.0.0.1:80  active        100  ████████  75.0%    750       25    750/s  750 kB/s
10.0.0.2:80  unhealthy     100             0.0%      0       25      0/s     0 B/s  connection refused; next hop not known
10.0.0.3:80  draining      100  ██▋       25.0%    250       25    250/s  250 kB/s  ordered

api: [2001:db8::1]:443/tcp to service api by ipip, 1000 slots, 0 at risk
no backends
"
    );
}

#[test]
fn services_show_health_and_orders() {
    let snapshot = fixture::snapshot();
    let all: Vec<_> = snapshot.services.iter().map(|service| &**service).collect();
    assert_eq!(
        services(PLAIN, &all, true),
        "\
SERVICE  INSTANCE     HEALTH     WEIGHT  ORIGIN  ORDER  LAST CHECK  LABELS
web      10.0.0.1:80  healthy       100  lease   -      HTTP 200    version=1.2 zone=a
web      10.0.0.2:80  unhealthy     100  lease   -      HTTP 200    version=1.2 zone=a
web      10.0.0.3:80  healthy       100  lease   drain  HTTP 200    version=1.2 zone=a
"
    );
}

#[test]
fn an_empty_view_says_so() {
    assert_eq!(vips(PLAIN, &[]), "no VIPs\n");
    assert_eq!(backends(PLAIN, &[]), "no VIPs\n");
    assert_eq!(services(PLAIN, &[], false), "no instances\n");
}

#[test]
fn a_narrow_terminal_wraps_prose_only() {
    let snapshot = fixture::snapshot();
    let look = Look {
        width: Some(95),
        ..PLAIN
    };
    assert_eq!(
        vips(look, &snapshot.vips),
        "\
VIP  ADDRESS                SERVICE  MODE  ACTIVE  AT RISK  PACKETS     BYTES  STATE
web  192.0.2.10:80/tcp      web      l2       1/3     2.5%   1.2k/s  3.4 MB/s  announced
api  [2001:db8::1]:443/tcp  api      ipip     0/0     0.0%      0/s     0 B/s  not applied:
                                                                               slots is full
"
    );
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let snapshot = fixture::snapshot();
    assert!(!status(PLAIN, &snapshot).contains('\x1b'));
    let look = Look {
        colour: true,
        ..PLAIN
    };
    let page = status(look, &snapshot);
    assert!(page.contains("\x1b[31mnot connected\x1b[0m"), "{page}");
}

#[test]
fn what_comes_from_outside_cannot_steer_the_terminal() {
    assert_eq!(
        clean("a\x1b[2J\r\n\u{202e}b ü"),
        "a\\u{1b}[2J\\r\\n\\u{202e}b ü"
    );
}
