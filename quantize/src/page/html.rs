//! Writes HTML that is balanced and escaped by the way it is written.

use std::fmt::Write as _;

use super::chart::Drawing;

/// A part of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// An element with what is in it.
    pub(super) fn tag(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inside(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with nothing but text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: &[(&'static str, &str)], text: &str) {
        self.tag(name, attributes, |h| h.text(text));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }

    /// A drawing between its title and a note.
    pub(super) fn figure(&mut self, title: &str, drawing: &Drawing, note: &str) {
        self.tag("figure", &[], |h| {
            h.leaf("figcaption", &[], title);
            h.0.push_str(drawing.svg());
            h.leaf("small", &[], note);
        });
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.0, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.0, " {attribute}=\"{}\"", escaped(value));
        }
        self.0.push('>');
    }
}

/// A whole page. `style` is ours and goes in as it is.
pub(super) fn document(title: &str, style: &str, body: Html) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
        escaped(title),
        body.0
    )
}

/// For text and for attributes in double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No page may hold them, however they are written.
            c if c.is_control() && !c.is_whitespace() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
