//! The entries and the readers, held to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use super::*;
use crate::Config;
use crate::example::{FULL_EDGE, FULL_ORIGIN, accepted};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rung-toml.md");
const BEGIN: &str = "<!-- keys: written by `BLESS=1 cargo test --release -p cdn-config` -->\n";
const END: &str = "\n<!-- end of keys -->";

/// The path of every key that any tier reads: found by handing in every section that is asked for, empty.
fn read_by_any_tier() -> BTreeSet<String> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    let ask = |sections: &str| -> BTreeSet<String> {
        let of_tier = |tier| config::asked_for(&format!("schema_version = 1\ntier = \"{tier}\"\n{sections}"));
        ["edge", "region", "origin"].into_iter().flat_map(of_tier).map(|path| without_indices(&path)).collect()
    };
    loop {
        let document: String = sections.values().cloned().collect();
        asked.extend(ask(&document));
        let opens = |path: &String, header: &String| {
            let prefix = format!("{path}.");
            ask(&format!("{document}{header}")).iter().any(|asked| asked.starts_with(&prefix))
        };
        let found: Vec<_> = asked
            .iter()
            .filter(|path| !sections.contains_key(*path))
            .flat_map(|path| [format!("[{path}]\n"), format!("[[{path}]]\n")].map(|header| (path.clone(), header)))
            .filter(|(path, header)| opens(path, header))
            .collect();
        if found.is_empty() {
            return asked.into_iter().filter(|path| !sections.contains_key(path)).collect();
        }
        sections.extend(found);
    }
}

/// A document that has the key's section, with a line added to it, and the line's number.
fn with_line(path: &str, line: &str) -> [String; 2] {
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    [FULL_EDGE, FULL_ORIGIN].map(|text| {
        let headers = [format!("\n[{section}]\n"), format!("\n[[{section}]]\n")];
        headers.into_iter().fold(text.to_owned(), |text, header| text.replace(&header, &format!("{header}{line}\n")))
    })
}

#[test]
fn every_key_that_is_read_has_an_entry_and_every_entry_is_read() {
    let entries: BTreeSet<String> = all().map(|(path, _)| path).collect();
    assert_eq!(read_by_any_tier(), entries, "left: what the readers ask for; right: the entries in `KEYS`");
}

#[test]
fn a_default_written_out_means_the_same_as_one_left_out() {
    let (mut edge, mut origin) = (0, 0);
    for (path, key) in all() {
        let defaults = [Tier::Edge, Tier::Origin].map(|tier| key.default(tier));
        let [Some(at_edge), Some(at_origin)] = defaults else { continue };
        let [edge_written, _] = with_line(&path, &format!("{} = {at_edge}", key.name()));
        let [_, origin_written] = with_line(&path, &format!("{} = {at_origin}", key.name()));
        let written = [edge_written, origin_written];
        for (count, written, plain) in [(&mut edge, &written[0], FULL_EDGE), (&mut origin, &written[1], FULL_ORIGIN)] {
            if written != plain {
                *count += 1;
                assert_eq!(accepted(written).meaning(), accepted(plain).meaning(), "{path}");
            }
        }
        assert!(written[0] != FULL_EDGE || written[1] != FULL_ORIGIN, "{path}: no full example has its section");
    }
    assert!(edge > 10 && origin > 10, "{edge} {origin}");
}

#[test]
fn a_number_may_be_within_its_entry_s_bounds_and_not_beyond() {
    for (path, key) in all() {
        let Values::Number { min, max } = key.values() else { continue };
        // Of an array, the full examples have one element.
        let fault = if path.starts_with("model.") { path.replacen("model.", "model[0].", 1) } else { path.clone() };
        let out_of_range = |number: String| {
            let of_key = |text: &String| {
                text != FULL_EDGE
                    && text != FULL_ORIGIN
                    && Config::parse(text, Path::new("")).is_err_and(|faults| {
                        faults
                            .to_string()
                            .contains(&format!("{fault}: is `{number}`, expected a whole number from {min} to {max}"))
                    })
            };
            with_line(&path, &format!("{} = {number}", key.name())).iter().any(of_key)
        };
        for number in [min, max] {
            assert!(!out_of_range(number.to_string()), "{path} = {number}");
        }
        let below = i128::try_from(min).expect("small") - 1;
        for number in [below.to_string(), (max + 1).to_string()] {
            assert!(out_of_range(number.clone()), "{path} = {number}");
        }
    }
}

#[test]
fn every_choice_can_be_made_and_no_other() {
    for (path, key) in all().filter(|(path, _)| path.contains('.')) {
        let Values::Choice(choices) = key.values() else { continue };
        let accepts = |choice: &str| {
            let choice = choice.parse().map_or(Value::Text(choice.to_owned()), Value::Flag);
            with_line(&path, &format!("{} = {choice}", key.name()))
                .iter()
                .any(|text| text != FULL_EDGE && text != FULL_ORIGIN && Config::parse(text, Path::new("")).is_ok())
        };
        assert!(choices.iter().all(|choice| accepts(choice)), "{path}");
        assert!(!accepts("something else"), "{path}");
    }
}

#[test]
fn an_entry_is_found_by_a_path_with_indices() {
    let (_, key) = position("model[12].bundle").expect("an entry");
    assert_eq!(key.name(), "bundle");
    assert!(position("model").is_none());
    assert_eq!(without_indices("a[1].b[22].c]["), "a.b.c]");
    assert_eq!(nearest_path("limits.max_kk").as_deref(), Some("limits.max_k"));
}

#[test]
fn the_reference_page_has_the_tables_of_the_entries() {
    let shown = fs::read_to_string(PAGE).expect("the page");
    let (head, rest) = shown.split_once(BEGIN).expect("the mark where the tables begin");
    let (_, tail) = rest.split_once(END).expect("the mark where the tables end");
    let expected = format!("{head}{BEGIN}{}{END}{tail}", page());
    if env::var_os("BLESS").is_some() {
        fs::write(PAGE, expected).expect("written");
    } else {
        assert!(
            shown == expected,
            "docs/rung-toml.md is behind the entries: BLESS=1 cargo test --release -p cdn-config"
        );
    }
}

#[test]
fn no_row_breaks_its_table() {
    for (path, key) in all() {
        for cell in [key.what().to_owned(), key.values().in_words(), key.absent().in_words(Tier::Edge)] {
            assert!(!cell.contains(['|', '\n']) && !cell.is_empty(), "{path}: {cell}");
        }
    }
}

#[test]
fn a_choice_of_true_and_false_is_a_flag() {
    let flag = Key::choice("http3", &["true", "false"], "whether").or_text("true");
    assert_eq!(flag.default(Tier::Edge), Some(Value::Flag(true)));
    let text = Key::choice("http3", &["auto", "true"], "whether").or_text("true");
    assert_eq!(text.default(Tier::Edge), Some(Value::Text("true".to_owned())));
}
