//! The watch: list, follow, resume; list again whenever something may have been missed.

use super::{
    link::{Link, Session, within},
    read::{self, Moment},
    stream::{Position, Stop, Stream},
    trouble::Trouble,
};
use crate::registry::{Backoff, Change, RegistryEvent, WATCHED};
use etcd_client::{Client, GetOptions};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::mpsc::Sender, time::Instant};

/// First wait after the watch broke.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Watches until the receiver is dropped.
pub(super) async fn run(link: Arc<Link>, sender: Sender<RegistryEvent>) {
    let gone = sender.clone();
    let mut watch = Watch::new(link, sender);
    tokio::select! {
        () = gone.closed() => {}
        never = watch.follow() => match never {},
    }
}

struct Watch {
    link: Arc<Link>,
    sender: Sender<RegistryEvent>,
    backoff: Backoff,
    /// Up to where everything is known; `None` until there is a list.
    position: Option<Position>,
    relist_at: Instant,
    lost: bool,
}

impl Watch {
    fn new(link: Arc<Link>, sender: Sender<RegistryEvent>) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, link.settings.reconnect_cap);
        Self {
            link,
            sender,
            backoff,
            position: None,
            relist_at: Instant::now(),
            lost: false,
        }
    }

    async fn follow(&mut self) -> Infallible {
        loop {
            let Err(stop) = self.round().await;
            match stop {
                Stop::Broken(why) => {
                    self.say_lost(why).await;
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
                Stop::Missed(why) => {
                    tracing::debug!(registry = %self.link.describe(), why, "listing again");
                    self.position = None;
                    // At once, but not again and again.
                    if self.backoff.failures() > 0 {
                        tokio::time::sleep(self.backoff.next_wait()).await;
                    } else {
                        self.backoff.next_wait();
                    }
                }
            }
        }
    }

    /// From connecting to the end of one stream.
    async fn round(&mut self) -> Result<Infallible, Stop> {
        if self.relist_at <= Instant::now() {
            self.position = None;
        }
        self.look().await?;
        let mut position = match self.position.take() {
            Some(position) => position,
            None => self.list().await?,
        };
        let ended = self.stream(&mut position).await;
        self.position = Some(position);
        ended
    }

    /// A small read that tells whether etcd answers, is still the cluster that
    /// it was, and still has the history that the watch needs to resume.
    async fn look(&self) -> Result<(), Stop> {
        let from = self.position.as_ref().map_or(0, Position::oldest);
        let answer = self
            .link
            .request(self.link.settings.request_timeout, |client| {
                heartbeat(client, from)
            })
            .await;
        match (answer, &self.position) {
            (Err(Trouble::NoRevision(why)), Some(_)) => Err(Stop::Missed(why)),
            (Err(trouble), _) => Err(Stop::Broken(trouble.why().to_owned())),
            (Ok(now), Some(position)) => position.check(now),
            (Ok(_), None) => Ok(()),
        }
    }

    async fn list(&mut self) -> Result<Position, Stop> {
        let listing = read::list(&self.link, WATCHED)
            .await
            .map_err(|error| Stop::Broken(error.to_string()))?;
        self.relist_at = Instant::now() + jittered(self.link.settings.relist);
        self.lost = false;
        self.say(RegistryEvent::Synced {
            entries: listing.entries,
            revision: listing.at.revision,
        })
        .await;
        Ok(Position::new(listing.at))
    }

    /// Follows one stream until it ends, is silent for too long, or a list is due.
    async fn stream(&mut self, position: &mut Position) -> Result<Infallible, Stop> {
        let limit = self.link.settings.request_timeout;
        let session = self.link.session().await.map_err(broken)?;
        let opened = Stream::open(&self.link, &session, position).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(stop) => return Err(self.drop_session(&session, stop)),
        };
        if self.lost {
            self.lost = false;
            self.say(RegistryEvent::Recovered).await;
        }
        let pulse = pulse(session.client.clone(), self.link.settings.heartbeat, limit);
        tokio::pin!(pulse);
        let relist = tokio::time::sleep_until(self.relist_at);
        tokio::pin!(relist);
        loop {
            let changes = tokio::select! {
                changes = stream.next(position) => changes,
                why = &mut pulse => Err(Stop::Broken(why)),
                () = &mut relist => return Err(Stop::Missed("the regular list is due".to_owned())),
            };
            match changes {
                Ok(changes) => {
                    self.backoff.reset();
                    self.say_changed(changes, position).await;
                }
                Err(stop) => return Err(self.drop_session(&session, stop)),
            }
        }
    }

    fn drop_session(&self, session: &Session, stop: Stop) -> Stop {
        match stop {
            Stop::Broken(why) => {
                self.link.give_up(session);
                Stop::Broken(format!("{}: {why}", session.endpoint))
            }
            missed => missed,
        }
    }

    async fn say_changed(&self, changes: Vec<Change>, position: &Position) {
        if !changes.is_empty() {
            let revision = position.newest();
            self.say(RegistryEvent::Changed { changes, revision }).await;
        }
    }

    async fn say_lost(&mut self, why: String) {
        if !self.lost {
            self.lost = true;
            self.say(RegistryEvent::Lost { why }).await;
        }
    }

    async fn say(&self, event: RegistryEvent) {
        // It fails only once the receiver is gone, which ends the whole watch.
        let _ = self.sender.send(event).await;
    }
}

fn broken(trouble: Trouble) -> Stop {
    Stop::Broken(trouble.why().to_owned())
}

/// Asks again and again whether the peer answers; ends with what is wrong when it does not.
async fn pulse(client: Client, interval: Duration, limit: Duration) -> String {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(trouble) = within(limit, heartbeat(client.clone(), 0)).await {
            return trouble.why().to_owned();
        }
    }
}

/// A read that only a member with a leader can answer; `from` is a revision
/// that must still be there (0: none).
async fn heartbeat(client: Client, from: i64) -> Result<Moment, etcd_client::Error> {
    let options = GetOptions::new().with_keys_only().with_revision(from);
    let answer = client.kv_client().get(WATCHED[0], Some(options)).await?;
    Ok(answer.header().map(Moment::from).unwrap_or_default())
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..=1.1))
}
