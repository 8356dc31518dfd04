use shared_model::schema::Schema;

use super::*;
use crate::schema_init::draft;
use crate::schema_init::model::Table;

fn input(name: &str, dtype: DType, row: &[usize], tables: &[(&str, usize)]) -> Input {
    let width: usize = row.iter().product();
    let table = |(name, rows): &(&str, usize)| Some(Table { name: (*name).to_owned(), rows: *rows });
    let tables = match tables {
        [all] => vec![table(all); width],
        each => each.iter().map(table).collect(),
    };
    Input { name: name.to_owned(), dtype, row: row.to_vec(), tables }
}

/// The draft for these inputs, which is a schema.
fn drafted(inputs: Vec<Input>, observed: &Observed) -> (Drafts, Schema, String) {
    let model = Model { inputs, remarks: Vec::new() };
    let drafts = drafts(&model, observed);
    let toml = draft::toml("m", &model, &drafts);
    let schema = Schema::from_toml(&toml).unwrap_or_else(|faults| panic!("{faults}\n{toml}"));
    (drafts, schema, toml)
}

fn observed(requests: &str, items: &str) -> Observed {
    let dir = tempfile::tempdir().unwrap();
    let mut observed = Observed::default();
    for (file, text) in [("requests", requests), ("items", items)] {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        match file {
            _ if text.is_empty() => {}
            "requests" => observed.requests(&path).unwrap(),
            _ => observed.catalog(&path).unwrap(),
        }
    }
    observed
}

fn transform<'a>(drafts: &'a Drafts, name: &str) -> (&'a str, &'a str, Scope) {
    let draft = drafts.features.iter().find(|d| d.name == name).unwrap();
    (draft.transform.as_deref().unwrap_or_default(), &draft.field, draft.scope)
}

fn is_guess(drafts: &Drafts, name: &str) -> bool {
    let draft = drafts.features.iter().find(|d| d.name == name).unwrap();
    matches!(draft.notes[0], Note::Guess(_))
}

#[test]
fn without_files_it_goes_by_names_tables_and_shapes() {
    let inputs = vec![
        input("user_id", DType::I32, &[], &[("users", 1024)]),
        input("movie", DType::I32, &[], &[("movies", 50)]),
        input("liked", DType::I32, &[30], &[("movies", 50)]),
        input("hour", DType::I32, &[1], &[("hours", 24)]),
        input("shelf", DType::I32, &[], &[("shelves", 12)]),
        input("mixed", DType::I32, &[2], &[("a", 3), ("b", 4)]),
        input("vector", DType::F32, &[64], &[]),
        input("user_dense", DType::F32, &[2], &[]),
    ];
    let (drafts, schema, _) = drafted(inputs, &Observed::default());
    assert_eq!(transform(&drafts, "user_id"), ("{ hash = 1024 }", "user.id", Scope::Request));
    assert_eq!(transform(&drafts, "movie"), ("{ vocabulary = \"items\" }", "id", Scope::Item));
    assert_eq!(transform(&drafts, "liked"), ("{ vocabulary = \"items\" }", "user.liked", Scope::Request));
    assert_eq!(transform(&drafts, "hour"), ("\"hour\"", "context.timestamp", Scope::Request));
    assert_eq!(transform(&drafts, "shelf"), ("{ identity = 12 }", "shelf", Scope::Item));
    assert_eq!(transform(&drafts, "mixed_1").0, "{ identity = 4 }");
    assert!(is_guess(&drafts, "shelf"));
    let shapes: Vec<(&str, &[usize])> = schema.inputs().iter().map(|i| (i.name.as_str(), &i.shape[..])).collect();
    let want: [(&str, &[usize]); 8] = [
        ("user_id", &[]),
        ("movie", &[]),
        ("liked", &[30]),
        ("hour", &[]),
        ("shelf", &[]),
        ("mixed", &[2]),
        ("vector", &[64]),
        ("user_dense", &[2]),
    ];
    assert_eq!(shapes, want);
}

