//! Text to scenario: the file, set-up lines and expectations. Steps are in `steps`.

use quorate_core::{Limits, MAX_VOTERS};

use super::{
    Action, ClockLine, Cluster, Condition, Direction, Expect, Held, Line, LinkLine, LinkSettings,
    MAX_LINES, MAX_NODES, ProtocolLine, Scenario, ServerLine, Viewers,
    goals::{self, GOALS, Goal},
    hostile,
    lex::{self, Words},
    steps,
    values::{NodeSet, Topic},
};

/// Where a scenario is not understood, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: expected {expected}{}", instead(.found))]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What would have been understood.
    pub expected: String,
    /// What is there (its first 40 characters); empty at the end of the line.
    pub found: String,
}

fn instead(w: &str) -> String {
    match w {
        "" => ", found the end of the line".into(),
        _ => format!(", found `{}`", printable(w)),
    }
}

/// The word as a terminal can be shown it: control characters would be orders to it.
fn printable(w: &str) -> String {
    let mut out = String::new();
    for c in w.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The text in the bytes of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, ParseError> {
    let e = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(e) => e,
    };
    let (good, bad) = bytes.split_at(e.valid_up_to());
    let good = std::str::from_utf8(good).unwrap_or_default();
    let line = good.rsplit('\n').next().unwrap_or_default();
    Err(ParseError {
        line: good.matches('\n').count() + 1,
        column: without_mark(line).chars().count() + 1,
        expected: format!("UTF-8 (at byte {} of the file)", good.len() + 1),
        found: bad.first().map_or_else(String::new, |b| format!("\\x{b:02x}")),
    })
}

/// Some editors put it before the first line of a UTF-8 file. It says nothing.
const BOM: char = '\u{feff}';

/// The text without a byte order mark before it.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// A whole file.
pub(super) fn scenario(text: &str) -> Result<Scenario, ParseError> {
    let text = without_mark(text);
    let mut about = Vec::new();
    let mut cluster = None;
    let mut lines: Vec<Line> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    // Lines of which a second one would mean nothing, or make the first mean nothing.
    let mut once = [("keys", 0), ("cores", 0), ("queues", 0)];
    let mut number = 0;
    for raw in text.lines() {
        number += 1;
        let mut words = Words::new(number, raw);
        if words.is_done() {
            if let (None, Some(comment)) = (cluster, raw.trim().strip_prefix('#')) {
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                about.push(comment.trim_end().to_owned());
            }
            continue;
        }
        if cluster.is_none() {
            cluster = Some(cluster_line(&mut words)?);
        } else if lines.len() >= MAX_LINES {
            return Err(words.expected(&format!("at most {MAX_LINES} lines")));
        } else {
            if let Some((word, first)) = once.iter_mut().find(|x| x.0 == words.peek()) {
                if *first > 0 {
                    return Err(
                        words.expected(&format!("`{word}` only once (line {first} has it)"))
                    );
                }
                *first = number;
            }
            lines.push(line(&mut words)?);
            places.push(number);
        }
        words.done()?;
    }
    let Some(cluster) = cluster else {
        return Err(Words::new(number + 1, "").expected("`cluster` and the number of nodes"));
    };
    let scenario = Scenario { about, cluster, lines };
    let Some((index, missing)) = scenario.missing() else { return Ok(scenario) };
    let at = places.get(index).copied().unwrap_or(0);
    let raw = text.lines().nth(at.saturating_sub(1)).unwrap_or("");
    Err(not_there(Words::new(at, raw), missing))
}

fn not_there(mut words: Words<'_>, missing: Missing) -> ParseError {
    let is_it = |w: &str| match missing {
        Missing::Node(n) => lex::span(w).is_some_and(|s| (s.first..=s.last).contains(&n)),
        Missing::Cores => w == "saturate",
    };
    while !words.is_done() && !is_it(words.peek()) {
        words.skip();
    }
    words.expected(&match missing {
        Missing::Node(n) => {
            format!("a node of the cluster (n{n} is neither in it nor started)")
        }
        Missing::Cores => "a line `cores N`: without it all have a core of their own".to_owned(),
    })
}

/// What a line needs and the scenario does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A node that is in the cluster or started.
    Node(u32),
    /// Cores that processes share.
    Cores,
}

impl Scenario {
    /// The first line that needs what is not there.
    pub(crate) fn missing(&self) -> Option<(usize, Missing)> {
        let shared = self.lines.iter().any(|l| matches!(l, Line::Cores(_)));
        let saturates = |l: &Line| matches!(l, Line::At(_, Action::Saturate { .. }));
        let cores = self.lines.iter().position(|l| !shared && saturates(l));
        let node = self.missing_node().map(|(i, n)| (i, Missing::Node(n)));
        node.or(cores.map(|i| (i, Missing::Cores)))
    }

