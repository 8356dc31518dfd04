use super::*;

mod any;

/// A schema of everything.
const ALL: &str = r#"
schema_version = 1
model = "m"

[vocabulary.ids]
source = "catalog"

[vocabulary.genres]
values = ["Action", "Drama", "War"]
first = 1

[[feature]]
name = "user"
kind = "categorical"
scope = "request"
source = "store"
field = "user.id"
transform = { hash = 1024 }
missing = "reject"

[[feature]]
name = "history"
kind = "list"
scope = "request"
field = "user.history"
transform = { vocabulary = "ids" }
max_length = 3
keep = "first"
padding = 7
unknown = "escalate"
default = ["m1"]

[[feature]]
name = "rating"
kind = "numeric"
scope = "request"
field = "user.rating"
input = "dense"
column = 1
transform = ["ln1p", { standardize = { mean = 0.1, std = 1e-3 } }]
default = 3

[[feature]]
name = "ratings"
kind = "numeric"
scope = "request"
field = "user.ratings"
input = "dense"
column = 0

[[feature]]
name = "day"
kind = "categorical"
scope = "request"
field = "context.timestamp"
transform = "weekday"

[[feature]]
name = "genres"
kind = "multi_hot"
scope = "item"
transform = { vocabulary = "genres" }
unknown = "reject"

[[feature]]
name = "year"
kind = "bucketized"
scope = "item"
transform = { boundaries = [1900, 1950.5] }
default = 1960

[[feature]]
name = "studio"
kind = "categorical"
scope = "item"
field = "meta.studio"

[[feature]]
name = "place"
kind = "categorical"
scope = "request"
fields = ["user.country", "context.city"]
transform = { cross_hash = 512 }
default = ["??", 0]

[[feature]]
name = "cover"
kind = "dense"
scope = "item"
length = 2
transform = [{ clip = { min = -1 } }, { clip = { min = 0, max = 1.5 } }]
default = [0.5, 7]

[[feature]]
name = "shelf"
kind = "categorical"
scope = "item"
transform = { identity = 40 }
"#;

fn faults_of(text: &str) -> Vec<String> {
    match Schema::from_toml(text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
    }
}

/// The one fault of `ALL` with a piece of it replaced.
#[track_caller]
fn fault_with(old: &str, new: &str) -> String {
    assert!(ALL.contains(old), "`{old}` is in the schema");
    let faults = faults_of(&ALL.replace(old, new));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

/// That the one fault of `ALL` with a piece of it replaced ends so.
#[track_caller]
fn refuses(old: &str, new: &str, end: &str) {
    let fault = fault_with(old, new);
    assert!(fault.ends_with(end), "{fault}");
}

#[test]
fn reads_the_inputs_in_the_order_of_first_mention() {
    let schema = Schema::from_toml(ALL).unwrap();
    let input = |name: &str, dtype, shape: &[usize], scope, cardinality| InputSpec {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
        scope,
        cardinality,
    };
    let want = [
        input("user", DType::I32, &[], Scope::Request, Some(1024)),
        input("history", DType::I32, &[3], Scope::Request, None),
        input("dense", DType::F32, &[2], Scope::Request, None),
        input("day", DType::I32, &[], Scope::Request, Some(7)),
        input("genres", DType::F32, &[3], Scope::Item, None),
        input("year", DType::I32, &[], Scope::Item, Some(4)),
        input("studio", DType::I32, &[], Scope::Item, None),
        input("place", DType::I32, &[], Scope::Request, Some(512)),
        input("cover", DType::F32, &[2], Scope::Item, None),
        input("shelf", DType::I32, &[], Scope::Item, Some(40)),
    ];
    assert_eq!(schema.inputs(), want);
    assert_eq!(schema.model(), "m");
    assert_eq!(schema.cardinality(1, 100), Some(101), "the catalog's ids, 0 included");
    assert_eq!(schema.cardinality(1, 2), Some(8), "its padding is 7");
    assert_eq!(schema.cardinality(6, 100), None, "an index given by the client");
    assert_eq!(schema.features_of(2).map(|f| f.name.as_str()).collect::<Vec<_>>(), ["rating", "ratings"]);
}

#[test]
fn is_the_same_after_json() {
    let schema = Schema::from_toml(ALL).unwrap();
    assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
}

#[test]
fn reports_every_fault_at_once_each_with_its_line_and_feature() {
    let text = ALL
        .replace("kind = \"list\"", "kind = \"lists\"")
        .replace("keep = \"first\"", "kep = \"first\"")
        .replace("std = 1e-3", "std = 0")
        .replace("model = \"m\"", "modle = \"m\"");
    let faults = faults_of(&text);
    let want = [
        "features.toml:1: `model` is missing",
        "features.toml:3: unknown key `modle`; did you mean `model`?",
        "features.toml:23: feature `history`: `kind` is `lists`, but must be one of `numeric`, `categorical`, `list`, \
         `multi_hot`, `bucketized`, `dense`",
        "features.toml:28: feature `history`: unknown key `kep`; did you mean `keep`?",
        "features.toml:40: feature `rating`: `std` of `standardize` is 0: nothing can be divided by it",
    ];
    assert_eq!(faults, want);
}

#[test]
fn reports_every_syntax_error_with_its_line() {
    let faults = faults_of("schema_version = 1\nmodel = \n[vocabulary\nx = 1\n");
    assert!(faults.len() >= 2, "{faults:?}");
    assert!(faults[0].starts_with("features.toml:2: not valid TOML: "), "{faults:?}");
    let twice = faults_of("schema_version = 1\nschema_version = 1\n");
    assert!(twice[0].starts_with("features.toml:2: not valid TOML: duplicate key"), "{twice:?}");
}

#[test]
fn refuses_another_version_before_all_else() {
    let fault = fault_with("schema_version = 1\nmodel = \"m\"", "schema_version = 2\nmodel = 7");
    assert_eq!(fault, "features.toml:2: schema_version 2 is not supported: this is version 1");
}

#[test]
fn refuses_an_unused_vocabulary() {
    let text = format!("{ALL}\n[vocabulary.tags]\nvalues = [\"a\"]\n");
    let faults = faults_of(&text);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].ends_with("vocabulary `tags` is used by no feature: leave it out"), "{faults:?}");
}

