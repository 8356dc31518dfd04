//! One form of the model in a bundle: a safetensors file, with the graph as JSON under the key `rung` of its metadata.
//!
//! Any safetensors tool opens it; bytes are deterministic. Reading trusts nothing: the graph is replayed through its
//! builder, and every tensor must have the length, element type and shape that the graph and its encoding say.

mod part;

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::graph::doc::{ConstantDoc, Doc};
use crate::graph::{DType, Graph, GraphError, Scope, Value};
use crate::tensor::{Activations, GROUP, RowBits, Tensor};
use crate::wire::Tier;
use part::{Part, parts};

const METADATA_KEY: &str = "rung";
const SCHEMA_VERSION: u32 = 1;
/// More, and what is certified for a margin would be for nothing but rounding.
const MOST_NOISE: f32 = 1e6;

/// Names a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VariantName {
    /// The searched 4/8-bit mix for the edge.
    W4,
    /// 8 bits, for the region.
    W8,
    /// Full precision, for the origin.
    F32,
}

impl VariantName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::W4, Self::W8, Self::F32];

    /// `w4`, `w8` or `f32`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::W4 => "w4",
            Self::W8 => "w8",
            Self::F32 => "f32",
        }
    }

    /// The tier it is made for.
    #[must_use]
    pub fn tier(self) -> Tier {
        match self {
            Self::W4 => Tier::Edge,
            Self::W8 => Tier::Region,
            Self::F32 => Tier::Origin,
        }
    }

    /// The variant a tier runs.
    #[must_use]
    pub fn of(tier: Tier) -> Self {
        match tier {
            Tier::Edge => Self::W4,
            Tier::Region => Self::W8,
            Tier::Origin => Self::F32,
        }
    }

    /// Its file in a bundle.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::W4 => "edge.w4.safetensors",
            Self::W8 => "region.w8.safetensors",
            Self::F32 => "origin.f32.safetensors",
        }
    }

    /// The worker that runs it, pre-initialized; a bundle may do without. No worker runs at the origin.
    #[must_use]
    pub fn worker_file(self) -> Option<&'static str> {
        match self {
            Self::W4 => Some("edge.w4.wasm"),
            Self::W8 => Some("region.w8.wasm"),
            Self::F32 => None,
        }
    }
}

/// A model that can be run: its graph and the tensors of its constants, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Which one.
    pub name: VariantName,
    /// What it computes.
    pub graph: Graph,
    /// Its constants.
    pub tensors: BTreeMap<String, Tensor>,
    /// What tells how noisy a candidate's score is; `None`: all are alike.
    pub noise: Option<RowNoise>,
}

/// How noisy scores are: by the bits of a candidate's row in one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowNoise {
    /// The model's input of the table's indices: one of them a candidate.
    pub input: String,
    /// The table, whose rows have bits of their own.
    pub table: String,
    /// What the scores of rows of 4, 8 and 16 bits may be off by, over what the quietest may.
    pub by_bits: [f32; 3],
}

/// Why a file is not a variant.
#[derive(Debug, Error)]
pub enum VariantError {
    /// Not a safetensors file.
    #[error("not a safetensors file: {0}")]
    Container(#[from] SafeTensorError),
    /// A safetensors file that is not a variant.
    #[error("no graph under the metadata key `{METADATA_KEY}`: not written by `quantize`")]
    NoGraph,
    /// The graph's JSON.
    #[error("the graph under the metadata key `{METADATA_KEY}` is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// A later form.
    #[error("schema_version {0} is not supported (this is version {SCHEMA_VERSION}): update Rung")]
    Version(u32),
    /// The graph is not a model.
    #[error("the graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// A tensor is missing or does not have the form the graph says.
    #[error("tensor `{name}`: {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Linear8,
    /// Beside inputs of 7 bits.
    Linear8A7,
    Linear4,
    Table8,
    Table4,
    TableMixed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema_version: u32,
    variant: VariantName,
    graph: Doc,
    /// Constants not listed are stored plainly.
    encodings: BTreeMap<String, Encoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noise: Option<RowNoise>,
}

impl RowNoise {
    /// Of a row of so many bits.
    #[must_use]
    pub fn of(&self, bits: u8) -> f32 {
        let [four, eight, sixteen] = self.by_bits;
        match bits {
            4 => four,
            8 => eight,
            _ => sixteen,
        }
    }

