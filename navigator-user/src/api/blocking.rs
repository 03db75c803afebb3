//! Blocking reads: the answer waits until something has another index than the caller knows.

use super::{ApiState, INDEX_HEADER, MAX_WAIT, Problem};
use crate::snapshot::Snapshot;
use axum::{
    extract::{Query, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use utoipa::IntoParams;

/// The query of a blocking read.
#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Blocking {
    /// The index of what the caller has: the answer comes when there is another, or `wait` is over.
    #[param(nullable = false)]
    pub(super) index: Option<u64>,
    /// How long the answer may wait, in seconds.
    #[param(nullable = false, minimum = 0, maximum = 60)]
    pub(super) wait: Option<f64>,
}

pub(super) type BlockingQuery = Result<Query<Blocking>, QueryRejection>;

impl Blocking {
    /// The latest snapshot, or the first one in which `index_of` tells another index than the
    /// caller has. Neither the end of the wait nor that of the daemon is an error: the caller sees
    /// by the index that nothing changed. An index that went back (after a restart, with a clock
    /// that did) is another one, too.
    pub(super) async fn read(
        self,
        state: &ApiState,
        index_of: impl Fn(u64, &Snapshot) -> u64,
    ) -> Result<(u64, Arc<Snapshot>), Problem> {
        let wait = match self.wait {
            None => Duration::ZERO,
            Some(seconds) if (0.0..=MAX_WAIT.as_secs_f64()).contains(&seconds) => {
                Duration::from_secs_f64(seconds)
            }
            Some(seconds) => {
                let detail = format!("wait={seconds}: use 0 to {} seconds", MAX_WAIT.as_secs());
                return Err(Problem::bad_request("bad_query", detail));
            }
        };
        let mut snapshots = state.snapshots.clone();
        if let Some(index) = self.index {
            let newer = snapshots.wait_for(|(seq, snapshot)| index_of(*seq, snapshot) != index);
            let _ = tokio::time::timeout(wait, newer).await;
        }
        Ok(snapshots.borrow().clone())
    }
}

/// JSON with the index that it stands for.
pub(super) fn json(index: u64, body: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(body).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    })?;
    let index = (INDEX_HEADER, index.to_string());
    let kind = (CONTENT_TYPE.as_str(), "application/json".to_owned());
    Ok(([index, kind], text).into_response())
}

/// The same with an entity tag; without the body for a caller who has it. The tag is a weak one:
/// what single checks find does not change it.
pub(super) fn tagged_json(
    index: u64,
    variant: &str,
    request: &HeaderMap,
    body: &impl Serialize,
) -> Result<Response, Problem> {
    let tag = format!("W/\"{index}{variant}\"");
    let mut answer = if has_tag(request, &tag) {
        (
            StatusCode::NOT_MODIFIED,
            [(INDEX_HEADER, index.to_string())],
        )
            .into_response()
    } else {
        json(index, body)?
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    Ok(answer)
}

/// Whether `If-None-Match` names a tag, weakly compared.
fn has_tag(request: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let named = request.get_all(IF_NONE_MATCH).into_iter();
    let mut named = named.filter_map(|value| value.to_str().ok());
    named.any(|list| {
        let mut tags = list.split(',');
        tags.any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
    })
}
