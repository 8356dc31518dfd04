//! The bounds on everything read from outside, in one place. A tier's configuration may lower those of a request.

/// Nodes, and separately inputs plus constants, of one graph.
pub const MAX_NODES: usize = 4096;
/// Elements of one row of a computed value.
pub const MAX_ROW_ELEMENTS: usize = 1 << 20;
/// Elements of one constant tensor.
pub const MAX_TENSOR_ELEMENTS: usize = 1 << 30;
/// Dimensions of one value.
pub const MAX_RANK: usize = 8;
/// Bytes of `manifest.json`.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Bytes of `features.toml` or its JSON form.
pub const MAX_SCHEMA_BYTES: u64 = 16 << 20;
/// Bytes of one variant or of the catalog.
pub const MAX_TENSORS_BYTES: u64 = 4 << 30;
/// Bytes of one WASM module: a worker, with or without what it is loaded with.
pub const MAX_WASM_BYTES: u64 = 64 << 20;
/// Features of one schema.
pub const MAX_FEATURES: usize = 1024;
/// Values of one vocabulary given in the schema.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// Boundaries of one bucketized feature.
pub const MAX_BOUNDARIES: usize = 1 << 16;
/// Fields that one feature may cross.
pub const MAX_CROSSED: usize = 8;
/// Steps of one numeric transform.
pub const MAX_STEPS: usize = 16;
/// The most indices that a hash may spread over: an index is an i32.
pub const MAX_INDICES: u32 = i32::MAX as u32;
/// Items of one catalog.
pub const MAX_ITEMS: usize = 1 << 24;
/// Bytes of one catalog delta.
pub const MAX_DELTA_BYTES: u64 = 16 << 20;
/// Bytes of the first line of a catalog delta.
pub const MAX_DELTA_HEADER_BYTES: usize = 4096;
/// Bytes of one id.
pub const MAX_ID_BYTES: usize = 256;
/// Geos of one catalog.
pub const MAX_GEOS: usize = 256;
/// Ids of a bundle's static list.
pub const MAX_STATIC_LIST: usize = 1000;
/// Bytes of the name of a geo.
pub const MAX_GEO_BYTES: usize = 32;
/// Bytes of one textual value of a request or an item.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Elements of one list of a request or an item.
pub const MAX_LIST: usize = 4096;
/// Fields of `user`, `context` or an inline item.
pub const MAX_FIELDS: usize = 256;
/// Candidates of one request.
pub const MAX_CANDIDATES: usize = 100_000;
/// The longest a client may ask a tier to work for it, in milliseconds.
pub const MAX_TIMEOUT_MS: u32 = 60_000;
/// How deep the objects and lists of a JSON request may nest; the request itself is 1.
pub const MAX_DEPTH: usize = 8;
/// Bytes of the features in one explanation; those that do not fit are counted.
pub const MAX_EXPLAINED_BYTES: usize = 256 << 10;
/// Warnings of one answer.
pub const MAX_WARNINGS: usize = 16;
/// How many times its length in JSON a request of some length takes in memory once decoded, at most: `1,` is 32 bytes of a
/// list that may have room for as many again, and each field of a nested object has the whole of its dotted name.
pub const DECODED_TIMES: usize = 56;
