use proptest::prelude::*;

use super::*;

fn scalar() -> impl Strategy<Value = Raw> {
    prop_oneof![
        Just(Raw::Null),
        any::<bool>().prop_map(Raw::Bool),
        any::<i64>().prop_map(Raw::Int),
        (-1e300..1e300).prop_map(Raw::Float),
        ".{0,8}".prop_map(Raw::Text),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let value = prop_oneof![3 => scalar(), 1 => prop::collection::vec(scalar(), 0..5).prop_map(Raw::List)];
    prop::collection::vec(("[a-z.]{0,8}", value), 0..5).prop_map(Record)
}

prop_compose! {
    fn request()(
        model in ".{0,8}",
        k in any::<u32>(),
        user in record(),
        context in record(),
        candidates in prop::collection::vec((".{0,8}", prop::option::of(record())), 0..5),
        exclude in prop::collection::vec(".{0,8}", 0..3),
        timeout_ms in any::<Option<u32>>(),
        tier in prop_oneof![Just(TierChoice::Auto), Just(TierChoice::Edge), Just(TierChoice::Region), Just(TierChoice::Origin)],
        explain in any::<bool>(),
    ) -> RankRequest {
        let candidates = candidates.into_iter().map(|(id, features)| Candidate { id, features }).collect();
        RankRequest { model, k, user, context, candidates, exclude, timeout_ms, tier, explain }
    }
}

proptest! {
    #[test]
    fn a_request_is_the_same_after_cbor(request in request()) {
        prop_assert_eq!(from_cbor::<RankRequest>(&to_cbor(&request)).unwrap(), request);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_cbor::<Escalation>(&bytes);
        let _ = from_cbor::<Reply>(&bytes);
    }

    #[test]
    fn a_changed_message_is_one_or_an_error(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_cbor(&request);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = from_cbor::<RankRequest>(&bytes);
    }
}

/// A list in a list in a list, with what `Raw::List` is encoded as.
fn nested(levels: usize) -> Vec<u8> {
    // [5, [[ ... ]]]: a variant is its index and its fields.
    let mut bytes = [0x82, 0x05, 0x81, 0x81].repeat(levels);
    bytes.extend(to_cbor(&Raw::Null));
    bytes
}

#[test]
fn a_list_of_scalars_is_what_the_nested_ones_are_made_of() {
    assert_eq!(from_cbor::<Raw>(&nested(1)).unwrap(), Raw::List(vec![Raw::Null]));
    assert_eq!(nested(1), to_cbor(&Raw::List(vec![Raw::Null])));
    assert_eq!(nested(2), to_cbor(&Raw::List(vec![Raw::List(vec![Raw::Null])])));
}

#[test]
fn rejects_nested_lists_however_deep() {
    for levels in [2, 3, 1000, 1_000_000] {
        assert!(from_cbor::<Raw>(&nested(levels)).is_err(), "{levels} levels");
    }
    let mut message = to_cbor(&Record::default());
    assert_eq!(message, [0x80]);
    message = [&[0x81, 0x82, 0x61, b'a'], nested(1_000_000).as_slice()].concat();
    assert!(from_cbor::<Record>(&message).is_err());
}

#[test]
fn rejects_numbers_that_are_not_finite() {
    for v in [f64::NAN, f64::INFINITY] {
        assert!(from_cbor::<Raw>(&to_cbor(&Raw::Float(v))).is_err());
        assert!(from_cbor::<Raw>(&to_cbor(&Raw::List(vec![Raw::Float(v)]))).is_err());
    }
}

#[test]
fn rejects_a_list_that_is_too_long() {
    let list = |len| to_cbor(&Raw::List(vec![Raw::Null; len]));
    assert!(from_cbor::<Raw>(&list(crate::limits::MAX_LIST)).is_ok());
    assert!(from_cbor::<Raw>(&list(crate::limits::MAX_LIST + 1)).is_err());
}

#[test]
fn rejects_bytes_after_a_message() {
    let mut bytes = to_cbor(&Raw::Null);
    bytes.push(0);
    assert!(from_cbor::<Raw>(&bytes).unwrap_err().to_string().contains("1 bytes after its end"));
}
