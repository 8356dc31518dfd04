//! Orders about the bundles in service: they are carried out on a thread that may block.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use serde::Serialize;
use shared_model::limits::MAX_DELTA_BYTES;

use super::{Admin, JSON, response};
use crate::Ranker;
use crate::generations::{Operations, OrderError, Reload, Running};
use crate::problem::Problem;

/// The longest order that names models.
const MAX_RELOAD_BYTES: usize = 64 << 10;

/// The body of an answer.
#[derive(Serialize)]
struct Carried {
    models: Vec<Running>,
}

/// `POST /v1/reload`: look at the bundles' folders now.
pub(super) async fn reload<R, B>(admin: Arc<Admin<R>>, body: B) -> Result<Response<Full<Bytes>>, Problem>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let body = read(body, MAX_RELOAD_BYTES, admin.body_timeout).await?;
    let order: Reload = if body.trim_ascii().is_empty() {
        Reload::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::Malformed { reason: error.to_string() })?
    };
    carry_out(admin, "/v1/reload", move |operations| operations.reload(&order)).await
}

/// `POST /v1/catalog`: take a catalog delta.
pub(super) async fn add_delta<R, B>(admin: Arc<Admin<R>>, body: B) -> Result<Response<Full<Bytes>>, Problem>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let max = usize::try_from(MAX_DELTA_BYTES).unwrap_or(usize::MAX);
    let body = read(body, max, admin.body_timeout).await?;
    carry_out(admin, "/v1/catalog", move |operations| Ok(vec![operations.add_delta(&body)?])).await
}

async fn carry_out<R: Ranker>(
    admin: Arc<Admin<R>>,
    path: &'static str,
    order: impl FnOnce(&dyn Operations) -> Result<Vec<Running>, OrderError> + Send + 'static,
) -> Result<Response<Full<Bytes>>, Problem> {
    let done = tokio::task::spawn_blocking(move || admin.ranker.operations().map(order)).await;
    let done = done.map_err(|error| {
        tracing::error!(%error, path, "a bug: an order did not end");
        Problem::Broken
    })?;
    let models = done.ok_or_else(|| Problem::NotFound { path: path.to_owned() })??;
    let body = serde_json::to_vec(&Carried { models }).expect("texts and numbers are JSON");
    Ok(response(StatusCode::OK, JSON, body.into()))
}

async fn read<B>(body: B, max: usize, within: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let read = Limited::new(body.map_err(|error| error.to_string()), max).collect();
    match tokio::time::timeout(within, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::OrderTooLong { limit: max }),
        Ok(Err(error)) => Err(Problem::BodyBroken { reason: error.to_string() }),
        Err(_) => Err(Problem::BodyTooSlow { limit: within }),
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::UnknownModel(model) => Self::UnknownModel { model },
            OrderError::WhichModel => Self::Field { field: "model".to_owned(), message: error.to_string() },
            OrderError::Refused(why) => Self::BundleRefused { why },
        }
    }
}
