//! `catalog.safetensors`: the same catalog gives the same bytes, and any bytes give a catalog or an error.
//!
//! `ids` (U8) holds the ids one after the other, `id_ends` (U32) where each ends, `popularity` (F32) one number an
//! row, `input.<name>` (F32 or I32) the rows of each input of item scope. The metadata's one key, `rung`, is JSON.
//!
//! Where items name geos, the metadata has their names, and `geo_ends` (U32) where each one's part ends of `geo_rows`
//! (U32), the rows popular there in ascending order, and of `geo_popularity` (F32), how popular each is.
//!
//! After a delta, `removed` (U32) holds the rows of items that are gone, ascending, which nobody likes any more, and
//! `vocabulary` in the metadata says how many rows are those of the bundle. Nothing is written where it says nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::geos::{Geo, Geos};
use super::{Catalog, CatalogError};
use crate::encode::{Block, Data};
use crate::graph::{DType, Scope};
use crate::limits;
use crate::schema::{InputSpec, NameError, Names, Schema};

const METADATA: &str = "rung";
const IDS: &str = "ids";
const ID_ENDS: &str = "id_ends";
const POPULARITY: &str = "popularity";
const GEO_ENDS: &str = "geo_ends";
const GEO_ROWS: &str = "geo_rows";
const GEO_POPULARITY: &str = "geo_popularity";
const REMOVED: &str = "removed";
/// Before the name of an input.
const INPUT: &str = "input.";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    kind: Kind,
    revision: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    geos: Vec<String>,
    /// All of them, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary: Option<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Catalog,
}

impl Catalog {
    /// The bytes of `catalog.safetensors`. `schema` is the one it was built with.
    ///
    /// # Panics
    /// The schema is another one, with other inputs of item scope.
    #[must_use]
    pub fn to_safetensors(&self, schema: &Schema) -> Vec<u8> {
        let (text, ends) = self.all_ids();
        let items = self.rows();
        let mut tensors = vec![
            (IDS.to_owned(), Part::new(Dtype::U8, vec![text.len()], text.as_bytes().into())),
            (ID_ENDS.to_owned(), Part::new(Dtype::U32, vec![items], le_bytes(&ends, |v| v.to_le_bytes()))),
            (
                POPULARITY.to_owned(),
                Part::new(Dtype::F32, vec![items], le_bytes(&self.popularity, |v| v.to_le_bytes())),
            ),
        ];
        if !self.removed.is_empty() {
            let rows: Vec<u32> = self.removed.iter().copied().collect();
            let part = Part::new(Dtype::U32, vec![rows.len()], le_bytes(&rows, |v| v.to_le_bytes()));
            tensors.push((REMOVED.to_owned(), part));
        }
        for (i, input) in schema.inputs_of(Scope::Item) {
            let block = self.block(i).expect("built with this schema");
            let (dtype, bytes) = match &block.data {
                Data::F32(v) => (Dtype::F32, le_bytes(v, |v| v.to_le_bytes())),
                Data::I32(v) => (Dtype::I32, le_bytes(v, |v| v.to_le_bytes())),
            };
            tensors.push((format!("{INPUT}{}", input.name), Part::new(dtype, rows_shape(items, input), bytes)));
        }
        tensors.extend(self.geo_tensors());
        let geos = self.geos.iter().map(|geo| geo.name.clone()).collect();
        let vocabulary = (self.added.len() > 0).then_some(self.ids.len());
        let metadata = Metadata { kind: Kind::Catalog, revision: self.revision, geos, vocabulary };
        let metadata = serde_json::to_string(&metadata).expect("plain data");
        // One key alone, for the order of several would be that of a hash map.
        let metadata = [(METADATA.to_owned(), metadata)].into_iter().collect();
        safetensors::serialize(tensors, Some(metadata)).expect("every tensor has the bytes of its shape")
    }

    fn geo_tensors(&self) -> Vec<(String, Part<'static>)> {
        if self.geos.iter().len() == 0 {
            return Vec::new();
        }
        let (mut ends, mut rows, mut popularity) = (Vec::<u32>::new(), Vec::new(), Vec::new());
        for geo in self.geos.iter() {
            rows.extend_from_slice(&geo.rows);
            popularity.extend_from_slice(&geo.popularity);
            ends.push(u32::try_from(rows.len()).expect("at most 2^24 items in each of 2^8 geos, one less than all"));
        }
        let part = |dtype, items, bytes| Part::new(dtype, vec![items], bytes);
        vec![
            (GEO_ENDS.to_owned(), part(Dtype::U32, ends.len(), le_bytes(&ends, |v| v.to_le_bytes()))),
            (GEO_ROWS.to_owned(), part(Dtype::U32, rows.len(), le_bytes(&rows, |v| v.to_le_bytes()))),
            (GEO_POPULARITY.to_owned(), part(Dtype::F32, popularity.len(), le_bytes(&popularity, |v| v.to_le_bytes()))),
        ]
    }