    /// Of the noisiest.
    #[must_use]
    pub fn most(&self) -> f32 {
        self.by_bits.into_iter().fold(1.0, f32::max)
    }

    fn check(&self, graph: &Graph, tensors: &BTreeMap<String, Tensor>) -> Result<(), VariantError> {
        let is_index = |v: &Value| v.ty.dtype == DType::I32 && v.ty.scope == Scope::Item && v.ty.len() == 1;
        let what = if !self.by_bits.iter().all(|noise| (1.0..=MOST_NOISE).contains(noise)) {
            format!("the noise of its rows is {:?}, but must be from 1 to {MOST_NOISE}", self.by_bits)
        } else if !matches!(tensors.get(&self.table), Some(Tensor::TableMixed { .. })) {
            "it has a noise for each number of bits, but no rows of different bits".to_owned()
        } else if !graph.inputs().any(|(_, v)| v.name == self.input && is_index(v)) {
            format!("its noise is by the input `{}`, which is no index of an item", self.input)
        } else {
            return Ok(());
        };
        Err(VariantError::Tensor { name: self.table.clone(), what })
    }
}

impl Variant {
    /// The file's bytes.
    ///
    /// # Errors
    /// Never for a variant whose tensors fit its graph.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VariantError> {
        let encodings = self.tensors.iter().filter_map(|(n, t)| Some((n.clone(), encoding(t)?))).collect();
        let header = Header {
            schema_version: SCHEMA_VERSION,
            variant: self.name,
            graph: Doc::from(&self.graph),
            encodings,
            noise: self.noise.clone(),
        };
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&header)?)]);
        let parts: Vec<Part<'_>> = self.tensors.iter().flat_map(|(name, tensor)| parts(name, tensor)).collect();
        for part in &parts {
            part.check()?;
        }
        Ok(safetensors::serialize(parts.iter().map(|p| (p.name.as_str(), p)), Some(metadata))?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The bytes are not a variant; the error names the tensor at fault.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VariantError> {
        let header = Header::from_bytes(bytes)?;
        let graph = Graph::try_from(&header.graph)?;
        let file = File(SafeTensors::deserialize(bytes)?);
        let tensors = header
            .graph
            .constants
            .iter()
            .map(|c| {
                let read = file.read(c, header.encodings.get(&c.name).copied());
                read.map(|t| (c.name.clone(), t)).map_err(|what| VariantError::Tensor { name: c.name.clone(), what })
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        header.noise.iter().try_for_each(|noise| noise.check(&graph, &tensors))?;
        Ok(Self { name: header.variant, graph, tensors, noise: header.noise })
    }

    /// Which variant a file holds, and what it computes; its tensors are not looked at.
    ///
    /// # Errors
    /// The bytes are not a variant.
    pub fn graph_of(bytes: &[u8]) -> Result<(VariantName, Graph), VariantError> {
        let header = Header::from_bytes(bytes)?;
        Ok((header.variant, Graph::try_from(&header.graph)?))
    }

    /// The bytes of its tensors' data.
    #[must_use]
    pub fn tensor_bytes(&self) -> usize {
        self.tensors.values().map(Tensor::bytes).sum()
    }
}

impl Header {
    fn from_bytes(bytes: &[u8]) -> Result<Self, VariantError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let json = metadata.metadata().as_ref().and_then(|m| m.get(METADATA_KEY)).ok_or(VariantError::NoGraph)?;
        let header: Self = serde_json::from_str(json)?;
        if header.schema_version == SCHEMA_VERSION {
            Ok(header)
        } else {
            Err(VariantError::Version(header.schema_version))
        }
    }
}

fn encoding(tensor: &Tensor) -> Option<Encoding> {
    match tensor {
        Tensor::F32 { .. } | Tensor::I32 { .. } => None,
        Tensor::Linear8 { activations: Activations::Sixteen, .. } => Some(Encoding::Linear8),
        Tensor::Linear8 { activations: Activations::Seven, .. } => Some(Encoding::Linear8A7),
        Tensor::Linear4 { .. } => Some(Encoding::Linear4),
        Tensor::Table8 { .. } => Some(Encoding::Table8),
        Tensor::Table4 { .. } => Some(Encoding::Table4),
        Tensor::TableMixed { .. } => Some(Encoding::TableMixed),
    }
}

struct File<'a>(SafeTensors<'a>);

