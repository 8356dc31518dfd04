//! The serialized form of a graph: JSON without types, replayed through [`Builder`] so that nothing in it is trusted.

use serde::{Deserialize, Serialize};

use super::{Builder, DType, Graph, GraphError, Link, Op, Scope, Source, Type, ValueId};

/// A graph as stored under the key `rung` of a variant's metadata.
///
/// Values are numbered: inputs, then constants, then one a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doc {
    /// The model's inputs.
    pub inputs: Vec<InputDoc>,
    /// The constants; each is a tensor of the variant.
    pub constants: Vec<ConstantDoc>,
    /// The nodes, operands before users.
    pub nodes: Vec<NodeDoc>,
    /// The number of the value ranked by.
    pub score: ValueId,
    /// What follows it.
    pub link: Link,
}

/// An input of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDoc {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// The shape of one row.
    pub shape: Vec<usize>,
    /// Request or item.
    pub scope: Scope,
}

/// A constant of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantDoc {
    /// The name of its tensor.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDoc {
    /// The name of its result, for people.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The numbers of its operands.
    pub inputs: Vec<ValueId>,
}

impl From<&Graph> for Doc {
    fn from(graph: &Graph) -> Self {
        Self {
            inputs: graph
                .inputs()
                .map(|(_, v)| InputDoc {
                    name: v.name.clone(),
                    dtype: v.ty.dtype,
                    shape: v.ty.shape.clone(),
                    scope: v.ty.scope,
                })
                .collect(),
            constants: graph
                .constants()
                .map(|(_, v)| ConstantDoc { name: v.name.clone(), dtype: v.ty.dtype, shape: v.ty.shape.clone() })
                .collect(),
            nodes: graph
                .values()
                .iter()
                .filter_map(|v| match v.source {
                    Source::Node(i) => {
                        let node = &graph.nodes()[i];
                        Some(NodeDoc { name: v.name.clone(), op: node.op.clone(), inputs: node.inputs.clone() })
                    }
                    Source::Input | Source::Constant => None,
                })
                .collect(),
            score: graph.score(),
            link: graph.link(),
        }
    }
}

impl TryFrom<&Doc> for Graph {
    type Error = GraphError;

    fn try_from(doc: &Doc) -> Result<Self, GraphError> {
        let mut builder = Builder::new();
        for i in &doc.inputs {
            builder.input(&i.name, Type { dtype: i.dtype, shape: i.shape.clone(), scope: i.scope })?;
        }
        for c in &doc.constants {
            builder.constant(&c.name, c.dtype, &c.shape)?;
        }
        for n in &doc.nodes {
            builder.push(&n.name, n.op.clone(), &n.inputs)?;
        }
        builder.finish(doc.score, doc.link)
    }
}