    /// Reads `catalog.safetensors` for the schema that it was built with. The bytes may be anyone's.
    ///
    /// # Errors
    /// Names the tensor at fault.
    pub fn from_safetensors(bytes: &[u8], schema: &Schema) -> Result<Self, CatalogError> {
        let format = |e: safetensors::SafeTensorError| CatalogError::Format(e.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let metadata = header.metadata().as_ref().and_then(|m| m.get(METADATA));
        let metadata = metadata.ok_or_else(|| fault(METADATA, "is not in the metadata: this is no catalog"))?;
        let Metadata { kind: Kind::Catalog, revision, geos, vocabulary } =
            serde_json::from_str(metadata).map_err(|e| fault(METADATA, format!("is not a catalog's: {e}")))?;
        let file = File { tensors: SafeTensors::deserialize(bytes).map_err(format)? };
        let (ids, added) = file.ids(vocabulary)?;
        let items = ids.len() + added.len();
        let removed = file.removed(items)?;
        let popularity = file.f32s(POPULARITY, &[items])?;
        let has_geos = !geos.is_empty();
        let geos = if has_geos { file.geos(geos, items)? } else { Geos::default() };
        let mut blocks: Vec<Option<Block>> = Vec::with_capacity(schema.inputs().len());
        for (i, input) in schema.inputs().iter().enumerate() {
            let wanted = input.scope == Scope::Item;
            blocks.push(if wanted { Some(file.block(input, items, schema.cardinality(i, ids.len()))?) } else { None });
        }
        let wanted = |name: &str| {
            let of_input = |n: &str| schema.inputs_of(Scope::Item).any(|(_, input)| input.name == n);
            [IDS, ID_ENDS, POPULARITY, REMOVED].contains(&name)
                || (has_geos && [GEO_ENDS, GEO_ROWS, GEO_POPULARITY].contains(&name))
                || name.strip_prefix(INPUT).is_some_and(of_input)
        };
        if let Some(other) = file.tensors.names().into_iter().find(|name| !wanted(name)) {
            let name: String = other.chars().take(limits::MAX_ID_BYTES).collect();
            return Err(fault(&name, "is no part of a catalog of this schema"));
        }
        if let Some(row) = removed.iter().find(|row| popularity[**row as usize] != 0.0 || geos.know(**row)) {
            return Err(fault(REMOVED, format!("holds row {row}, which is popular all the same")));
        }
        Ok(Self { ids, added, blocks, popularity, geos, removed, revision })
    }

    /// All ids in the order of their rows, one after the other, and where each ends.
    fn all_ids(&self) -> (Cow<'_, str>, Cow<'_, [u32]>) {
        let ((text, ends), (later, later_ends)) = (self.ids.parts(), self.added.parts());
        if later_ends.is_empty() {
            return (text.into(), ends.into());
        }
        let start = ends.last().copied().unwrap_or(0);
        let ends = ends.iter().copied().chain(later_ends.iter().map(|end| start + end)).collect();
        (format!("{text}{later}").into(), Cow::Owned(ends))
    }
}

struct File<'a> {
    tensors: SafeTensors<'a>,
}

impl<'a> File<'a> {
    /// Those of the bundle, and those that came later.
    fn ids(&self, vocabulary: Option<usize>) -> Result<(Names, Names), CatalogError> {
        let ends = self.tensors.tensor(ID_ENDS).map_err(|_| fault(ID_ENDS, "is missing"))?;
        let items = match *ends.shape() {
            [items] if items <= limits::MAX_ITEMS => items,
            _ => return Err(fault(ID_ENDS, format!("must have one dimension of at most {}", limits::MAX_ITEMS))),
        };
        let vocabulary = vocabulary.unwrap_or(items);
        if vocabulary > items {
            return Err(fault(METADATA, format!("has a vocabulary of {vocabulary}, but there are {items} rows")));
        }
        let ends = self.elements(ID_ENDS, Dtype::U32, &[items], u32::from_le_bytes)?;
        let length = ends.last().map_or(0, |end| *end as usize);
        let text = self.bytes(IDS, Dtype::U8, &[length])?;
        let text = std::str::from_utf8(text).map_err(|e| fault(IDS, format!("is not UTF-8: {e}")))?;
        let (mut ids, mut added) = (Names::default(), Names::default());
        let mut start = 0;
        for (row, end) in ends.into_iter().enumerate() {
            let end = end as usize;
            let id = text.get(start..end).filter(|id| (1..=limits::MAX_ID_BYTES).contains(&id.len()));
            let id = id.ok_or_else(|| {
                fault(ID_ENDS, format!("must end an id of 1 to {} bytes at row {row}", limits::MAX_ID_BYTES))
            })?;
            let pushed = if row < vocabulary {
                ids.push(id)
            } else {
                let bundled = ids.position(id).map_or(Ok(()), |at| Err(NameError::Duplicate(at)));
                bundled.and_then(|()| added.push(id).map_err(|e| e.after(vocabulary)))
            };
            pushed.map_err(|e| match e {
                NameError::Duplicate(at) => fault(IDS, format!("has `{id}` in rows {at} and {row}")),
                NameError::Full => fault(IDS, "is longer than 4 GiB"),
            })?;
            start = end;
        }
        Ok((ids, added))
    }

