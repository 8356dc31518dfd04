//! A model of the benchmark: its bundle, what guests are loaded with, and what they are asked.

use std::path::{Path, PathBuf};

use quantize::eval::Opened;
use quantize::score::{Encoding, Line};
use shared_model::bundle::Bundle;
use shared_model::catalog::Catalog;
use shared_model::graph::{Builder, Graph, Link, Source};
use shared_model::ladder::{Call, Parts, Terms, TierLimits};
use shared_model::limits;
use shared_model::variant::{Variant, VariantName};
use shared_model::wire::{RankRequest, Tier, TierChoice, to_cbor};

use super::Options;
use crate::client::Error;
use crate::recipe::Recipe;

/// The tier that a guest works for here: it runs `w8`.
pub(super) const TIER: Tier = Tier::Region;
/// Nothing that is asked here is too much; tables of items have the room that `pop` gives them.
pub(super) const LIMITS: TierLimits = TierLimits {
    max_candidates: limits::MAX_CANDIDATES as u32,
    max_k: limits::MAX_CANDIDATES as u32,
    item_table_bytes: 64 << 20,
};
/// Lines of the gate's requests that the bundles are made with: no policy is looked at here.
const GATE_LINES: usize = 200;

/// A model with its bundle.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) onnx: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) opened: Opened,
}

/// What a guest is loaded with.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) manifest: Vec<u8>,
    pub(super) schema: Vec<u8>,
    pub(super) variant: Vec<u8>,
    pub(super) catalog: Vec<u8>,
}

impl Bytes {
    /// What a guest is told when it begins.
    pub(super) fn terms(&self) -> Result<Terms, Error> {
        let bundle = Bundle::read(&[], |_, _| Ok(self.manifest.clone()))?;
        Ok(Terms::new(&bundle.manifest, bundle.digest))
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        let Self { manifest, schema, variant, catalog } = self;
        Parts { manifest, schema, variant, catalog }
    }
}

impl Model {
    /// Builds its bundle, if need be, and reads it.
    pub(super) fn open(options: &Options, name: &str) -> Result<Self, Error> {
        let work = options.work.join(name);
        std::fs::create_dir_all(&work)?;
        let file = |file: &str| options.dir.join(file);
        let onnx = file(&format!("{name}.onnx"));
        let gate = work.join("gate.jsonl");
        std::fs::write(&gate, first_lines(&file("requests.gate.jsonl"), GATE_LINES)?)?;
        let inputs = vec![
            ("--model", onnx.clone()),
            ("--schema", options.schema.clone()),
            ("--catalog", file("catalog.jsonl")),
            ("--calibration", file("requests.calibration.jsonl")),
            ("--gate", gate),
            ("--worker", options.worker.clone()),
        ];
        let folder = Recipe { inputs, settings: Vec::new() }.bundle(&work)?;
        Ok(Self { name: name.to_owned(), onnx, opened: Opened::read(&folder)?, folder })
    }

    /// What a guest is loaded with to run `variant`, which must be named as its tier's is.
    pub(super) fn bytes(&self, variant: &Variant) -> Result<Bytes, Error> {
        self.with_catalog(variant, &self.opened.catalog)
    }

    /// The same with another catalog.
    pub(super) fn with_catalog(&self, variant: &Variant, catalog: &Catalog) -> Result<Bytes, Error> {
        let schema = &self.opened.schema;
        Ok(Bytes {
            manifest: self.opened.bundle.manifest_bytes().to_vec(),
            schema: schema.to_json(),
            variant: variant.to_bytes()?,
            catalog: catalog.to_safetensors(schema),
        })
    }

    pub(super) fn variant(&self, name: VariantName) -> Result<&Variant, Error> {
        let found = self.opened.variants.iter().find(|variant| variant.name == name);
        found.ok_or_else(|| format!("{}: no variant {}", self.folder.display(), name.as_str()).into())
    }

    /// A variant under the name that the guest's tier expects.
    pub(super) fn as_w8(&self, name: VariantName) -> Result<Variant, Error> {
        Ok(Variant { name: VariantName::of(TIER), ..self.variant(name)?.clone() })
    }

    /// Requests of a file, decoded and encoded, `count` of them spread over the first `among`.
    pub(super) fn lines(&self, file: &Path, among: usize, count: usize) -> Result<Vec<Line>, Error> {
        let encoding = Encoding { schema: &self.opened.schema, catalog: &self.opened.catalog };
        let lines = encoding.lines(file, among)?;
        let every = (lines.len() / count.max(1)).max(1);
        Ok(lines.into_iter().step_by(every).take(count).collect())
    }
}

/// What a guest is asked, on the wire: its own tier's answer, sure or not.
pub(super) fn call(request: &RankRequest, tier: Tier) -> Vec<u8> {
    let tier = match tier {
        Tier::Edge => TierChoice::Edge,
        Tier::Region => TierChoice::Region,
        Tier::Origin => TierChoice::Origin,
    };
    to_cbor(&Call { request: RankRequest { tier, ..request.clone() }, below: None, part: None })
}

/// The same model, which shows the score that it ranks by: a link could hide a bit.
pub(super) fn unlinked(graph: &Graph) -> Result<Graph, Error> {
    let mut builder = Builder::new();
    for value in graph.values() {
        match value.source {
            Source::Input => builder.input(&value.name, value.ty.clone())?,
            Source::Constant => builder.constant(&value.name, value.ty.dtype, &value.ty.shape)?,
            Source::Node(at) => {
                let node = &graph.nodes()[at];
                builder.push(&value.name, node.op.clone(), &node.inputs)?
            }
        };
    }
    Ok(builder.finish(graph.score(), Link::Identity)?)
}

fn first_lines(file: &Path, count: usize) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(text.split_inclusive('\n').take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_model::graph::{DType, Op, Scope, Type, Unary};

    #[test]
    fn without_its_link_a_graph_is_the_same() {
        let mut builder = Builder::new();
        let x = builder.input("x", Type { dtype: DType::F32, shape: vec![2], scope: Scope::Item }).unwrap();
        let w = builder.constant("w", DType::F32, &[1, 2]).unwrap();
        let y = builder.push("y", Op::Linear, &[x, w]).unwrap();
        let y = builder.push("z", Op::Unary(Unary::Neg), &[y]).unwrap();
        let score = builder.push("score", Op::Reshape { shape: vec![] }, &[y]).unwrap();
        let graph = builder.finish(score, Link::Sigmoid).unwrap();
        let same = unlinked(&graph).unwrap();
        assert_eq!((same.values(), same.nodes(), same.score()), (graph.values(), graph.nodes(), graph.score()));
        assert_eq!(same.link(), Link::Identity);
    }
}
