//! `diff`: what another `rung.toml` would change in effect, and what each change asks for.
//!
//! Values are compared, not text: spelling, order, comments and defaults written out make no difference, nor does the
//! folder that a document and the files beside it are in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::keys::{self, Needs};
use crate::{Config, Setting, Source, Value};

/// The version of the JSON form.
const SCHEMA_VERSION: u32 = 1;

/// All that differs between two documents, in the order of the reference page.
#[derive(Debug)]
pub struct Difference<'a> {
    before: &'a Config,
    after: &'a Config,
    changes: Vec<Change<'a>>,
}

/// One setting that is another, or that only one of the documents has.
#[derive(Clone, Copy, Debug)]
struct Change<'a> {
    before: Option<&'a Setting>,
    after: Option<&'a Setting>,
}

/// Compares the settings in effect.
pub fn diff<'a>(before: &'a Config, after: &'a Config) -> Difference<'a> {
    let mut changes: Vec<_> = pairs(before, after)
        .into_iter()
        .filter(|Change { before: old, after: new }| {
            old.and_then(|old| meaning(old, before)) != new.and_then(|new| meaning(new, after))
        })
        .collect();
    changes.sort_by_cached_key(|change| keys::position(change.setting().path()).map(|(place, _)| place));
    Difference { before, after, changes }
}

/// What a setting says: a path in the document's folder wherever that folder is.
fn meaning(setting: &Setting, config: &Config) -> Option<Value> {
    let folder = config.file().parent().unwrap_or(Path::new(""));
    setting.value().map(|value| match value {
        Value::Path(path) => Value::Path(path.strip_prefix(folder).unwrap_or(path).to_owned()),
        other => other.clone(),
    })
}

/// The settings of one element of an array such as `[[model]]`, by their path within it.
type Element<'a> = BTreeMap<&'a str, &'a Setting>;

/// Every setting of either document beside its like in the other.
///
/// An element of an array has no name. Those that both documents have are left out wherever they stand; what is left is
/// paired in order.
fn pairs<'a>(before: &'a Config, after: &'a Config) -> Vec<Change<'a>> {
    let (mut old, mut new) = (arrays(before), arrays(after));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let mut pairs = Vec::new();
    for name in names {
        let mut old = old.remove(name).unwrap_or_default();
        let mut new = new.remove(name).unwrap_or_default();
        leave_out_twins((&mut old, before), (&mut new, after));
        let none = Element::new();
        for index in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(index).unwrap_or(&none), new.get(index).unwrap_or(&none));
            let paths: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
            pairs.extend(
                paths.into_iter().map(|path| Change { before: old.get(path).copied(), after: new.get(path).copied() }),
            );
        }
    }
    pairs
}

/// The elements of each array by its name, in order; all that is in no array is the one element of an array without name.
fn arrays(config: &Config) -> BTreeMap<&str, Vec<Element<'_>>> {
    let mut arrays: BTreeMap<&str, Vec<Element<'_>>> = BTreeMap::new();
    for setting in config.settings() {
        let (name, index, path) = place(setting.path());
        let elements = arrays.entry(name).or_default();
        elements.resize(elements.len().max(index + 1), Element::new());
        elements[index].insert(path, setting);
    }
    arrays
}

/// `model[1].bundle` as `model`, 1, `bundle`. The index is of an element that is there.
fn place(path: &str) -> (&str, usize, &str) {
    let indexed = path.split_once('[').and_then(|(name, rest)| {
        let (index, path) = rest.split_once("].")?;
        Some((name, index.parse().ok()?, path))
    });
    indexed.unwrap_or(("", 0, path))
}

