//! The contract with the tier behind the front. It knows nothing of HTTP.

use std::future::Future;
use std::time::{Duration, Instant};

use shared_model::bundle::Edition;
use shared_model::wire::{Answer, Part, RankRequest, Refusal, Stamp, Tier, Whole, Why};

use crate::RequestId;
use crate::generations::Operations;

/// When to try again, for a tier that does not know better.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// Ranks; what `pop` and `origin` are to their fronts.
pub trait Ranker: Send + Sync + 'static {
    /// Answers by the call's deadline with the best that is ready then; a late answer is as bad as none.
    ///
    /// The future is dropped when nobody waits for it any more.
    fn rank(&self, call: Call) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// As [`Self::rank`], for a client: the answer may be one that was given before. Without a cache, none is.
    fn serve(&self, call: Call) -> impl Future<Output = Result<Given, Failure>> + Send {
        async { self.rank(call).await.map(Given::from) }
    }

    /// The most popular items, the most popular first; the model may be left out where there is one alone. A tier
    /// without a catalog knows of none.
    ///
    /// # Errors
    /// No such model here.
    fn popular(&self, model: Option<&str>, _geo: Option<&str>, _k: usize) -> Result<Popular, Failure> {
        Err(Failure::UnknownModel(model.unwrap_or_default().to_owned()))
    }

    /// Whether this tier can answer requests now. Asked often: it must not block.
    fn health(&self) -> Health;

    /// When a request that the door refuses now may be sent again, by what is being worked on. Asked at each refusal: it
    /// must not block.
    fn retry_after(&self) -> Duration {
        SOON
    }

    /// The models that it answers with now.
    fn models(&self) -> Vec<Serving>;

    /// What an operator may tell it to do with its models; without it, they are what they were at the start.
    fn operations(&self) -> Option<&dyn Operations> {
        None
    }
}

/// One request to rank.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request, decoded and within the bounds of [`shared_model::limits`].
    pub request: RankRequest,
    /// When its head had been read.
    pub arrived: Instant,
    /// When the answer has to be there; bounded by the limits of the tier.
    pub deadline: Instant,
    /// The name of the request in logs and problem documents; to be passed on upwards.
    pub request_id: RequestId,
    /// What the tier below said, when it comes from there.
    pub escalation: Option<Escalated>,
}

/// The tier below, as it passed the request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalated {
    /// What it scored with.
    pub stamp: Stamp,
    /// Which it is.
    pub from: Tier,
    /// Why it did not answer.
    pub why: Why,
    /// Set when only the candidates that it is in doubt about come up.
    pub part: Option<Part>,
}

impl Call {
    /// What the generation that answers should have scored with: what the tier below did. Where that one lacks an item, it
    /// is the current one, which may have it.
    #[must_use]
    pub fn wanted(&self) -> Option<Stamp> {
        self.escalation.filter(|below| below.why != Why::UnknownItem).map(|below| below.stamp)
    }
}

/// An answer for a client, and what a cache has to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The answer.
    pub answer: Answer,
    /// What the cache found; `None` where there is none.
    pub found: Option<Found>,
    /// How long the client may keep the answer, from when it was computed.
    pub keep: Duration,
}

/// What a cache found for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An answer.
    Fresh {
        /// Since it was computed.
        age: Duration,
    },
    /// An answer that is computed again behind its back.
    Stale {
        /// Since it was computed.
        age: Duration,
    },
    /// The same request, being computed for another client; this is its answer.
    Collapsed,
    /// Nothing: this answer was computed for this request.
    Missed,
}

impl From<Answer> for Given {
    /// An answer that no cache has seen.
    fn from(answer: Answer) -> Self {
        Self { answer, found: None, keep: Duration::ZERO }
    }
}

/// A list of the most popular items.
#[derive(Clone, Debug, PartialEq)]
pub struct Popular {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Whose list it is: the geo's that was asked for, or everywhere's, where that one has none.
    pub geo: Option<String>,
    /// Ids with their popularity.
    pub items: Vec<(String, f32)>,
    /// What the list comes from.
    pub stamp: Stamp,
}

impl Popular {
    /// The list of a geo, or of everywhere, where the catalog says nothing of it.
    #[must_use]
    pub fn of(edition: &Edition, geo: Option<&str>, k: usize) -> Self {
        let (manifest, catalog) = (edition.manifest(), edition.catalog());
        let geo = geo.and_then(|geo| catalog.geo(geo));
        Self {
            model: manifest.model.clone(),
            version: manifest.version.clone(),
            geo: geo.map(|geo| geo.name().to_owned()),
            items: catalog.most_popular(geo, k),
            stamp: edition.stamp(),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request is at fault and no tier can answer it.
    Refused(Refusal),
    /// It cannot be decided on some of its candidates; to the tier below alone.
    Whole(Whole),
    /// No such model here.
    UnknownModel(String),
    /// More than the last tier on the way up takes.
    OverLimit {
        /// The field at fault: `k` or `candidates`.
        field: &'static str,
        /// The most it may be, or hold.
        limit: usize,
    },
    /// There is no room now.
    Overloaded {
        /// When there may be again.
        retry_after: Duration,
    },
    /// Not even the last degradation level could answer.
    Unavailable {
        /// What is missing.
        what: String,
    },
}

/// Whether a tier can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// It cannot, for want of these.
    Missing(Vec<String>),
}

/// A model in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The variant that this tier scores with.
    pub variant: String,
    /// What it scores on: `wasmtime`, or the origin's device.
    pub runs_on: String,
    /// Why that is not what was meant.
    pub note: Option<String>,
    /// What its answers come from.
    pub stamp: Stamp,
}