impl File<'_> {
    fn read(&self, constant: &ConstantDoc, encoding: Option<Encoding>) -> Result<Tensor, String> {
        let name = &constant.name;
        let Some(encoding) = encoding else {
            let shape = constant.shape.clone();
            return Ok(match constant.dtype {
                DType::F32 => Tensor::F32 { data: floats(self.part(name, "", Dtype::F32, &shape)?), shape },
                DType::I32 | DType::Bool => {
                    let bytes = self.part(name, "", Dtype::I32, &shape)?;
                    Tensor::I32 { data: bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect(), shape }
                }
            });
        };
        let (DType::F32, [a, b]) = (constant.dtype, &constant.shape[..]) else {
            return Err("a quantized tensor stands for an f32 matrix".into());
        };
        let (a, b) = (*a, *b);
        let halves = |suffix: &str, shape: &[usize]| self.part(name, suffix, Dtype::F16, shape).and_then(finite_halves);
        Ok(match encoding {
            Encoding::Linear8 | Encoding::Linear8A7 => Tensor::Linear8 {
                outputs: a,
                inputs: b,
                q: self.part(name, ".q", Dtype::I8, &[a, b])?.iter().map(|&x| x.cast_signed()).collect(),
                scale: finite_floats(self.part(name, ".scale", Dtype::F32, &[a])?)?,
                offset: finite_floats(self.part(name, ".offset", Dtype::F32, &[a])?)?,
                activations: if encoding == Encoding::Linear8 { Activations::Sixteen } else { Activations::Seven },
            },
            Encoding::Linear4 => Tensor::Linear4 {
                outputs: a,
                inputs: b,
                q: self.part(name, ".q", Dtype::U8, &[a, b.div_ceil(2)])?.to_vec(),
                scale: halves(".scale", &[a, b.div_ceil(GROUP)])?,
                min: halves(".min", &[a, b.div_ceil(GROUP)])?,
            },
            Encoding::Table8 => Tensor::Table8 {
                rows: a,
                width: b,
                q: self.part(name, ".q", Dtype::U8, &[a, b])?.to_vec(),
                scale: halves(".scale", &[a])?,
                min: halves(".min", &[a])?,
            },
            Encoding::Table4 => Tensor::Table4 {
                rows: a,
                width: b,
                q: self.part(name, ".q", Dtype::U8, &[a, b.div_ceil(2)])?.to_vec(),
                scale: halves(".scale", &[a])?,
                min: halves(".min", &[a])?,
            },
            Encoding::TableMixed => {
                let codes = self.part(name, ".bits", Dtype::U8, &[a.div_ceil(4)])?.to_vec();
                let bits = RowBits::from_codes(a, b, codes).map_err(|e| e.to_string())?;
                let q = self.part(name, ".q", Dtype::U8, &[bits.bytes()])?.to_vec();
                if (0..a).any(|r| bits.of(r) == 16 && !all_finite(&q[bits.start(r)..][..2 * b])) {
                    return Err("a weight of 16 bits is not finite".into());
                }
                Tensor::TableMixed { bits, q, scale: halves(".scale", &[a])?, min: halves(".min", &[a])? }
            }
        })
    }

    /// The bytes of one tensor of the file; safetensors has checked that their number fits dtype and shape.
    fn part(&self, name: &str, suffix: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8], String> {
        let full = format!("{name}{suffix}");
        let view = self.0.tensor(&full).map_err(|_| format!("`{full}` is not in the file"))?;
        if view.dtype() != dtype || view.shape() != shape {
            return Err(format!(
                "`{full}` is {:?} {:?}, the graph wants {dtype:?} {shape:?}",
                view.dtype(),
                view.shape()
            ));
        }
        let bytes = self.0.tensor(&full).map_err(|e| e.to_string())?.data();
        Ok(bytes)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn finite_floats(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let floats = floats(bytes);
    if floats.iter().all(|x| x.is_finite()) { Ok(floats) } else { Err("a scale or offset is not finite".into()) }
}

fn all_finite(halves: &[u8]) -> bool {
    halves.as_chunks().0.iter().all(|b| f16::from_le_bytes(*b).is_finite())
}

fn finite_halves(bytes: &[u8]) -> Result<Vec<f16>, String> {
    let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
    if halves.iter().all(|h| h.is_finite()) { Ok(halves) } else { Err("a scale or minimum is not finite".into()) }
}
