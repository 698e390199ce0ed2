//! A run as one HTML page: a lane per node, states in colour, faults as bands, messages between.
//!
//! Guarantees: the page works without network and is a function of its input; nothing that a
//! trace or scenario holds can act as markup or script; its size is bounded by
//! [`Page::max_events`], and it tells what was left out.

mod html;
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::{
    scenario::{MAX_NODES, Scenario},
    trace::{Event, Kind},
};

/// Events in a page unless told otherwise: about six megabytes, drawn smoothly by a laptop.
pub const MAX_EVENTS: usize = 120_000;
/// Characters of one text in a page; longer ones end in `…`.
const MAX_TEXT: usize = 400;
/// Characters of all texts together; later ones are only `…`.
const MAX_TEXTS: usize = 4_000_000;
/// Characters of the scenario that a page shows.
const MAX_SCENARIO: usize = 1_000_000;
/// Violations whose causes are kept at any rate.
const MAX_VIOLATIONS: usize = 16;

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The heading: usually the name of the scenario's file.
    pub name: &'a str,
    /// The scenario's text. Without it, or if it does not parse, its set-up lines (network,
    /// clocks) are not shown as bands.
    pub scenario: Option<&'a str>,
    /// The trace; in the order of `seq` or not.
    pub events: &'a [Event],
    /// More events are left out: first messages without consequence, the oldest first, then what
    /// led to changes, never what led to a violation.
    pub max_events: usize,
}

/// The whole page.
///
/// Nodes above [`MAX_NODES`] are left out with their events.
pub fn html(page: &Page<'_>) -> String {
    let scenario = page.scenario.and_then(|text| Scenario::parse(text).ok());
    let mut events: Vec<&Event> = page.events.iter().filter(|e| e.node <= MAX_NODES).collect();
    events.sort_by_key(|e| e.seq);
    events.dedup_by_key(|e| e.seq);
    let seen = events.iter().map(|e| e.node).max().unwrap_or(0);
    let highest = seen.max(scenario.as_ref().map_or(1, Scenario::highest_node));
    let end = events.iter().map(|e| e.t).max().unwrap_or(0);
    let lanes = lanes::read(scenario.as_ref(), &events, highest, end);
    let kept = choose(&events, page.max_events);
    html::write(&html::Content {
        name: page.name,
        text: page.scenario,
        scenario: scenario.as_ref(),
        total: page.events.len(),
        events: &events,
        kept: &kept,
        highest,
        end,
        lanes: &lanes,
    })
}

/// How much an event tells: what is dropped first comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Steps, lives, verdicts.
    Story,
    /// What a node thinks of others or of itself.
    View,
    /// Packets, streams, disk.
    Traffic,
}

fn weight(e: &Event) -> Weight {
    const STORY: [Kind; 7] = [
        Kind::Start,
        Kind::StartRefused,
        Kind::Stop,
        Kind::Resume,
        Kind::LeaveFinished,
        Kind::KeyringFinished,
        Kind::Violation,
    ];
    const TRAFFIC: [Kind; 12] = [
        Kind::Send,
        Kind::Drop,
        Kind::Receive,
        Kind::Open,
        Kind::Accept,
        Kind::Connect,
        Kind::Write,
        Kind::Data,
        Kind::Finish,
        Kind::Broken,
        Kind::Persist,
        Kind::Persisted,
    ];
    let is = |kinds: &[Kind]| kinds.iter().any(|k| k.name() == e.event);
    if e.node == 0 || is(&STORY) {
        Weight::Story
    } else if is(&TRAFFIC) {
        Weight::Traffic
    } else {
        Weight::View
    }
}

/// Which events to show.
#[derive(Debug)]
struct Kept {
    /// Places in the trace, in order.
    places: Vec<usize>,
    /// The time of the last event that is left out.
    complete_after: Option<u64>,
    /// How many changes of views are left out.
    views_left_out: usize,
}

fn choose(events: &[&Event], max: usize) -> Kept {
    if events.len() <= max {
        let places = (0..events.len()).collect();
        return Kept { places, complete_after: None, views_left_out: 0 };
    }
    let mut choice = Choice { events, kept: vec![false; events.len()], left: max };
    let weights: Vec<Weight> = events.iter().map(|e| weight(e)).collect();
    let violation = |i: &usize| events[*i].event == Kind::Violation.name();
    for i in (0..events.len()).filter(violation).take(MAX_VIOLATIONS) {
        choice.keep_with_causes(i);
    }
    for w in [Weight::Story, Weight::View] {
        for i in (0..events.len()).rev().filter(|i| weights[*i] == w) {
            choice.keep(i);
        }
    }
    for i in (0..events.len()).rev().filter(|i| weights[*i] == Weight::View) {
        choice.keep_with_causes(i);
    }
    for i in (0..events.len()).rev() {
        choice.keep(i);
    }
    let kept = choice.kept;
    Kept {
        complete_after: kept.iter().rposition(|k| !k).map(|i| events[i].t),
        views_left_out: kept.iter().zip(&weights).filter(|x| *x == (&false, &Weight::View)).count(),
        places: (0..events.len()).filter(|i| kept[*i]).collect(),
    }
}

struct Choice<'a> {
    events: &'a [&'a Event],
    kept: Vec<bool>,
    left: usize,
}

impl Choice<'_> {
    /// Keeps an event while there is room; true if it was not kept before.
    fn keep(&mut self, i: usize) -> bool {
        if self.kept[i] || self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.kept[i] = true;
        true
    }

    /// Keeps an event and what led to it, up to what is kept already.
    fn keep_with_causes(&mut self, i: usize) {
        self.keep(i);
        let mut at = i;
        while self.events[at].cause > 0 && self.events[at].cause < self.events[at].seq {
            let cause = self.events[at].cause;
            let Ok(place) = self.events.binary_search_by_key(&cause, |e| e.seq) else { return };
            if !self.keep(place) {
                return;
            }
            at = place;
        }
    }
}

/// Texts by number, each once.
#[derive(Debug, Default)]
struct Texts<'a> {
    numbers: BTreeMap<&'a str, usize>,
    texts: Vec<String>,
    chars: usize,
}

impl<'a> Texts<'a> {
    /// The number of a text; 0 is the empty one.
    fn number(&mut self, text: &'a str) -> usize {
        if self.texts.is_empty() {
            self.texts.push(String::new());
            self.numbers.insert("", 0);
        }
        if let Some(n) = self.numbers.get(text) {
            return *n;
        }
        let room = MAX_TEXTS.saturating_sub(self.chars);
        if room == 0 {
            return self.number("…");
        }
        let shown = clip(text, MAX_TEXT);
        self.chars += shown.len();
        self.texts.push(shown);
        self.numbers.insert(text, self.texts.len() - 1);
        self.texts.len() - 1
    }
}

/// At most so many characters, with a mark if there were more.
fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
