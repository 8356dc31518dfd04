use proptest::prelude::*;

use super::*;
use crate::encode::Data;
use crate::wire::Digest;

const SCHEMA: &str = r#"{"schema_version": 1, "model": "films",
"vocabulary": {"ids": {"source": "catalog"}, "genres": {"values": ["Action", "Drama"]}},
"feature": [
  {"name": "id", "kind": "categorical", "scope": "item", "transform": {"vocabulary": "ids"}},
  {"name": "similar", "kind": "list", "scope": "item", "transform": {"vocabulary": "ids"}, "max_length": 2},
  {"name": "genres", "kind": "multi_hot", "scope": "item", "transform": {"vocabulary": "genres"}, "unknown": "reject"},
  {"name": "price", "kind": "numeric", "scope": "item", "missing": "escalate"}]}"#;

const BASE: Stamp = Stamp { bundle: Digest([7; 32]), catalog: 0 };

fn schema() -> Schema {
    Schema::from_json(SCHEMA.as_bytes()).unwrap()
}

/// `a`, `b` and `c`, which cost 1, 2 and 3.
fn bundled() -> Catalog {
    let items = [("a", 1), ("b", 2), ("c", 3)].map(|(id, price)| {
        item_from_json(&format!(r#"{{"id":"{id}","price":{price},"similar":["a"],"popularity":{price}}}"#)).unwrap()
    });
    Catalog::build(&schema(), items).unwrap()
}

fn made(catalog: &Catalog, items: &str) -> (Vec<u8>, Catalog) {
    let base = Stamp { catalog: catalog.revision(), ..BASE };
    Delta::make(&schema(), base, catalog, items.as_bytes()).unwrap()
}

fn refused(items: &str) -> String {
    Delta::make(&schema(), BASE, &bundled(), items.as_bytes()).unwrap_err().to_string()
}

fn ids(catalog: &Catalog) -> Vec<&str> {
    catalog.items().map(|(_, id)| id).collect()
}

fn prices(catalog: &Catalog) -> Vec<f32> {
    let Some(Data::F32(prices)) = catalog.block(3).map(|b| &b.data) else { panic!("prices are numbers") };
    catalog.items().map(|(row, _)| prices[row as usize]).collect()
}

const ALL: &str = r#"{"id":"d","price":4,"genres":["Drama"],"similar":["b","d"],"popularity":9}
{"id":"b","price":20}

{"id":"a","removed":true}
"#;

#[test]
fn adds_changes_and_removes() {
    let (bytes, made) = made(&bundled(), ALL);
    let delta = Delta::read(&bytes).unwrap();
    assert_eq!((delta.model(), delta.revision(), delta.len()), ("films", 1, 3));
    let next = delta.apply(&schema(), BASE, &bundled()).unwrap();
    assert_eq!(next, made);
    assert_eq!((ids(&next), prices(&next)), (vec!["b", "c", "d"], vec![20.0, 3.0, 4.0]));
    assert_eq!((next.len(), next.rows(), next.revision()), (3, 4, 1));
    assert_eq!((next.row("a"), next.row("b"), next.row("d")), (None, Some(1), Some(3)));
    assert_eq!((next.id(3), next.popularity()), ("d", &[0.0, 0.0, 3.0, 9.0][..]));
}

#[test]
fn indices_mean_the_bundles_ids_in_every_revision() {
    let (_, next) = made(&bundled(), ALL);
    assert_eq!(next.block(0).unwrap().data, Data::I32(vec![1, 2, 3, 0]), "a later item is not one the model knows");
    let similar = &next.block(1).unwrap().data;
    assert_eq!(*similar, Data::I32(vec![1, 0, 0, 0, 1, 0, 2, 0]), "one that is gone keeps its index, `d` has none");
    assert_eq!(next.names().position("a"), Some(0), "a user may still have seen what is gone");
}

#[test]
fn an_item_that_comes_back_has_its_old_row() {
    let (_, gone) = made(&bundled(), "{\"id\":\"a\",\"removed\":true}\n{\"id\":\"d\",\"price\":4}");
    let (_, gone) = made(&gone, r#"{"id":"d","removed":true}"#);
    assert_eq!(ids(&gone), ["b", "c"]);
    let (bytes, back) = made(&gone, "{\"id\":\"d\",\"price\":5}\n{\"id\":\"a\",\"price\":6}");
    assert_eq!((ids(&back), prices(&back)), (vec!["a", "b", "c", "d"], vec![6.0, 2.0, 3.0, 5.0]));
    let base = Stamp { catalog: 2, ..BASE };
    assert_eq!(Delta::read(&bytes).unwrap().apply(&schema(), base, &gone).unwrap(), back);
}

#[test]
fn a_later_revision_is_the_same_after_its_file() {
    let (_, next) = made(&bundled(), ALL);
    let bytes = next.to_safetensors(&schema());
    let read = Catalog::from_safetensors(&bytes, &schema()).unwrap();
    assert_eq!(read, next);
    let again = r#"{"id":"d","removed":true}"#;
    assert_eq!(made(&read, again), made(&next, again), "and so are those that follow");
}

#[test]
fn names_the_item_and_the_field_at_fault() {
    assert_eq!(refused(" \n\n"), "has no items");
    assert_eq!(refused("{\"id\":\"d\",\"price\":4}\n{"), "item 2: EOF while parsing an object at line 1 column 1");
    assert_eq!(refused(r#"{"price":4}"#), "item 1: `id` is missing");
    let twice = refused("{\"id\":\"d\",\"price\":4}\n{\"id\":\"d\",\"removed\":true}");
    assert_eq!(twice, "item 2 (`d`): `id` is in this delta twice: give the item's last form alone");
    let gone = refused(r#"{"id":"d","removed":true}"#);
    assert_eq!(gone, "item 1 (`d`): `id` is not in the catalog: nothing can be removed");
    for removed in [r#"{"id":"a","removed":false}"#, r#"{"id":"a","removed":true,"price":4}"#] {
        assert_eq!(refused(removed), "item 1 (`a`): `removed` must be true, with no field but `id` beside it");
    }
    let unknown = refused(r#"{"id":"d","price":4,"genres":["Noir"]}"#);
    assert_eq!(unknown, "item 1 (`d`): `genres[0]` `Noir` is not in the vocabulary");
    assert!(refused(r#"{"id":"d"}"#).starts_with("item 1 (`d`): `price` is missing or unknown"));
}

#[test]
fn what_is_popular_where_follows_the_items() {
    let popular = |catalog: &Catalog, geo: Option<&str>| {
        let geo = geo.map(|geo| catalog.geo(geo).unwrap());
        catalog
            .most_popular(geo, 9)
            .into_iter()
            .map(|(id, popularity)| format!("{id} {popularity}"))
            .collect::<Vec<_>>()
    };
    let (_, first) = made(
        &bundled(),
        r#"{"id":"c","price":3,"popularity":{"DE":5,"FR":2}}
{"id":"d","price":4,"popularity":{"de":8,"*":1}}"#,
    );
    assert_eq!(popular(&first, None), ["c 7", "b 2", "a 1", "d 1"]);
    assert_eq!(
        (popular(&first, Some("DE")), popular(&first, Some("FR"))),
        (vec!["d 8".into(), "c 5".into()], vec!["c 2".into()])
    );
    let (bytes, next) = made(
        &first,
        r#"{"id":"a","price":1,"popularity":{"DE":6}}
{"id":"c","removed":true}
{"id":"d","price":4,"popularity":{"DE":3}}"#,
    );
    assert_eq!(
        (popular(&next, None), popular(&next, Some("DE"))),
        (vec!["a 6".into(), "d 3".into(), "b 2".into()], vec!["a 6".into(), "d 3".into()])
    );
    assert_eq!(next.geo("FR"), None, "nothing is popular there any more");
    let base = Stamp { catalog: 1, ..BASE };
    assert_eq!(Delta::read(&bytes).unwrap().apply(&schema(), base, &first).unwrap(), next);
    assert_eq!(Catalog::from_safetensors(&next.to_safetensors(&schema()), &schema()).unwrap(), next);
    let refused = refused(r#"{"id":"d","price":4,"popularity":{"D E":1}}"#);
    assert!(refused.starts_with("item 1 (`d`): `popularity.D E` is not named by a geo"), "{refused}");
}

fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn refuses_what_was_damaged_on_its_way() {
    let (bytes, _) = made(&bundled(), ALL);
    let text = |bytes: Vec<u8>| Delta::read(&bytes).unwrap_err().to_string();
    assert!(text(edited(&bytes, "20}", "21}")).starts_with("does not match the digest in its first line"));
    assert!(text(bytes[..bytes.len() - 1].to_vec()).starts_with("does not match the digest"));
    assert!(text(bytes[..10].to_vec()).contains("does not end within its first 4096 bytes"));
    assert!(text(edited(&bytes, "catalog_delta", "catalog")).starts_with("line 1 is not the header"));
    assert!(text(edited(&bytes, "\"schema_version\":1", "\"schema_version\":2")).contains("update Rung"));
    assert!(text(edited(&bytes, "\"revision\":1", "\"revision\":2")).ends_with("revision 2 does not follow base 0"));
    assert_eq!(Delta::read(&vec![b' '; MAX_DELTA_BYTES as usize + 1]), Err(DeltaError::TooLong));
}

#[test]
fn refuses_another_catalog_than_its_own() {
    let delta = Delta::read(&made(&bundled(), ALL).0).unwrap();
    let next = delta.apply(&schema(), BASE, &bundled()).unwrap();
    let later = Stamp { catalog: 1, ..BASE };
    for (stamp, catalog) in [(Stamp { bundle: Digest([8; 32]), ..BASE }, bundled()), (later, next)] {
        let refused = delta.apply(&schema(), stamp, &catalog).unwrap_err();
        assert!(matches!(refused, DeltaError::Base { .. }), "{refused}");
    }
    let other = Schema::from_json(SCHEMA.replace("films", "books").as_bytes()).unwrap();
    assert!(matches!(delta.apply(&other, BASE, &bundled()), Err(DeltaError::Base { .. })));
}

#[test]
fn refuses_to_lead_to_other_rows_than_its_makers() {
    let (bytes, _) = made(&bundled(), ALL);
    let other = Catalog::build(&schema(), [item_from_json(r#"{"id":"a","price":1}"#).unwrap()]).unwrap();
    let all = edited(&bytes, "\"catalog_sha256\":\"", "\"catalog_sha256\":\"0");
    let refused = Delta::read(&all).unwrap().apply(&schema(), BASE, &bundled()).unwrap_err();
    assert!(matches!(refused, DeltaError::Outcome { .. }), "{refused}");
    assert!(matches!(Delta::read(&bytes).unwrap().apply(&schema(), BASE, &other), Err(DeltaError::Outcome { .. })));
}

#[test]
fn refuses_a_file_whose_parts_of_a_revision_cannot_be() {
    let (_, next) = made(&bundled(), ALL);
    let bytes = next.to_safetensors(&schema());
    let fault = |bytes: Vec<u8>| Catalog::from_safetensors(&bytes, &schema()).unwrap_err().to_string();
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    };
    assert!(
        fault(text("vocabulary\\\":3", "vocabulary\\\":5")).contains("has a vocabulary of 5, but there are 4 rows")
    );
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let at = |tensor: &str| file.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    let with = |at: usize, data: &[u8]| [&bytes[..at], data, &bytes[at + data.len()..]].concat();
    assert!(fault(with(at("removed"), &4u32.to_le_bytes())).contains("`removed` must hold rows below 4"));
    let popular = fault(with(at("popularity"), &1f32.to_le_bytes()));
    assert!(popular.contains("`removed` holds row 0, which is popular all the same"), "{popular}");
    assert!(fault(with(at("ids") + 3, b"b")).contains("`ids` has `b` in rows 1 and 3"));
    assert!(fault(with(at("input.id"), &4i32.to_le_bytes())).contains("`input.id` holds 4"), "of three in the bundle");
}

proptest! {
    #[test]
    fn any_sequence_of_changes_is_what_a_list_would_hold(
        steps in prop::collection::vec(prop::collection::btree_map(0..6u8, prop::option::of(0..100u8), 1..4), 1..8),
    ) {
        let (mut catalog, mut list) = (bundled(), std::collections::BTreeMap::new());
        list.extend([("a", 1), ("b", 2), ("c", 3)].map(|(id, price)| (id.to_owned(), f32::from(price as u8))));
        for step in steps {
            let mut lines = String::new();
            for (item, price) in step {
                let id = char::from(b'a' + item).to_string();
                match price {
                    Some(price) => {
                        lines += &format!("{{\"id\":\"{id}\",\"price\":{price}}}\n");
                        list.insert(id, f32::from(price));
                    }
                    None if list.remove(&id).is_some() => lines += &format!("{{\"id\":\"{id}\",\"removed\":true}}\n"),
                    None => {}
                }
            }
            if !lines.is_empty() {
                let (bytes, next) = made(&catalog, &lines);
                let stamp = Stamp { catalog: catalog.revision(), ..BASE };
                prop_assert_eq!(&Delta::read(&bytes).unwrap().apply(&schema(), stamp, &catalog).unwrap(), &next);
                catalog = next;
            }
        }
        let mut held: Vec<_> = catalog.items().map(|(_, id)| id.to_owned()).zip(prices(&catalog)).collect();
        held.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(held, list.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(Catalog::from_safetensors(&catalog.to_safetensors(&schema()), &schema()).unwrap(), catalog);
    }

    #[test]
    fn any_change_of_the_file_is_refused_or_leads_to_the_same_rows(at in any::<prop::sample::Index>(), byte: u8) {
        let (mut bytes, next) = made(&bundled(), ALL);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(catalog) = Delta::read(&bytes).and_then(|delta| delta.apply(&schema(), BASE, &bundled())) {
            prop_assert_eq!(catalog, next);
        }
    }
}
