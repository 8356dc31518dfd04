//! The listener for operations: is it alive, is it ready, what has it counted; and the orders to drain, to look for
//! bundles, to take a catalog delta.

mod order;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use prometheus_client::encoding::text::encode;
use serde::Serialize;
use tokio::sync::Notify;

use crate::drain::{Stage, StageWatch};
use crate::generations::Refused;
use crate::metrics::Registry;
use crate::problem::Problem;
use crate::router::only_get;
use crate::{Health, REQUEST_ID, Ranker, RequestId};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that the admin listener shows.
pub(crate) struct Admin<R> {
    pub(crate) ranker: Arc<R>,
    pub(crate) registry: Registry,
    pub(crate) stage: StageWatch,
    pub(crate) drain: Arc<Notify>,
    /// For the body of an order.
    pub(crate) body_timeout: Duration,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    missing: Vec<String>,
    models: Vec<Model>,
    /// What was found and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Model {
    model: String,
    version: String,
    variant: String,
    runs_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    bundle: String,
    catalog: u64,
}

/// Answers a request; the body is that of an order.
pub(crate) async fn answer<R, B>(admin: Arc<Admin<R>>, request: Request<B>) -> Response<Full<Bytes>>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let id = RequestId::of(request.headers());
    let mut response = route(admin, request).await.unwrap_or_else(|problem| problem.into_response(&id));
    response.headers_mut().insert(REQUEST_ID, id.header());
    response
}

async fn route<R, B>(admin: Arc<Admin<R>>, request: Request<B>) -> Result<Response<Full<Bytes>>, Problem>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    match request.uri().path() {
        "/healthz" => {
            only_get(request.method())?;
            Ok(response(StatusCode::OK, TEXT, "alive\n".into()))
        }
        "/readyz" => {
            only_get(request.method())?;
            Ok(readiness(&admin))
        }
        "/metrics" => {
            only_get(request.method())?;
            let mut text = String::new();
            encode(&mut text, &admin.registry).expect("a string takes all that is written to it");
            Ok(response(StatusCode::OK, OPENMETRICS, text.into()))
        }
        "/drain" => {
            only_post(request.method())?;
            admin.drain.notify_one();
            Ok(response(StatusCode::ACCEPTED, TEXT, "draining\n".into()))
        }
        "/v1/reload" => {
            only_post(request.method())?;
            order::reload(admin, request.into_body()).await
        }
        "/v1/catalog" => {
            only_post(request.method())?;
            order::add_delta(admin, request.into_body()).await
        }
        path => Err(Problem::NotFound { path: path.chars().take(128).collect() }),
    }
}

fn only_post(method: &Method) -> Result<(), Problem> {
    if method == Method::POST { Ok(()) } else { Err(Problem::MethodNotAllowed { allow: "POST" }) }
}

fn readiness<R: Ranker>(admin: &Admin<R>) -> Response<Full<Bytes>> {
    let mut missing = match admin.ranker.health() {
        Health::Ready => Vec::new(),
        Health::Missing(what) => what,
    };
    if admin.stage.now() > Stage::Open {
        missing.push("draining".to_owned());
    }
    let models = admin.ranker.models().into_iter().map(|serving| Model {
        model: serving.model,
        version: serving.version,
        variant: serving.variant,
        runs_on: serving.runs_on,
        note: serving.note,
        bundle: serving.stamp.bundle.to_string(),
        catalog: serving.stamp.catalog,
    });
    let refused = admin.ranker.operations().map_or_else(Vec::new, |operations| operations.refused());
    let readiness = Readiness { ready: missing.is_empty(), missing, models: models.collect(), refused };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_vec(&readiness).expect("texts and numbers are JSON");
    response(status, JSON, body.into())
}

fn response(status: StatusCode, media: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
