//! Single values: a text, a whole number, a raw scalar, and what is passed over.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::Faults;
use crate::wire::Raw;

/// A value, or null for an absent one.
pub(super) struct Maybe<S>(pub(super) S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Maybe<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Maybe<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// A text of bounded length.
pub(super) struct Text<'f> {
    pub(super) faults: &'f Faults<'f>,
    pub(super) bytes: RangeInclusive<usize>,
}

impl Text<'_> {
    fn check<E: Error>(&self, text: &str) -> Result<(), E> {
        let (min, max) = (self.bytes.start(), self.bytes.end());
        if self.bytes.contains(&text.len()) {
            return Ok(());
        }
        Err(self.faults.refuse(format!("has {} bytes, but must have {min} to {max}", text.len())))
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<String, E> {
        self.check(v)?;
        Ok(v.to_owned())
    }
}

/// A whole number in a range.
pub(super) struct Whole<'f> {
    pub(super) faults: &'f Faults<'f>,
    pub(super) range: RangeInclusive<u32>,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_u32(self)
    }
}

impl Visitor<'_> for Whole<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of {} to {}", self.range.start(), self.range.end())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<u32, E> {
        let value = u32::try_from(v).ok().filter(|v| self.range.contains(v));
        value.ok_or_else(|| {
            self.faults.refuse(format!("is {v}, but must be {} to {}", self.range.start(), self.range.end()))
        })
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<u32, E> {
        match u64::try_from(v) {
            Ok(v) => self.visit_u64(v),
            Err(_) => {
                Err(self.faults.refuse(format!("is {v}, but must be {} to {}", self.range.start(), self.range.end())))
            }
        }
    }
}

/// A raw value that is neither a list nor an object.
pub(super) struct Scalar<'f> {
    pub(super) faults: &'f Faults<'f>,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = Raw;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar<'_> {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a boolean or null")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
        Ok(Raw::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
        Ok(i64::try_from(v).map_or(Raw::Float(v as f64), Raw::Int))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Raw, E> {
        if v.is_finite() { Ok(Raw::Float(v)) } else { Err(self.faults.refuse("is not a finite number")) }
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Raw, E> {
        let bytes = 0..=self.faults.limits.max_text;
        Text { faults: self.faults, bytes }.visit_str(v).map(Raw::Text)
    }
}

/// Any value, passed over but for its depth.
pub(super) struct Skip<'f> {
    pub(super) faults: &'f Faults<'f>,
    /// Where an object or list would stand.
    pub(super) depth: usize,
}

impl Skip<'_> {
    fn inner(&self) -> Self {
        Skip { faults: self.faults, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.faults.enter(self.depth)?;
        while seq.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.faults.enter(self.depth)?;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}