    fn missing_node(&self) -> Option<(usize, u32)> {
        let mut exists = vec![false; MAX_NODES as usize + 1];
        let mut mark = |n: u32| exists[n.min(MAX_NODES) as usize] = true;
        (1..=self.cluster.nodes).for_each(&mut mark);
        for line in &self.lines {
            if let Line::At(_, Action::Start { nodes, .. } | Action::Rumour { nodes, .. }) = line {
                nodes.numbers(0).into_iter().for_each(&mut mark);
            }
        }
        let missing = |set: &NodeSet| {
            set.numbers(0).into_iter().find(|n| !exists.get(*n as usize).copied().unwrap_or(false))
        };
        self.lines
            .iter()
            .enumerate()
            .find_map(|(i, l)| Some((i, l.node_sets().into_iter().find_map(missing)?)))
    }
}

impl Line {
    /// Every set of nodes that the line names.
    pub fn node_sets(&self) -> Vec<&NodeSet> {
        match self {
            Self::Net(_) | Self::Keys(_) | Self::Cores(_) | Self::Queues(_) => vec![],
            Self::Link(l) => vec![&l.from, &l.to],
            Self::Clock(c) => vec![&c.nodes],
            Self::Server(s) => vec![&s.nodes],
            Self::Protocol(p) => vec![&p.nodes],
            Self::At(_, action) => action.node_sets(),
            Self::Expect(e) => e.node_sets(),
        }
    }
}

impl Expect {
    /// Every set of nodes that is named.
    fn node_sets(&self) -> Vec<&NodeSet> {
        let with = |nodes, viewers| match viewers {
            &Viewers::Everywhere => vec![nodes],
            Viewers::On(set) => vec![nodes, set],
        };
        match self {
            Self::Within(_, Condition::Event { viewers: Viewers::On(set), .. }) => vec![set],
            Self::Within(
                _,
                Condition::Converged | Condition::Event { .. } | Condition::Query { .. },
            )
            | Self::NeverFalseFailed
            | Self::NeverQuorum
            | Self::Never(_)
            | Self::Sometimes(_) => vec![],
            Self::Within(_, Condition::Quorum { voters }) => voters.iter().collect(),
            Self::Within(_, Condition::Rtt { nodes, .. }) => vec![nodes],
            Self::Within(_, Condition::Held { nodes, viewers, .. }) => with(nodes, viewers),
            Self::For { nodes, viewers, .. } => with(nodes, viewers),
        }
    }
}

fn cluster_line(w: &mut Words<'_>) -> Result<Cluster, ParseError> {
    w.need("cluster")?;
    let nodes = small(w.number(1, u64::from(MAX_NODES))?);
    let first = w.place();
    let mut c = Cluster { nodes, servers: 0, expect: None, seed: 1 };
    if w.take("servers") {
        c.servers = small(w.number(0, u64::from(nodes))?);
    }
    if w.peek() == "expect" && c.servers == 0 {
        return Err(w.expected("`servers N` before it: there is no server to expect"));
    }
    if w.take("expect") {
        let most = u64::from(c.servers.min(MAX_VOTERS as u32));
        c.expect = Some(u8::try_from(w.number(1, most)?).unwrap_or(u8::MAX));
    }
    if w.take("seed") {
        c.seed = w.number(0, u64::MAX)?;
    }
    w.in_order(first, &["servers", "expect", "seed"])?;
    Ok(c)
}

/// A number that was bounded before.
pub(super) fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn line(w: &mut Words<'_>) -> Result<Line, ParseError> {
    let first = w.peek();
    match first {
        "net" | "link" | "clock" | "server" | "protocol" | "keys" | "cores" | "queues" | "at"
        | "within" | "for" | "never" | "sometimes" => {
            w.skip();
        }
        _ => {
            let what = "`net`, `link`, `clock`, `server`, `protocol`, `keys`, `cores`, \
                        `queues`, `at`, `within`, `for`, `never` or `sometimes`";
            return Err(w.expected(what));
        }
    }
    Ok(match first {
        "net" => Line::Net(settings(w)?),
        "link" => Line::Link(link(w)?),
        "clock" => Line::Clock(clock(w, false)?),
        "server" => Line::Server(server(w)?),
        "protocol" => Line::Protocol(ProtocolLine { nodes: nodes(w)?, range: versions(w)? }),
        "keys" => Line::Keys(hostile::keys(w)?),
        "cores" => Line::Cores(small(w.number(1, 1_000)?)),
        "queues" => Line::Queues(small(w.number(Limits::QUEUE_MIN as u64, 65_536)?)),
        "at" => Line::At(w.time()?, steps::action(w)?),
        "within" => Line::Expect(Expect::Within(w.positive_time()?, condition(w)?)),
        "for" => Line::Expect(lasting(w)?),
        "never" => Line::Expect(never(w)?),
        _ => Line::Expect(Expect::Sometimes(goal(w, &[])?)),
    })
}

