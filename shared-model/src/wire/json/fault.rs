//! What is wrong with a message, and where: serde's errors know no path, so it is gathered on the way out.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Error};
use serde_json::error::Category;
use thiserror::Error;

use super::JsonLimits;
use crate::wire::Refusal;

/// The longest message: it may quote what the client sent.
const MAX_MESSAGE_CHARS: usize = 240;

/// A message is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{message}", field, if field.is_empty() { "" } else { ": " })]
pub struct FieldError {
    /// The field at fault, `candidates[3].id`; empty when the message as such is no JSON or no object.
    pub field: String,
    /// What is wrong with it and what to do.
    pub message: String,
}

impl From<FieldError> for Refusal {
    fn from(FieldError { field, message }: FieldError) -> Self {
        Self { field, message }
    }
}

/// The limits of one decoding, and the fault that ends it.
pub(super) struct Faults<'l> {
    pub(super) limits: &'l JsonLimits,
    found: RefCell<Option<FieldError>>,
}

impl<'l> Faults<'l> {
    pub(super) fn new(limits: &'l JsonLimits) -> Self {
        Self { limits, found: RefCell::new(None) }
    }

    /// Decodes all of `body` by a seed that notes its faults here.
    pub(super) fn read<'de, S: DeserializeSeed<'de>>(&self, seed: S, body: &'de [u8]) -> Result<S::Value, FieldError> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        value.map_err(|e| match (e.classify(), self.found.take()) {
            (Category::Data, Some(found)) => found,
            _ => FieldError { field: String::new(), message: message(&e) },
        })
    }

    /// An error with a message of ours.
    pub(super) fn refuse<E: Error>(&self, message: impl Into<String>) -> E {
        let message = message.into();
        let error = E::custom(&message);
        *self.found.borrow_mut() = Some(FieldError { field: String::new(), message });
        error
    }

    /// Puts a place before that of the error in a result.
    pub(super) fn within<T, E: Error>(&self, result: Result<T, E>, place: impl FnOnce() -> String) -> Result<T, E> {
        result.inspect_err(|error| {
            let mut found = self.found.borrow_mut();
            let fault = found.get_or_insert_with(|| FieldError { field: String::new(), message: message(error) });
            let between = if fault.field.is_empty() || fault.field.starts_with('[') { "" } else { "." };
            fault.field = format!("{}{between}{}", place(), fault.field);
        })
    }

    /// Steps into an object or list that stands at `depth`.
    pub(super) fn enter<E: Error>(&self, depth: usize) -> Result<(), E> {
        let max = self.limits.max_depth;
        if depth <= max { Ok(()) } else { Err(self.refuse(format!("is nested deeper than {max} levels"))) }
    }
}

fn message(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    if text.chars().nth(MAX_MESSAGE_CHARS).is_none() {
        return text;
    }
    // Where it is stands at the end, what it is at the start.
    let end = text.rfind(" at line ").filter(|at| text.len() - at < 60).map_or("", |at| &text[at..]);
    let start: String = text.chars().take(MAX_MESSAGE_CHARS - end.len()).collect();
    format!("{start}…{end}")
}
