//! What may stand after `at TIME`.

use super::{
    Action, DiskFault, MAX_GROUPS, StartOptions, hostile,
    lex::{self, Words},
    parse::{self, ParseError, nodes, small},
    values::{NodeNo, NodeSet, Time},
};

/// Every word that begins a step.
const STEPS: &str = "`join`, `partition`, `isolate`, `cut`, `mend`, `flap`, `heal`, `crash`, \
    `poweroff`, `pause`, `suspend`, `starve`, `saturate`, `clock`, `net`, `link`, `restart`, \
    `start`, `leave`, `force-leave`, `replay`, `garbage`, `retag`, `misplace`, `event`, `query`, \
    `rumour`, `disk`, `key` or `forge`";

/// The step itself.
pub(super) fn action(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let word = w.peek();
    let error = w.expected(STEPS);
    w.skip();
    match word {
        "heal" => Ok(Action::Heal),
        "clock" => Ok(Action::Clock(parse::clock(w, true)?)),
        "net" => Ok(Action::Net(parse::settings(w)?)),
        "link" => Ok(Action::Link(parse::link(w)?)),
        "saturate" => {
            let processes = small(w.number(1, 10_000)?);
            Ok(Action::Saturate { processes, lasts: lasts(w)? })
        }
        "partition" => partition(w),
        "key" => hostile::key_step(w),
        "forge" => hostile::forge(w),
        "cut" => {
            let (from, direction, to) = parse::ends(w)?;
            Ok(Action::Cut { from, direction, to })
        }
        "event" | "query" => {
            let name = parse::topic(w)?;
            w.need("on")?;
            let on = nodes(w)?;
            let event = word == "event";
            Ok(if event { Action::Event { name, on } } else { Action::Query { name, on } })
        }
        "join" | "isolate" | "mend" | "flap" | "crash" | "poweroff" | "pause" | "suspend"
        | "starve" | "restart" | "start" | "leave" | "force-leave" | "replay" | "garbage"
        | "retag" | "misplace" | "rumour" | "disk" => of_nodes(word, w),
        _ => Err(error),
    }
}

fn of_nodes(word: &str, w: &mut Words<'_>) -> Result<Action, ParseError> {
    // `start all` would start nothing that is not there: numbers are needed.
    if matches!(word, "start" | "rumour") && w.peek() == "all" {
        return Err(w.expected("nodes that did not run"));
    }
    let nodes = nodes(w)?;
    Ok(match word {
        "join" => {
            w.need("via")?;
            Action::Join { nodes, via: parse::nodes(w)? }
        }
        "isolate" => Action::Isolate { nodes },
        "mend" => Action::Mend { nodes },
        "flap" => {
            w.need("every")?;
            // Finer than this is loss, not flapping, and would flood the queue.
            let what = format!("a time of at least 10ms ({})", lex::UNITS_SAID);
            let every = w.value(&what, |x| lex::time(x).filter(|t| *t >= Time::from_millis(10)))?;
            Action::Flap { nodes, every, lasts: lasts(w)? }
        }
        "crash" => Action::Crash { nodes },
        "poweroff" => Action::Poweroff { nodes },
        "pause" => Action::Pause { nodes, lasts: lasts(w)? },
        "suspend" => Action::Suspend { nodes, lasts: lasts(w)? },
        "starve" => {
            let factor = w.value("a factor from 1x to 1000x", lex::factor)?;
            Action::Starve { nodes, factor, lasts: lasts(w)? }
        }
        "restart" => Action::Restart { nodes, options: options(w, true)? },
        "start" => Action::Start { nodes, options: options(w, false)? },
        "leave" => Action::Leave { nodes },
        "force-leave" => Action::ForceLeave { nodes, on: on(w)? },
        "replay" => Action::Replay { nodes, window: w.positive_time()? },
        "garbage" => Action::Garbage { nodes, count: small(w.number(1, 100_000)?) },
        "retag" => Action::Retag { nodes },
        "misplace" => Action::Misplace { nodes },
        "rumour" => {
            w.need("on")?;
            Action::Rumour { nodes, on: parse::nodes(w)? }
        }
        _ => Action::Disk { nodes, fault: w.choice(DiskFault::WORDS)? },
    })
}

fn lasts(w: &mut Words<'_>) -> Result<Time, ParseError> {
    w.need("for")?;
    w.positive_time()
}

fn on(w: &mut Words<'_>) -> Result<Option<NodeSet>, ParseError> {
    if w.take("on") { nodes(w).map(Some) } else { Ok(None) }
}

fn partition(w: &mut Words<'_>) -> Result<Action, ParseError> {
    let mut groups = vec![nodes(w)?];
    while w.take("|") {
        if groups.len() >= MAX_GROUPS {
            return Err(w.expected(&format!("at most {MAX_GROUPS} groups")));
        }
        groups.push(nodes(w)?);
    }
    if groups.len() < 2 {
        Err(w.expected("`|` and another group"))
    } else {
        Ok(Action::Partition { groups })
    }
}

fn options(w: &mut Words<'_>, restart: bool) -> Result<StartOptions, ParseError> {
    let (mut o, first) = (StartOptions::default(), w.place());
    if restart {
        o.fresh = w.take("fresh");
        if w.take("at") {
            w.need("new-address")?;
            o.new_address = true;
        }
    }
    if w.take("protocol") {
        o.protocol = Some(parse::versions(w)?);
    }
    if w.take("as") {
        o.name = Some(NodeNo(w.value("a node such as n2", lex::node)?));
    }
    if w.take("join") {
        o.join = Some(nodes(w)?);
    }
    if w.take("keys") {
        o.keys = hostile::keys(w)?;
    }
    let order = ["fresh", "at", "protocol", "as", "join", "keys"];
    w.in_order(first, if restart { &order } else { &order[2..] })?;
    Ok(o)
}

impl Action {
    /// Every set of nodes that the step names.
    pub fn node_sets(&self) -> Vec<&NodeSet> {
        match self {
            Self::Join { nodes, via } => vec![nodes, via],
            Self::Rumour { nodes, on } => vec![nodes, on],
            Self::Partition { groups } => groups.iter().collect(),
            Self::Cut { from, to, .. } => vec![from, to],
            Self::Link(l) => vec![&l.from, &l.to],
            Self::Clock(c) => vec![&c.nodes],
            Self::Heal | Self::Net(_) | Self::Saturate { .. } => vec![],
            Self::Key { on, .. } => on.iter().collect(),
            Self::Forge { nodes, accused, .. } => vec![nodes, accused],
            Self::ForceLeave { nodes, on } => on.iter().chain([nodes]).collect(),
            Self::Restart { nodes, options } | Self::Start { nodes, options } => {
                options.join.iter().chain([nodes]).collect()
            }
            Self::Isolate { nodes }
            | Self::Mend { nodes }
            | Self::Flap { nodes, .. }
            | Self::Crash { nodes }
            | Self::Poweroff { nodes }
            | Self::Pause { nodes, .. }
            | Self::Suspend { nodes, .. }
            | Self::Starve { nodes, .. }
            | Self::Leave { nodes }
            | Self::Replay { nodes, .. }
            | Self::Garbage { nodes, .. }
            | Self::Event { on: nodes, .. }
            | Self::Query { on: nodes, .. }
            | Self::ForgeEvent { nodes, .. }
            | Self::Retag { nodes }
            | Self::Misplace { nodes }
            | Self::Disk { nodes, .. } => vec![nodes],
        }
    }
}
