//! A bundle built by the `quantize` program, reused while nothing it is made of has changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::client::Error;
use crate::processes::program;

/// What `quantize build` is told, but where the bundle goes.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Files, each behind its flag.
    pub inputs: Vec<(&'static str, PathBuf)>,
    /// Settings, each behind its flag.
    pub settings: Vec<(&'static str, String)>,
}

impl Recipe {
    /// The bundle, built if need be: `work/bundle`, with what it was made of in `work/bundle.inputs`.
    ///
    /// # Errors
    /// A file cannot be used, or `quantize` fails.
    pub fn bundle(&self, work: &Path) -> Result<PathBuf, Error> {
        std::fs::create_dir_all(work)?;
        let (bundle, seal) = (work.join("bundle"), work.join("bundle.inputs"));
        let quantize = program("quantize")?;
        let fingerprint = self.fingerprint(&quantize)?;
        if bundle.join("manifest.json").is_file() && std::fs::read_to_string(&seal).is_ok_and(|s| s == fingerprint) {
            eprintln!("the bundle {} is unchanged", bundle.display());
            return Ok(bundle);
        }
        eprintln!("building {}", bundle.display());
        let _ = std::fs::remove_file(&seal);
        if bundle.exists() {
            std::fs::remove_dir_all(&bundle)?;
        }
        let mut command = Command::new(quantize);
        command.arg("build").arg("--out").arg(&bundle);
        for (flag, value) in &self.settings {
            command.arg(flag).arg(value);
        }
        for (flag, file) in &self.inputs {
            command.arg(flag).arg(file);
        }
        // The table of `quantize` is progress here: the caller's own goes to stdout.
        let status = command.stdout(std::io::stderr()).status()?;
        if !status.success() {
            return Err(format!("`quantize build` failed ({status})").into());
        }
        std::fs::write(seal, fingerprint)?;
        Ok(bundle)
    }

    fn fingerprint(&self, quantize: &Path) -> Result<String, Error> {
        let mut hash = Sha256::new();
        for (flag, value) in &self.settings {
            hash.update(format!("{flag}\0{value}\0"));
        }
        for file in self.inputs.iter().map(|(_, file)| file.as_path()).chain([quantize]) {
            let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
            hash.update(Sha256::digest(&bytes));
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}
