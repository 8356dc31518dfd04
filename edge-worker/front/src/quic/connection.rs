//! One HTTP/3 connection, from its first request to its last.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use h3::error::StreamError;
use h3::server::{RequestResolver, RequestStream};
use h3_quinn::quinn;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Body;
use super::metered::{self, Meter};
use crate::connection::{Bounds, MAX_RAW_HEAD_BYTES, without_body};
use crate::drain::{Stage, StageWatch};
use crate::idle::Activity;

/// How long the last answer may take to arrive before the connection is closed: QUIC forgets what is on the way then.
const LEAST_FAREWELL: Duration = Duration::from_millis(50);
const MOST_FAREWELL: Duration = Duration::from_secs(1);
/// Requests of one client that may end without a head: h3 remembers the stream of each as long as the connection lives.
const MAX_HEADLESS: usize = 1 << 12;

/// Answers requests until the client leaves, misbehaves, has nothing more to ask, or the front closes and the last
/// answer is out.
pub(super) async fn serve<A, R>(quic: quinn::Connection, answer: A, bounds: Bounds, mut stage: StageWatch)
where
    A: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let (streams, latest) = metered::Connection::new(quic.clone());
    let mut builder = h3::server::builder();
    builder.max_field_section_size(MAX_RAW_HEAD_BYTES as u64).send_grease(false);
    let building = timeout(bounds.header_timeout, builder.build::<_, Bytes>(streams));
    let Ok(Ok(mut h3)) = building.await else { return };
    let activity = Activity::new();
    let mut requests = JoinSet::new();
    let (mut closing, mut asked, mut headless) = (false, false, 0);
    while !(closing && requests.is_empty()) {
        let close = tokio::select! {
            accepted = h3.accept() => match accepted {
                Ok(Some(resolver)) => {
                    let Some(meter) = latest.take() else { break };
                    asked = true;
                    let (busy, answer) = (activity.begin(), answer.clone());
                    requests.spawn(async move {
                        let _busy = busy;
                        let Some((request, stream)) = head(resolver, bounds.header_timeout).await else { return false };
                        if let Err(error) = one(request, stream, meter, answer, bounds).await {
                            tracing::debug!(%error, "an HTTP/3 request broke off");
                        }
                        true
                    });
                    false
                }
                // The client has said that it is done, and it is.
                Ok(None) => break,
                Err(error) => {
                    if !error.is_h3_no_error() {
                        tracing::debug!(%error, "an HTTP/3 connection broke off");
                    }
                    // Nobody waits for what is under way.
                    return;
                }
            },
            Some(ended) = requests.join_next() => {
                headless += usize::from(matches!(ended, Ok(false)));
                headless > MAX_HEADLESS
            }
            () = stage.reached(Stage::Closing), if !closing => true,
            () = activity.idle_for(bounds.idle_timeout), if !closing => true,
        };
        if close && !closing {
            closing = true;
            // One more than the last accepted: in GOAWAY stands the first that is not answered (RFC 9114 §5.2).
            let Ok(Ok(())) = timeout(bounds.send_timeout, h3.shutdown(1)).await else { return };
        }
    }
    if asked {
        let farewell = (4 * quic.rtt()).clamp(LEAST_FAREWELL, MOST_FAREWELL);
        tokio::select! {
            () = sleep(farewell) => {}
            _ = quic.closed() => {}
        }
    }
}

type Resolver = RequestResolver<metered::Connection, Bytes>;

type Stream = RequestStream<metered::BidiStream<Bytes>, Bytes>;

/// The head of a request, if it comes.
async fn head(resolver: Resolver, within: Duration) -> Option<(Request<()>, Stream)> {
    match timeout(within, resolver.resolve_request()).await.ok()? {
        Ok(resolved) => Some(resolved),
        Err(error) => {
            tracing::debug!(%error, "an HTTP/3 request has no head");
            None
        }
    }
}

/// A request whose head is there, and its answer.
async fn one<A, R>(
    request: Request<()>,
    stream: Stream,
    meter: Meter,
    answer: A,
    bounds: Bounds,
) -> Result<(), StreamError>
where
    A: Fn(Request<Body>) -> R,
    R: Future<Output = Response<Full<Bytes>>>,
{
    meter.body_begins();
    let (stream, body) = stream.split();
    let bare = request.method() == Method::HEAD;
    let response = answer(request.map(|()| Body::new(body, meter))).await;
    let response = if bare { without_body(response) } else { response };
    timeout(bounds.send_timeout, send(stream, response)).await.unwrap_or(Ok(()))
}

async fn send<S>(mut stream: RequestStream<S, Bytes>, response: Response<Full<Bytes>>) -> Result<(), StreamError>
where
    S: h3::quic::SendStream<Bytes>,
{
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    // These have no body, and no length of one (RFC 9110 §8.6).
    if !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(body.len()));
    }
    stream.send_response(Response::from_parts(head, ())).await?;
    if !body.is_empty() {
        stream.send_data(body).await?;
    }
    stream.finish().await
}
