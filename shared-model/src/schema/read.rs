//! A document into the parts of a schema, each checked on its own; every fault is noted and reading goes on.

mod feature;
mod fields;
mod table;
mod transform;
mod vocabulary;

pub(super) use feature::Draft;

use super::SCHEMA_VERSION;
use super::document::Node;
use super::faults::SchemaFaults;
use super::feature::Vocabulary;
use crate::limits;
use table::Table;

/// What a document says, before the parts are put together.
pub(super) struct Drafts {
    pub(super) model: String,
    pub(super) vocabularies: Vec<(Option<usize>, Vocabulary)>,
    pub(super) features: Vec<Draft>,
}

pub(super) fn read(document: &Node, faults: &mut SchemaFaults) -> Drafts {
    let mut drafts = Drafts { model: String::new(), vocabularies: Vec::new(), features: Vec::new() };
    let Some(mut top) = Table::of(document, None, "the schema", faults) else { return drafts };

    // The version first: of another form, nothing else can be told.
    match top.required("schema_version", Table::integer) {
        Some(version) if version == i64::from(SCHEMA_VERSION) => {}
        Some(version) => {
            let message = format!("schema_version {version} is not supported: this is version {SCHEMA_VERSION}");
            top.fault("schema_version", message);
            return drafts;
        }
        None => {}
    }
    drafts.model = top.required("model", Table::text).unwrap_or_default().to_owned();
    if top.has("model") && (drafts.model.is_empty() || drafts.model.len() > limits::MAX_ID_BYTES) {
        top.fault("model", format!("`model` must have 1 to {} bytes", limits::MAX_ID_BYTES));
    }
    let vocabularies = top.optional("vocabulary", Table::entries).unwrap_or_default();
    let features = top.required("feature", Table::list).unwrap_or_default();
    if top.has("feature") && (features.is_empty() || features.len() > limits::MAX_FEATURES) {
        top.fault("feature", format!("there must be 1 to {} features", limits::MAX_FEATURES));
    }
    top.finish();

    for (name, node) in vocabularies {
        drafts.vocabularies.push((node.line, vocabulary::read(name, node, faults)));
    }
    let names: Vec<&str> = vocabularies.iter().map(|(name, _)| name.as_str()).collect();
    for (i, node) in features.iter().take(limits::MAX_FEATURES).enumerate() {
        drafts.features.extend(feature::read(i, node, &names, faults));
    }
    drafts
}
