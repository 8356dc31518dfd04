//! Numbers for a page.

/// Between groups of digits: a narrow space that does not break.
const GROUP: char = '\u{202f}';

/// `1 234 567`
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(GROUP);
        }
        text.push(digit);
    }
    text
}

/// `331 B`, `323.3 KiB`, `1.6 MiB`
pub(super) fn bytes(n: usize) -> String {
    let n = n as f64;
    match n {
        _ if n < 1024.0 => format!("{n} B"),
        _ if n < 1024.0 * 1024.0 => format!("{:.1} KiB", n / 1024.0),
        _ => format!("{:.1} MiB", n / 1024.0 / 1024.0),
    }
}

/// `8`, `5.6`
pub(super) fn tenths(x: f64) -> String {
    let rounded = (x * 10.0).round() / 10.0;
    rounded.to_string()
}

/// `99.71 %`
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// `99.40 to 99.98 %`
pub(super) fn span([low, high]: [f64; 2]) -> String {
    format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_thousands() {
        let plain = |n| grouped(n).replace(GROUP, " ");
        assert_eq!([plain(0), plain(999), plain(1000), plain(1_234_567)], ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn bytes_have_the_unit_that_reads_best() {
        assert_eq!([bytes(331), bytes(331_032), bytes(1_682_836)], ["331 B", "323.3 KiB", "1.6 MiB"]);
    }
}
