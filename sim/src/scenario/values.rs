//! Times, rates, node sets: the words of a scenario that carry a number.

use std::fmt;

use super::MAX_NODES;

/// A point or span of virtual time, in nanoseconds. Never above [`super::MAX_TIME`] once parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The sum, at most the end of time.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The largest unit that needs at most three decimals.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0 => return f.write_str("0s"),
            n if n >= 1_000_000_000 && n.is_multiple_of(1_000_000) => (1_000_000_000, "s"),
            n if n >= 1_000_000 && n.is_multiple_of(1_000) => (1_000_000, "ms"),
            n if n >= 1_000 => (1_000, "us"),
            _ => (1, "ns"),
        };
        write!(f, "{}", self.0 / unit)?;
        decimals(f, self.0 % unit, unit)?;
        f.write_str(name)
    }
}

fn decimals(f: &mut fmt::Formatter<'_>, mut rest: u64, mut unit: u64) -> fmt::Result {
    if rest > 0 {
        f.write_str(".")?;
    }
    while rest > 0 {
        unit /= 10;
        write!(f, "{}", rest / unit)?;
        rest %= unit;
    }
    Ok(())
}

/// A probability in parts per million, 0 to 1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u32);

impl Rate {
    /// Always.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many percent, at most 100.
    pub const fn percent(p: u32) -> Self {
        if p >= 100 { Self::ALWAYS } else { Self(p * 10_000) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / 10_000)?;
        decimals(f, u64::from(self.0 % 10_000), 10_000)?;
        f.write_str("%")
    }
}

/// How fast a clock runs, in parts per million off: -500,000 to 500,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift(pub i32);

impl Drift {
    /// The largest, either way.
    pub const MAX: i32 = 500_000;
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+}ppm", self.0)
    }
}

/// A signed span of time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset(pub i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.0 < 0 { '-' } else { '+' }, Time(self.0.unsigned_abs()))
    }
}

/// How many times as long something takes: 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(pub u32);

impl Factor {
    /// The largest.
    pub const MAX: u32 = 1_000;
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

/// What an event or query is called: letters, digits, dashes and dots, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic(String);

impl Topic {
    /// Takes a name.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let ok = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
        ok.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node of the scenario, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNo(pub u32);

impl fmt::Display for NodeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// `n5`, or `n5..n9` with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first node.
    pub first: u32,
    /// The last node, not below the first.
    pub last: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.first)?;
        if self.last > self.first { write!(f, "..n{}", self.last) } else { Ok(()) }
    }
}

/// Where a node stands: `all`, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeSet {
    /// Every node that exists then.
    All,
    /// These, at least one.
    Some(Vec<Span>),
}

impl NodeSet {
    /// Just this one.
    pub fn one(n: u32) -> Self {
        Self::Some(vec![Span { first: n, last: n }])
    }

    /// These, in this order; neighbours become a span.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        for n in numbers {
            match spans.last_mut() {
                Some(s) if s.last + 1 == n => s.last = n,
                _ => spans.push(Span { first: n, last: n }),
            }
        }
        Self::Some(spans)
    }

    /// Is the node among them?
    pub fn contains(&self, n: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(spans) => spans.iter().any(|s| (s.first..=s.last).contains(&n)),
        }
    }

    /// The numbers, each at its first mention; `all` means 1 to `highest`.
    pub fn numbers(&self, highest: u32) -> Vec<u32> {
        match self {
            Self::All => (1..=highest).collect(),
            Self::Some(spans) => {
                let top = self.highest().unwrap_or(0) as usize;
                let mut seen = vec![false; top + 1];
                let mut out = Vec::new();
                for n in spans.iter().flat_map(|s| s.first..=s.last) {
                    if !std::mem::replace(&mut seen[n as usize], true) {
                        out.push(n);
                    }
                }
                out
            }
        }
    }

    /// The highest number named.
    pub fn highest(&self) -> Option<u32> {
        match self {
            Self::All => None,
            Self::Some(spans) => spans.iter().map(|s| s.last).max(),
        }
    }

    /// Within the bounds of the language?
    pub(super) fn in_range(&self) -> bool {
        match self {
            Self::All => true,
            Self::Some(spans) => {
                spans.iter().all(|s| s.first >= 1 && s.first <= s.last && s.last <= MAX_NODES)
            }
        }
    }
}

impl fmt::Display for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(spans) => {
                for (i, s) in spans.iter().enumerate() {
                    if i > 0 {
                        f.write_str(" ")?;
                    }
                    write!(f, "{s}")?;
                }
                Ok(())
            }
        }
    }
}
