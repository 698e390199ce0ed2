//! Small things about text: near spellings, durations, tables.

use std::time::Duration;

/// The candidate nearest to `word`, if it is near enough to be a slip of the keys.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein's distance; words beyond 64 bytes are far from everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 { usize::MAX } else { strsim::levenshtein(a, b) }
}

/// A text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number with a unit, such as 500ms, 30s, 10m, 72h or 1m30s")]
pub(crate) struct DurationError;

/// Parses durations as Go writes them: `1h30m`, `1.5s`, `250ms`; `0` needs no unit.
///
/// # Errors
/// [`DurationError`]: no such form, negative, or more than 290 years.
pub(crate) fn duration(s: &str) -> Result<Duration, DurationError> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    const MAX_NS: f64 = 9e18;
    let s = s.strip_prefix('+').unwrap_or(s);
    if s == "0" {
        return Ok(Duration::ZERO);
    }
    if s.is_empty() || s.len() > 64 {
        return Err(DurationError);
    }
    let (mut rest, mut total_ns) = (s, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError)?;
        let number: f64 = rest[..digits].parse().map_err(|_| DurationError)?;
        let tail = &rest[digits..];
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit = UNITS.iter().find(|(u, _)| *u == &tail[..end]).ok_or(DurationError)?;
        total_ns += number * unit.1;
        rest = &tail[end..];
    }
    if total_ns > MAX_NS {
        return Err(DurationError);
    }
    Ok(Duration::from_nanos(total_ns as u64))
}

/// Columns padded with two blanks between them; the last one is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (c, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if c + 1 < row.len() {
                let pad = widths[c] - cell.chars().count() + 2;
                out.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["node_name", "data_dir", "datacenter"];
        assert_eq!(closest("node_nme", words), Some("node_name"));
        assert_eq!(closest("datadir", words), Some("data_dir"));
        assert_eq!(closest("banana", words), None);
        assert_eq!(closest(&"x".repeat(1000), words), None);
    }

    #[test]
    fn durations_as_go_writes_them() {
        let ms = |n| Ok(Duration::from_millis(n));
        for (s, want) in [
            ("0", ms(0)),
            ("30s", ms(30_000)),
            ("1m30s", ms(90_000)),
            ("1.5s", ms(1500)),
            ("250ms", ms(250)),
            ("72h", ms(72 * 3_600_000)),
            ("", Err(DurationError)),
            ("30", Err(DurationError)),
            ("-5s", Err(DurationError)),
            ("5 s", Err(DurationError)),
            ("s", Err(DurationError)),
            ("1..5s", Err(DurationError)),
            ("9999999999999h", Err(DurationError)),
        ] {
            assert_eq!(duration(s), want, "{s:?}");
        }
    }

    #[test]
    fn the_last_column_is_not_padded() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(
            table(&[row("Node", "DC"), row("agent-one", "d")]),
            "Node       DC\nagent-one  d\n"
        );
    }
}
