//! The requests that tests send: those of the repo's own model.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The evaluation requests as bodies for `POST /v1/rank`, with k = 10.
pub(crate) fn eval(most: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture("demo/requests.eval.jsonl")).unwrap();
    let requests = text.lines().take(most).map(|line| {
        let mut request: Value = serde_json::from_str(line).unwrap();
        request.as_object_mut().unwrap().remove("relevant");
        with(request, json!({ "model": "movies", "k": 10, "timeout_ms": 5000 }))
    });
    requests.collect()
}

/// One request.
pub(crate) fn one() -> Value {
    eval(1).remove(0)
}

/// A request with other fields.
pub(crate) fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    request.as_object_mut().unwrap().extend(fields);
    request
}

/// The ids of an answer, best first.
pub(crate) fn ids(answer: &Value) -> Vec<&str> {
    answer["ranked"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect()
}