fn never(w: &mut Words<'_>) -> Result<Expect, ParseError> {
    if w.take("false-failed") {
        return Ok(Expect::NeverFalseFailed);
    }
    // A quorum is seen at once, and then it is too late; other goals are looked at in the end.
    if w.take("quorum") {
        return Ok(Expect::NeverQuorum);
    }
    Ok(Expect::Never(goal(w, &["false-failed"])?))
}

/// A goal or a counter; `also` may stand there, too.
fn goal(w: &mut Words<'_>, also: &[&str]) -> Result<Goal, ParseError> {
    if let Some(goal) = Goal::by_name(w.peek()) {
        w.skip();
        return Ok(goal);
    }
    let said = |all: &[String]| all.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let known = also.iter().map(|a| (*a).to_owned());
    let known: Vec<String> = known.chain(GOALS.iter().map(|g| g.0.to_owned())).collect();
    let near = goals::near(w.peek(), known.iter().cloned());
    Err(w.expected(&if near.is_empty() {
        format!("a goal ({}) or a counter such as `drop-key`", said(&known))
    } else {
        format!("a goal or a counter such as {}", said(&near))
    }))
}

/// `n4 expect 5`, `n4 bootstrap`, or `n4` alone: no expect.
fn server(w: &mut Words<'_>) -> Result<ServerLine, ParseError> {
    let nodes = nodes(w)?;
    let bootstrap = w.take("bootstrap");
    let mut expect = 0;
    if !bootstrap && w.take("expect") {
        expect = u8::try_from(w.number(0, MAX_VOTERS as u64)?).unwrap_or(u8::MAX);
    }
    Ok(ServerLine { nodes, expect, bootstrap })
}

/// `1..2`
pub(super) fn versions(w: &mut Words<'_>) -> Result<(u8, u8), ParseError> {
    let parse = |x: &str| {
        let (min, max) = x.split_once("..")?;
        let (min, max): (u8, u8) = (min.parse().ok()?, max.parse().ok()?);
        (1 <= min && min <= max && max <= 2).then_some((min, max))
    };
    w.value("protocol versions such as 1..2, from 1 to 2", parse)
}

/// `latency 1ms..20ms loss 1% ...`, each word once.
pub(super) fn settings(w: &mut Words<'_>) -> Result<LinkSettings, ParseError> {
    let what =
        "`latency`, `loss`, `burst`, `dup`, `reorder`, `corrupt`, `mtu` or `bandwidth`, each once";
    let mut s = LinkSettings::default();
    while !w.is_done() {
        let free = match w.peek() {
            "latency" => s.latency.is_none(),
            "loss" => s.loss.is_none(),
            "burst" => s.burst.is_none(),
            "dup" => s.dup.is_none(),
            "reorder" => s.reorder.is_none(),
            "corrupt" => s.corrupt.is_none(),
            "mtu" => s.mtu.is_none(),
            "bandwidth" => s.bandwidth.is_none(),
            _ => false,
        };
        if !free {
            return Err(w.expected(what));
        }
        let word = w.peek();
        w.skip();
        let slot = match word {
            "latency" => {
                let units = lex::UNITS_SAID;
                let what = format!("a time or a range such as 1ms..20ms ({units}), at most 60s");
                s.latency = Some(w.value(&what, lex::time_range)?);
                continue;
            }
            "mtu" => {
                s.mtu = Some(small(w.number(40, 65_507)?));
                continue;
            }
            "bandwidth" => {
                s.bandwidth = Some(small(w.number(1_000, 1_000_000_000)?));
                continue;
            }
            "loss" => &mut s.loss,
            "burst" => &mut s.burst,
            "dup" => &mut s.dup,
            "reorder" => &mut s.reorder,
            _ => &mut s.corrupt,
        };
        *slot = Some(w.value("a rate such as 0.1%, at most 100%", lex::rate)?);
    }
    if s == LinkSettings::default() { Err(w.expected(what)) } else { Ok(s) }
}

