#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it is"
)]

use super::*;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};
use tokio::sync::{mpsc, oneshot};

const KEY: &str = "/services/web/10.0.0.1:80";
const TTL: Duration = Duration::from_millis(600);

/// A registry that does what a test tells it.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    granted: i64,
    live: BTreeSet<i64>,
    bound: Option<i64>,
    renewals: u32,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Down,
    Silent,
    Refusing,
    RefusingPuts,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    async fn answer<T>(
        &self,
        put: bool,
        work: impl FnOnce(&mut State) -> RegistryResult<T>,
    ) -> RegistryResult<T> {
        let mood = self.state().mood;
        let endpoint = self.describe();
        match mood {
            Mood::Silent => std::future::pending().await,
            Mood::Down => Err(RegistryError::Unreachable {
                endpoint,
                why: "connection refused".to_owned(),
            }),
            Mood::RefusingPuts if !put => work(&mut self.state()),
            Mood::Refusing | Mood::RefusingPuts => Err(RegistryError::Refused {
                endpoint,
                action: "serve".to_owned(),
                why: "permission denied".to_owned(),
            }),
            Mood::Well => work(&mut self.state()),
        }
    }
}

impl State {
    fn live(&self, lease: LeaseId) -> RegistryResult<()> {
        let live = self.live.contains(&lease.0);
        live.then_some(()).ok_or(RegistryError::LeaseEnded(lease.0))
    }
}

impl LeaseClient for Fake {
    fn describe(&self) -> String {
        "fake".to_owned()
    }

    fn grant(&self, _ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>> {
        Box::pin(self.answer(false, |state| {
            state.granted += 1;
            state.live.insert(state.granted);
            Ok(LeaseId(state.granted))
        }))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: LeaseId,
    ) -> BoxFuture<'a, RegistryResult<()>> {
        assert_eq!((key, value.as_slice()), (KEY, b"{}".as_slice()));
        Box::pin(self.answer(true, move |state| {
            state.live(lease)?;
            state.bound = Some(lease.0);
            Ok(())
        }))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Box::pin(self.answer(false, move |state| {
            state.renewals += 1;
            state.live(lease)
        }))
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Box::pin(self.answer(false, move |state| {
            state.live.remove(&lease.0);
            if state.bound == Some(lease.0) {
                state.bound = None;
            }
            Ok(())
        }))
    }
}

/// A registrant at work, with what it reports.
struct Running {
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    transitions: mpsc::UnboundedReceiver<Transition>,
    task: tokio::task::JoinHandle<RegistryResult<()>>,
}

fn start(mood: Mood) -> Running {
    let fake = Arc::new(Fake::default());
    fake.set(mood);
    let (stop, stopped) = oneshot::channel::<()>();
    let (report, transitions) = mpsc::unbounded_channel();
    let client = Arc::clone(&fake);
    let task = tokio::spawn(async move {
        let report = move |transition| report.send(transition).unwrap();
        keep_registered_with(&*client, KEY, b"{}".to_vec(), TTL, report, stopped).await
    });
    Running {
        fake,
        stop,
        transitions,
        task,
    }
}

impl Running {
    async fn next(&mut self) -> Transition {
        tokio::time::timeout(Duration::from_secs(20), self.transitions.recv())
            .await
            .expect("something happens")
            .expect("the registrant runs")
    }

    async fn renewals(&self, more: u32) {
        let wanted = self.fake.state().renewals + more;
        while self.fake.state().renewals < wanted {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it; nothing but a goodbye may be left to report.
    async fn stop(mut self) -> RegistryResult<()> {
        self.stop.send(()).unwrap();
        let ended = self.task.await.unwrap();
        if ended.is_ok() {
            assert_eq!(
                self.transitions.recv().await,
                Some(Transition::Deregistered)
            );
        }
        assert_eq!(self.transitions.recv().await, None);
        ended
    }
}

#[tokio::test]
async fn it_renews_and_says_goodbye() {
    let mut running = start(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.renewals(3).await;
    let fake = Arc::clone(&running.fake);
    assert_eq!(fake.state().bound, Some(1));
    assert_eq!(fake.state().granted, 1, "one lease is enough");
    running.stop().await.unwrap();
    assert_eq!(fake.state().bound, None);
}

#[tokio::test]
async fn a_lease_that_ended_is_replaced() {
    let mut running = start(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.fake.set(Mood::Down);
    assert!(matches!(running.next().await, Transition::Lost(_)));
    // Longer than the lease lives, and reported only once.
    sleep(TTL * 3).await;
    {
        let mut state = running.fake.state();
        state.live.clear();
        state.bound = None;
        state.mood = Mood::Well;
    }
    assert_eq!(running.next().await, Transition::Registered);
    assert_eq!(running.fake.state().bound, Some(2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_outlived_the_outage_is_kept() {
    let mut running = start(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.fake.set(Mood::Silent);
    let lost = running.next().await;
    assert_eq!(
        lost,
        Transition::Lost("registry fake cannot be reached: no answer within 0.2 s".to_owned())
    );
    running.fake.set(Mood::Well);
    assert_eq!(running.next().await, Transition::Renewed);
    assert_eq!(running.fake.state().granted, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn it_waits_for_a_registry_that_is_not_there_yet() {
    let mut running = start(Mood::Down);
    assert!(matches!(running.next().await, Transition::Lost(_)));
    running.fake.set(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refusal_counts_only_the_first_time() {
    let never = start(Mood::Refusing);
    let error = never.task.await.unwrap().unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. }), "{error}");

    let mut running = start(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.fake.set(Mood::Refusing);
    assert!(matches!(running.next().await, Transition::Lost(_)));
    running.fake.state().live.clear();
    running.fake.set(Mood::RefusingPuts);
    while running.fake.state().granted < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    running.fake.set(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn who_cannot_deregister_says_what_is_left() {
    let mut running = start(Mood::Well);
    assert_eq!(running.next().await, Transition::Registered);
    running.fake.set(Mood::Down);
    assert!(matches!(running.next().await, Transition::Lost(_)));
    let error = running.stop().await.unwrap_err().to_string();
    assert!(error.contains("connection refused"), "{error}");
    assert!(
        error.contains("stays registered for at most 1 s"),
        "{error}"
    );
}
