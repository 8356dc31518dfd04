//! Small documents that the tests of every section start from, and the two outcomes of reading one.

use std::path::Path;

use crate::Config;

pub(crate) const EDGE: &str = r#"schema_version = 1
tier = "edge"

[listen]
http = "127.0.0.1:8080"
admin = "127.0.0.1:9090"

[[model]]
bundle = "bundles/movies"

[worker]
wasm = "worker.wasm"
"#;

pub(crate) const ORIGIN: &str = r#"schema_version = 1
tier = "origin"

[listen]
http = "127.0.0.1:8080"
admin = "127.0.0.1:9090"

[[model]]
bundle = "bundles/movies"
"#;

/// Every section that an edge can have, each with no more than it needs.
pub(crate) const FULL_EDGE: &str = r#"schema_version = 1
tier = "edge"

[listen]
http = "127.0.0.1:8080"
https = "0.0.0.0:8443"
admin = "127.0.0.1:9090"

[tls]
certificate = "edge.crt"
key = "edge.key"

[[model]]
bundle = "bundles/movies"

[limits]

[clients]
cors_origins = ["https://shop.example"]

[cache]

[worker]
wasm = "worker.wasm"

[upstream]
url = "https://region.example:8443"
ca = "ca.crt"
certificate = "edge.crt"
key = "edge.key"

[log]
"#;

/// Every section that an origin can have.
pub(crate) const FULL_ORIGIN: &str = r#"schema_version = 1
tier = "origin"

[listen]
http = "127.0.0.1:8080"
https = "0.0.0.0:8443"
tiers = "0.0.0.0:8444"
admin = "127.0.0.1:9090"

[tls]
certificate = "origin.crt"
key = "origin.key"
client_ca = "tiers-ca.crt"

[[model]]
bundle = "bundles/movies"

[limits]

[clients]
cors_origins = ["https://shop.example"]

[device]

[batching]

[log]
"#;

/// Reads a document of `/etc/rung` that has no fault.
#[track_caller]
pub(crate) fn accepted(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/rung")).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Reads a document that has faults, and tells them.
#[track_caller]
pub(crate) fn refused(text: &str) -> Vec<String> {
    let faults = Config::parse(text, Path::new("")).expect_err("the document has no fault");
    faults.to_string().lines().map(str::to_owned).collect()
}
