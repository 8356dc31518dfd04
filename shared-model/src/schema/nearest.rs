//! "did you mean": the known word that a misspelt one is closest to.

/// The longest word that is compared: the cost is quadratic and the word may be anyone's.
const MAX_CHARS: usize = 32;

/// The word that `word` most likely stands for, if any is near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.chars().nth(MAX_CHARS).is_some() {
        return None;
    }
    let distance = |k: &&str| edits(word, k);
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= best.len().div_ceil(3)).then_some(best)
}

/// The number of letters to insert, delete or replace.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
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
    fn suggests_the_closest_word_only_when_it_is_close() {
        let known = ["candidates", "context", "k"];
        assert_eq!(nearest("candidate", &known), Some("candidates"));
        assert_eq!(nearest("contxt", &known), Some("context"));
        assert_eq!(nearest("banana", &known), None);
        assert_eq!(nearest(&"k".repeat(100_000), &known), None);
    }
}
