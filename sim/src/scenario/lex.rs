//! Words of one line with their columns; numbers and units inside a word.

use super::{
    MAX_NODES, MAX_TIME,
    parse::ParseError,
    values::{Drift, Factor, Offset, Rate, Span, Time},
};

/// The words of one line, taken one by one.
pub(super) struct Words<'a> {
    line: usize,
    words: Vec<(usize, &'a str)>,
    at: usize,
    end_column: usize,
}

impl<'a> Words<'a> {
    /// Splits a line at blanks, `|` and arrows; `#` ends it. `line` counts from 1.
    pub(super) fn new(line: usize, text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or("");
        let mut words = Vec::new();
        let mut column = 1;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let len = if c.is_whitespace() {
                c.len_utf8()
            } else {
                let len = word_len(rest);
                words.push((column, &rest[..len]));
                len
            };
            column += rest[..len].chars().count();
            rest = &rest[len..];
        }
        let end_column = text.trim_end().chars().count() + 1;
        Self { line, words, at: 0, end_column }
    }

    /// Nothing (more) there?
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.words.len()
    }

    /// The next word, left where it is; empty at the end.
    pub(super) fn peek(&self) -> &'a str {
        self.words.get(self.at).map_or("", |w| w.1)
    }

    /// Goes past the next word.
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let hit = self.peek() == word;
        self.at += usize::from(hit);
        hit
    }

    /// Takes this word or fails.
    pub(super) fn need(&mut self, word: &str) -> Result<(), ParseError> {
        if self.take(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// The next word through `parse`, or the complaint that `what` was expected there.
    pub(super) fn value<T>(
        &mut self,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ParseError> {
        match parse(self.peek()) {
            Some(x) if !self.is_done() => {
                self.skip();
                Ok(x)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// One word of a table.
    pub(super) fn choice<T: Copy>(&mut self, words: &[(&'static str, T)]) -> Result<T, ParseError> {
        let what: Vec<_> = words.iter().map(|w| format!("`{}`", w.0)).collect();
        self.value(&what.join(", "), |w| words.iter().find(|x| x.0 == w).map(|x| x.1))
    }

    /// The line must end here.
    pub(super) fn done(&self) -> Result<(), ParseError> {
        if self.is_done() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    /// Where the next word is, for [`Words::in_order`].
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// No word of `order` may follow: each was looked for in its turn, from place `first` on.
    /// Whoever wrote one too late, or twice, is told so.
    pub(super) fn in_order(&self, first: usize, order: &[&str]) -> Result<(), ParseError> {
        let word = self.peek();
        let Some(turn) = order.iter().position(|w| *w == word) else { return Ok(()) };
        let taken = self.words.get(first..self.at).unwrap_or_default();
        let later = order.iter().skip(turn).find(|w| taken.iter().any(|t| t.1 == **w));
        Err(match later {
            None => return Ok(()),
            Some(w) if *w == word => self.expected(&format!("`{word}` only once")),
            Some(later) => self.expected(&format!("`{word}` before `{later}`, not after it")),
        })
    }

    /// The error at the next word.
    pub(super) fn expected(&self, what: &str) -> ParseError {
        let (column, found) = match self.words.get(self.at) {
            Some((column, word)) => (*column, (*word).chars().take(40).collect()),
            None => (self.end_column, String::new()),
        };
        ParseError { line: self.line, column, expected: what.to_owned(), found }
    }

    /// A time.
    pub(super) fn time(&mut self) -> Result<Time, ParseError> {
        self.value(&format!("a time such as 5s or 20ms ({UNITS_SAID}), at most 40 days"), time)
    }

    /// A time above zero.
    pub(super) fn positive_time(&mut self) -> Result<Time, ParseError> {
        let what = format!("a time above zero such as 5s or 20ms ({UNITS_SAID}), at most 40 days");
        self.value(&what, |w| time(w).filter(|t| t.0 > 0))
    }

    /// A number within bounds.
    pub(super) fn number(&mut self, min: u64, max: u64) -> Result<u64, ParseError> {
        let what = format!("a number from {min} to {max}");
        self.value(&what, |w| digits(w).filter(|n| (min..=max).contains(n)))
    }
}

/// Bytes of the word that `text` begins with.
fn word_len(text: &str) -> usize {
    for mark in ["<->", "->", "|"] {
        if text.starts_with(mark) {
            return mark.len();
        }
    }
    let ends = |(i, c): (usize, char)| {
        let rest = &text[i..];
        c.is_whitespace() || c == '|' || rest.starts_with("->") || rest.starts_with("<->")
    };
    text.char_indices().find(|x| ends(*x)).map_or(text.len(), |x| x.0)
}

/// Digits only, and few enough.
pub(super) fn digits(w: &str) -> Option<u64> {
    let all = !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit());
    if all { w.parse().ok() } else { None }
}

/// `whole.fraction` in units of 1/`unit`, exactly; finer fractions are refused.
fn decimal(w: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = w.split_once('.').unwrap_or((w, "0"));
    let mut n = digits(whole)?.checked_mul(unit)?;
    let mut scale = unit;
    if fraction.len() > 12 {
        return None;
    }
    for b in fraction.bytes() {
        let digit = u64::from(b.checked_sub(b'0').filter(|d| *d <= 9)?);
        if scale.is_multiple_of(10) {
            scale /= 10;
            n = n.checked_add(digit * scale)?;
        } else if digit > 0 {
            return None;
        }
    }
    if fraction.is_empty() { None } else { Some(n) }
}

/// Units of time, and their nanoseconds.
pub(super) const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// As it is said to whoever takes another one.
pub(super) const UNITS_SAID: &str = "in ns, us, ms, s, or in whole m or h";

/// `1.5s`
pub(super) fn time(w: &str) -> Option<Time> {
    let (name, unit) = UNITS.iter().find(|(n, _)| {
        w.strip_suffix(n).is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_digit()))
    })?;
    let number = w.strip_suffix(name)?;
    // Minutes and hours have no decimal fraction that is a whole number of nanoseconds' decimals.
    let n = if *unit > 1_000_000_000 {
        digits(number)?.checked_mul(*unit)?
    } else {
        decimal(number, *unit)?
    };
    Some(Time(n)).filter(|t| *t <= MAX_TIME)
}

/// `1ms..20ms`, or one time for both.
pub(super) fn time_range(w: &str) -> Option<(Time, Time)> {
    let (min, max) = w.split_once("..").unwrap_or((w, w));
    let (min, max) = (time(min)?, time(max)?);
    // More than a minute on the way is a partition, not a latency.
    if min <= max && max <= Time::from_secs(60) { Some((min, max)) } else { None }
}

/// `0.1%`
pub(super) fn rate(w: &str) -> Option<Rate> {
    let n = decimal(w.strip_suffix('%')?, 10_000)?;
    u32::try_from(n).ok().filter(|n| *n <= 1_000_000).map(Rate)
}

/// Sign and the rest; no sign means plus.
fn sign(w: &str) -> (bool, &str) {
    match w.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, w.strip_prefix('+').unwrap_or(w)),
    }
}

/// `+200ppm`
pub(super) fn drift(w: &str) -> Option<Drift> {
    let (minus, rest) = sign(w);
    let n = i32::try_from(digits(rest.strip_suffix("ppm")?)?).ok()?;
    let n = if minus { -n } else { n };
    Some(Drift(n)).filter(|d| d.0.abs() <= Drift::MAX)
}

/// `-1.5s`
pub(super) fn offset(w: &str) -> Option<Offset> {
    let (minus, rest) = sign(w);
    let n = i64::try_from(time(rest)?.0).ok()?;
    Some(Offset(if minus { -n } else { n }))
}

/// `20x`
pub(super) fn factor(w: &str) -> Option<Factor> {
    let n = u32::try_from(digits(w.strip_suffix('x')?)?).ok()?;
    Some(Factor(n)).filter(|f| (1..=Factor::MAX).contains(&f.0))
}

/// `n5`
pub(super) fn node(w: &str) -> Option<u32> {
    let n = u32::try_from(digits(w.strip_prefix('n')?)?).ok()?;
    Some(n).filter(|n| (1..=MAX_NODES).contains(n))
}

/// `n5` or `n5..n9`
pub(super) fn span(w: &str) -> Option<Span> {
    let (first, last) = w.split_once("..").unwrap_or((w, w));
    let span = Span { first: node(first)?, last: node(last)? };
    Some(span).filter(|s| s.first <= s.last)
}
