//! The demo's bundle: built by the `quantize` program, reused while nothing it is made of has changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::Options;
use crate::client::Error;
use crate::processes::program;

/// The bundle's folder, built if need be.
pub(super) fn build(options: &Options, work: &Path) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(work)?;
    let (bundle, seal) = (work.join("bundle"), work.join("bundle.inputs"));
    let quantize = program("quantize")?;
    let inputs = [
        ("--model", options.dir.join(format!("{}.onnx", options.model))),
        ("--schema", options.features()),
        ("--catalog", options.dir.join("catalog.jsonl")),
        ("--calibration", options.requests_file("calibration")),
        ("--gate", options.requests_file("gate")),
    ];
    let fingerprint = fingerprint(&quantize, &inputs, [options.alpha, options.edge_share()])?;
    if bundle.join("manifest.json").is_file() && std::fs::read_to_string(&seal).is_ok_and(|s| s == fingerprint) {
        eprintln!("demo: the bundle {} is unchanged", bundle.display());
        return Ok(bundle);
    }
    eprintln!("demo: building {}", bundle.display());
    let _ = std::fs::remove_file(&seal);
    if bundle.exists() {
        std::fs::remove_dir_all(&bundle)?;
    }
    let mut command = Command::new(quantize);
    command.arg("build").arg("--out").arg(&bundle).args(["--version", "1", "--serial", "1", "--k", "10"]);
    command.args(["--alpha", &options.alpha.to_string(), "--edge-share", &options.edge_share().to_string()]);
    for (flag, file) in &inputs {
        command.arg(flag).arg(file);
    }
    // The table of `quantize` is progress here: the demo's own goes to stdout.
    let status = command.stdout(std::io::stderr()).status()?;
    if !status.success() {
        return Err(format!("`quantize build` failed ({status})").into());
    }
    std::fs::write(seal, fingerprint)?;
    Ok(bundle)
}

fn fingerprint(quantize: &Path, inputs: &[(&str, PathBuf)], numbers: [f64; 2]) -> Result<String, Error> {
    let mut hash = Sha256::new();
    numbers.iter().for_each(|n| hash.update(n.to_le_bytes()));
    for file in inputs.iter().map(|(_, file)| file.as_path()).chain([quantize]) {
        let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        hash.update(Sha256::digest(&bytes));
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
