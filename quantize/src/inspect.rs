//! `quantize inspect`: what is in a bundle, or what a model takes in and how it would be imported.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use shared_model::bundle::Manifest;
use shared_model::graph::{Graph, Scope, Source};
use shared_model::limits;

use crate::build::{REFERENCE, full_precision};
use crate::eval::Opened;
use crate::failure::Failure;
use crate::import::{DeclaredInput, declared_inputs, import};
use crate::source;
use crate::split::Work;

/// What is looked at.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A bundle's folder, or an ONNX file.
    pub subject: PathBuf,
    /// For an ONNX file: the schema to import it with.
    #[arg(long)]
    pub schema: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inspected {
    /// A bundle.
    Bundle {
        /// Its digest.
        digest: String,
        /// What it says of itself.
        manifest: Box<Manifest>,
        /// The number of items of its catalog.
        items: usize,
        /// Its model.
        graph: GraphSummary,
    },
    /// A model.
    Model {
        /// What it declares.
        inputs: Vec<DeclaredInput>,
        /// How it is imported, when a schema was given.
        graph: Option<GraphSummary>,
    },
}

/// A graph in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct GraphSummary {
    /// Nodes by scope: what is computed once a model, a request, an item, a pair.
    pub nodes_by_scope: BTreeMap<String, usize>,
    /// Nodes by op.
    pub nodes_by_op: BTreeMap<String, usize>,
    /// Multiply-adds by scope.
    pub work: Work,
    /// Those of the model before it is split, when it is a model that is looked at.
    pub unsplit: Option<Work>,
    /// Weights, in elements.
    pub parameters: usize,
    /// The value ranked by.
    pub score: String,
    /// What follows it.
    pub link: String,
}

/// Looks into a bundle or a model.
///
/// # Errors
/// It cannot be read; a model, with a schema, cannot be imported.
pub fn run(options: &Options) -> Result<Inspected, Failure> {
    if options.subject.is_dir() {
        let opened = Opened::read(&options.subject)?;
        return Ok(Inspected::Bundle {
            digest: opened.bundle.digest.to_string(),
            items: opened.catalog.len(),
            graph: summary(&opened.variants[REFERENCE].graph, None),
            manifest: Box::new(opened.bundle.manifest),
        });
    }
    let bytes = source::bytes(&options.subject, limits::MAX_TENSORS_BYTES)?;
    let fault = |e| Failure::import(&options.subject, e);
    let inputs = declared_inputs(&bytes).map_err(fault)?;
    let graph = match &options.schema {
        None => None,
        Some(path) => {
            let imported = import(&bytes, source::schema(path)?.0.inputs()).map_err(fault)?;
            let unsplit = Work::of(&imported.graph);
            let split = full_precision(imported).map_err(fault)?;
            Some(summary(&split.graph, Some(unsplit)))
        }
    };
    Ok(Inspected::Model { inputs, graph })
}

pub(crate) fn summary(graph: &Graph, unsplit: Option<Work>) -> GraphSummary {
    let mut nodes_by_scope = BTreeMap::new();
    let mut nodes_by_op = BTreeMap::new();
    for value in graph.values() {
        let Source::Node(i) = value.source else { continue };
        let scope = match value.ty.scope {
            Scope::Const => "const",
            Scope::Request => "request",
            Scope::Item => "item",
            Scope::Pair => "pair",
        };
        *nodes_by_scope.entry(scope.to_owned()).or_default() += 1;
        *nodes_by_op.entry(graph.nodes()[i].op.name().to_owned()).or_default() += 1;
    }
    GraphSummary {
        nodes_by_scope,
        nodes_by_op,
        work: Work::of(graph),
        unsplit,
        parameters: graph.constants().map(|(_, v)| v.ty.len()).sum(),
        score: graph.value(graph.score()).name.clone(),
        link: format!("{:?}", graph.link()).to_lowercase(),
    }
}
