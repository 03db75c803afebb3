//! Errors as RFC 9457 problem details.

use crate::registry::RegistryError;
use axum::{
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why a request was not fulfilled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// A stable name for programs, for example `bad_port` or `in_config`.
    pub reason: String,
    /// What is wrong with which value, and what to do, for people.
    pub detail: String,
}

/// The body of a problem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Always `about:blank`: [`ProblemBody::reason`] tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong with which value, and what to do.
    pub detail: String,
    /// A stable name for programs.
    pub reason: String,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        reason: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            reason: reason.into(),
            detail: detail.into(),
        }
    }

    pub(super) fn bad_request(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn conflict(reason: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, reason, detail)
    }

    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_route",
            "there is no such resource; /v1/openapi.json lists those that there are",
        )
    }

    pub(super) fn no_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no_method",
            "this resource does not know this method; the Allow header lists those that it knows",
        )
    }

    pub(super) fn too_large() -> Self {
        let detail = format!("the body is longer than {} bytes", super::MAX_BODY);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!(
                "not done within {}s; it may or may not have happened",
                limit.as_secs()
            ),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            reason: self.reason,
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let kind = [(CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, text).into_response()
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let (status, reason) = match &error {
            RegistryError::Unreachable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "registry_unreachable")
            }
            RegistryError::Refused { .. } => (StatusCode::BAD_GATEWAY, "registry_refused"),
            RegistryError::LeaseEnded(_) => (StatusCode::GONE, "lease_ended"),
            RegistryError::Storage { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "registry_storage")
            }
        };
        Self::new(status, reason, error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request("bad_query", rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request("bad_path", rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let status = rejection.status();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::too_large();
        }
        Self::new(status, "bad_body", rejection.body_text())
    }
}
