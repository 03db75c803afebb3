//! The API's own description: an OpenAPI document made of the handlers and the types that they
//! answer with, served at `/v1/openapi.json`. Which role a call needs is taken from it, too.

use super::{ProblemBody, access::Role};
use axum::{
    Extension,
    http::{Method, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// Name of the scheme in which a token is sent; its scopes are [`Role`]s.
const TOKEN: &str = "token";
/// Name of the scheme in which the client has a certificate.
const CERTIFICATE: &str = "certificate";

/// The document without its operations, which the router adds.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Navigator",
        description = "Services, instances, VIPs and what becomes of them. Errors are RFC 9457 problems. On the Unix socket everybody who may open it may do everything; over TCP a call needs the role that stands in its security requirement, and `operate` includes the others."
    ),
    components(schemas(ProblemBody)),
    modifiers(&Schemes)
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token that `navigator token new` printed."))
            .build();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
        let certificate = SecurityScheme::MutualTls {
            description: Some("A certificate of the authority that the listener trusts.".into()),
            extensions: None,
            deprecated: None,
        };
        components.add_security_scheme(CERTIFICATE, certificate);
    }
}

/// Adds what holds for every operation: the answer to what goes wrong, and that a certificate
/// does as well as a token.
pub(super) fn complete(document: &mut openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            let problem = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ProblemBody")))
                .build();
            let answer = ResponseBuilder::new()
                .description("What was wrong.")
                .content("application/problem+json", problem)
                .build();
            let answers = &mut operation.responses.responses;
            answers.insert("default".to_owned(), RefOr::T(answer));
            if let Some(role) = role_in(operation) {
                operation.security = Some(
                    [TOKEN, CERTIFICATE]
                        .map(|scheme| SecurityRequirement::new(scheme, [role.word()]))
                        .into(),
                );
            }
        }
    }
}

/// The role that each call needs, by method and path. A call that is not in it is nobody's.
pub(super) fn roles(document: &openapi::OpenApi) -> BTreeMap<(String, String), Role> {
    let mut roles = BTreeMap::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in operations(item) {
            if let Some(role) = role_in(operation) {
                roles.insert((method.to_string(), path.clone()), role);
            }
        }
    }
    roles
}

/// Every method and path of the document.
pub(super) fn operations(item: &PathItem) -> Vec<(Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
    ];
    let there = all.into_iter();
    there
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
        .collect()
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn role_in(operation: &Operation) -> Option<Role> {
    let written = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let scopes = written.get(0)?.as_object()?.values().next()?;
    Role::named(scopes.get(0)?.as_str()?)
}

/// This description of the API.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    responses((status = OK, body = serde_json::Value, description = "An OpenAPI document.")),
    security(("token" = ["read"]))
)]
pub(super) async fn document(Extension(document): Extension<Arc<openapi::OpenApi>>) -> Response {
    // A document of texts and numbers has a form in JSON.
    let text = serde_json::to_vec(&*document).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
