//! One feature at a time, with what it was made of: for explanations, not for serving.

use super::value::Taken;
use super::{Block, Data, Encoder, request_field};
use crate::graph::Scope;
use crate::schema::Feature;
use crate::wire::{RankRequest, Raw, Record, Refusal};

/// How one feature was encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace<'a> {
    /// The feature.
    pub feature: &'a Feature,
    /// What its fields held, in their order.
    pub raw: Vec<Raw>,
    /// Its columns.
    pub encoded: Data,
    /// What they are made of.
    pub taken: Taken,
}

impl<'a> Encoder<'a> {
    /// Each feature of request scope, as [`Encoder::request`] encodes it.
    ///
    /// # Errors
    /// As there, of each feature on its own.
    pub fn trace_request<'r>(
        self,
        request: &'r RankRequest,
    ) -> impl Iterator<Item = Result<Trace<'a>, Refusal>> + use<'a, 'r> {
        self.traces(Scope::Request, |path| request_field(request, path).clone())
    }

    /// Each feature of item scope, as [`Encoder::item`] encodes it, or as defaults where nothing is known of the item.
    ///
    /// # Errors
    /// As there, of each feature on its own.
    pub fn trace_item<'r>(
        self,
        id: &'r str,
        features: Option<&'r Record>,
    ) -> impl Iterator<Item = Result<Trace<'a>, Refusal>> + use<'a, 'r> {
        let encoder = Self { lenient: features.is_none(), ..self };
        encoder.traces(Scope::Item, move |path| match features {
            _ if path == "id" => Raw::Text(id.to_owned()),
            Some(features) => features.field(path).clone(),
            None => Raw::Null,
        })
    }

    /// The columns of a feature in a row of the block of its input.
    #[must_use]
    pub fn columns(self, feature: &Feature, block: &Block, row: usize) -> Data {
        let start = row * block.width + feature.column.unwrap_or(0);
        let columns = start..start + self.encoding(feature).width();
        match &block.data {
            Data::F32(v) => Data::F32(v[columns].to_vec()),
            Data::I32(v) => Data::I32(v[columns].to_vec()),
        }
    }

    fn traces<F: Fn(&str) -> Raw>(
        self,
        scope: Scope,
        field: F,
    ) -> impl Iterator<Item = Result<Trace<'a>, Refusal>> + use<'a, F> {
        self.schema.features().iter().filter(move |f| f.scope == scope).map(move |feature| {
            let encoding = self.encoding(feature);
            let raw: Vec<Raw> = feature.fields.iter().map(|path| field(path)).collect();
            let at = |path: &str| feature.fields.iter().position(|p| p == path).map_or(&Raw::Null, |i| &raw[i]);
            let mut block = Block::empty(feature.coding.dtype(), encoding.width());
            block.append_row();
            let taken = encoding.encode(at, block.last_row(0), &mut Vec::new())?;
            Ok(Trace { feature, raw, encoded: block.data, taken })
        })
    }
}
