//! The whole file, typed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::files::NamedFile;
use crate::keys::Key;
use crate::limits::MAX_FILE_BYTES;
use crate::section::{Findings, Noted, Section};
use crate::setting::{self, Setting};
use crate::{Clients, Fault, FaultKind, Faults, Limits, Listen, Log, Model, Role, Tier};

/// The version of the document's form that this build reads.
const SCHEMA_VERSION: usize = 1;

/// The keys above all sections.
pub(crate) const KEYS: &[Key] = &[
    Key::text("schema_version", "1", "the version of this form"),
    Key::choice("tier", &["edge", "region", "origin"], "which rung this is").clients("another tier answers"),
];

/// A `rung.toml` without a fault in it. Its relative paths have been joined to the folder it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    file: PathBuf,
    named_files: Vec<NamedFile>,
    settings: Vec<Setting>,
    role: Role,
    listen: Listen,
    models: Vec<Model>,
    limits: Limits,
    clients: Clients,
    log: Log,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read: the path is wrong, or its permissions are.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file asked for.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is to be put right.
    #[error(transparent)]
    Faults(#[from] Faults),
}

impl Config {
    /// Reads a file. The files that it names are not looked at: see [`Self::check_files`].
    pub fn from_path(file: &Path) -> Result<Self, LoadError> {
        Self::from_path_with_text(file).map(|(config, _)| config)
    }

    /// The same, with the text that was read.
    pub fn from_path_with_text(file: &Path) -> Result<(Self, String), LoadError> {
        let unreadable = |source| LoadError::Unreadable { file: file.to_owned(), source };
        let opened = File::open(file).map_err(unreadable)?;
        let mut bytes = Vec::new();
        opened.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let config = Self::from_bytes(&bytes, file)?;
        Ok((config, String::from_utf8(bytes).expect("what is not UTF-8 was refused")))
    }

    /// Reads the text of a `rung.toml` of the folder `base_dir`.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, Faults> {
        Self::from_bytes(text.as_bytes(), &base_dir.join("rung.toml"))
    }

    fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self, Faults> {
        let refuse = |line, kind| Faults::new(file, vec![Fault::new(line, "", kind)]);
        if bytes.len() > MAX_FILE_BYTES {
            return Err(refuse(1, FaultKind::TooLong { max: MAX_FILE_BYTES }));
        }
        let text = str::from_utf8(bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            refuse(line, FaultKind::Syntax { message: "is not UTF-8 text".to_owned() })
        })?;

        let findings = Findings::new(text, file.parent().unwrap_or(Path::new("")));
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(1, |span| findings.line(span.start));
            findings.fault(line, "", FaultKind::Syntax { message: error.message().to_owned() });
        }
        // What the parser makes of a line it could not read would only be faulted a second time.
        let parts = errors.is_empty().then(|| Parts::read(Section::root(document.get_ref(), &findings))).flatten();

        match (findings.into_noted(), parts) {
            (Noted { faults, files, asked }, Some(Parts { role, listen, models, limits, clients, log }))
                if faults.is_empty() =>
            {
                let settings = setting::in_effect(asked, role.tier());
                let named_files = files;
                Ok(Self { file: file.to_owned(), named_files, settings, role, listen, models, limits, clients, log })
            }
            (Noted { faults, .. }, _) => Err(Faults::new(file, faults)),
        }
    }

    /// Opens every file and folder that the document names, and tells those that cannot be used.
    pub fn check_files(&self) -> Result<(), Faults> {
        let faults: Vec<_> = self.named_files.iter().filter_map(|named| named.check().err()).collect();
        if faults.is_empty() { Ok(()) } else { Err(Faults::new(&self.file, faults)) }
    }

    /// The file it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Every setting in effect, written or by default, in the order of the reference page.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Every file and folder that the document names.
    pub(crate) fn named_files(&self) -> &[NamedFile] {
        &self.named_files
    }

    /// What it says, whatever the lines that it says it on.
    #[cfg(test)]
    pub(crate) fn meaning(self) -> Self {
        Self { named_files: Vec::new(), settings: Vec::new(), ..self }
    }

    /// The tier this file is for.
    pub fn tier(&self) -> Tier {
        self.role.tier()
    }

    /// The tier, with the sections that only it has.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Where the tier can be reached.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The models it serves: one or more, each with a bundle of its own.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// What it takes from clients.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it makes of clients beside their requests.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What it writes about itself.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// The sections of a document, before it is known whether any has a fault.
struct Parts {
    role: Role,
    listen: Listen,
    models: Vec<Model>,
    limits: Limits,
    clients: Clients,
    log: Log,
}

