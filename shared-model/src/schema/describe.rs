//! What a feature does to a value, in a few words, for people who read an explanation.

use super::feature::{Coding, Feature, Index, Keep, Step};
use super::{Schema, Vocabulary};

impl Schema {
    /// The transform of a feature of this schema.
    #[must_use]
    pub fn describe(&self, feature: &Feature) -> String {
        match &feature.coding {
            Coding::Numeric(steps) => stepped(steps),
            Coding::Categorical(index) => self.indexed(index),
            Coding::CrossHash(n) => format!("xxh64 of all % {n}"),
            Coding::List { index, max_length, keep, .. } => {
                let end = if *keep == Keep::First { "first" } else { "last" };
                format!("the {end} {max_length}: {}", self.indexed(index))
            }
            Coding::MultiHot(v) => format!("one column a value of {}", named(&self.vocabularies[*v])),
            Coding::Bucketized(boundaries) => format!("bucket of {} boundaries", boundaries.len()),
            Coding::Dense { length, steps } => format!("{length} numbers: {}", stepped(steps)),
        }
    }

    fn indexed(&self, index: &Index) -> String {
        match *index {
            Index::Vocabulary(v) => format!("position in {}", named(&self.vocabularies[v])),
            Index::Hash(n) => format!("xxh64 % {n}"),
            Index::Identity(None) => "identity".to_owned(),
            Index::Identity(Some(n)) => format!("identity below {n}"),
            Index::Hour => "hour".to_owned(),
            Index::Weekday => "weekday".to_owned(),
        }
    }
}

fn named(vocabulary: &Vocabulary) -> String {
    format!("vocabulary `{}` from {} on", vocabulary.name, vocabulary.first)
}

fn stepped(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "identity".to_owned();
    }
    let step = |step: &Step| match step {
        Step::Ln1p => "ln(1+x)".to_owned(),
        Step::Clip { min, max } => format!("clip to {min}…{max}"),
        Step::Standardize { mean, std } => format!("(x - {mean}) / {std}"),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_done_in_the_order_in_which_it_is_done() {
        let schema = r#"{"schema_version": 1, "model": "m", "vocabulary": {"v": {"values": ["a"], "first": 1}}, "feature": [
          {"name": "a", "kind": "numeric", "scope": "item",
           "transform": ["ln1p", {"clip": {"max": 3}}, {"standardize": {"mean": 1, "std": 2}}]},
          {"name": "b", "kind": "list", "scope": "item", "max_length": 4, "transform": {"vocabulary": "v"}},
          {"name": "c", "kind": "dense", "scope": "item", "length": 2},
          {"name": "d", "kind": "categorical", "scope": "item", "fields": ["x", "y"], "transform": {"cross_hash": 9}}]}"#;
        let schema = Schema::from_json(schema.as_bytes()).unwrap();
        let said: Vec<String> = schema.features().iter().map(|f| schema.describe(f)).collect();
        let want = [
            "ln(1+x), clip to -inf…3, (x - 1) / 2",
            "the last 4: position in vocabulary `v` from 1 on",
            "2 numbers: identity",
            "xxh64 of all % 9",
        ];
        assert_eq!(said, want);
    }
}
