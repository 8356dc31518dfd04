//! `explain`: every setting in effect, where it comes from and what it means.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use crate::keys::{self, Absent, Key, Values};
use crate::{Config, Setting, Source, Tier, Value};

/// The version of the JSON form.
const SCHEMA_VERSION: u32 = 1;

/// The settings of one document, all or some.
#[derive(Debug)]
pub struct Explanation<'a> {
    config: &'a Config,
    entries: Vec<Entry<'a>>,
}

/// One key, in effect or not.
#[derive(Debug)]
struct Entry<'a> {
    path: Cow<'a, str>,
    key: &'static Key,
    /// `None`: the document lacks the section, or the section is another tier's.
    setting: Option<&'a Setting>,
}

/// The key asked about is none.
#[derive(Debug, thiserror::Error)]
#[error("no key or section of a rung.toml is called `{path}`{}", hint(nearest.as_deref()))]
pub struct UnknownPath {
    path: String,
    nearest: Option<String>,
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `cdn-config explain FILE` lists those in effect".to_owned(),
        |nearest| format!(", did you mean `{nearest}`?"),
    )
}

/// Explains one key (`limits.max_k`, `model.bundle`, `model[1].bundle`), a section (`limits`), or all in effect.
pub fn explain<'a>(config: &'a Config, path: Option<&str>) -> Result<Explanation<'a>, UnknownPath> {
    let in_effect = config.settings().iter().map(|setting| Entry {
        path: setting.path().into(),
        key: setting.key(),
        setting: Some(setting),
    });
    let Some(path) = path else { return Ok(Explanation { config, entries: in_effect.collect() }) };

    let entries: Vec<_> = in_effect.filter(|entry| covers(path, &entry.path)).collect();
    if !entries.is_empty() {
        return Ok(Explanation { config, entries });
    }
    // An index says which element: one that the document lacks is not explained by what its kind is.
    let known = keys::all().filter(|(known, _)| covers(path, known));
    let entries: Vec<_> = known.map(|(path, key)| Entry { path: path.into(), key, setting: None }).collect();
    if entries.is_empty() {
        return Err(UnknownPath { path: path.to_owned(), nearest: keys::nearest_path(path) });
    }
    Ok(Explanation { config, entries })
}

/// Whether `asked` is the path, the path without its indices, or a section of either.
fn covers(asked: &str, path: &str) -> bool {
    let within =
        |path: &str| path.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    within(path) || within(&keys::without_indices(path))
}

impl Explanation<'_> {
    /// A paragraph a key: `path = value (where from)`, and indented what it means.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let tier = self.config.tier();
        for Entry { path, key, setting } in &self.entries {
            match setting {
                Some(setting) => writeln!(out, "{path} = {} ({})", setting.shown(tier), source(setting.source()))?,
                None => writeln!(out, "{path}: not in effect in this file")?,
            }
            writeln!(out, "    {}", key.what())?;
            let unit = key.unit().map_or(String::new(), |unit| format!(" {unit}"));
            writeln!(out, "    {}{unit}; default: {}", key.values().in_words(), key.absent().in_words(tier))?;
        }
        Ok(())
    }

    /// One JSON document, as described in `docs/rung-toml.md`.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let tier = self.config.tier();
        let json = ExplanationJson {
            schema_version: SCHEMA_VERSION,
            file: self.config.file().display().to_string(),
            tier: tier.name(),
            settings: self.entries.iter().map(|entry| EntryJson::new(entry, tier)).collect(),
        };
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)
    }
}

fn source(source: Source) -> String {
    match source {
        Source::Line(line) => format!("line {line}"),
        Source::Default => "default".to_owned(),
    }
}

#[derive(Serialize)]
struct ExplanationJson<'a> {
    schema_version: u32,
    file: String,
    tier: &'static str,
    settings: Vec<EntryJson<'a>>,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    key: &'a str,
    in_effect: bool,
    value: Option<&'a Value>,
    line: Option<usize>,
    unit: Option<&'static str>,
    what: &'static str,
    values: String,
    min: Option<usize>,
    max: Option<usize>,
    choices: Option<&'static [&'static str]>,
    required: bool,
    default: String,
    needs: &'static str,
    clients: Option<&'static str>,
}