/// Takes the elements out that mean the same in both.
fn leave_out_twins((old, before): (&mut Vec<Element<'_>>, &Config), (new, after): (&mut Vec<Element<'_>>, &Config)) {
    let content = |element: &Element<'_>, config| {
        let settings = element.iter().map(|(path, setting)| format!("{path} = {:?}\n", meaning(setting, config)));
        settings.collect::<String>()
    };
    let mut unmatched: BTreeMap<String, usize> = BTreeMap::new();
    for element in new.iter() {
        *unmatched.entry(content(element, after)).or_default() += 1;
    }
    let mut twins: BTreeMap<String, usize> = BTreeMap::new();
    old.retain(|element| {
        let content = content(element, before);
        let twin = unmatched.get_mut(&content).filter(|count| **count > 0).map(|count| *count -= 1).is_some();
        if twin {
            *twins.entry(content).or_default() += 1;
        }
        !twin
    });
    new.retain(|element| {
        twins.get_mut(&content(element, after)).filter(|count| **count > 0).map(|count| *count -= 1).is_none()
    });
}

impl<'a> Change<'a> {
    /// The setting where there is one: the new one, else the old one.
    fn setting(&self) -> &'a Setting {
        self.after.or(self.before).expect("a change is of a setting that one document has")
    }
}

impl Difference<'_> {
    /// Whether the documents mean the same.
    pub fn is_none(&self) -> bool {
        self.changes.is_empty()
    }

    /// What the changes need together.
    pub fn needs(&self) -> Option<Needs> {
        self.changes.iter().map(|change| change.setting().key().needs()).max()
    }

    /// `path: before -> after` a change, and indented what it needs and who notices.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for change in &self.changes {
            let setting = change.setting();
            let (before, after) = (shown(change.before, self.before), shown(change.after, self.after));
            writeln!(out, "{}: {before} -> {after}", setting.path())?;
            let clients = setting.key().clients_notice().map_or(String::new(), |notice| format!("; clients: {notice}"));
            writeln!(out, "    needs a {}{clients}", setting.key().needs().name())?;
        }
        match self.needs() {
            None => writeln!(out, "no difference in effect"),
            Some(needs) => writeln!(out, "{} in effect; needs a {}", count(self.changes.len()), needs.name()),
        }
    }

    /// One JSON document, as described in `docs/rung-toml.md`.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let json = DifferenceJson {
            schema_version: SCHEMA_VERSION,
            before: self.before.file().display().to_string(),
            after: self.after.file().display().to_string(),
            same: self.is_none(),
            needs: self.needs().map(Needs::name),
            changes: self.changes.iter().map(ChangeJson::new).collect(),
        };
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)
    }
}

fn shown(setting: Option<&Setting>, config: &Config) -> String {
    let Some(setting) = setting else { return "not in effect".to_owned() };
    let value = setting.shown(config.tier());
    match setting.source() {
        Source::Line(line) => format!("{value} (line {line})"),
        Source::Default => format!("{value} (default)"),
    }
}

fn count(changes: usize) -> String {
    if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") }
}

#[derive(Serialize)]
struct DifferenceJson<'a> {
    schema_version: u32,
    before: String,
    after: String,
    same: bool,
    needs: Option<&'static str>,
    changes: Vec<ChangeJson<'a>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    key: &'a str,
    before: Option<SideJson<'a>>,
    after: Option<SideJson<'a>>,
    needs: &'static str,
    clients: Option<&'static str>,
}

/// What one document says; the value is null where a key left out means something that is no value.
#[derive(Serialize)]
struct SideJson<'a> {
    value: Option<&'a Value>,
    line: Option<usize>,
}

