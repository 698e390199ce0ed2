//! Keys and forged packets: the words of scenarios about secrets and about those who have them.

use std::fmt;

use super::{
    Action, NodeSet,
    lex::{self, Words},
    parse::{self, ParseError},
    print::word_of,
};

/// A key by its number, `k1` to `k8`: as many as a keyring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyNo(pub u8);

impl KeyNo {
    /// The last one.
    pub const MAX: u8 = 8;
}

impl fmt::Display for KeyNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// What an operator does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerb {
    /// All accept it, too.
    Install,
    /// All seal with it.
    Use,
    /// Nobody accepts it any more.
    Remove,
}

impl KeyVerb {
    /// Word by verb: parser and printer read this table.
    pub(super) const WORDS: &[(&str, Self)] =
        &[("install", Self::Install), ("use", Self::Use), ("remove", Self::Remove)];
}

impl fmt::Display for KeyVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(Self::WORDS, *self))
    }
}

/// What a forged claim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// That it failed.
    Accuse,
    /// That it left.
    Leave,
    /// That it left, and is to be forgotten.
    Prune,
    /// That it lives where the liar is.
    Move,
}

impl Lie {
    /// Word by lie: parser and printer read this table.
    pub(super) const WORDS: &[(&str, Self)] = &[
        ("accuse", Self::Accuse),
        ("leave", Self::Leave),
        ("prune", Self::Prune),
        ("move", Self::Move),
    ];

    /// All of them.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::WORDS.iter().map(|w| w.1)
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(Self::WORDS, *self))
    }
}

/// The version in a forged claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// The highest that there is.
    Highest,
    /// The highest generation that is still believed.
    Generation,
    /// The highest incarnation that is still believed.
    Incarnation,
    /// The last incarnation of its generation: only those believe it who do not know the accused.
    Last,
    /// The highest generation that the accused answers: others do not believe it.
    Far,
    /// The one that the accused has.
    Same,
}

impl Forged {
    /// Word by version: parser and printer read this table.
    pub(super) const WORDS: &[(&str, Self)] = &[
        ("highest", Self::Highest),
        ("generation", Self::Generation),
        ("incarnation", Self::Incarnation),
        ("last", Self::Last),
        ("far", Self::Far),
        ("same", Self::Same),
    ];
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(Self::WORDS, *self))
    }
}

fn key(w: &str) -> Option<KeyNo> {
    let n = u8::try_from(lex::digits(w.strip_prefix('k')?)?).ok()?;
    Some(KeyNo(n)).filter(|k| (1..=KeyNo::MAX).contains(&k.0))
}

fn one_key(w: &mut Words<'_>) -> Result<KeyNo, ParseError> {
    w.value("a key from k1 to k8", key)
}

/// `k1 k2`: the first one seals; each once.
pub(super) fn keys(w: &mut Words<'_>) -> Result<Vec<KeyNo>, ParseError> {
    let mut out = vec![one_key(w)?];
    while let Some(k) = key(w.peek()) {
        if out.contains(&k) {
            return Err(w.expected("each key once"));
        }
        out.push(k);
        w.skip();
    }
    Ok(out)
}

/// `install k2 on n1`
pub(super) fn key_step(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let verb = w.choice(KeyVerb::WORDS)?;
    let key = one_key(w)?;
    let on = if w.take("on") { Some(parse::nodes(w)?) } else { None };
    Ok(Action::Key { verb, key, on })
}

/// `n2 accuse n3 highest`, `n2 move n3 generation`, `n2 ahead 5000`
pub(super) fn forge(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let nodes: NodeSet = parse::nodes(w)?;
    if w.take("ahead") {
        return Ok(Action::ForgeEvent { nodes, ahead: w.number(0, u64::MAX)? });
    }
    let Some((_, lie)) = Lie::WORDS.iter().find(|(word, _)| w.take(word)) else {
        return Err(w.expected("`accuse`, `leave`, `prune`, `move` or `ahead`"));
    };
    let accused = parse::nodes(w)?;
    if *lie == Lie::Move && w.peek() == word_of(Forged::WORDS, Forged::Same) {
        return Err(w.expected("another version than `same`: two records of one version"));
    }
    Ok(Action::Forge { nodes, lie: *lie, accused, version: w.choice(Forged::WORDS)? })
}

/// ` keys k1 k2`
pub(super) fn print_keys(f: &mut fmt::Formatter<'_>, keys: &[KeyNo]) -> fmt::Result {
    keys.iter().try_for_each(|k| write!(f, " {k}"))
}