impl<'a> EntryJson<'a> {
    fn new(entry: &'a Entry<'_>, tier: Tier) -> Self {
        let key = entry.key;
        let (min, max, choices) = match key.values() {
            Values::Number { min, max } => (Some(min), Some(max), None),
            Values::Choice(choices) => (None, None, Some(choices)),
            Values::Words(_) => (None, None, None),
        };
        Self {
            key: &entry.path,
            in_effect: entry.setting.is_some(),
            value: entry.setting.and_then(Setting::value),
            line: entry.setting.and_then(|setting| setting.source().line()),
            unit: key.unit(),
            what: key.what(),
            values: key.values().in_words(),
            min,
            max,
            choices,
            required: key.absent() == Absent::Required,
            default: key.absent().in_words(tier),
            needs: key.needs().name(),
            clients: key.clients_notice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, FULL_EDGE, ORIGIN, accepted};

    fn text(document: &str, path: Option<&str>) -> String {
        let config = accepted(document);
        let mut out = Vec::new();
        explain(&config, path).expect("a known path").write_text(&mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_setting_is_told_with_its_value_source_meaning_unit_and_bounds() {
        let document = format!("{EDGE}[limits]\nheader_timeout_ms = 1_500\n");
        assert_eq!(
            text(&document, Some("limits.header_timeout_ms")),
            "limits.header_timeout_ms = 1500 (line 14)\n    for a request's head\n    1 to 60000 ms; default: 5000\n"
        );
        assert_eq!(
            text(EDGE, Some("worker.instances")),
            "worker.instances = the machine's parallelism (default)\n    guests side by side, for each model\n    \
             1 to 1024; default: the machine's parallelism\n"
        );
    }

    #[test]
    fn a_default_is_that_of_the_tier() {
        assert!(text(EDGE, Some("limits.max_candidates")).starts_with("limits.max_candidates = 1000 (default)\n"));
        let origin = text(ORIGIN, Some("limits.max_candidates"));
        assert!(origin.starts_with("limits.max_candidates = 10000 (default)\n"), "{origin}");
        assert!(origin.ends_with("default: 10000\n"), "{origin}");
    }

    #[test]
    fn a_section_or_an_array_is_explained_key_by_key() {
        let document = format!("{EDGE}[[model]]\nbundle = \"/srv/books\"\n");
        let heads = |path| -> Vec<String> {
            text(&document, Some(path)).lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect()
        };
        let movies = "model[0].bundle = \"/etc/rung/bundles/movies\" (line 9)";
        let books = "model[1].bundle = \"/srv/books\" (line 14)";
        let polls = [0, 1].map(|at| format!("model[{at}].poll_ms = 250 (default)"));
        assert_eq!(heads("model"), [movies, books, &polls[0], &polls[1]]);
        assert_eq!(heads("model[1]"), [books, &polls[1]]);
        assert_eq!(heads("model.bundle"), [movies, books]);
        assert_eq!(heads("model[1].bundle"), [books]);
        assert_eq!(heads("log"), ["log.format = \"text\" (default)", "log.filter = \"info\" (default)"]);
    }

    #[test]
    fn a_key_that_is_not_in_effect_is_still_explained() {
        assert!(text(EDGE, Some("tls.key")).starts_with("tls.key: not in effect in this file\n    PEM private key\n"));
        assert!(text(ORIGIN, Some("worker")).starts_with("worker.wasm: not in effect in this file\n"));
    }

    #[test]
    fn rejects_a_path_that_is_none_and_tells_the_nearest() {
        let config = accepted(EDGE);
        let refused = |path| explain(&config, Some(path)).expect_err("no such key").to_string();
        assert_eq!(
            refused("limits.max_kk"),
            "no key or section of a rung.toml is called `limits.max_kk`, did you mean `limits.max_k`?"
        );
        for path in ["", "colour", "model[7]", "limits."] {
            assert!(refused(path).starts_with("no key or section"), "{path}");
        }
    }

    #[test]
    fn every_key_with_a_value_or_without_is_in_the_json() {
        let config = accepted(FULL_EDGE);
        let mut out = Vec::new();
        explain(&config, None).expect("all").write_json(&mut out).expect("written");
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let settings = json["settings"].as_array().expect("a list");
        let of_an_origin = |path: &str| path.starts_with("device.") || path.starts_with("batching.");
        assert_eq!(settings.len(), keys::all().filter(|(path, _)| !of_an_origin(path)).count());
        let ca = settings.iter().find(|setting| setting["key"] == "upstream.ca").expect("the roots");
        assert_eq!(
            *ca,
            serde_json::json!({
                "key": "upstream.ca", "in_effect": true, "value": "/etc/rung/ca.crt", "line": 28, "unit": null,
                "what": "PEM roots that it is trusted by (the system's are not); `https` only", "values": "path",
                "min": null, "max": null, "choices": null, "required": false, "default": "required for `https`",
                "needs": "restart", "clients": null,
            })
        );
        let body = settings.iter().find(|setting| setting["key"] == "limits.max_body_bytes").expect("a limit");
        assert_eq!((&body["value"], &body["unit"], &body["min"]), (&1_048_576.into(), &"bytes".into(), &1024.into()));
    }
}
