//! A bundle's folder, read and verified as a tier does it.

use std::path::Path;

use shared_model::bundle::Edition;
use shared_model::variant::VariantName;

use crate::client::Error;

/// The bundle in `folder` with one of its variants, and that one's bytes; the catalog is as bundled.
///
/// # Errors
/// It is not a bundle.
pub fn read(folder: &Path, variant: VariantName) -> Result<(Edition, Vec<u8>), Error> {
    let file = |file: &str, _| std::fs::read(folder.join(file)).map_err(|error| error.to_string());
    let (edition, files) = Edition::read(variant, file)?;
    Ok((edition, files.variant))
}
