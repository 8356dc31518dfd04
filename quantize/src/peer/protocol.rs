//! What a peer is asked and what it answers; the head of `onnxruntime_peer.py` has the form. An answer is outside data.

use std::io::{self, BufRead, Read};

use serde::Deserialize;
use shared_model::encode::{Block, Data};
use thiserror::Error;

use crate::import::{Elem, ModelInput};
use crate::ranker::Form;

/// The bytes of the line that a peer begins with.
const MAX_GREETING_BYTES: u64 = 1 << 16;
/// The characters of a peer's text that are shown.
const MAX_TEXT: usize = 300;

/// An answer that is none.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// It ends too early.
    #[error("it ended before it had answered")]
    Ended,
    /// It does not come in time.
    #[error("it took too long")]
    Late,
    /// It cannot be read.
    #[error("it cannot be listened to: {0}")]
    Io(io::Error),
    /// It does not begin as it should.
    #[error("it does not say what it has made: {0}")]
    Greeting(String),
    /// There is not one score a candidate.
    #[error("it gives {given} scores for {candidates} candidates")]
    Count {
        /// The scores.
        given: u32,
        /// The candidates.
        candidates: usize,
    },
    /// A score is infinite, or not a number.
    #[error("the score of candidate {0} is not a finite number")]
    NotFinite(usize),
    /// There is more.
    #[error("it says more than it is asked")]
    Surplus,
}

impl From<io::Error> for ProtocolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Io(error),
        }
    }
}

/// What is said first: how requests will look, and how many of them are for calibration alone.
pub(super) fn preamble(inputs: &[ModelInput], score: &str, calibration: usize) -> Vec<u8> {
    let elem = |elem| match elem {
        Elem::F32 => "float32",
        Elem::I32 => "int32",
        Elem::I64 => "int64",
    };
    let input = |i: &ModelInput| serde_json::json!({"name": i.name, "type": elem(i.elem), "row": i.row});
    let inputs: Vec<_> = inputs.iter().map(input).collect();
    let said = serde_json::json!({"score": score, "inputs": inputs, "calibration": calibration});
    format!("{said}\n").into_bytes()
}

/// A request of `n` candidates; `blocks` as a plan takes them.
pub(super) fn request(blocks: &[&Block], n: usize) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut said = count(n).to_vec();
    for block in blocks {
        said.extend(count(block.rows()));
        match &block.data {
            Data::F32(values) => said.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Data::I32(values) => said.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        }
    }
    said
}

/// What a peer begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its version.
    pub version: String,
    /// For each of [`Form::ALL`], the bytes of its tensors, or why it could not be made.
    pub forms: Vec<(Form, Result<usize, String>)>,
}

#[derive(Deserialize)]
struct Said {
    version: String,
    forms: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    form: Form,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Bytes(usize),
    Failed(String),
}

/// Reads what a peer begins with.
///
/// # Errors
/// It is something else.
pub fn greeting(from: &mut impl BufRead) -> Result<Greeting, ProtocolError> {
    let mut line = Vec::new();
    from.take(MAX_GREETING_BYTES).read_until(b'\n', &mut line)?;
    match line.last() {
        Some(b'\n') => {}
        _ if line.len() as u64 == MAX_GREETING_BYTES => {
            return Err(ProtocolError::Greeting(format!("more than {MAX_GREETING_BYTES} bytes in a line")));
        }
        _ => return Err(ProtocolError::Ended),
    }
    let said: Said = serde_json::from_slice(&line).map_err(|e| ProtocolError::Greeting(e.to_string()))?;
    if !said.forms.iter().map(|made| made.form).eq(Form::ALL) {
        return Err(ProtocolError::Greeting("it has other forms than it was asked for".to_owned()));
    }
    let outcome = |outcome| match outcome {
        Outcome::Bytes(bytes) => Ok(bytes),
        Outcome::Failed(reason) => Err(shown(&reason)),
    };
    let forms = said.forms.into_iter().map(|made| (made.form, outcome(made.outcome))).collect();
    Ok(Greeting { version: shown(&said.version), forms })
}

/// Reads the scores of `n` candidates.
///
/// # Errors
/// They are not so many, or not all are finite.
pub fn scores(from: &mut impl Read, n: usize) -> Result<Vec<f32>, ProtocolError> {
    let mut count = [0; 4];
    from.read_exact(&mut count)?;
    let given = u32::from_le_bytes(count);
    if usize::try_from(given) != Ok(n) {
        return Err(ProtocolError::Count { given, candidates: n });
    }
    let mut bytes = vec![0; 4 * n];
    from.read_exact(&mut bytes)?;
    let scores: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    match scores.iter().position(|s| !s.is_finite()) {
        Some(candidate) => Err(ProtocolError::NotFinite(candidate)),
        None => Ok(scores),
    }
}

