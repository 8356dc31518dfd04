//! What the name of an input says.

use shared_model::graph::Scope;

/// Words for what the user did, whatever stands beside them.
const DEEDS: [&str; 9] = ["history", "recent", "session", "clicked", "watched", "viewed", "bought", "liked", "seen"];
const OF_REQUESTS: [&str; 20] = [
    "user",
    "context",
    "query",
    "hour",
    "weekday",
    "dow",
    "day",
    "time",
    "timestamp",
    "device",
    "geo",
    "country",
    "city",
    "viewer",
    "member",
    "customer",
    "visitor",
    "request",
    "locale",
    "os",
];
const OF_ITEMS: [&str; 24] = [
    "item",
    "candidate",
    "movie",
    "film",
    "product",
    "ad",
    "doc",
    "document",
    "video",
    "track",
    "song",
    "article",
    "book",
    "genre",
    "genres",
    "year",
    "price",
    "popularity",
    "category",
    "brand",
    "title",
    "author",
    "release",
    "stock",
];

/// The words of a name, in lower case.
pub(super) fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Whose value it is, if the name says so: the first word that tells.
pub(super) fn scope_of(name: &str) -> Option<Scope> {
    if words(name).any(|word| DEEDS.contains(&word.as_str())) {
        return Some(Scope::Request);
    }
    words(name).find_map(|word| match word.as_str() {
        word if OF_REQUESTS.contains(&word) => Some(Scope::Request),
        word if OF_ITEMS.contains(&word) => Some(Scope::Item),
        _ => None,
    })
}

/// Whether it names a thing rather than tells of it.
pub(super) fn is_id(name: &str) -> bool {
    words(name).last().is_some_and(|word| word == "id" || word == "ids")
}

/// Whether it is a moment.
pub(super) fn is_time(path: &str) -> bool {
    words(path).any(|word| matches!(word.as_str(), "time" | "timestamp" | "ts" | "datetime"))
}

/// The name of a field within its scope: `id` of `user_id` in a request, of `movie_id` in an item.
pub(super) fn stem(name: &str, scope: Scope) -> String {
    let of_scope: &[&str] = if scope == Scope::Item { &OF_ITEMS } else { &OF_REQUESTS };
    let rest = name.split_once('_').filter(|(first, rest)| of_scope.contains(first) && !rest.is_empty());
    rest.map_or(name, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_telling_word_counts_but_a_deed_counts_more() {
        assert_eq!(scope_of("user_id"), Some(Scope::Request));
        assert_eq!(scope_of("movie_id"), Some(Scope::Item));
        assert_eq!(scope_of("user_item_count"), Some(Scope::Request));
        assert_eq!(scope_of("movie_history"), Some(Scope::Request));
        assert_eq!(scope_of("x3"), None);
    }

    #[test]
    fn a_stem_leaves_out_whose_it_is() {
        assert_eq!(stem("item_id", Scope::Item), "id");
        assert_eq!(stem("item_id", Scope::Request), "item_id");
        assert_eq!(stem("user_mean_rating", Scope::Request), "mean_rating");
        assert_eq!((stem("user", Scope::Request), stem("user_", Scope::Request)), ("user".into(), "user_".into()));
    }
}
