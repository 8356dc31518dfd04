//! Findings as a page of HTML, for a review: one file that fetches nothing and runs no script.
//!
//! What comes from data is escaped where it is written ([`html`]); what is drawn has the page's colours ([`chart`]). A
//! section is a function of the findings; a new one is a line in [`page`].

mod chart;
mod file;
mod format;
mod html;
mod sections;
mod table;

#[cfg(test)]
mod tests;

use crate::findings::Findings;
use chart::ChartError;
use html::Html;

pub(crate) use file::PageFile;

const STYLE: &str = include_str!("page/style.css");

/// A section: its anchor, its title, and what writes it.
type Section = (&'static str, &'static str, fn(&mut Html, &Findings) -> Result<(), ChartError>);

const SECTIONS: [Section; 10] = [
    ("summary", "Summary", sections::summary),
    ("quality", "Quality", sections::quality),
    ("coverage", "Agreement against coverage", sections::coverage),
    ("cohorts", "Cohorts", sections::cohorts),
    ("ladder", "Policies and the ladder", sections::ladder),
    ("deviation", "Deviation of scores", sections::deviation),
    ("front", "Agreement against bytes", sections::front),
    ("tensors", "Bits of each tensor", sections::tensors),
    ("work", "Multiply-adds", sections::work),
    ("changed", "Requests that changed most", sections::changed),
];

/// The page.
///
/// # Errors
/// A chart cannot be drawn.
pub(crate) fn page(findings: &Findings) -> Result<String, ChartError> {
    let title = format!("{} {}: what quantizing does to it", findings.model, findings.version);
    let mut body = Html::default();
    let mut drawn = Ok(());
    body.tag("header", &[], |h| {
        h.leaf("h1", &[], &findings.model);
        h.tag("p", &[("class", "lead")], |h| {
            h.text(&format!("Version {}, serial {}: its variants beside f32.", findings.version, findings.serial));
        });
        h.tag("nav", &[], |h| {
            for (anchor, name, _) in SECTIONS {
                h.leaf("a", &[("href", &format!("#{anchor}"))], name);
            }
        });
    });
    body.tag("main", &[], |h| {
        for (anchor, name, write) in SECTIONS {
            h.tag("section", &[("id", anchor)], |h| {
                h.leaf("h2", &[], name);
                if drawn.is_ok() {
                    drawn = write(h, findings);
                }
            });
        }
    });
    drawn?;
    Ok(html::document(&title, STYLE, body))
}
