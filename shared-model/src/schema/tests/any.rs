//! Of whatever is given, a schema or a fault.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_json_is_a_schema_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Schema::from_json(&bytes);
    }

    #[test]
    fn a_schema_with_anything_replaced_is_one_or_a_fault(at in 0usize..2000, len in 0usize..40, with in "[a-z0-9\"={}\\[\\]., \n-]{0,12}") {
        let schema = Schema::from_toml(ALL).unwrap();
        let mut text = ALL.to_owned();
        let start = at % text.len();
        let end = (start + len).min(text.len());
        text.replace_range(start..end, &with);
        let _ = Schema::from_toml(&text);

        let mut json = String::from_utf8(schema.to_json()).unwrap();
        let start = at % json.len();
        let end = (start + len).min(json.len());
        json.replace_range(start..end, &with);
        if let Ok(schema) = Schema::from_json(json.as_bytes()) {
            prop_assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
        }
    }

    #[test]
    fn numbers_are_the_same_after_json(mean in any::<f64>(), std in any::<f64>()) {
        prop_assume!(mean.is_finite() && std.is_finite() && std != 0.0);
        let text = ALL.replace("mean = 0.1, std = 1e-3", &format!("mean = {mean:e}, std = {std:e}")).replace("\"ln1p\", ", "");
        if let Ok(schema) = Schema::from_toml(&text) {
            prop_assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
        }
    }
}
