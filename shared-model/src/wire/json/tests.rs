use proptest::prelude::*;

use super::*;
use crate::wire::{Agreement, Answer, Candidate, Ranked, Raw, Reason, Tier, TierChoice, Timing};

fn decoded(body: &str) -> Decoded {
    decode(body.as_bytes(), &JsonLimits::default()).unwrap()
}

fn fault(body: &str) -> String {
    decode(body.as_bytes(), &JsonLimits::default()).unwrap_err().to_string()
}

/// The fault of a request with these fields beside `model` and `candidates`.
fn fault_of(fields: &str) -> String {
    fault(&format!(r#"{{"model":"m","candidates":[],{fields}}}"#))
}

fn record(fields: &[(&str, Raw)]) -> Record {
    Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn decodes_a_request_with_everything() {
    let body = r#"{"model":"movies","k":3,
        "user":{"id":"u1","history":["m1",2,null,true],"address":{"city":"Ulm","at":{"lat":48.4}},"ratings":null},
        "context":{"timestamp":1260759194},
        "candidates":["m1",{"id":"new1","year":2016,"genres":["Drama"]},{"id":"m3"}],
        "exclude":["m31"],"timeout_ms":50,"tier":"origin","explain":true}"#;
    let text = |t: &str| Raw::Text(t.to_owned());
    let Decoded { request, relevant, warnings } = decoded(body);
    let want = RankRequest {
        model: "movies".to_owned(),
        k: 3,
        user: record(&[
            ("id", text("u1")),
            ("history", Raw::List(vec![text("m1"), Raw::Int(2), Raw::Null, Raw::Bool(true)])),
            ("address.city", text("Ulm")),
            ("address.at.lat", Raw::Float(48.4)),
            ("ratings", Raw::Null),
        ]),
        context: record(&[("timestamp", Raw::Int(1_260_759_194))]),
        candidates: vec![
            Candidate { id: "m1".to_owned(), features: None },
            Candidate {
                id: "new1".to_owned(),
                features: Some(record(&[("year", Raw::Int(2016)), ("genres", Raw::List(vec![text("Drama")]))])),
            },
            Candidate { id: "m3".to_owned(), features: None },
        ],
        exclude: vec!["m31".to_owned()],
        timeout_ms: Some(50),
        tier: TierChoice::Origin,
        explain: true,
    };
    assert_eq!(request, want);
    assert!(relevant.is_empty() && warnings.is_empty());
}

#[test]
fn fills_in_what_is_left_out_or_null() {
    let request = decoded(r#"{"model":"m","candidates":[],"user":null,"timeout_ms":null,"explain":null}"#).request;
    assert_eq!((request.k, request.tier, request.timeout_ms, request.explain), (10, TierChoice::Auto, None, false));
    assert_eq!((request.user, request.exclude), (Record::default(), Vec::new()));
}

#[test]
fn names_the_field_that_is_missing_or_mistyped() {
    assert_eq!(fault(r#"{"candidates":[]}"#), "model: is missing: name the model");
    assert_eq!(fault(r#"{"model":"m"}"#), "candidates: is missing: give a list of ids, or of objects with an `id`");
    let cases = [
        (r#""k":0"#, "k: is 0, but must be 1 to 4294967295"),
        (r#""k":-3"#, "k: is -3, but must be 1 to 4294967295"),
        (r#""k":"ten""#, "k: invalid type: string \"ten\", expected a whole number of 1 to 4294967295"),
        (r#""k":2.5"#, "k: invalid type: floating point `2.5`, expected a whole number"),
        (r#""timeout_ms":0"#, "timeout_ms: is 0, but must be 1 to 60000"),
        (r#""timeout_ms":60001"#, "timeout_ms: is 60001"),
        (r#""tier":"moon""#, "tier: is `moon`, but must be one of `auto`, `edge`, `region`, `origin`"),
        (r#""tier":1"#, "tier: invalid type: integer `1`, expected a text"),
        (r#""explain":"yes""#, "explain: invalid type: string \"yes\", expected a boolean"),
        (r#""user":["u1"]"#, "user: invalid type: sequence, expected an object"),
        (r#""user":{"history":["m1",["m2"]]}"#, "user.history[1]: invalid type: sequence, expected a text, a number"),
        (r#""user":{"a":{"history":[{"id":1}]}}"#, "user.a.history[0]: invalid type: map, expected a text, a number"),
        (r#""exclude":["m1",2]"#, "exclude[1]: invalid type: integer `2`, expected a text"),
        (r#""exclude":{}"#, "exclude: invalid type: map, expected a list"),
    ];
    for (fields, want) in cases {
        let got = fault_of(fields);
        assert!(got.starts_with(want), "{fields}: {got}");
    }
}

#[test]
fn names_the_candidate_at_fault() {
    let candidates = |list: &str| fault(&format!(r#"{{"model":"m","candidates":{list}}}"#));
    assert_eq!(candidates(r#"["a","b",{"id":"a"}]"#), "candidates[2].id: `a` is candidate 0 already: give each once");
    assert_eq!(candidates(r#"["a",{"year":1}]"#), "candidates[1].id: is missing: a candidate has one");
    assert_eq!(candidates(r#"["a",{"id":7}]"#), "candidates[1].id: must be a text");
    assert_eq!(candidates(r#"["a",""]"#), "candidates[1]: has 0 bytes, but must have 1 to 256");
    assert!(candidates("[7]").starts_with("candidates[0]: invalid type: integer `7`, expected an id or an object"));
    assert!(candidates("null").starts_with("candidates: invalid type: null, expected a list"));
    assert!(candidates(r#"[{"id":"a","x":[[1]]}]"#).starts_with("candidates[0].x[0]: invalid type: sequence"));
}

#[test]
fn tells_line_and_column_when_it_is_not_json() {
    let error = decode(b"{\"model\":\"m\",\n\"k\":}", &JsonLimits::default()).unwrap_err();
    assert_eq!((error.field.as_str(), error.message.as_str()), ("", "expected value at line 2 column 5"));
    assert!(fault("").contains("EOF"));
    assert!(fault(r#"{"model":"m","candidates":[]} x"#).starts_with("trailing characters at line 1"));
    assert!(fault("[]").starts_with("invalid type: sequence, expected an object"));
    assert!(decode(b"{\"model\":\"\xff\",\"candidates\":[]}", &JsonLimits::default()).is_err());
}

#[test]
fn ignores_an_unknown_field_and_says_so() {
    let warnings =
        decoded(r#"{"model":"m","candidates":[],"candidate":[1],"zzz":{"a":{}},"relevant":["m1"]}"#).warnings;
    let want = [
        "unknown field `candidate` was ignored; did you mean `candidates`?",
        "unknown field `zzz` was ignored",
        "unknown field `relevant` was ignored",
    ];
    assert_eq!(warnings, want);
}

#[test]
fn refuses_a_field_twice() {
    assert_eq!(fault_of(r#""k":1,"k":2"#), "k: is given twice");
    assert_eq!(fault_of(r#""user":{"id":"a","x":1,"id":"b"}"#), "user.id: is given twice");
    assert_eq!(fault_of(r#""user":{"a":{"b":1},"a.b":1}"#), "user.a.b: is given twice");
    let candidate = fault(r#"{"model":"m","candidates":[{"id":"a","id":"b"}]}"#);
    assert_eq!(candidate, "candidates[0].id: is given twice");
}

#[test]
fn keeps_integers_exact_and_the_rest_as_floats() {
    let user = decoded(
        r#"{"model":"m","candidates":[],"user":{"a":9223372036854775807,"b":9223372036854775808,"c":1e3,"d":-1,"e":36893488147419103232}}"#,
    )
    .request
    .user;
    let want = [
        ("a", Raw::Int(i64::MAX)),
        ("b", Raw::Float(9_223_372_036_854_775_808.0)),
        ("c", Raw::Float(1000.0)),
        ("d", Raw::Int(-1)),
        ("e", Raw::Float(36_893_488_147_419_103_232.0)),
    ];
    assert_eq!(user, record(&want));
    assert!(fault_of(r#""user":{"a":1e999}"#).starts_with("number out of range"));
}

#[test]
fn bounds_every_length_and_the_depth() {
    let limits = JsonLimits { max_depth: 3, max_candidates: 2, max_fields: 2, max_list: 2, max_text: 3 };
    let fault = |fields: &str| {
        let body = format!(r#"{{"model":"m","candidates":["a"],{fields}}}"#);
        decode(body.as_bytes(), &limits).unwrap_err().to_string()
    };
    assert_eq!(fault(r#""user":{"a":{"b":{"c":1}}}"#), "user.a.b: is nested deeper than 3 levels");
    assert_eq!(fault(r#""foo":[[[1]]]"#), "foo: is nested deeper than 3 levels");
    assert_eq!(fault(r#""exclude":["a","b","c"]"#), "exclude: is longer than 2");
    assert_eq!(fault(r#""user":{"a":1,"b":2,"c":3}"#), "user.c: is one field too many: there may be 2");
    assert_eq!(fault(r#""user":{"a":[1,2,3]}"#), "user.a: is longer than 2");
    assert_eq!(fault(r#""user":{"a":["abcd"]}"#), "user.a[0]: has 4 bytes, but must have 0 to 3");
    let name = "n".repeat(257);
    assert_eq!(fault(&format!(r#""user":{{"{name}":1}}"#)), "user: has a field whose name is longer than 256 bytes");
    let deep = format!(r#"{{"model":"m","candidates":[],"x":{}}}"#, "[".repeat(100_000));
    assert_eq!(super::decode(deep.as_bytes(), &JsonLimits::default()).unwrap_err().field, "x");
}

#[test]
fn keeps_its_messages_short() {
    let error = fault_of(&format!(r#""k":"{}""#, "x".repeat(100_000)));
    assert!(error.len() < 300, "{}", error.len());
    assert!(error.contains(" at line 1 column "), "{error}");
}

#[test]
fn a_line_of_a_file_may_leave_out_the_model_and_have_relevant_ids() {
    let line = br#"{"user":{},"candidates":["a","b"],"relevant":["b"]}"#;
    let Decoded { request, relevant, warnings } = decode_line(line, "movies", &JsonLimits::default()).unwrap();
    assert_eq!((request.model.as_str(), request.k), ("movies", 10));
    assert_eq!((relevant, warnings), (vec!["b".to_owned()], Vec::new()));
    let line = br#"{"model":"other","candidates":[]}"#;
    assert_eq!(decode_line(line, "movies", &JsonLimits::default()).unwrap().request.model, "other");
}

fn answer() -> Answer {
    Answer {
        model: "m".to_owned(),
        version: "7".to_owned(),
        tier: Tier::Edge,
        variant: Some("w4".to_owned()),
        degradation: 0,
        reason: Reason::Sure,
        ranked: vec![Ranked { id: "a\"b".to_owned(), score: Some(0.5), by: Tier::Edge }],
        agreement: Some(Agreement {
            alpha: 0.01,
            delta: 0.05,
            k: 10,
            class: "edge".to_owned(),
            margin: Some(0.25),
            threshold: None,
        }),
        timing: Timing::default(),
        warnings: Vec::new(),
        stamp: None,
        explanation: None,
    }
}

#[test]
fn encodes_an_answer_as_documented() {
    let want = r#"{"model":"m","version":"7","tier":"edge","variant":"w4","degradation":0,"reason":"sure","ranked":[{"id":"a\"b","score":0.5,"by":"edge"}],"agreement":{"alpha":0.01,"delta":0.05,"k":10,"class":"edge","margin":0.25,"threshold":null},"timing_us":{"queue":0,"score":0,"upstream":0,"total":0}}"#;
    assert_eq!(String::from_utf8(encode(&answer())).unwrap(), want);
}

#[test]
fn embeds_an_explanation_as_json_and_anything_else_as_text() {
    let explained = |text: &str| {
        let answer = Answer { explanation: Some(text.to_owned()), ..answer() };
        serde_json::from_slice::<serde_json::Value>(&encode(&answer)).unwrap()["explanation"].clone()
    };
    assert_eq!(explained(r#"{"inputs":{"year":[3]}}"#)["inputs"]["year"][0], 3);
    assert_eq!(explained(r#"1,"tier":"origin""#), r#"1,"tier":"origin""#);
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &JsonLimits::default());
    }

    #[test]
    fn any_near_json_is_a_request_or_a_fault(
        fields in prop::collection::vec(
            ("model|k|user|context|candidates|tier|explain|foo", "[\\[\\]{}\",:0-9a-z.-]{0,24}"), 0..6),
    ) {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let _ = decode_line(format!("{{{}}}", body.join(",")).as_bytes(), "m", &JsonLimits::default());
    }

    #[test]
    fn a_float_is_read_to_the_bit(v in any::<f64>()) {
        prop_assume!(v.is_finite());
        let body = format!(r#"{{"model":"m","candidates":[],"user":{{"x":{v:e}}}}}"#);
        let Raw::Float(got) = *decoded(&body).request.user.field("x") else { panic!("not a float") };
        prop_assert_eq!(got.to_bits(), v.to_bits());
    }
}
