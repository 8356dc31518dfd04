//! `user`, `context` and items: objects of raw fields, flattened to dotted names.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::fault::Faults;
use super::scalar::Scalar;
use crate::limits;
use crate::wire::{Raw, Record};

/// An object of raw fields that stands at `depth`.
pub(super) struct Object<'f> {
    pub(super) faults: &'f Faults<'f>,
    pub(super) depth: usize,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Record, A::Error> {
        let mut fields = Vec::new();
        Field { faults: self.faults, name: "", depth: self.depth, to: &mut fields }.visit_map(map)?;
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return self.faults.within(Err(self.faults.refuse("is given twice")), || twice[0].to_owned());
        }
        Ok(Record(fields))
    }
}

/// The value of a field: one field more, or all those of an object.
struct Field<'f, 't> {
    faults: &'f Faults<'f>,
    /// Its dotted name; empty for the object that is the record itself.
    name: &'t str,
    /// Where an object or list would stand.
    depth: usize,
    to: &'t mut Vec<(String, Raw)>,
}

impl Field<'_, '_> {
    fn add<E: Error>(self, value: Raw) -> Result<(), E> {
        let max = self.faults.limits.max_fields;
        if self.to.len() >= max {
            return Err(self.faults.refuse(format!("is one field too many: there may be {max}")));
        }
        self.to.push((self.name.to_owned(), value));
        Ok(())
    }

    fn scalar<E: Error>(self, read: impl FnOnce(Scalar<'_>) -> Result<Raw, E>) -> Result<(), E> {
        let value = read(Scalar { faults: self.faults })?;
        self.add(value)
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(|s| s.visit_unit())
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        self.scalar(|s| s.visit_bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        self.scalar(|s| s.visit_i64(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        self.scalar(|s| s.visit_u64(v))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        self.scalar(|s| s.visit_f64(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        self.scalar(|s| s.visit_str(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let faults = self.faults;
        faults.enter(self.depth)?;
        let max = faults.limits.max_list;
        let mut values = Vec::new();
        while let Some(value) =
            faults.within(seq.next_element_seed(Scalar { faults }), || format!("[{}]", values.len()))?
        {
            if values.len() >= max {
                return Err(faults.refuse(format!("is longer than {max}")));
            }
            values.push(value);
        }
        self.add(Raw::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { faults, name: outer, depth, to } = self;
        faults.enter(depth)?;
        while let Some(key) = map.next_key::<String>()? {
            let name = if outer.is_empty() { key.clone() } else { format!("{outer}.{key}") };
            if name.len() > limits::MAX_ID_BYTES {
                let max = limits::MAX_ID_BYTES;
                return Err(faults.refuse(format!("has a field whose name is longer than {max} bytes")));
            }
            let value = map.next_value_seed(Field { faults, name: &name, depth: depth + 1, to: &mut *to });
            faults.within(value, || key)?;
        }
        Ok(())
    }
}
