//! Where a feature's raw values are looked for: `field`, or `fields` for a cross.

use super::feature::bounded;
use super::table::{Table, listed, short};
use crate::graph::Scope;
use crate::limits;
use crate::schema::feature::Coding;

/// The roots of the paths that a request has.
const REQUEST_ROOTS: [&str; 2] = ["user.", "context."];

/// The paths of a feature, which must exist in a request or an item; `name` is that of the feature. Without a coding
/// or a scope, which is a fault of its own, nobody can tell more than that they are texts.
pub(super) fn read(
    name: Option<&str>,
    coding: Option<&Coding>,
    scope: Option<Scope>,
    table: &mut Table<'_, '_>,
) -> Option<Vec<String>> {
    match coding {
        Some(Coding::CrossHash(_)) => crossed(scope, table),
        Some(_) if table.has("fields") => {
            table.node("fields");
            table.node("field");
            table.fault("fields", "`fields` is for `transform = { cross_hash = n }`: name the one `field`");
            None
        }
        Some(_) => one(name, scope, table),
        None => {
            table.node("fields");
            table.node("field");
            None
        }
    }
}

fn one(name: Option<&str>, scope: Option<Scope>, table: &mut Table<'_, '_>) -> Option<Vec<String>> {
    let field = table.optional("field", Table::text).or(name);
    let field = bounded(field, "field", table)?;
    if scope == Some(Scope::Request) && !is_of_a_request(field) {
        let field = short(field);
        let message = format!("`field` is `{field}`, but a request has `user.…` and `context.…`: try `user.{field}`");
        table.fault("field", message);
    }
    Some(vec![field.to_owned()])
}

fn crossed(scope: Option<Scope>, table: &mut Table<'_, '_>) -> Option<Vec<String>> {
    if table.node("field").is_some() {
        table.fault("field", "a cross is of several: name them in `fields`, and leave `field` out");
    }
    let many = format!("a cross needs `fields`, a list of 2 to {} paths", limits::MAX_CROSSED);
    let Some(nodes) = table.optional("fields", Table::list) else {
        if !table.has("fields") {
            table.fault("fields", many);
        }
        return None;
    };
    if !(2..=limits::MAX_CROSSED).contains(&nodes.len()) {
        table.fault("fields", format!("{many}, not {}", nodes.len()));
        return None;
    }
    let mut fields: Vec<String> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Ok(field) = Table::text(node) else {
            table.fault_at(node, format!("a path of `fields` must be text, not {}", node.what()));
            return None;
        };
        let field = bounded(Some(field), "fields", table)?;
        if fields.iter().any(|known| known == field) {
            table.fault_at(
                node,
                format!("`{}` is twice in `fields`: crossing it with itself says nothing", short(field)),
            );
            return None;
        }
        let other = match scope {
            Some(Scope::Request) => (!is_of_a_request(field)).then_some("item"),
            Some(_) => is_of_a_request(field).then_some("request"),
            None => None,
        };
        if let Some(other) = other {
            let roots = listed(&REQUEST_ROOTS.map(|root| root.trim_end_matches('.')));
            let message = format!(
                "`{}` is of the {other}, and a cross is of one scope: a request has {roots}, an item the rest; no input \
                 is of both, so cross them in the model",
                short(field)
            );
            table.fault_at(node, message);
            return None;
        }
        fields.push(field.to_owned());
    }
    Some(fields)
}

fn is_of_a_request(field: &str) -> bool {
    REQUEST_ROOTS.iter().any(|root| field.len() > root.len() && field.starts_with(root))
}
