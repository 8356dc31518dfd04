//! Making a worker of a bundle's bytes.

use thiserror::Error;

use super::similarity::Similarity;
use super::{BindError, Binding, Ladder, TierLimits};
use crate::bundle::{self, Bundle, BundleError, CATALOG, MANIFEST};
use crate::catalog::{Catalog, CatalogError};
use crate::encode::Block;
use crate::graph::{DType, Scope};
use crate::plan::{Arena, ItemTable, Plan, PlanError};
use crate::schema::{Schema, SchemaFaults};
use crate::variant::{Variant, VariantError, VariantName};
use crate::wire::{Stamp, Tier};

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
        let file = VariantName::of(tier).file();
        let variant = Variant::from_bytes(parts.variant).map_err(|error| LoadError::Variant { file, error })?;
        if variant.name != VariantName::of(tier) {
            return Err(LoadError::Mixed { file, holds: variant.name });
        }
        let schema = Schema::from_json(parts.schema)?.bounded_by(&variant.graph)?;
        let catalog = Catalog::from_safetensors(parts.catalog, &schema)?;
        let binding = Binding::new(&variant.graph, &schema)?;
        let plan = Plan::new(&variant.graph, &variant.tensors).map_err(|error| LoadError::Plan { file, error })?;
        let mut arena = plan.arena();
        let items = item_table(&plan, &mut arena, &binding, &schema, &catalog, limits);
        let stamp = Stamp { catalog: catalog.revision(), ..bundle.stamp() };
        let similarity = Similarity::find(&schema, &variant.graph);
        let bundle::Manifest { model, version, policies, static_list, .. } = bundle.manifest;
        let variant = variant.name;
        Ok(Self {
            tier,
            limits,
            variant,
            model,
            version,
            stamp,
            policies,
            static_list,
            similarity,
            schema,
            catalog,
            binding,
            plan,
            items,
            arena,
        })
    }
}

/// What is computed of every item ahead, if it fits. An item that cannot be scored is found when it is asked for.
fn item_table(
    plan: &Plan,
    arena: &mut Arena,
    binding: &Binding,
    schema: &Schema,
    catalog: &Catalog,
    limits: TierLimits,
) -> Option<ItemTable> {
    let rows = catalog.rows();
    if rows == 0 || plan.item_table_bytes(rows) > limits.item_table_bytes as usize {
        return None;
    }
    let blocks: Vec<&Block> = schema.inputs_of(Scope::Item).filter_map(|(i, _)| catalog.block(i)).collect();
    plan.item_table(arena, &binding.items(&blocks, &Block::empty(DType::F32, 1)), rows).ok()
}
