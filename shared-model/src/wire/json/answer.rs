//! An answer as JSON.

use serde::de::IgnoredAny;

use crate::wire::Answer;

/// The bytes of an answer; its explanation, if it has one, is under `explanation`.
#[must_use]
pub fn encode(answer: &Answer) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(answer).expect("an answer is plain data");
    if let Some(explanation) = &answer.explanation {
        // It is JSON already, unless another tier made it up: then it is shown as the text it is.
        let is_json = serde_json::from_str::<IgnoredAny>(explanation).is_ok();
        let text =
            if is_json { explanation.clone() } else { serde_json::Value::from(explanation.as_str()).to_string() };
        let end = bytes.pop();
        bytes.extend(b",\"explanation\":");
        bytes.extend(text.as_bytes());
        bytes.extend(end);
    }
    bytes
}
