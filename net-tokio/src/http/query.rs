//! The query string: its pairs, Go's durations, and what a blocking query asks for.
//!
//! Guarantees: any bytes give a value or an [`ApiError`]; work and memory are linear in the
//! length of a request head, which the server bounds.

use std::{borrow::Cow, time::Duration};

use crate::http::error::ApiError;

/// At most so many pairs are looked at.
const MAX_PAIRS: usize = 64;
/// How long a blocking query waits when it does not say.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(300);
/// The longest that a blocking query waits, before jitter.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(600);
/// Jitter is up to the wait divided by this.
pub(crate) const JITTER_DIVISOR: u32 = 16;

/// The pairs of a query string, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// Wait until the index is above `index`, at most `wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocking {
    pub(crate) index: u64,
    pub(crate) wait: Duration,
}

impl Query {
    /// Reads `a=b&c`; a key without `=` has the empty value.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|p| !p.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(ApiError::TooManyParameters(MAX_PAIRS));
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |s| percent_decode(s, Plus::Blank).map(Cow::into_owned);
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                return Err(ApiError::Encoding(part.to_owned()));
            };
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// Is the key there, with any value or none?
    pub(crate) fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(k, _)| k == key)
    }

    /// The first value of a key, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(k, _)| k == key)?;
        Some(value.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Are all keys among `known`?
    pub(crate) fn only(&self, known: &[&str]) -> bool {
        self.pairs.iter().all(|(k, _)| known.contains(&k.as_str()))
    }

    /// What a blocking query asks for; `None` if it does not block.
    pub(crate) fn blocking(&self) -> Result<Option<Blocking>, ApiError> {
        let wait = match self.get("wait") {
            None => DEFAULT_WAIT,
            Some(text) => match parse_duration(text) {
                Err(cause) => return Err(ApiError::Wait { text: text.to_owned(), cause }),
                Ok(Duration::ZERO) => DEFAULT_WAIT,
                Ok(wait) => wait.min(MAX_WAIT),
            },
        };
        let index = match self.get("index") {
            None => 0,
            Some(text) => text.parse().map_err(|_| ApiError::Index(text.to_owned()))?,
        };
        Ok((index > 0).then_some(Blocking { index, wait }))
    }
}

/// What `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A blank: in query strings.
    Blank,
    /// Itself: in paths.
    Literal,
}

/// Undoes `%xx`; `None` for a broken escape or when the result is not UTF-8.
pub(crate) fn percent_decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    let special = |b: u8| b == b'%' || (b == b'+' && plus == Plus::Blank);
    if !text.bytes().any(special) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus == Plus::Blank => b' ',
            _ => b,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// No digits where a number should begin.
    #[error("a number is missing")]
    Number,
    /// A number without a unit, or with one that is not known.
    #[error("each number needs a unit: ns, us, ms, s, m or h")]
    Unit,
    /// Below zero.
    #[error("it is negative")]
    Negative,
    /// More than 290 years.
    #[error("it is too long")]
    TooLong,
}

/// Reads a Go duration: `10s`, `1m30s`, `1.5h`, `500ms`, `0`.
///
/// # Errors
/// [`DurationError`]; negative durations are an error too.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let number =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, tail) = rest.split_at(number);
        let unit =
            tail.len() - tail.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (unit, tail) = tail.split_at(unit);
        let term = term_ns(digits, unit)?;
        total_ns = total_ns.checked_add(term).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    if total_ns > i64::MAX as u64 {
        return Err(DurationError::TooLong);
    }
    Ok(Duration::from_nanos(total_ns))
}