#[test]
fn refuses_a_vocabulary_that_is_not_there() {
    let fault = fault_with("transform = { vocabulary = \"ids\" }", "transform = { vocabulary = \"id\" }");
    let want = "features.toml:26: feature `history`: there is no [vocabulary.id]; there are: `genres`, `ids`";
    assert_eq!(fault, want);
}

#[test]
fn refuses_a_value_twice_in_a_vocabulary() {
    let fault = fault_with("\"Drama\", ", "\"Drama\", \"Action\", ");
    assert_eq!(fault, "features.toml:9: `Action` is twice in vocabulary `genres`");
}

#[test]
fn refuses_a_name_twice() {
    let fault = fault_with("name = \"ratings\"", "name = \"rating\"");
    assert!(fault.contains("feature `rating`: the name is taken (also on line "), "{fault}");
}

#[test]
fn refuses_an_input_of_two_scopes() {
    refuses(
        "name = \"studio\"\nkind = \"categorical\"",
        "name = \"studio\"\ninput = \"dense\"\ncolumn = 2\nkind = \"numeric\"",
        "input `dense` is fed by `rating` of the other scope, too: an input has one",
    );
}

#[test]
fn refuses_an_input_of_two_types() {
    let want = "is categorical, but input `dense` is of f32: `rating`, which also feeds it, is numeric";
    refuses("name = \"ratings\"\nkind = \"numeric\"", "name = \"ratings\"\nkind = \"categorical\"", want);
}

#[test]
fn refuses_columns_that_leave_a_gap_or_meet() {
    refuses("column = 0", "column = 2", "column 2 of input `dense` leaves a gap: 2 features feed it");
    refuses("column = 0", "column = 1", "column 1 of input `dense` is that of `rating` already");
    refuses("column = 0\n", "", "`column` is missing: input `dense` is fed by 2 features");
}

#[test]
fn refuses_a_field_that_no_request_has() {
    refuses(
        "field = \"user.id\"",
        "field = \"id\"",
        "`field` is `id`, but a request has `user.…` and `context.…`: try `user.id`",
    );
}

#[test]
fn refuses_a_source_of_the_other_scope() {
    let fault = fault_with("source = \"store\"", "source = \"catalog\"");
    assert!(fault.contains("`source = \"catalog\"` is for item scope"), "{fault}");
}

#[test]
fn refuses_a_default_that_cannot_be_encoded() {
    refuses("default = 3\n", "default = \"three\"\n", "its default cannot be encoded: must be a number, not `three`");
    refuses("default = 1960", "default = [1960]", "its default cannot be encoded: must be a number, not a list");
    refuses(
        "unknown = \"reject\"",
        "default = [\"Comedy\"]",
        "its default cannot be encoded: `Comedy` is not in the vocabulary",
    );
    refuses(
        "default = 3\n",
        "default = -1\n",
        "its default cannot be encoded: -1 is outside the range of its transform",
    );
    refuses(
        "default = [0.5, 7]",
        "default = [0.5]",
        "its default cannot be encoded: must be a list of 2 numbers, not of 1",
    );
    refuses(
        "default = [\"??\", 0]",
        "default = [\"??\"]",
        "its default must be a list of 2 values, one for each field",
    );
    refuses(
        "default = [\"??\", 0]",
        "default = [\"??\", 0.5]",
        "its default cannot be encoded: must be a text, not 0.5",
    );
    let want = "its default cannot be encoded: 40 is not an index: it must be 0 or more and below 40";
    refuses("identity = 40 }", "identity = 40 }\ndefault = 40", want);
    let fault = fault_with("missing = \"reject\"", "missing = \"reject\"\ndefault = \"u1\"");
    assert!(fault.contains("`default` is never used with `missing = \"reject\"`"), "{fault}");
}

