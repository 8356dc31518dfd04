//! The known key that an unknown one is most likely a slip of.

/// The closest of `known`, if it is close enough for a slip of the pen: at most one wrong letter in three.
pub(crate) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .filter(|name| name.len().abs_diff(key.len()) <= slips_allowed(name))
        .map(|name| (edit_distance(key, name), *name))
        .filter(|(distance, name)| *distance <= slips_allowed(name))
        .min()
        .map(|(_, name)| name)
}

fn slips_allowed(name: &str) -> usize {
    (name.len() / 3).max(1)
}

/// Levenshtein's distance, row by row.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_insertions_deletions_and_replacements() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "url"), 3);
        assert_eq!(edit_distance("url", "url"), 0);
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_key() {
        assert_eq!(nearest("max_candidate", &["max_k", "max_candidates"]), Some("max_candidates"));
        assert_eq!(nearest("uri", &["ca", "url"]), Some("url"));
    }

    #[test]
    fn a_word_of_its_own_finds_none() {
        assert_eq!(nearest("colour", &["ca", "url"]), None);
        assert_eq!(nearest(&"u".repeat(1 << 20), &["url"]), None);
    }
}