    fn removed(&self, items: usize) -> Result<BTreeSet<u32>, CatalogError> {
        let Ok(tensor) = self.tensors.tensor(REMOVED) else { return Ok(BTreeSet::new()) };
        let rows = match *tensor.shape() {
            [rows] if (1..=items).contains(&rows) => rows,
            _ => return Err(fault(REMOVED, format!("must have one dimension of 1 to {items}"))),
        };
        let rows = self.elements(REMOVED, Dtype::U32, &[rows], u32::from_le_bytes)?;
        if rows.is_sorted_by(|a, b| a < b) && rows.last().is_none_or(|last| (*last as usize) < items) {
            Ok(rows.into_iter().collect())
        } else {
            Err(fault(REMOVED, format!("must hold rows below {items}, ascending")))
        }
    }

    fn geos(&self, names: Vec<String>, items: usize) -> Result<Geos, CatalogError> {
        let ends = self.elements(GEO_ENDS, Dtype::U32, &[names.len()], u32::from_le_bytes)?;
        let length = ends.last().map_or(0, |end| *end as usize);
        let rows = self.elements(GEO_ROWS, Dtype::U32, &[length], u32::from_le_bytes)?;
        let popularity = self.f32s(GEO_POPULARITY, &[length])?;
        if popularity.iter().any(|popularity| *popularity <= 0.0) {
            return Err(fault(GEO_POPULARITY, "holds a value that is not above zero"));
        }
        let mut geos = Vec::with_capacity(names.len());
        let mut start = 0;
        for (name, end) in names.into_iter().zip(ends) {
            let end = end as usize;
            let part = rows.get(start..end).filter(|part| {
                part.is_sorted_by(|a, b| a < b) && part.last().is_none_or(|last| (*last as usize) < items)
            });
            let part = part.ok_or_else(|| {
                fault(GEO_ROWS, format!("must have, for each geo up to its end, ascending rows below {items}"))
            })?;
            geos.push(Geo { name, rows: part.to_vec(), popularity: popularity[start..end].to_vec() });
            start = end;
        }
        Geos::new(geos).map_err(|message| fault(METADATA, message))
    }

    fn block(&self, input: &InputSpec, items: usize, cardinality: Option<usize>) -> Result<Block, CatalogError> {
        let name = format!("{INPUT}{}", input.name);
        let shape = rows_shape(items, input);
        let data = if input.dtype == DType::F32 {
            Data::F32(self.f32s(&name, &shape)?)
        } else {
            let indices = self.elements(&name, Dtype::I32, &shape, i32::from_le_bytes)?;
            let fits = |index: i32| usize::try_from(index).is_ok_and(|index| cardinality.is_none_or(|n| index < n));
            if let Some(index) = indices.iter().find(|index| !fits(**index)) {
                let below = cardinality.map_or(String::new(), |n| format!(" and below {n}"));
                return Err(fault(&name, format!("holds {index}, but an index of it is not negative{below}")));
            }
            Data::I32(indices)
        };
        Ok(Block { width: input.width(), data })
    }

    fn f32s(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CatalogError> {
        let values = self.elements(name, Dtype::F32, shape, f32::from_le_bytes)?;
        if values.iter().all(|v| v.is_finite()) {
            Ok(values)
        } else {
            Err(fault(name, "holds a value that is not finite"))
        }
    }

    fn elements<T>(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        read: fn([u8; 4]) -> T,
    ) -> Result<Vec<T>, CatalogError> {
        let (chunks, _) = self.bytes(name, dtype, shape)?.as_chunks();
        Ok(chunks.iter().map(|chunk| read(*chunk)).collect())
    }

    /// The bytes of a tensor, of which type and shape are checked; their number then is, by the safetensors reader.
    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8], CatalogError> {
        let tensor = self.tensors.tensor(name).map_err(|_| fault(name, "is missing"))?;
        if tensor.dtype() == dtype && tensor.shape() == shape {
            return Ok(tensor.data());
        }
        let (got, got_shape) = (tensor.dtype(), tensor.shape());
        Err(fault(name, format!("must be {dtype} {shape:?}, not {got} {got_shape:?}")))
    }
}

fn fault(tensor: &str, message: impl Into<String>) -> CatalogError {
    CatalogError::Tensor { tensor: tensor.to_owned(), message: message.into() }
}

fn rows_shape(items: usize, input: &InputSpec) -> Vec<usize> {
    std::iter::once(items).chain(input.shape.iter().copied()).collect()
}

fn le_bytes<T: Copy>(values: &[T], bytes: fn(T) -> [u8; 4]) -> Cow<'static, [u8]> {
    values.iter().flat_map(|v| bytes(*v)).collect::<Vec<u8>>().into()
}

/// A tensor to be written.
struct Part<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Part<'a> {
    fn new(dtype: Dtype, shape: Vec<usize>, bytes: Cow<'a, [u8]>) -> Self {
        Self { dtype, shape, bytes }
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
