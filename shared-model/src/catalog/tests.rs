use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::encode::Data;
use crate::schema::Schema;

const SCHEMA: &str = r#"{"schema_version": 1, "model": "m",
"vocabulary": {"ids": {"source": "catalog"}, "genres": {"values": ["Action", "Drama"]}},
"feature": [
  {"name": "user", "kind": "numeric", "scope": "request", "field": "user.age"},
  {"name": "id", "kind": "categorical", "scope": "item", "transform": {"vocabulary": "ids"}},
  {"name": "similar", "kind": "list", "scope": "item", "transform": {"vocabulary": "ids"}, "max_length": 2},
  {"name": "genres", "kind": "multi_hot", "scope": "item", "transform": {"vocabulary": "genres"}, "unknown": "reject"},
  {"name": "price", "kind": "numeric", "scope": "item", "missing": "escalate"}]}"#;

fn schema() -> Schema {
    Schema::from_json(SCHEMA.as_bytes()).unwrap()
}

fn build(lines: &[&str]) -> Result<Catalog, CatalogError> {
    Catalog::build(&schema(), lines.iter().map(|line| item_from_json(line).unwrap()))
}

fn small() -> Catalog {
    build(&[
        r#"{"id":"m1","price":1.5,"similar":["m2","m3"],"genres":["Drama"],"popularity":7}"#,
        r#"{"id":"é","price":2,"popularity":"none"}"#,
        r#"{"id":"m2","price":-3,"similar":["m1","m9"]}"#,
    ])
    .unwrap()
}

#[test]
fn knows_every_item_by_id_and_row() {
    let catalog = small();
    assert_eq!((catalog.len(), catalog.revision()), (3, 0));
    assert_eq!((catalog.row("é"), catalog.id(1)), (Some(1), "é"));
    assert_eq!(catalog.row("m9"), None);
    assert_eq!(catalog.popularity(), [7.0, 0.0, 0.0]);
}

#[test]
fn encodes_each_item_even_by_ids_that_come_later() {
    let catalog = small();
    let data = |input: usize| catalog.block(input).map(|b| b.data.clone());
    assert_eq!(data(0), None, "of request scope");
    assert_eq!(data(1), Some(Data::I32(vec![1, 2, 3])));
    assert_eq!(data(2), Some(Data::I32(vec![3, 0, 0, 0, 1, 0])));
    assert_eq!(data(3), Some(Data::F32(vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0])));
    assert_eq!(data(4), Some(Data::F32(vec![1.5, 2.0, -3.0])));
}

