//! Files for the peers: requests as the encoder makes them, for runtimes that take an ONNX model's inputs, and messages
//! for guests outside this process.
//!
//! `inputs.bin` has every tensor, little-endian, one row a candidate; `inputs.json` has for each request its tensors:
//! `[[{"name", "dtype": "int64" | "float32", "shape", "offset"}]]`.

use std::path::{Path, PathBuf};

use serde_json::json;
use shared_model::encode::{Block, Data};
use shared_model::graph::{Graph, Scope, Value};
use shared_model::ladder::{Binding, Prepared};
use shared_model::schema::Schema;
use shared_model::wire::to_cbor;

use super::model::{Bytes, LIMITS};
use crate::client::Error;

/// Writes what an ONNX model is fed for each request; the index's path.
pub(super) fn inputs<'a>(
    folder: &Path,
    graph: &Graph,
    schema: &Schema,
    requests: impl Iterator<Item = &'a Prepared>,
) -> Result<PathBuf, Error> {
    let binding = Binding::new(graph, schema)?;
    let (mut data, mut index) = (Vec::new(), Vec::new());
    for prepared in requests {
        let inputs = graph.inputs().zip(binding.inputs(prepared));
        let tensors = inputs.map(|((_, input), block)| tensor(&mut data, input, block, prepared.len()));
        index.push(tensors.collect::<Vec<_>>());
    }
    written(folder, &data, &json!(index))
}

/// Writes one request of one f32 input.
pub(super) fn rows(folder: &Path, name: &str, shape: [usize; 2], rows: &[f32]) -> Result<PathBuf, Error> {
    let data: Vec<u8> = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
    written(folder, &data, &json!([[{"name": name, "dtype": "float32", "shape": shape, "offset": 0}]]))
}

/// Writes messages, each behind its length.
pub(super) fn messages<'a>(file: &Path, messages: impl IntoIterator<Item = &'a Vec<u8>>) -> Result<(), Error> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend(u32::try_from(message.len())?.to_le_bytes());
        bytes.extend(message);
    }
    Ok(std::fs::write(file, bytes)?)
}

/// Reads what [`messages`] or a peer wrote.
pub(super) fn read_messages(file: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let bytes = std::fs::read(file)?;
    let (mut rest, mut messages) = (bytes.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (message, behind) = behind.split_at_checked(length).ok_or("a message ends early")?;
        messages.push(message.to_vec());
        rest = behind;
    }
    Ok(messages)
}

/// Writes what a guest is loaded with, a file a part in the order of the ABI, and behind them what it begins with.
pub(super) fn parts(folder: &Path, bytes: &Bytes) -> Result<Vec<PathBuf>, Error> {
    std::fs::create_dir_all(folder)?;
    let begin = to_cbor(&(bytes.terms()?, LIMITS));
    let parts = [
        ("schema.json", &bytes.schema),
        ("variant.safetensors", &bytes.variant),
        ("catalog.safetensors", &bytes.catalog),
        ("begin", &begin),
    ];
    let write = |(name, bytes): (&str, &Vec<u8>)| {
        let file = std::path::absolute(folder.join(name))?;
        std::fs::write(&file, bytes)?;
        Ok(file)
    };
    parts.into_iter().map(write).collect()
}

fn written(folder: &Path, data: &[u8], index: &serde_json::Value) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(folder)?;
    let file = std::path::absolute(folder.join("inputs.json"))?;
    std::fs::write(folder.join("inputs.bin"), data)?;
    std::fs::write(&file, index.to_string())?;
    Ok(file)
}

/// Adds one input's rows, again for each candidate where they are of the request.
fn tensor(data: &mut Vec<u8>, input: &Value, block: &Block, candidates: usize) -> serde_json::Value {
    // A typed array of JavaScript begins at a multiple of its elements' size.
    data.resize(data.len().next_multiple_of(8), 0);
    let offset = data.len();
    let times = if input.ty.scope == Scope::Request { candidates } else { 1 };
    let dtype = match &block.data {
        Data::F32(values) => {
            (0..times).for_each(|_| data.extend(values.iter().flat_map(|v| v.to_le_bytes())));
            "float32"
        }
        Data::I32(values) => {
            (0..times).for_each(|_| data.extend(values.iter().flat_map(|v| i64::from(*v).to_le_bytes())));
            "int64"
        }
    };
    let shape: Vec<usize> = std::iter::once(candidates).chain(input.ty.shape.iter().copied()).collect();
    json!({"name": input.name, "dtype": dtype, "shape": shape, "offset": offset})
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_model::graph::{DType, Source, Type};

    #[test]
    fn rows_of_the_request_are_repeated_for_each_candidate() {
        let ty = Type { dtype: DType::I32, shape: vec![2], scope: Scope::Request };
        let input = Value { name: "history".to_owned(), ty, source: Source::Input };
        let block = Block { width: 2, data: Data::I32(vec![7, 9]) };
        let mut data = vec![0; 3];
        let told = tensor(&mut data, &input, &block, 3);
        assert_eq!(told, json!({"name": "history", "dtype": "int64", "shape": [3, 2], "offset": 8}));
        let read: Vec<i64> = data[8..].chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(read, [7, 9, 7, 9, 7, 9]);
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("messages");
        let all = vec![b"one".to_vec(), Vec::new(), vec![0; 300]];
        messages(&file, &all).unwrap();
        assert_eq!(read_messages(&file).unwrap(), all);
        std::fs::write(&file, [9, 0, 0, 0, 1]).unwrap();
        assert!(read_messages(&file).is_err());
    }
}