/// Checks that nothing follows.
///
/// # Errors
/// Something does.
pub(super) fn end(from: &mut impl BufRead) -> Result<(), ProtocolError> {
    if from.fill_buf()?.is_empty() { Ok(()) } else { Err(ProtocolError::Surplus) }
}

/// Text from outside, in one line that a terminal can be given.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(line: &str) -> Result<Greeting, String> {
        greeting(&mut line.as_bytes()).map_err(|e| e.to_string())
    }

    fn scored(bytes: &[u8], n: usize) -> Result<Vec<f32>, String> {
        let mut from = bytes;
        let scores = scores(&mut from, n).and_then(|s| end(&mut from).map(|()| s));
        scores.map_err(|e| e.to_string())
    }

    fn said(count: u32, scores: &[f32]) -> Vec<u8> {
        count.to_le_bytes().into_iter().chain(scores.iter().flat_map(|s| s.to_le_bytes())).collect()
    }

    #[test]
    fn a_request_has_the_rows_of_each_input_and_little_endian_numbers() {
        let item = Block { width: 1, data: Data::I32(vec![5, 258]) };
        let user = Block { width: 2, data: Data::F32(vec![1.0, -0.5]) };
        let expected = [2u8, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf];
        assert_eq!(request(&[&item, &user], 2), expected);
        let inputs = [ModelInput { name: "genres".into(), row: vec![3], elem: Elem::I64 }];
        let preamble = preamble(&inputs, "logit", 7);
        assert!(preamble.ends_with(b"}\n"));
        let inputs = serde_json::json!([{"name": "genres", "type": "int64", "row": [3]}]);
        let expected = serde_json::json!({"score": "logit", "inputs": inputs, "calibration": 7});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&preamble).unwrap(), expected);
    }

    #[test]
    fn a_greeting_tells_of_every_form() {
        let line = "{\"version\":\"1.2\\u001b[31m\",\"forms\":[{\"form\":\"int8_dynamic\",\"bytes\":12},\
                    {\"form\":\"int8_static\",\"failed\":\"no\\nluck\"}]}\n";
        let greeting = greeted(line).unwrap();
        assert_eq!(greeting.version, "1.2 [31m", "a terminal is given no control characters");
        let forms = vec![(Form::Int8Dynamic, Ok(12)), (Form::Int8Static, Err("no luck".to_owned()))];
        assert_eq!(greeting.forms, forms);
    }

    #[test]
    fn rejects_a_greeting_that_is_none() {
        assert_eq!(greeted("").unwrap_err(), "it ended before it had answered");
        assert_eq!(greeted("{\"version\":\"1\"").unwrap_err(), "it ended before it had answered");
        let long = greeted(&"x".repeat(1 << 17)).unwrap_err();
        assert!(long.contains("more than 65536 bytes"), "{long}");
        for other in
            ["Python 3.11\n", "{\"version\":\"1\"}\n", "{\"version\":\"1\",\"forms\":[{\"form\":\"int8_dynamic\"}]}\n"]
        {
            assert!(greeted(other).unwrap_err().starts_with("it does not say what it has made"), "{other}");
        }
        let twice = "{\"version\":\"1\",\"forms\":[{\"form\":\"int8_dynamic\",\"bytes\":1},{\"form\":\"int8_dynamic\",\"bytes\":1}]}\n";
        assert!(greeted(twice).unwrap_err().contains("other forms"));
    }

    #[test]
    fn reads_one_score_a_candidate() {
        assert_eq!(scored(&said(2, &[1.5, -2.0]), 2), Ok(vec![1.5, -2.0]));
        assert_eq!(scored(&said(0, &[]), 0), Ok(Vec::new()));
    }

    #[test]
    fn rejects_too_few_and_too_many_scores() {
        let ended = Err("it ended before it had answered".to_owned());
        assert_eq!(scored(&[], 1), ended);
        assert_eq!(scored(&said(2, &[1.0]), 2), ended);
        assert_eq!(scored(&said(2, &[1.0; 2])[..10], 2), ended);
        assert_eq!(scored(&said(1, &[1.0]), 2), Err("it gives 1 scores for 2 candidates".to_owned()));
        assert_eq!(scored(&said(u32::MAX, &[1.0]), 2), Err(format!("it gives {} scores for 2 candidates", u32::MAX)));
        assert_eq!(scored(&said(2, &[1.0; 3]), 2), Err("it says more than it is asked".to_owned()));
    }

    #[test]
    fn rejects_scores_that_are_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = scored(&said(2, &[1.0, bad]), 2).unwrap_err();
            assert_eq!(error, "the score of candidate 1 is not a finite number");
        }
    }
}
