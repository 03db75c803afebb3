//! A registrant whose etcd does not make it easy.

use super::*;
use navigator_tests::etcd::EtcdServer;
use navigator_user::registrant::{Transition, keep_registered_with};
use tokio::sync::{mpsc, oneshot};

const KEY: &str = "/services/web/10.0.0.1:80";
const TTL: Duration = Duration::from_secs(3);

struct Registrant {
    transitions: mpsc::UnboundedReceiver<Transition>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Registrant {
    fn start(server: &EtcdServer) -> Self {
        let registry = registry(&[server.endpoint()]);
        let (report, transitions) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let report = move |transition| report.send(transition).unwrap();
            keep_registered_with(&registry, KEY, b"{}".to_vec(), TTL, report, stopped)
                .await
                .unwrap();
        });
        Self {
            transitions,
            stop,
            task,
        }
    }

    async fn next(&mut self) -> Transition {
        let next = tokio::time::timeout(PATIENCE, self.transitions.recv());
        next.await
            .expect("something happens")
            .expect("the registrant runs")
    }

    async fn lost(&mut self) {
        let next = self.next().await;
        assert!(matches!(next, Transition::Lost(_)), "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registrant_outlives_its_registry() {
    let mut server = EtcdServer::start().unwrap();
    let mut registrant = Registrant::start(&server);
    assert_eq!(registrant.next().await, Transition::Registered);
    assert_eq!(server.get(KEY).unwrap().as_deref(), Some("{}"));

    // Away for longer than the lease. etcd may still have it, or not.
    server.stop().unwrap();
    registrant.lost().await;
    tokio::time::sleep(TTL * 2).await;
    server.restart().unwrap();
    let back = registrant.next().await;
    assert!(
        matches!(back, Transition::Renewed | Transition::Registered),
        "{back:?}"
    );
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(server.get(KEY).unwrap().as_deref(), Some("{}"));

    // All data lost.
    server.restart_empty().unwrap();
    registrant.lost().await;
    assert_eq!(registrant.next().await, Transition::Registered);
    assert_eq!(server.get(KEY).unwrap().as_deref(), Some("{}"));

    // The lease revoked behind its back.
    let leases = server.etcdctl(["lease", "list"]).unwrap();
    let lease = leases.lines().nth(1).expect("one lease is listed").trim();
    server.etcdctl(["lease", "revoke", lease]).unwrap();
    registrant.lost().await;
    assert_eq!(registrant.next().await, Transition::Registered);
    assert_eq!(server.get(KEY).unwrap().as_deref(), Some("{}"));

    registrant.stop.send(()).unwrap();
    registrant.task.await.unwrap();
    let last = registrant.transitions.recv().await;
    assert_eq!(last, Some(Transition::Deregistered));
    assert_eq!(server.get(KEY).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_is_forgotten() {
    let server = EtcdServer::start().unwrap();
    let mut registrant = Registrant::start(&server);
    assert_eq!(registrant.next().await, Transition::Registered);
    let registry = registry(&[server.endpoint()]);
    let mut watch = Watch::new(&registry);
    assert!(watch.synced().await[0].leased);
    registrant.task.abort();
    assert_eq!(brief(&watch.changes(1).await[0]), format!("-{KEY}"));
}
