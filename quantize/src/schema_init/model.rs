//! What a model says of its inputs.

use shared_model::graph::{DType, Graph, Scope};
use shared_model::schema::InputSpec;

use crate::import::{DeclaredInput, ImportError, declared_inputs, import};

/// The inputs of a model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) inputs: Vec<Input>,
    /// Why nothing is known of the tables, and which inputs cannot be fed.
    pub(super) remarks: Vec<String>,
}

/// An input that features can feed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) dtype: DType,
    /// The dimensions that follow the candidates'.
    pub(super) row: Vec<usize>,
    /// For each element of a row, the table that it is looked up in.
    pub(super) tables: Vec<Option<Table>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) rows: usize,
}

impl Input {
    /// The elements of a row.
    pub(super) fn width(&self) -> usize {
        self.row.iter().product()
    }

    /// The table of every element, if it is one.
    pub(super) fn table(&self) -> Option<&Table> {
        let first = self.tables.first()?.as_ref()?;
        self.tables.iter().all(|table| table.as_ref() == Some(first)).then_some(first)
    }
}

/// Reads a model; one that cannot be imported still has inputs.
pub(super) fn read(bytes: &[u8]) -> Result<Model, ImportError> {
    let mut remarks = Vec::new();
    let mut inputs: Vec<Input> = Vec::new();
    for declared in declared_inputs(bytes)? {
        match input(&declared) {
            Ok(input) => inputs.push(input),
            Err(why) => remarks.push(format!("input `{}` is left out: {why}", declared.name)),
        }
    }
    // The scope says nothing of tables: any serves.
    let specs: Vec<InputSpec> = inputs.iter().map(|input| spec(input, Scope::Item)).collect();
    match import(bytes, &specs) {
        Ok(imported) => look_up(&imported.graph, &mut inputs),
        Err(e) => remarks.push(format!("the model cannot be imported, so its tables are not known: {e}")),
    }
    Ok(Model { inputs, remarks })
}

fn input(declared: &DeclaredInput) -> Result<Input, String> {
    let dtype = match declared.elem.as_str() {
        "float" => DType::F32,
        "int32" | "int64" => DType::I32,
        other => return Err(format!("it takes {other}; export the model with float, int32 or int64")),
    };
    let Some((None, rest)) = declared.shape.split_first() else {
        return Err("its first dimension must be dynamic, that of the candidates".to_owned());
    };
    let row = rest.iter().copied().collect::<Option<Vec<usize>>>();
    let row = row.ok_or("only its first dimension may be dynamic")?;
    Ok(Input { name: declared.name.clone(), dtype, row, tables: Vec::new() })
}

fn spec(input: &Input, scope: Scope) -> InputSpec {
    let shape = if input.row.is_empty() { Vec::new() } else { vec![input.width()] };
    InputSpec { name: input.name.clone(), dtype: input.dtype, shape, scope, cardinality: None }
}

fn look_up(graph: &Graph, inputs: &mut [Input]) {
    for lookup in graph.lookups().found {
        let name = &graph.value(lookup.input).name;
        let Some(input) = inputs.iter_mut().find(|input| input.name == *name) else { continue };
        input.tables.resize(input.width(), None);
        let table = Table { name: graph.value(lookup.table).name.clone(), rows: lookup.rows };
        input.tables[lookup.element] = Some(table);
    }
}