/// `n1 -> n2 loss 100%`
pub(super) fn link(w: &mut Words<'_>) -> Result<LinkLine, ParseError> {
    let (from, direction, to) = ends(w)?;
    Ok(LinkLine { from, direction, to, settings: settings(w)? })
}

/// `n1 -> n2`
pub(super) fn ends(w: &mut Words<'_>) -> Result<(NodeSet, Direction, NodeSet), ParseError> {
    let from = nodes(w)?;
    let direction = w.choice(&[("->", Direction::OneWay), ("<->", Direction::Both)])?;
    Ok((from, direction, nodes(w)?))
}

/// `n3 drift +200ppm offset -1.5s`; with `step` if this is a step.
pub(super) fn clock(w: &mut Words<'_>, is_step: bool) -> Result<ClockLine, ParseError> {
    let mut c = ClockLine { nodes: nodes(w)?, drift: None, offset: None, step: None };
    let a_time = format!("a signed time such as -1.5s ({})", lex::UNITS_SAID);
    loop {
        if c.drift.is_none() && w.take("drift") {
            let what = "a drift such as +200ppm, at most 500000ppm";
            c.drift = Some(w.value(what, lex::drift)?);
        } else if c.offset.is_none() && w.take("offset") {
            c.offset = Some(w.value(&a_time, lex::offset)?);
        } else if is_step && c.step.is_none() && w.take("step") {
            c.step = Some(w.value(&a_time, lex::offset)?);
        } else if w.is_done() && (c.drift.is_some() || c.offset.is_some() || c.step.is_some()) {
            return Ok(c);
        } else {
            let step = if is_step { ", `step`" } else { "" };
            return Err(w.expected(&format!("`drift`, `offset`{step}, each once")));
        }
    }
}

/// `all`, or one or more nodes and spans.
pub(super) fn nodes(w: &mut Words<'_>) -> Result<NodeSet, ParseError> {
    if w.take("all") {
        return Ok(NodeSet::All);
    }
    let mut spans = vec![w.value("a node such as n1, a span n1..n3, or `all`", lex::span)?];
    while let Some(s) = lex::span(w.peek()) {
        if spans.len() >= MAX_NODES as usize {
            return Err(w.expected("fewer nodes in one line"));
        }
        spans.push(s);
        w.skip();
    }
    let set = NodeSet::Some(spans);
    if set.in_range() { Ok(set) } else { Err(w.expected("nodes from n1 to n10000")) }
}

/// The name of an event or query.
pub(super) fn topic(w: &mut Words<'_>) -> Result<Topic, ParseError> {
    w.value("a name of letters, digits, dashes and dots", Topic::new)
}

fn viewers(w: &mut Words<'_>, required: bool) -> Result<Viewers, ParseError> {
    if w.take("everywhere") || (!required && w.is_done()) {
        return Ok(Viewers::Everywhere);
    }
    if w.take("on") { Ok(Viewers::On(nodes(w)?)) } else { Err(w.expected("`everywhere` or `on`")) }
}

fn condition(w: &mut Words<'_>) -> Result<Condition, ParseError> {
    if w.take("converged") {
        return Ok(Condition::Converged);
    }
    if w.take("quorum") {
        let voters = if w.is_done() { None } else { Some(nodes(w)?) };
        return Ok(Condition::Quorum { voters });
    }
    if w.take("event") {
        let name = topic(w)?;
        return Ok(Condition::Event { name, viewers: viewers(w, true)? });
    }
    if w.take("query") {
        let name = topic(w)?;
        w.need("answered")?;
        return Ok(Condition::Query { name });
    }
    if w.take("rtt") {
        let nodes = nodes(w)?;
        return Ok(Condition::Rtt { nodes, off: w.value("a rate such as 20%", lex::rate)? });
    }
    if w.peek() != "all" && lex::span(w.peek()).is_none() {
        let wanted = "`converged`, `quorum`, `event`, `query`, `rtt`, or a node such as n1";
        return Err(w.expected(wanted));
    }
    let nodes = nodes(w)?;
    let held = w.choice(Held::WORDS)?;
    Ok(Condition::Held { nodes, held, viewers: viewers(w, true)? })
}

fn lasting(w: &mut Words<'_>) -> Result<Expect, ParseError> {
    let lasts = w.positive_time()?;
    let nodes = nodes(w)?;
    let not = w.take("not");
    let held = w.choice(Held::WORDS)?;
    Ok(Expect::For { lasts, nodes, not, held, viewers: viewers(w, false)? })
}
