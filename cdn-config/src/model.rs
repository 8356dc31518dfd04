//! `[[model]]`: the bundles that a tier serves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::FaultKind;
use crate::files::FileKind;
use crate::keys::Key;
use crate::limits::POLL_MS;
use crate::section::{Entry, Section};

pub(crate) const KEYS: &[Key] = &[
    Key::text("bundle", "path", "a bundle's folder, or a symbolic link to it; none twice")
        .clients("other models or versions answer"),
    Key::number(&POLL_MS, "how often that folder is looked at for another bundle or a catalog delta"),
];

/// One model, by its bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    bundle: PathBuf,
    poll: Duration,
}

impl Model {
    pub(crate) fn read_all(root: &mut Section<'_>) -> Option<Vec<Self>> {
        let expected = "one [[model]] or more, each with `bundle`";
        let sections = root.required("model", expected).and_then(Entry::sections)?;
        if sections.is_empty() {
            root.fault("model", FaultKind::Missing { expected: expected.into() });
        }
        let mut bundles = BTreeSet::new();
        Some(sections.into_iter().filter_map(|section| Self::read(section, &mut bundles)).collect())
    }

    fn read(mut section: Section<'_>, bundles: &mut BTreeSet<PathBuf>) -> Option<Self> {
        let bundle =
            section.required("bundle", "the path of a bundle's folder").and_then(|entry| entry.path(FileKind::Folder));
        if let Some(path) = &bundle
            && !bundles.insert(path.clone())
        {
            let expected = "a bundle that no other [[model]] names".into();
            section.fault("bundle", FaultKind::Value { found: path.display().to_string(), expected });
        }
        let poll = section.millis(&POLL_MS);
        section.finish();
        Some(Self { bundle: bundle?, poll })
    }

    /// The bundle's folder.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// How often the folder is looked at for another bundle, or a delta of its catalog.
    pub fn poll(&self) -> Duration {
        self.poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, accepted, refused};

    #[test]
    fn serves_several_models_in_the_order_of_the_file() {
        let config = accepted(&format!("{EDGE}[[model]]\nbundle = \"/srv/books\""));
        let bundles: Vec<_> = config.models().iter().map(Model::bundle).collect();
        assert_eq!(bundles, [Path::new("/etc/rung/bundles/movies"), Path::new("/srv/books")]);
    }

    #[test]
    fn looks_at_each_bundle_as_often_as_the_file_says() {
        let config = accepted(&format!("{EDGE}[[model]]\nbundle = \"/srv/books\"\npoll_ms = 60000"));
        let polls: Vec<_> = config.models().iter().map(|model| model.poll().as_millis()).collect();
        assert_eq!(polls, [250, 60_000]);
    }

    #[test]
    fn rejects_a_poll_without_a_pause() {
        let text = EDGE.replace("bundle = \"bundles/movies\"", "bundle = \"bundles/movies\"\npoll_ms = 0");
        assert_eq!(
            refused(&text),
            ["rung.toml:10: model[0].poll_ms: is `0`, expected a whole number from 10 to 3600000"]
        );
    }

    #[test]
    fn rejects_a_file_without_a_model() {
        let text = EDGE.replace("[[model]]\nbundle = \"bundles/movies\"", "");
        assert_eq!(refused(&text), ["rung.toml:1: model: missing, expected one [[model]] or more, each with `bundle`"]);
    }

    #[test]
    fn rejects_an_empty_list_of_models() {
        let text =
            EDGE.replace("[[model]]\nbundle = \"bundles/movies\"", "").replace("[listen]", "model = []\n[listen]");
        assert_eq!(refused(&text), ["rung.toml:4: model: missing, expected one [[model]] or more, each with `bundle`"]);
    }

    #[test]
    fn rejects_a_model_written_as_one_section() {
        let text = EDGE.replace("[[model]]", "[model]");
        assert_eq!(
            refused(&text),
            ["rung.toml:8: model: is of type table, expected one [[model]] or more, each with `bundle`"]
        );
    }

    #[test]
    fn rejects_a_model_without_a_bundle() {
        let text = format!("{EDGE}[[model]]\nbundel = \"books\"");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:13: model[1].bundle: missing, expected the path of a bundle's folder",
                "rung.toml:14: model[1].bundel: unknown key, did you mean `bundle`?",
            ]
        );
    }

    #[test]
    fn rejects_the_same_bundle_twice() {
        let text = format!("{EDGE}[[model]]\nbundle = \"bundles/movies\"");
        assert_eq!(
            refused(&text),
            ["rung.toml:14: model[1].bundle: is `bundles/movies`, expected a bundle that no other [[model]] names",]
        );
    }

    #[test]
    fn rejects_an_empty_path() {
        let text = EDGE.replace("bundles/movies", "");
        assert_eq!(refused(&text), ["rung.toml:9: model[0].bundle: is ``, expected the path of a bundle's folder"]);
    }
}