#[test]
fn what_was_seen_settles_scope_field_and_transform() {
    let requests = r#"{"user":{"lang":"de","visits":3,"spent":1.5,"taste":[1,2,3]},"context":{"ts":1},"candidates":[]}
        {"user":{"lang":"en","visits":900},"context":{"ts":2},"candidates":[{"id":"new","size":3}]}"#;
    let items = r#"{"id":"a","year":1990,"tags":["x","y"],"size":1,"moods":["sad","(unseen)"]}
        {"id":"b","year":2000,"tags":["z"],"size":0,"moods":["glad"]}"#;
    let inputs = vec![
        input("id", DType::I32, &[], &[("items", 3)]),
        input("item_id", DType::I32, &[], &[("items", 3)]),
        input("lang", DType::I32, &[], &[("langs", 3)]),
        input("year", DType::I32, &[], &[("years", 4)]),
        input("size", DType::I32, &[], &[("sizes", 4)]),
        input("tags", DType::F32, &[3], &[]),
        input("taste", DType::F32, &[3], &[]),
        input("item_moods", DType::F32, &[4], &[]),
        input("user_dense", DType::F32, &[2], &[]),
    ];
    let (drafts, schema, toml) = drafted(inputs, &observed(requests, items));
    assert_eq!(transform(&drafts, "item_id"), ("{ vocabulary = \"items\" }", "id", Scope::Item));
    assert_eq!(transform(&drafts, "lang"), ("{ vocabulary = \"lang\" }", "user.lang", Scope::Request));
    assert_eq!(schema.vocabularies().iter().find(|v| v.name == "lang").unwrap().first, 1, "3 rows for 2 values");
    assert_eq!(transform(&drafts, "year"), ("{ boundaries = [1990.0, 2000.0] }", "year", Scope::Item));
    assert_eq!(transform(&drafts, "size"), ("{ identity = 4 }", "size", Scope::Item));
    assert_eq!(transform(&drafts, "tags"), ("{ vocabulary = \"tags\" }", "tags", Scope::Item));
    let kinds: Vec<&str> = schema.features().iter().map(|f| f.coding.kind()).collect();
    assert_eq!(kinds[3..], ["bucketized", "categorical", "multi_hot", "dense", "multi_hot", "numeric", "numeric"]);
    let moods = r#"values = ["(unseen)", "glad", "sad", "(unseen 1)"]"#;
    assert!(toml.contains(moods), "{toml}");
    let columns: Vec<&str> = schema.features_of(8).map(|f| f.fields[0].as_str()).collect();
    assert_eq!(columns, ["user.visits", "user.spent"], "the numbers that are left, in order");
    assert!(!is_guess(&drafts, "lang") && is_guess(&drafts, "user_visits"));
}

#[test]
fn says_when_the_catalog_does_not_fill_the_table() {
    let items = "{\"id\":\"a\"}\n{\"id\":\"b\"}";
    for (rows, first, guess) in [(3, 1, false), (2, 0, true), (9, 1, true), (1, 1, true)] {
        let inputs = vec![input("item_id", DType::I32, &[], &[("items", rows)])];
        let (drafts, schema, _) = drafted(inputs, &observed("", items));
        assert_eq!(schema.vocabularies()[0].first, first, "{rows} rows");
        assert_eq!(matches!(drafts.vocabularies[0].notes[0], Note::Guess(_)), guess, "{rows} rows");
    }
}

#[test]
fn numbers_beyond_their_table_are_hashed_if_they_are_ids_and_bucketized_if_not() {
    let items = "{\"id\":\"a\",\"shop_id\":7000001,\"price\":12}\n{\"id\":\"b\",\"shop_id\":3,\"price\":9000}\n";
    let inputs = vec![
        input("shop_id", DType::I32, &[], &[("shops", 1000)]),
        input("price", DType::I32, &[], &[("prices", 1 << 30)]),
    ];
    let mut observed = observed("", items);
    observed.fields.iter_mut().find(|field| field.path == "price").unwrap().numbers.push(-1.0);
    let (drafts, schema, _) = drafted(inputs, &observed);
    assert_eq!(transform(&drafts, "shop_id").0, "{ hash = 1000 }");
    assert_eq!(transform(&drafts, "price").0, "{ boundaries = [-1.0, 12.0, 9000.0] }", "no more than was seen");
    let kinds: Vec<&str> = schema.features().iter().map(|f| f.coding.kind()).collect();
    assert_eq!(kinds, ["categorical", "bucketized"]);
}
