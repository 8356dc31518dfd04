//! The tables of `docs/rung-toml.md`, written from the entries.

use super::{Absent, Key, Keys, SECTIONS};
use crate::Tier;

/// The part of the reference page between its two marks: a table a section.
pub fn page() -> String {
    let mut page = String::new();
    for section in SECTIONS {
        page.push_str(&section.heading());
        for key in section.keys {
            page.push_str(&row(key));
        }
    }
    page
}

impl Keys {
    fn heading(&self) -> String {
        let title = match self.section {
            "" => "Above all sections".to_owned(),
            "model" => "`[[model]]`".to_owned(),
            section => format!("`[{section}]`"),
        };
        let about = if self.about.is_empty() { String::new() } else { format!(": {}", self.about) };
        format!("\n### {title}{about}\n\n| key | what it is | default | values |\n|---|---|---|---|\n")
    }
}

fn row(key: &Key) -> String {
    let default = match key.absent {
        Absent::Number { pop, origin } if pop != origin => format!("{pop}; at the origin {origin}"),
        other => other.in_words(Tier::Edge),
    };
    format!("| `{}` | {} | {default} | {} |\n", key.name, key.what, key.values.in_words())
}
