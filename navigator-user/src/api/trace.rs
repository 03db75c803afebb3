//! `GET /v1/trace`: packets, as they come, a line of JSON each.

use super::{ApiState, Problem};
use crate::{
    snapshot::Snapshot,
    trace::{
        hub::{Ending, Trace},
        packet::Packet,
        request::{BadQuery, Query, Request},
    },
};
use axum::{
    body::Body,
    extract::{self, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use navigator_common::trace::TraceRecord;
use navigator_core::model::VipKey;
use nix::net::if_::if_indextoname;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// Packets that are sent to a tracer at once.
const BATCH: usize = 128;
/// How often lost packets are told of, also when no other comes.
const TELL_LOST: Duration = Duration::from_secs(1);

/// A line of the answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// The first one: packets are seen from now on.
    Begin {
        /// For so many seconds.
        seconds: f64,
    },
    /// A packet.
    Packet(Box<Packet>),
    /// Packets that were wanted and could not be told of since the last such line.
    Lost {
        /// How many.
        packets: u64,
    },
    /// The last one.
    End {
        /// Why.
        why: String,
    },
}

/// Packets as they come, a line of JSON each: `begin`, then `packet` and `lost`, then `end`.
#[utoipa::path(
    get,
    path = "/v1/trace",
    params(Query),
    responses((status = OK, body = String, content_type = "application/x-ndjson")),
    security(("token" = ["operate"]))
)]
pub(super) async fn trace(
    State(state): State<ApiState>,
    query: Result<extract::Query<Query>, QueryRejection>,
) -> Result<Response, Problem> {
    let extract::Query(query) = query?;
    let (_, snapshot) = state.snapshots.borrow().clone();
    let request = Request::read(&query, |name| vip_named(&snapshot, name))?;
    let seconds = request.duration.as_secs_f64();
    let trace = state.tracers.begin(request);
    let mut trace = trace
        .map_err(|why| Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", why.to_string()))?;
    trace.ready().await.map_err(|ending| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "not_traced", ending.to_string())
    })?;
    let mut lines = Lines {
        trace,
        snapshots: state.snapshots,
        interfaces: HashMap::new(),
        bytes: query.bytes.unwrap_or(false),
        text: Vec::new(),
        ended: false,
    };
    lines.push(&Line::Begin { seconds });
    let stream = futures::stream::unfold(lines, async |mut lines| {
        let chunk = lines.next_chunk().await?;
        Some((Ok::<_, Infallible>(chunk), lines))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(stream)).into_response())
}

impl From<BadQuery> for Problem {
    fn from(error: BadQuery) -> Self {
        Self::bad_request(format!("bad_{}", error.field), error.to_string())
    }
}

fn vip_named(snapshot: &Snapshot, name: &str) -> Result<VipKey, String> {
    let vip = snapshot.vips.iter().find(|vip| vip.name == name);
    let vip = vip.ok_or("there is no VIP of this name; `navigator vips` lists them")?;
    Ok(vip.key())
}

/// The answer in the making.
struct Lines {
    trace: Trace,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    interfaces: HashMap<u32, String>,
    bytes: bool,
    text: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// What is to be sent next; `None` after the end.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        while self.text.is_empty() {
            if self.ended {
                return None;
            }
            match timeout(TELL_LOST, self.trace.next()).await {
                Ok(Ok(record)) => self.take(&record),
                Ok(Err(ending)) => self.end(&ending),
                Err(_) => {}
            }
            match self.trace.lost() {
                0 => {}
                packets => self.push(&Line::Lost { packets }),
            }
        }
        Some(std::mem::take(&mut self.text).into())
    }

    fn take(&mut self, first: &TraceRecord) {
        let (_, snapshot) = self.snapshots.borrow().clone();
        self.push_packet(first, &snapshot);
        for _ in 1..BATCH {
            let Some(record) = self.trace.another() else {
                break;
            };
            self.push_packet(&record, &snapshot);
        }
    }

    fn push_packet(&mut self, record: &TraceRecord, snapshot: &Snapshot) {
        let interfaces = &mut self.interfaces;
        let packet = Packet::new(
            record,
            |index| {
                interfaces
                    .entry(index)
                    .or_insert_with(|| interface(index))
                    .clone()
            },
            |key| vip_name(snapshot, key),
            self.bytes,
        );
        self.push(&Line::Packet(Box::new(packet)));
    }

    fn end(&mut self, ending: &Ending) {
        self.ended = true;
        let why = ending.to_string();
        self.push(&Line::End { why });
    }

    fn push(&mut self, line: &Line) {
        // Writing to memory cannot fail, and a line has nothing that JSON cannot say.
        if serde_json::to_writer(&mut self.text, line).is_ok() {
            self.text.push(b'\n');
        }
    }
}

fn interface(index: u32) -> String {
    let name = if_indextoname(index).ok();
    name.map_or_else(
        || format!("#{index}"),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn vip_name(snapshot: &Snapshot, key: VipKey) -> String {
    let vip = snapshot.vips.iter().find(|vip| vip.key() == key);
    vip.map_or_else(|| key.to_string(), |vip| vip.name.clone())
}