#[test]
fn refuses_keys_that_mean_nothing_for_the_kind() {
    refuses("column = 0\n", "column = 0\nunknown = \"reject\"\n", "`unknown` has a meaning with a vocabulary only");
    let fault = fault_with("column = 0\n", "column = 0\nmax_length = 3\n");
    assert!(fault.contains("unknown key `max_length`"), "{fault}");
    refuses("max_length = 3\n", "", "`max_length` is missing: a list needs it");
    let fault = fault_with("max_length = 3\n", "max_length = 3\ncolumn = 0\n");
    assert!(fault.contains("a list, multi-hot or dense is a whole input"), "{fault}");
    let fault = fault_with("length = 2\n", "length = 2\ncolumn = 0\n");
    assert!(fault.contains("a list, multi-hot or dense is a whole input"), "{fault}");
    refuses("length = 2\n", "", "feature `cover`: `length` is missing: a dense feature needs it");
    refuses(
        "identity = 40 }",
        "identity = 40 }\nunknown = \"reject\"",
        "`unknown` has a meaning with a vocabulary only",
    );
}

#[test]
fn refuses_a_cross_of_less_than_two_fields() {
    let fields = "fields = [\"user.country\", \"context.city\"]";
    refuses(
        fields,
        "fields = [\"user.country\"]",
        "feature `place`: a cross needs `fields`, a list of 2 to 8 paths, not 1",
    );
    refuses(fields, "", "feature `place`: a cross needs `fields`, a list of 2 to 8 paths");
    refuses(
        fields,
        "fields = [\"user.country\", \"user.country\"]",
        "`user.country` is twice in `fields`: crossing it with itself says nothing",
    );
    refuses(
        fields,
        &format!("{fields}\nfield = \"user.country\""),
        "a cross is of several: name them in `fields`, and leave `field` out",
    );
    refuses(
        "field = \"meta.studio\"",
        "fields = [\"meta.studio\"]",
        "`fields` is for `transform = { cross_hash = n }`: name the one `field`",
    );
}

#[test]
fn refuses_a_cross_of_two_scopes() {
    let want = "feature `place`: `city` is of the item, and a cross is of one scope: a request has `user`, `context`, an \
                item the rest; no input is of both, so cross them in the model";
    refuses("\"context.city\"]", "\"city\"]", want);
    let fault = fault_with(
        "field = \"meta.studio\"",
        "fields = [\"meta.studio\", \"user.country\"]\ntransform = { cross_hash = 9 }",
    );
    assert!(fault.contains("feature `studio`: `user.country` is of the request"), "{fault}");
}

#[test]
fn refuses_a_clip_without_bounds_or_with_crossed_ones() {
    refuses("{ clip = { min = -1 } }", "{ clip = {} }", "feature `cover`: `clip` needs `min` or `max`, or both");
    refuses(
        "{ clip = { min = -1 } }",
        "{ clip = { min = 2, max = 1 } }",
        "feature `cover`: `min` of `clip` is 2, above its `max` of 1",
    );
    refuses(
        "{ clip = { min = -1 } }",
        "{ clip = { mni = 2, max = 1 } }",
        "unknown key `mni` of `clip`; known here: `min`, `max`",
    );
    refuses("{ clip = { min = -1 } }", "{ clip = -1 }", "`clip` must be { min = …, max = … }, not an integer");
}

#[test]
fn refuses_transforms_of_another_kind() {
    let fault = fault_with("transform = \"weekday\"", "transform = \"ln1p\"");
    assert!(fault.contains("`transform` is `ln1p`, but must be { vocabulary = \"name\" }"), "{fault}");
    refuses(
        "transform = { boundaries = [1900, 1950.5] }",
        "transform = { hash = 3 }",
        "a bucketized feature takes `transform = { boundaries = [..] }`",
    );
    refuses("[1900, 1950.5]", "[1900, 1900]", "boundary 1900 must be above the one before it");
    refuses("hash = 1024", "hash = 0", "`hash` is 0, but must be 1 to 2147483647");
    refuses("mean = 0.1", "mean = nan", "`mean` of `standardize` must be a finite number, not a number");
}

#[test]
fn refuses_a_multi_hot_over_the_catalog() {
    let text = ALL.replace("transform = { vocabulary = \"genres\" }", "transform = { vocabulary = \"ids\" }");
    let faults = faults_of(&text);
    assert!(faults.iter().any(|f| f.contains("a multi-hot needs a vocabulary with `values`")), "{faults:?}");
}

#[test]
fn refuses_json_that_is_no_schema() {
    for text in ["", "[]", "null", "{}", "{\"schema_version\":1}", "{\"schema_version\":1,\"schema_version\":1}"] {
        assert!(Schema::from_json(text.as_bytes()).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Schema::from_json(deep.as_bytes()).is_err());
}
