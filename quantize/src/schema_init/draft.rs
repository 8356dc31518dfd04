//! A draft as the text of `features.toml`.

use std::fmt::Write as _;

use shared_model::graph::{DType, Scope};

use super::model::{Input, Model};

/// What marks a guess.
pub(super) const CHECK: &str = "CHECK:";

/// The features and the vocabularies that they use.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) vocabularies: Vec<Vocabulary>,
    pub(super) features: Vec<Draft>,
}

/// A `[vocabulary.name]`.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) name: String,
    /// `None` for the ids of the catalog.
    pub(super) values: Option<Vec<String>>,
    /// The index of the first, where it is not the usual one.
    pub(super) first: Option<usize>,
    pub(super) notes: Vec<Note>,
}

/// A `[[feature]]`.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) scope: Scope,
    pub(super) field: String,
    pub(super) input: String,
    pub(super) column: Option<usize>,
    /// TOML, when there is one.
    pub(super) transform: Option<String>,
    /// `max_length` or `length`.
    pub(super) length: Option<(&'static str, usize)>,
    pub(super) notes: Vec<Note>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Note {
    /// What the model, or a file, says.
    Fact(String),
    /// What it does not say.
    Guess(String),
}

/// The file.
pub(super) fn toml(model: &str, inputs: &Model, drafts: &Drafts) -> String {
    let mut text = format!(
        "# A first draft, made from the model's inputs by `quantize schema init`; docs/features.md explains each key.\n\
         # Each line that begins with {CHECK} holds a guess: the encoding must be the one that the model was trained on.\n"
    );
    for remark in &inputs.remarks {
        let _ = writeln!(text, "# {CHECK} {}", one_line(remark));
    }
    let _ = writeln!(text, "\nschema_version = 1\nmodel = {}", quoted(model));
    for vocabulary in &drafts.vocabularies {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = &vocabulary.name;
        let key = if !name.is_empty() && name.chars().all(bare) { name.clone() } else { quoted(name) };
        let _ = writeln!(text, "\n[vocabulary.{key}]");
        notes(&mut text, &vocabulary.notes);
        let _ = match &vocabulary.values {
            None => writeln!(text, "source = \"catalog\""),
            Some(values) => {
                let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
                writeln!(text, "values = [{}]", values.join(", "))
            }
        };
        if let Some(first) = vocabulary.first {
            let _ = writeln!(text, "first = {first}");
        }
    }
    let mut input = None;
    for draft in &drafts.features {
        if input != Some(&draft.input) {
            input = Some(&draft.input);
            let of_model = inputs.inputs.iter().find(|i| i.name == draft.input);
            let _ = writeln!(text, "\n# ---- {}", one_line(&of_model.map_or(draft.input.clone(), heading)));
        }
        feature(&mut text, draft);
    }
    text
}

fn heading(input: &Input) -> String {
    let dtype = if input.dtype == DType::F32 { "numbers" } else { "indices" };
    let row: Vec<String> = input.row.iter().map(usize::to_string).collect();
    let tables = match input.table() {
        Some(table) => format!(", looked up in `{}` of {} rows", table.name, table.rows),
        None => String::new(),
    };
    format!("input `{}`: {dtype} [{}] a candidate{tables}", input.name, row.join(", "))
}

fn feature(text: &mut String, draft: &Draft) {
    let Draft { name, kind, scope, field, input, column, transform, length, notes: said } = draft;
    let scope = if *scope == Scope::Item { "item" } else { "request" };
    let _ = writeln!(text, "\n[[feature]]");
    notes(text, said);
    let _ = writeln!(text, "name = {}\nkind = \"{kind}\"\nscope = \"{scope}\"", quoted(name));
    let _ = writeln!(text, "field = {}\ninput = {}", quoted(field), quoted(input));
    if let Some(column) = column {
        let _ = writeln!(text, "column = {column}");
    }
    if let Some(transform) = transform {
        let _ = writeln!(text, "transform = {transform}");
    }
    if let Some((key, length)) = length {
        let _ = writeln!(text, "{key} = {length}");
    }
}

fn notes(text: &mut String, notes: &[Note]) {
    for note in notes {
        let _ = match note {
            Note::Fact(said) => writeln!(text, "# {}", one_line(said)),
            Note::Guess(said) => writeln!(text, "# {CHECK} {}", one_line(said)),
        };
    }
}

/// A comment ends with its line, and TOML takes no other control character in it.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A TOML string: JSON's escapes are TOML's, but for the one character that TOML wants escaped as well.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_toml_string() {
        for text in ["", "a\"b\\c", "tab\t, line\n, bell\u{7}, delete\u{7f}", "été 映画 🎬", "\u{2028}"] {
            let document = format!(
                "schema_version = 1\nmodel = {}\n[[feature]]\nname = 'x'\nkind = 'numeric'\nscope = 'item'\n",
                quoted(text)
            );
            match shared_model::schema::Schema::from_toml(&document) {
                Ok(schema) => assert_eq!(schema.model(), text),
                Err(faults) => assert!(text.is_empty() && faults.to_string().contains("`model` must have"), "{faults}"),
            }
        }
    }
}
