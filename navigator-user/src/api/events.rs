//! `GET /v1/events`: what happens, as server-sent events.

use super::{ApiState, Problem};
use crate::events::{Event, EventLog};
use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};
use tokio::time::timeout;
use utoipa::IntoParams;

/// The header by which a client says where it was.
const LAST_EVENT_ID: &str = "last-event-id";
/// How often a line is sent while nothing happens, so that a dead connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which events are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Begin after the event of this number; the header `Last-Event-ID` does the same, and goes
    /// before. Without either with what happens from now on.
    #[param(nullable = false)]
    after: Option<u64>,
    /// Only what concerns this service.
    #[param(nullable = false)]
    service: Option<String>,
    /// Only what concerns this VIP.
    #[param(nullable = false)]
    vip: Option<String>,
    /// End after this many seconds.
    #[param(nullable = false, minimum = 0)]
    seconds: Option<f64>,
}

/// What happens, as server-sent events: the number as `id`, the kind as `event`, an `Event` as
/// `data`. An event of kind `missed` comes in place of those that are no longer kept.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(Wanted),
    responses((status = OK, body = Event, content_type = "text/event-stream")),
    security(("token" = ["read"]))
)]
pub(super) async fn events(
    State(state): State<ApiState>,
    query: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(wanted) = query?;
    let given = headers.get(LAST_EVENT_ID).map(|value| {
        let number = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| {
            let detail = "Last-Event-ID is to be the number of an event";
            Problem::bad_request("bad_event_id", detail)
        })
    });
    let after = given.transpose()?.or(wanted.after);
    let seconds = wanted.seconds.unwrap_or(f64::MAX).max(0.0);
    let end = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let reader = Reader {
        next: after.unwrap_or_else(|| state.events.latest()),
        log: state.events,
        wanted,
        begun: false,
    };
    // The deadline of a connection ends the stream in any case; the client resumes it.
    let end = tokio::time::Instant::now().checked_add(end);
    let stream = futures::stream::unfold(reader, move |mut reader| async move {
        let chunk = match end {
            Some(end) => tokio::time::timeout_at(end, reader.chunk()).await.ok()?,
            None => reader.chunk().await,
        };
        Some((Ok::<_, Infallible>(chunk), reader))
    });
    let head = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((head, Body::from_stream(stream)).into_response())
}

/// Where one client is in the log. It is asked for more only when the client has read what it was
/// sent: nothing is queued for it.
struct Reader {
    log: Arc<EventLog>,
    wanted: Wanted,
    next: u64,
    begun: bool,
}

impl Reader {
    async fn chunk(&mut self) -> Bytes {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            // The head goes out with the first bytes.
            let _ = writeln!(text, ": navigator\nretry: 1000\n");
            return text.into();
        }
        loop {
            let after = self.log.after(self.next);
            if after.missed {
                let oldest = after
                    .events
                    .first()
                    .map_or(after.next, |event| event.id - 1);
                let time = after.events.first().map_or(0.0, |event| event.time);
                write(&mut text, &Event::missed(oldest, time));
            }
            let wanted = after.events.iter().filter(|event| self.wants(event));
            wanted.for_each(|event| write(&mut text, event));
            self.next = after.next;
            if !text.is_empty() {
                return text.into();
            }
            if after.events.is_empty()
                && timeout(HEARTBEAT, self.log.later_than(self.next))
                    .await
                    .is_err()
            {
                return Bytes::from_static(b": \n\n");
            }
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let fits = |wanted: &Option<String>, of: &Option<String>| wanted.is_none() || wanted == of;
        fits(&self.wanted.service, &event.service) && fits(&self.wanted.vip, &event.vip)
    }
}

fn write(text: &mut String, event: &Event) {
    let kind = super::word(&event.kind);
    // JSON has no line feed of its own, so it is one line of `data`.
    if let Ok(data) = serde_json::to_string(event) {
        let _ = write!(text, "id: {}\nevent: {kind}\ndata: {data}\n\n", event.id);
    }
}