/// `digits` (with at most one dot) times `unit`; what is below a nanosecond is cut off.
fn term_ns(digits: &str, unit: &str) -> Result<u64, DurationError> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(DurationError::Number);
    }
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(DurationError::Unit),
    };
    let whole: u64 = match whole {
        "" => 0,
        _ => whole.parse().map_err(|_| DurationError::TooLong)?,
    };
    let ns = whole.checked_mul(unit_ns).ok_or(DurationError::TooLong)?;
    // More digits than this are below a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let places = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(15));
    let part = fraction.parse::<u128>().unwrap_or(0) * u128::from(unit_ns) / places;
    u64::try_from(part).ok().and_then(|part| ns.checked_add(part)).ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_go_s() {
        for (text, ns) in [
            ("0", 0),
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("+1.5h", 5_400_000_000_000),
            (".5us", 500),
            ("1.µs", 1_000),
            ("1h0.000000001s", 3_600_000_000_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
        for (text, error) in [
            ("", DurationError::Empty),
            ("+", DurationError::Empty),
            ("-1s", DurationError::Negative),
            ("10", DurationError::Unit),
            ("10 s", DurationError::Unit),
            ("10d", DurationError::Unit),
            ("s", DurationError::Number),
            (".s", DurationError::Number),
            ("1.2.3s", DurationError::Number),
            ("9999999h", DurationError::TooLong),
            ("99999999999999999999s", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn blocking_needs_an_index_and_clamps_the_wait() {
        let blocking = |text| Query::parse(text).unwrap().blocking();
        assert_eq!(blocking("wait=10s").unwrap(), None);
        assert_eq!(blocking("index=0&wait=10s").unwrap(), None);
        let b = |index, wait| Some(Blocking { index, wait });
        assert_eq!(blocking("index=7").unwrap(), b(7, DEFAULT_WAIT));
        assert_eq!(blocking("index=7&wait=0s").unwrap(), b(7, DEFAULT_WAIT));
        assert_eq!(blocking("index=7&wait=2h").unwrap(), b(7, MAX_WAIT));
        assert_eq!(blocking("wait=250ms&index=7").unwrap(), b(7, Duration::from_millis(250)));
        let wait = blocking("wait=soon").unwrap_err().to_string();
        assert!(wait.contains("'soon'"), "{wait}");
        let index = blocking("index=-1").unwrap_err().to_string();
        assert!(index.contains("'-1'"), "{index}");
    }

    #[test]
    fn pairs_are_decoded() {
        let q = Query::parse("pretty&node-meta=a:b%20c&node-meta=d+e&&x=").unwrap();
        assert!(q.has("pretty") && q.has("x") && !q.has("y"));
        assert_eq!(q.all("node-meta").collect::<Vec<_>>(), ["a:b c", "d e"]);
        assert_eq!(q.get("x"), None);
        assert!(matches!(Query::parse("a=%2"), Err(ApiError::Encoding(_))));
        assert!(matches!(Query::parse("a=%ff"), Err(ApiError::Encoding(_))));
        assert!(matches!(
            Query::parse(&"a&".repeat(65)),
            Err(ApiError::TooManyParameters(MAX_PAIRS))
        ));
        assert_eq!(percent_decode("a+b%2Fc", Plus::Literal).as_deref(), Some("a+b/c"));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(text in "[\\PC&=%+]{0,200}") {
            if let Ok(q) = Query::parse(&text) {
                let _ = q.blocking();
            }
        }

        #[test]
        fn any_text_is_a_duration_or_not(text in "([0-9.]{0,25}(ns|us|µs|ms|s|m|h|x|-)?){0,4}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_durations_are_exact(h in 0u64..1000, m in 0u64..1000, ms in 0u64..100_000) {
            let want = Duration::from_millis((h * 3600 + m * 60) * 1000 + ms);
            prop_assert_eq!(parse_duration(&format!("{h}h{m}m{ms}ms")), Ok(want));
            let seconds = format!("{}.{:03}s", want.as_millis() / 1000, want.as_millis() % 1000);
            prop_assert_eq!(parse_duration(&seconds), Ok(want));
        }

        #[test]
        fn encoded_values_come_back(value in "\\PC{0,40}") {
            let encoded: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
            let q = Query::parse(&format!("k={encoded}")).unwrap();
            prop_assert_eq!(q.all("k").next(), Some(value.as_str()));
        }
    }
}
