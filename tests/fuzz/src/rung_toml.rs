//! A daemon's configuration: every fault is told, none panics.
#![no_main]

use std::path::Path;

use cdn_config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(faults) = Config::parse(text, Path::new("")) {
        assert!(faults.iter().next().is_some(), "refused without a fault");
        let _ = faults.to_string();
    }
});