impl Parts {
    fn read(mut root: Section<'_>) -> Option<Self> {
        let expected = format!("{SCHEMA_VERSION}, the version that this build reads");
        let version = root.required("schema_version", expected.clone()).and_then(|entry| entry.number(0..=usize::MAX));
        if let Some(other) = version.filter(|version| *version != SCHEMA_VERSION) {
            // Another version may mean anything by its keys.
            root.fault("schema_version", FaultKind::Value { found: other.to_string(), expected: expected.into() });
            return None;
        }

        let tier = Tier::read(&mut root);
        let limits = Limits::read(&mut root, tier);
        let role = Role::read(&mut root, tier, &limits);
        let listen = Listen::read(&mut root, tier);
        let models = Model::read_all(&mut root);
        let clients = Clients::read(&mut root);
        let log = Log::read(&mut root);
        root.finish();
        Some(Self { role: role?, listen: listen?, models: models?, limits, clients, log })
    }
}

/// The path of every key that is asked for while a document is read, with its faults or without.
#[cfg(test)]
pub(crate) fn asked_for(text: &str) -> Vec<String> {
    let findings = Findings::new(text, Path::new(""));
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    Parts::read(Section::root(document.get_ref(), &findings));
    findings.into_noted().asked.into_iter().map(|asked| asked.path).collect()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::example::{EDGE, ORIGIN, accepted, refused};

    #[test]
    fn reads_the_files_of_the_reference_page() {
        let page = include_str!("../../docs/rung-toml.md");
        let examples: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let tiers: Vec<_> = examples.iter().map(|text| accepted(text).tier()).collect();
        assert_eq!(tiers, [Tier::Edge, Tier::Origin]);
    }

    #[test]
    fn tells_every_fault_at_once_by_line() {
        let text = EDGE
            .replace("tier = \"edge\"", "tier = 1")
            .replace("8080", "80800")
            .replace("bundle =", "bundel =")
            .replace("wasm =", "instances = 0\nwasm =")
            .replace("[[model]]", "[limit]\n[[model]]");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:2: tier: is of type integer, expected `edge`, `region` or `origin`",
                "rung.toml:5: listen.http: is `127.0.0.1:80800`, expected an IP address and a port, such as `127.0.0.1:8080`",
                "rung.toml:8: limit: unknown key, did you mean `limits`?",
                "rung.toml:9: model[0].bundle: missing, expected the path of a bundle's folder",
                "rung.toml:10: model[0].bundel: unknown key, did you mean `bundle`?",
                "rung.toml:13: worker.instances: is `0`, expected a whole number from 1 to 1024",
            ]
        );
    }

    #[test]
    fn reads_a_file_and_joins_its_paths_to_its_folder() {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("origin.toml");
        std::fs::write(&file, ORIGIN).expect("written");
        let config = Config::from_path(&file).expect("no fault");
        assert_eq!(config.models()[0].bundle(), folder.path().join("bundles/movies"));
    }

    #[test]
    fn rejects_a_file_that_is_not_there() {
        let error = Config::from_path(Path::new("/nowhere/rung.toml")).expect_err("no such file");
        assert!(matches!(error, LoadError::Unreadable { .. }));
        assert!(error.to_string().starts_with("/nowhere/rung.toml: "));
    }

    #[test]
    fn rejects_a_file_longer_than_a_configuration() {
        let text = format!("{EDGE}# {}", "x".repeat(MAX_FILE_BYTES));
        assert_eq!(refused(&text), ["rung.toml:1: the file is longer than 1048576 bytes"]);
    }

    #[test]
    fn rejects_text_that_is_not_utf_8() {
        let faults = Config::from_bytes(b"schema_version = 1\ntier = \"\xff\"", Path::new("rung.toml"));
        assert_eq!(faults.expect_err("not UTF-8").to_string(), "rung.toml:2: is not UTF-8 text");
    }

    #[test]
    fn rejects_what_is_not_toml_with_every_line_that_is_not() {
        let text = EDGE.replace("tier = \"edge\"", "tier = edge").replace("[listen]", "[listen");
        let lines: Vec<_> = refused(&text).iter().map(|fault| fault[..12].to_owned()).collect();
        assert_eq!(lines, ["rung.toml:2:", "rung.toml:4:"]);
    }

    #[test]
    fn rejects_a_key_given_twice() {
        assert_eq!(refused(&format!("schema_version = 1\n{EDGE}")), ["rung.toml:2: duplicate key"]);
    }

    #[test]
    fn rejects_nesting_without_end() {
        let text = format!("schema_version = {}", "[".repeat(100_000));
        assert!(!refused(&text).is_empty());
    }

    #[test]
    fn rejects_a_missing_schema_version() {
        let text = EDGE.replace("schema_version = 1", "");
        assert_eq!(
            refused(&text),
            ["rung.toml:1: schema_version: missing, expected 1, the version that this build reads"]
        );
    }

    #[test]
    fn rejects_another_schema_version_without_reading_on() {
        assert_eq!(
            refused("schema_version = 2\nrungs = 7"),
            ["rung.toml:1: schema_version: is `2`, expected 1, the version that this build reads"]
        );
    }

    #[test]
    fn rejects_an_unknown_key_and_names_the_known_ones() {
        let text = EDGE.replace("admin", "colour = \"red\"\nadmin");
        assert_eq!(
            refused(&text),
            ["rung.toml:6: listen.colour: unknown key, expected one of `http`, `https`, `tiers`, `http3`, `admin`"]
        );
    }
}
