//! One `[vocabulary.name]`.

use super::table::{Table, short};
use crate::limits;
use crate::schema::document::Node;
use crate::schema::faults::SchemaFaults;
use crate::schema::feature::Vocabulary;
use crate::schema::names::{NameError, Names};

/// Reads one; what is faulty in it is left out.
pub(super) fn read(name: &str, node: &Node, faults: &mut SchemaFaults) -> Vocabulary {
    let Some(mut table) = Table::of(node, None, &format!("vocabulary `{}`", short(name)), faults) else {
        return Vocabulary { name: name.to_owned(), first: 0, values: None };
    };
    if name.is_empty() || name.len() > limits::MAX_ID_BYTES {
        let message = format!("the name of vocabulary `{}` must have 1 to {} bytes", short(name), limits::MAX_ID_BYTES);
        table.fault("", message);
    }
    let from_catalog = table.choice("source", &[("catalog", ())]).is_some();
    let nodes = table.optional("values", Table::list);
    let first = table.optional("first", Table::integer).unwrap_or(i64::from(from_catalog));
    let largest = limits::MAX_ITEMS as i64;
    if !(0..=largest).contains(&first) {
        table.fault("first", format!("`first` of vocabulary `{}` must be 0 to {largest}", short(name)));
    }
    let given = (table.has("source"), table.has("values"));
    let values = match given {
        (false, true) => Some(values(name, nodes.unwrap_or_default(), &mut table)),
        (true, false) => None,
        _ => {
            let message = format!("vocabulary `{}` must have either `values` or `source = \"catalog\"`", short(name));
            table.fault("", message);
            None
        }
    };
    table.finish();
    let first = u32::try_from(first).unwrap_or_default();
    Vocabulary { name: name.to_owned(), first, values }
}

fn values(name: &str, nodes: &[Node], table: &mut Table<'_, '_>) -> Names {
    let mut names = Names::default();
    if nodes.is_empty() || nodes.len() > limits::MAX_VOCABULARY {
        let message = format!("vocabulary `{}` must have 1 to {} values", short(name), limits::MAX_VOCABULARY);
        table.fault("values", message);
        return names;
    }
    for node in nodes {
        let value = match Table::text(node) {
            Ok(value) if value.len() <= limits::MAX_TEXT_BYTES => value,
            Ok(_) => {
                table.fault_at(node, format!("a value has more than {} bytes", limits::MAX_TEXT_BYTES));
                continue;
            }
            Err(must) => {
                table.fault_at(
                    node,
                    format!("a value of vocabulary `{}` must be {must}, not {}", short(name), node.what()),
                );
                continue;
            }
        };
        match names.push(value) {
            Ok(()) => {}
            Err(NameError::Duplicate(_)) => {
                table.fault_at(node, format!("`{}` is twice in vocabulary `{}`", short(value), short(name)));
            }
            Err(NameError::Full) => table.fault_at(node, "the vocabulary is longer than 4 GiB"),
        }
    }
    names
}
