//! A daemon's configuration: every fault is told, none panics, and what has no fault can be explained, compared and
//! rendered.
#![no_main]

use std::io::sink;
use std::path::Path;

use cdn_config::Config;
use cdn_config::diff::diff;
use cdn_config::explain::explain;
use cdn_config::render::{Options, PROVIDERS, Proxy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text, Path::new("")) {
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "refused without a fault");
            let _ = faults.to_string();
        }
        Ok(config) => use_all(&config, text),
    }
});

fn use_all(config: &Config, text: &str) {
    let explanation = explain(config, None).expect("all is explained");
    explanation.write_text(&mut sink()).expect("a sink takes all");
    explanation.write_json(&mut sink()).expect("a sink takes all");

    let itself = diff(config, config);
    assert!(itself.is_none(), "another than itself");
    // Elsewhere, the files that the document names are others only if their paths are absolute.
    let elsewhere = Config::parse(text, Path::new("/elsewhere")).expect("read before");
    diff(config, &elsewhere).write_json(&mut sink()).expect("a sink takes all");

    for provider in PROVIDERS {
        for proxy in [Proxy::None, Proxy::Nginx, Proxy::Caddy] {
            let options = Options { proxy, server_name: Some("rank.example".to_owned()), certificate: None };
            let rendered = provider.render(config, text, &options).map_err(|error| error.to_string());
            assert_eq!(rendered, provider.render(config, text, &options).map_err(|error| error.to_string()));
        }
    }
}