impl<'a> ChangeJson<'a> {
    fn new(change: &Change<'a>) -> Self {
        let side = |setting: &'a Setting| SideJson { value: setting.value(), line: setting.source().line() };
        let setting = change.setting();
        Self {
            key: setting.path(),
            before: change.before.map(side),
            after: change.after.map(side),
            needs: setting.key().needs().name(),
            clients: setting.key().clients_notice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, FULL_EDGE, accepted};

    fn text(before: &str, after: &str) -> String {
        let mut out = Vec::new();
        diff(&accepted(before), &accepted(after)).write_text(&mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    fn read_in(folder: &str, text: &str) -> Config {
        Config::parse(text, Path::new(folder)).expect("no fault")
    }

    #[test]
    fn spelling_order_and_defaults_written_out_make_no_difference() {
        let after = EDGE
            .replace("[worker]", "# The guest.\n[limits]\nmax_k = 0x64\nmax_body_bytes = 1_048_576\n[worker]")
            .replace("[[model]]\nbundle = \"bundles/movies\"\n", "")
            + "[[model]]\nbundle = './bundles/movies'\n";
        assert_eq!(text(EDGE, &after), "no difference in effect\n");
    }

    #[test]
    fn a_normal_form_is_compared_where_there_is_one() {
        let http = |url: &str| format!("{EDGE}[upstream]\nurl = \"{url}\"\n");
        assert_eq!(text(&http("http://region:80"), &http("http://region:80/")), "no difference in effect\n");
    }

    #[test]
    fn a_document_that_moves_with_its_files_is_the_same() {
        let (old, new) = (read_in("/etc/rung", EDGE), read_in("/srv/next", EDGE));
        assert!(diff(&old, &new).is_none());
        let absolute = read_in("/etc/rung", &EDGE.replace("worker.wasm", "/etc/rung/worker.wasm"));
        assert!(diff(&old, &absolute).is_none());
        let elsewhere = read_in("/srv/next", &EDGE.replace("worker.wasm", "/etc/rung/worker.wasm"));
        assert!(!diff(&old, &elsewhere).is_none());
    }

    #[test]
    fn a_change_is_told_with_both_values_and_where_they_are_from() {
        let after = EDGE.replace("8080", "8081") + "[limits]\nmax_k = 50\n";
        assert_eq!(
            text(EDGE, &after),
            "listen.http: \"127.0.0.1:8080\" (line 5) -> \"127.0.0.1:8081\" (line 5)\n    \
             needs a restart; clients: they connect to another address\n\
             limits.max_k: 100 (default) -> 50 (line 14)\n    \
             needs a restart; clients: another k goes up whole, or is refused at the origin\n\
             2 changes in effect; needs a restart\n"
        );
    }

    #[test]
    fn a_section_that_comes_brings_its_settings() {
        let after = format!("{EDGE}[upstream]\nurl = \"http://region\"\n");
        let changes = text(EDGE, &after);
        assert!(changes.starts_with("upstream.url: not in effect -> \"http://region/\" (line 14)\n"), "{changes}");
        assert!(changes.contains("upstream.connect_timeout_ms: not in effect -> 500 (default)\n"), "{changes}");
        assert!(changes.ends_with("3 changes in effect; needs a restart\n"), "{changes}");
    }

    #[test]
    fn models_in_another_order_are_the_same_models() {
        let models = |names: &[&str]| {
            let models: String = names.iter().map(|name| format!("[[model]]\nbundle = \"{name}\"\n")).collect();
            EDGE.replace("[[model]]\nbundle = \"bundles/movies\"\n", &models)
        };
        assert_eq!(text(&models(&["a", "b", "c"]), &models(&["c", "a", "b"])), "no difference in effect\n");
        let changes = text(&models(&["a", "b", "c"]), &models(&["d", "c", "a"]));
        assert!(
            changes.starts_with("model[0].bundle: \"/etc/rung/b\" (line 11) -> \"/etc/rung/d\" (line 9)\n"),
            "{changes}"
        );
        assert!(changes.ends_with("1 change in effect; needs a restart\n"), "{changes}");
        let fewer = text(&models(&["a", "b"]), &models(&["b"]));
        assert!(fewer.starts_with("model[0].bundle: \"/etc/rung/a\" (line 9) -> not in effect\n"), "{fewer}");
    }

    #[test]
    fn json_has_both_sides_and_what_is_needed() {
        let (old, new) = (accepted(FULL_EDGE), accepted(&FULL_EDGE.replace("[log]", "[log]\nformat = \"json\"")));
        let mut out = Vec::new();
        diff(&old, &new).write_json(&mut out).expect("written");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "schema_version": 1, "before": "/etc/rung/rung.toml", "after": "/etc/rung/rung.toml",
                "same": false, "needs": "restart",
                "changes": [{
                    "key": "log.format", "needs": "restart", "clients": null,
                    "before": {"value": "text", "line": null}, "after": {"value": "json", "line": 33},
                }],
            })
        );
    }
}
