//! Making a worker of a bundle's bytes, in two steps: [`Loaded`] is all that takes long, and the [`Ladder`] is that with
//! what the bundle says of itself. A snapshot of a worker is taken between them: the manifest has the snapshot's digest,
//! so the snapshot cannot have the manifest.

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::prepare::prepare_with;
use super::similarity::Similarity;
use super::{BindError, Binding, Ladder, Noise, Prepared, TierLimits};
use crate::bundle::{Bundle, BundleError, CATALOG, MANIFEST, Manifest};
use crate::catalog::{Catalog, CatalogError};
use crate::encode::Block;
use crate::gate::Policy;
use crate::graph::{DType, Scope};
use crate::plan::{Arena, ItemTable, Plan, PlanError};
use crate::schema::{Schema, SchemaFaults};
use crate::variant::{Variant, VariantError, VariantName};
use crate::wire::{Digest, RankRequest, Refusal, Stamp, Tier};

/// The bytes a worker is made of; a host that has verified a bundle hands them over.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `manifest.json`.
    pub manifest: &'a [u8],
    /// The schema, as [`Schema::to_json`] writes it.
    pub schema: &'a [u8],
    /// The variant's file.
    pub variant: &'a [u8],
    /// The catalog's file.
    pub catalog: &'a [u8],
}

/// The parts that take long to make a worker of. They do not say which bundle they are of.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The schema, as [`Schema::to_json`] writes it.
    pub schema: &'a [u8],
    /// The variant's file.
    pub variant: &'a [u8],
    /// The catalog's file.
    pub catalog: &'a [u8],
}

/// What a bundle says of itself that a worker goes by.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Terms {
    /// What requests name.
    #[n(0)]
    pub model: String,
    /// The version an answer names.
    #[n(1)]
    pub version: String,
    /// What scores are stamped with.
    #[n(2)]
    pub bundle: Digest,
    /// When a tier may answer.
    #[n(3)]
    pub policies: Vec<Policy>,
    /// The order in which what nobody knows is answered.
    #[n(4)]
    pub static_list: Vec<String>,
}

/// A worker that does not know yet which bundle it serves, nor what is asked of it.
#[derive(Debug)]
pub struct Loaded {
    pub(super) tier: Tier,
    pub(super) variant: VariantName,
    pub(super) similarity: Option<Similarity>,
    pub(super) schema: Schema,
    pub(super) catalog: Catalog,
    pub(super) binding: Binding,
    pub(super) plan: Plan,
    pub(super) items: Option<ItemTable>,
    pub(super) arena: Arena,
    pub(super) noise: Noise,
}

/// Why a worker cannot be made of these parts.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] BundleError),
    /// The schema.
    #[error("features: {0}")]
    Schema(#[from] SchemaFaults),
    /// The variant's file.
    #[error("{file}: {error}")]
    Variant {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: VariantError,
    },
    /// The variant cannot be run.
    #[error("{file}: {error}")]
    Plan {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: PlanError,
    },
    /// The catalog.
    #[error("{CATALOG}: {0}")]
    Catalog(#[from] CatalogError),
    /// A file of another variant.
    #[error("{file}: holds the variant {holds:?}: the bundle is mixed up")]
    Mixed {
        /// Its name.
        file: &'static str,
        /// What it holds.
        holds: VariantName,
    },
    /// Schema and graph disagree.
    #[error("{MANIFEST}: the schema does not feed the model: {0}")]
    Bind(#[from] BindError),
}

impl Ladder {
    /// A worker for `tier`, running that tier's variant.
    ///
    /// # Errors
    /// The parts are not those of a bundle; the error names the file and the reason.
    pub fn load(tier: Tier, limits: TierLimits, parts: Parts<'_>) -> Result<Self, LoadError> {
        let bundle = Bundle::read(&[], |_, _| Ok(parts.manifest.to_vec()))?;
        let terms = Terms::new(&bundle.manifest, bundle.digest);
        Ok(Loaded::new(tier, limits.item_table_bytes, parts.payload())?.begin(terms, limits))
    }
}

impl<'a> Parts<'a> {
    /// All but the manifest.
    #[must_use]
    pub fn payload(&self) -> Payload<'a> {
        let &Self { manifest: _, schema, variant, catalog } = self;
        Payload { schema, variant, catalog }
    }
}

impl Terms {
    /// Of a manifest and its digest.
    #[must_use]
    pub fn new(manifest: &Manifest, bundle: Digest) -> Self {
        let Manifest { model, version, policies, static_list, .. } = manifest.clone();
        Self { model, version, bundle, policies, static_list }
    }
}

impl Loaded {
    /// Parses, plans, and makes the table of the items if it takes no more than `item_table_bytes`.
    ///
    /// # Errors
    /// The payload is not that of a bundle; the error names the file and the reason.
    pub fn new(tier: Tier, item_table_bytes: u32, payload: Payload<'_>) -> Result<Self, LoadError> {
        let file = VariantName::of(tier).file();
        let variant = Variant::from_bytes(payload.variant).map_err(|error| LoadError::Variant { file, error })?;
        if variant.name != VariantName::of(tier) {
            return Err(LoadError::Mixed { file, holds: variant.name });
        }
        let schema = Schema::from_json(payload.schema)?.bounded_by(&variant.graph)?;
        let catalog = Catalog::from_safetensors(payload.catalog, &schema)?;
        let binding = Binding::new(&variant.graph, &schema)?;
        let plan = Plan::new(&variant.graph, &variant.tensors).map_err(|error| LoadError::Plan { file, error })?;
        let similarity = Similarity::find(&schema, &variant.graph);
        let noise = Noise::of(&variant, &schema);
        let (variant, arena) = (variant.name, plan.arena());
        let mut loaded = Self { tier, variant, similarity, schema, catalog, binding, plan, items: None, arena, noise };
        loaded.make_items(item_table_bytes);
        Ok(loaded)
    }

    /// The tier that it is for.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The worker. A table of the items that is there is kept, whatever the limits say: it takes no more memory.
    #[must_use]
    pub fn begin(mut self, terms: Terms, limits: TierLimits) -> Ladder {
        if self.items.is_none() {
            self.make_items(limits.item_table_bytes);
        }
        let Terms { model, version, bundle, policies, static_list } = terms;
        let stamp = Stamp { bundle, catalog: self.catalog.revision() };
        Ladder { loaded: self, limits, model, version, stamp, policies, static_list }
    }

    /// A request, without the inputs of candidates that the table of items has.
    pub(super) fn prepare(&self, request: &RankRequest) -> Result<Prepared, Refusal> {
        prepare_with(&self.schema, &self.catalog, request, self.items.is_some())
    }

    /// What is computed of every item ahead, if it fits. An item that cannot be scored is found when it is asked for.
    fn make_items(&mut self, max_bytes: u32) {
        let Self { schema, catalog, binding, plan, arena, .. } = self;
        let rows = catalog.rows();
        if rows == 0 || plan.item_table_bytes(rows) > max_bytes as usize {
            return;
        }
        let blocks: Vec<&Block> = schema.inputs_of(Scope::Item).filter_map(|(i, _)| catalog.block(i)).collect();
        self.items = plan.item_table(arena, &binding.items(&blocks, &Block::empty(DType::F32, 1)), rows).ok();
    }
}
