//! `[clients]`: which web pages may ask, and where a CDN says where a client is.

use std::time::Duration;

use http::{HeaderName, Uri};

use crate::FaultKind;
use crate::limits::{CORS_MAX_AGE_MS, MAX_CORS_ORIGINS};
use crate::section::{Entry, Section};

const ORIGIN: &str = "an origin as browsers write it, such as `https://shop.example`, or `*` alone for any";

/// What a tier makes of its clients beside their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    cors_origins: Vec<String>,
    cors_max_age: Duration,
    geo_header: Option<HeaderName>,
}

impl Clients {
    pub(crate) fn read(root: &mut Section<'_>) -> Self {
        let mut section = root.defaulted("clients");
        let origins = section.optional("cors_origins", "a list of origins").and_then(Entry::elements);
        let listed = origins.as_ref().map_or(0, Vec::len);
        let alone = listed == 1;
        let cors_origins: Vec<_> = origins
            .into_iter()
            .flatten()
            .take(MAX_CORS_ORIGINS)
            .filter_map(|entry| entry.expecting(ORIGIN).text(|text| origin(text, alone)))
            .collect();
        if listed > MAX_CORS_ORIGINS {
            let expected = format!("at most {MAX_CORS_ORIGINS} origins").into();
            section.fault("cors_origins", FaultKind::Value { found: format!("{listed} origins"), expected });
        }
        let cors_max_age = section.millis(&CORS_MAX_AGE_MS);
        if section.has(CORS_MAX_AGE_MS.key) && !section.has("cors_origins") {
            section.fault(CORS_MAX_AGE_MS.key, FaultKind::Unused { without: "`cors_origins`" });
        }
        let geo_header = section
            .optional("geo_header", "the name of a header, such as `cf-ipcountry`")
            .and_then(|entry| entry.text(|text| HeaderName::try_from(text).ok()));
        section.finish();
        Self { cors_origins, cors_max_age, geo_header }
    }

    /// The pages that may ask, by where they come from; `*` alone is any, none is none.
    pub fn cors_origins(&self) -> &[String] {
        &self.cors_origins
    }

    /// How long a browser may remember that a page may ask.
    pub fn cors_max_age(&self) -> Duration {
        self.cors_max_age
    }

    /// The header in which a CDN says where a client is.
    pub fn geo_header(&self) -> Option<&HeaderName> {
        self.geo_header.as_ref()
    }
}

/// An origin is compared to the byte with what a browser sends: one that no browser would write could never match.
fn origin(text: &str, alone: bool) -> Option<String> {
    if text == "*" {
        return alone.then(|| text.to_owned());
    }
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let default_port = matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    let written = format!("{scheme}://{authority}").to_ascii_lowercase();
    let is_one = matches!(scheme, "http" | "https") && !authority.as_str().contains(['@', '*']) && !default_port;
    (is_one && written == text).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, ORIGIN as AN_ORIGIN, accepted, refused};

    fn clients(keys: &str) -> String {
        format!("{EDGE}[clients]\n{keys}")
    }

    #[test]
    fn no_page_may_ask_and_no_header_says_where_unless_told() {
        for text in [EDGE, AN_ORIGIN, &clients("")] {
            let config = accepted(text);
            assert_eq!((config.clients().cors_origins().len(), config.clients().geo_header()), (0, None));
        }
    }

    #[test]
    fn takes_the_origins_and_the_header_it_is_given() {
        let config = accepted(&clients(
            "cors_origins = [\"https://shop.example\", \"http://localhost:5173\"]\ncors_max_age_ms = 5000\n\
             geo_header = \"CF-IPCountry\"",
        ));
        let clients = config.clients();
        assert_eq!(clients.cors_origins(), ["https://shop.example", "http://localhost:5173"]);
        assert_eq!(clients.cors_max_age(), Duration::from_secs(5));
        assert_eq!(clients.geo_header().map(HeaderName::as_str), Some("cf-ipcountry"));
        assert_eq!(accepted(&super::tests::clients("cors_origins = [\"*\"]")).clients().cors_origins(), ["*"]);
    }

    #[test]
    fn rejects_what_no_browser_writes_as_an_origin() {
        for origin in [
            "shop.example",
            "https://shop.example/",
            "https://Shop.example",
            "https://shop.example:443",
            "https://me@shop.example",
            "ftp://shop.example",
            "null",
            "https://*.example",
        ] {
            let text = clients(&format!("cors_origins = [\"https://a.example\", \"{origin}\"]"));
            let fault = format!("rung.toml:14: clients.cors_origins[1]: is `{origin}`, expected {ORIGIN}");
            assert_eq!(refused(&text), [fault]);
        }
        let mixed = clients("cors_origins = [\"*\", \"https://a.example\"]");
        assert_eq!(refused(&mixed), [format!("rung.toml:14: clients.cors_origins[0]: is `*`, expected {ORIGIN}")]);
    }

    #[test]
    fn rejects_a_list_that_is_none_and_elements_that_are_no_texts() {
        let one = clients("cors_origins = \"https://a.example\"");
        assert_eq!(
            refused(&one),
            ["rung.toml:14: clients.cors_origins: is of type string, expected a list of origins"]
        );
        let seven = clients("cors_origins = [7]");
        assert_eq!(
            refused(&seven),
            [format!("rung.toml:14: clients.cors_origins[0]: is of type integer, expected {ORIGIN}")]
        );
    }

    #[test]
    fn rejects_more_origins_than_anybody_compares() {
        let many: Vec<_> = (0..=MAX_CORS_ORIGINS).map(|i| format!("\"https://a{i}.example\"")).collect();
        let text = clients(&format!("cors_origins = [{}]", many.join(",")));
        assert_eq!(
            refused(&text),
            ["rung.toml:14: clients.cors_origins: is `101 origins`, expected at most 100 origins"]
        );
    }

    #[test]
    fn rejects_a_name_that_no_header_has_and_an_age_of_nothing() {
        let text = clients("geo_header = \"cf ipcountry\"\ncors_max_age_ms = 5");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:14: clients.geo_header: is `cf ipcountry`, expected the name of a header, such as `cf-ipcountry`",
                "rung.toml:15: clients.cors_max_age_ms: has no use without `cors_origins`",
            ]
        );
    }
}