#[test]
fn names_the_item_and_the_field_at_fault() {
    let fault = |lines: &[&str]| build(lines).unwrap_err().to_string();
    assert_eq!(fault(&["{}"]), "item 1: `id` is missing");
    assert_eq!(fault(&[r#"{"id":7}"#]), "item 1: `id` must be a text");
    assert_eq!(fault(&[r#"{"id":""}"#]), "item 1: `id` must have 1 to 256 bytes");
    let twice = fault(&[r#"{"id":"a","price":1}"#, r#"{"id":"b","price":1}"#, r#"{"id":"a","price":1}"#]);
    assert_eq!(twice, "item 3 (`a`): `id` is that of item 1, too: give each its own");
    let mistyped = fault(&[r#"{"id":"a","price":"dear"}"#]);
    assert_eq!(mistyped, "item 1 (`a`): `price` must be a number, not `dear`");
    let unknown = fault(&[r#"{"id":"a","price":1,"genres":["Drama","Noir"]}"#]);
    assert_eq!(unknown, "item 1 (`a`): `genres[1]` `Noir` is not in the vocabulary");
}

#[test]
fn refuses_an_item_that_would_escalate_every_request() {
    let fault = build(&[r#"{"id":"a"}"#]).unwrap_err().to_string();
    assert!(
        fault.starts_with("item 1 (`a`): `price` is missing or unknown, and the schema says `escalate`"),
        "{fault}"
    );
}

#[test]
fn is_the_same_after_its_file() {
    let catalog = small();
    let bytes = catalog.to_safetensors(&schema());
    assert_eq!(Catalog::from_safetensors(&bytes, &schema()).unwrap(), catalog);
    assert_eq!(bytes, small().to_safetensors(&schema()), "the same bytes each time");
    let empty = build(&[]).unwrap();
    assert_eq!(Catalog::from_safetensors(&empty.to_safetensors(&schema()), &schema()).unwrap(), empty);
}

#[test]
fn the_file_is_one_of_safetensors_that_any_tool_opens() {
    let bytes = small().to_safetensors(&schema());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("ids").unwrap();
    assert_eq!((ids.dtype(), ids.data()), (Dtype::U8, "m1ém2".as_bytes()));
    assert_eq!(file.tensor("input.similar").unwrap().shape(), [3, 2]);
    assert_eq!(file.tensor("input.price").unwrap().shape(), [3]);
}

/// The file with one tensor's bytes replaced.
fn with_bytes(tensor: &str, data: &[u8]) -> Result<Catalog, CatalogError> {
    let mut bytes = small().to_safetensors(&schema());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let place = file.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[place..place + data.len()].copy_from_slice(data);
    Catalog::from_safetensors(&bytes, &schema())
}

fn assert_refused(result: Result<Catalog, CatalogError>, want: &str) {
    let fault = result.unwrap_err().to_string();
    assert!(fault.contains(want), "{fault}");
}

#[test]
fn refuses_an_index_outside_its_vocabulary() {
    assert_refused(
        with_bytes("input.id", &4i32.to_le_bytes()),
        "`input.id` holds 4, but an index of it is not negative and below 4",
    );
    assert_refused(with_bytes("input.id", &(-1i32).to_le_bytes()), "`input.id` holds -1");
}

#[test]
fn refuses_numbers_that_are_not_finite() {
    assert_refused(
        with_bytes("input.price", &f32::NAN.to_le_bytes()),
        "`input.price` holds a value that is not finite",
    );
    assert_refused(with_bytes("popularity", &f32::INFINITY.to_le_bytes()), "`popularity` holds a value");
}

#[test]
fn refuses_ids_that_are_not_ids() {
    assert_refused(with_bytes("ids", b"\xff"), "`ids` is not UTF-8");
    assert_refused(with_bytes("ids", b"m2"), "`ids` has `m2` in rows 0 and 2");
    assert_refused(with_bytes("id_ends", &0u32.to_le_bytes()), "`id_ends` must end an id of 1 to 256 bytes at row 0");
    assert_refused(with_bytes("id_ends", &u32::MAX.to_le_bytes()), "at row 0");
    assert_refused(with_bytes("id_ends", &3u32.to_le_bytes()), "at row 0");
}

#[test]
fn refuses_another_schemas_file() {
    let bytes = small().to_safetensors(&schema());
    let less = SCHEMA.replace(
        "{\"name\": \"price\", \"kind\": \"numeric\", \"scope\": \"item\", \"missing\": \"escalate\"}",
        "{\"name\": \"cost\", \"kind\": \"numeric\", \"scope\": \"item\"}",
    );
    let other = Schema::from_json(less.as_bytes()).unwrap();
    assert_refused(Catalog::from_safetensors(&bytes, &other), "`input.cost` is missing");
    let wider = SCHEMA.replace("\"max_length\": 2", "\"max_length\": 3");
    let other = Schema::from_json(wider.as_bytes()).unwrap();
    assert_refused(Catalog::from_safetensors(&bytes, &other), "`input.similar` must be I32 [3, 3], not I32 [3, 2]");
    let fewer = SCHEMA.replace(
        ",\n  {\"name\": \"price\", \"kind\": \"numeric\", \"scope\": \"item\", \"missing\": \"escalate\"}",
        "",
    );
    let other = Schema::from_json(fewer.as_bytes()).unwrap();
    assert_refused(Catalog::from_safetensors(&bytes, &other), "`input.price` is no part of a catalog of this schema");
}

#[test]
fn refuses_a_file_of_another_kind() {
    assert_refused(Catalog::from_safetensors(b"", &schema()), "not a safetensors file");
    let empty = br#"{}      "#;
    let bytes = [&(empty.len() as u64).to_le_bytes()[..], empty].concat();
    assert_refused(Catalog::from_safetensors(&bytes, &schema()), "this is no catalog");
}

/// Popular in several geos: m1 everywhere alike, é in Germany above all, m2 nowhere.
fn abroad() -> Catalog {
    build(&[
        r#"{"id":"m1","price":1,"popularity":{"de":3,"FR":2}}"#,
        r#"{"id":"é","price":1,"popularity":{"*":90,"DE":7.5,"fr":0}}"#,
        r#"{"id":"m2","price":1,"popularity":4,"popularity.us-ca":1}"#,
    ])
    .unwrap()
}

#[test]
fn knows_what_is_popular_where() {
    let catalog = abroad();
    assert_eq!(catalog.popularity(), [5.0, 90.0, 4.0], "the sum of all geos, unless it is said");
    let germany = catalog.geo("dE").unwrap();
    assert_eq!((germany.name(), germany.rows(), germany.popularities()), ("DE", &[0, 1][..], &[3.0, 7.5][..]));
    assert_eq!((germany.popularity(1), germany.popularity(2)), (Some(7.5), None));
    assert_eq!(catalog.geo("FR").unwrap().rows(), [0], "popular is more than not at all");
    assert_eq!(catalog.geo("us-CA").unwrap().rows(), [2], "beside the number, by its dotted name");
    assert_eq!(catalog.geo("US"), None);
}

#[test]
fn lists_what_is_most_popular_and_nothing_that_is_not() {
    let list = |geo: Option<&str>, k: usize| {
        let catalog = abroad();
        let items = catalog.most_popular(geo.and_then(|geo| catalog.geo(geo)), k);
        items.into_iter().map(|(id, popularity)| format!("{id} {popularity}")).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2), ["é 90", "m1 5"]);
    assert_eq!(list(Some("DE"), 9), ["é 7.5", "m1 3"]);
    assert_eq!(small().most_popular(None, 9).len(), 1);
}

#[test]
fn geos_are_the_same_after_the_file_and_a_catalog_without_them_has_no_trace_of_them() {
    let bytes = abroad().to_safetensors(&schema());
    assert_eq!(Catalog::from_safetensors(&bytes, &schema()).unwrap(), abroad());
    let file = small().to_safetensors(&schema());
    assert!(!String::from_utf8_lossy(&file).contains("geo"));
}

#[test]
fn names_the_popularity_at_fault() {
    let fault = |popularity: &str| {
        build(&[&format!(r#"{{"id":"a","price":1,"popularity":{popularity}}}"#)]).unwrap_err().to_string()
    };
    assert_eq!(fault(r#"{"DE":"much"}"#), "item 1 (`a`): `popularity.DE` must be a finite number");
    assert!(fault(r#"{"D E":1}"#).starts_with("item 1 (`a`): `popularity.D E` is not named by a geo"));
    assert!(fault(r#"{"a":{"b":1}}"#).starts_with("item 1 (`a`): `popularity.a.b` is not named by a geo"));
    assert!(fault(r#"{"de":1,"DE":2}"#).contains("is given twice, in other letters"));
    let many = |from: usize| (from..from + 200).map(|i| format!("\"g{i}\":1")).collect::<Vec<_>>().join(",");
    let lines = [0, 200].map(|from| format!(r#"{{"id":"i{from}","price":1,"popularity":{{{}}}}}"#, many(from)));
    let fault = build(&[&lines[0], &lines[1]]).unwrap_err().to_string();
    assert!(fault.contains("is of one geo too many: a catalog may have 256"), "{fault}");
}

#[test]
fn refuses_geos_that_are_none() {
    let with = |tensor: &str, data: &[u8]| {
        let mut bytes = abroad().to_safetensors(&schema());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let place = file.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
        bytes[place..place + data.len()].copy_from_slice(data);
        Catalog::from_safetensors(&bytes, &schema())
    };
    assert_refused(with("geo_rows", &1u32.to_le_bytes()), "`geo_rows` must have");
    assert_refused(with("geo_rows", &[0, 0, 0, 0, 9, 0, 0, 0]), "`geo_rows` must have");
    assert_refused(with("geo_ends", &9u32.to_le_bytes()), "`geo_rows` must have");
    assert_refused(
        with("geo_popularity", &0f32.to_le_bytes()),
        "`geo_popularity` holds a value that is not above zero",
    );
    let text = |from: &[u8], to: &[u8]| {
        let mut bytes = abroad().to_safetensors(&schema());
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to);
        Catalog::from_safetensors(&bytes, &schema())
    };
    assert_refused(text(br#"\"DE\""#, br#"\"de\""#), "`rung` has a geo `de`, which is no name of one");
    assert_refused(text(br#"\"DE\""#, br#"\"ZZ\""#), "`rung` has geos that are not in order");
}

proptest! {
    #[test]
    fn any_change_of_the_file_gives_a_catalog_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        shortened in any::<bool>(),
    ) {
        let mut bytes = abroad().to_safetensors(&schema());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shortened {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(catalog) = Catalog::from_safetensors(&bytes, &schema()) {
            prop_assert_eq!(catalog.len(), 3);
        }
    }
}
