//! A scenario as text: what it prints parses to the same scenario.

use std::fmt;

use super::{
    Action, ClockLine, Cluster, Condition, Direction, DiskFault, Expect, Held, Line, LinkLine,
    LinkSettings, Scenario, ServerLine, StartOptions, Viewers, hostile::print_keys,
};

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.about {
            writeln!(f, "{}", format!("# {line}").trim_end())?;
        }
        writeln!(f, "{}", self.cluster)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}", self.nodes)?;
        if self.servers > 0 {
            write!(f, " servers {}", self.servers)?;
        }
        if let Some(n) = self.expect {
            write!(f, " expect {n}")?;
        }
        write!(f, " seed {}", self.seed)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(s) => write!(f, "net{s}"),
            Self::Link(l) => write!(f, "link {l}"),
            Self::Clock(c) => write!(f, "clock {c}"),
            Self::Server(s) => write!(f, "server {s}"),
            Self::Protocol(p) => write!(f, "protocol {} {}..{}", p.nodes, p.range.0, p.range.1),
            Self::Keys(keys) => {
                f.write_str("keys")?;
                print_keys(f, keys)
            }
            Self::Cores(n) => write!(f, "cores {n}"),
            Self::Queues(n) => write!(f, "queues {n}"),
            Self::At(t, a) => write!(f, "at {t} {a}"),
            Self::Expect(e) => write!(f, "{e}"),
        }
    }
}

impl fmt::Display for LinkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((min, max)) = self.latency {
            write!(f, " latency {min}")?;
            if min != max {
                write!(f, "..{max}")?;
            }
        }
        let rates = [
            ("loss", self.loss),
            ("burst", self.burst),
            ("dup", self.dup),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (word, rate) in rates {
            if let Some(r) = rate {
                write!(f, " {word} {r}")?;
            }
        }
        for (word, n) in [("mtu", self.mtu), ("bandwidth", self.bandwidth)] {
            if let Some(n) = n {
                write!(f, " {word} {n}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneWay => "->",
            Self::Both => "<->",
        })
    }
}

impl fmt::Display for LinkLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}{}", self.from, self.direction, self.to, self.settings)
    }
}

impl fmt::Display for ClockLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.nodes)?;
        if let Some(d) = self.drift {
            write!(f, " drift {d}")?;
        }
        if let Some(o) = self.offset {
            write!(f, " offset {o}")?;
        }
        if let Some(o) = self.step {
            write!(f, " step {o}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.nodes)?;
        match (self.bootstrap, self.expect) {
            (true, _) => f.write_str(" bootstrap"),
            (false, 0) => Ok(()),
            (false, n) => write!(f, " expect {n}"),
        }
    }
}

impl DiskFault {
    /// Word by fault: parser and printer read this table.
    pub(super) const WORDS: &[(&str, Self)] = &[
        ("lose-unsynced", Self::LoseUnsynced),
        ("torn", Self::Torn),
        ("full", Self::Full),
        ("corrupt", Self::Corrupt),
        ("backup", Self::Backup),
        ("restore", Self::Restore),
        ("ok", Self::Ok),
    ];
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(Self::WORDS, *self))
    }
}

impl Held {
    /// Word by state: parser and printer read this table.
    pub(super) const WORDS: &[(&str, Self)] = &[
        ("alive", Self::Alive),
        ("suspect", Self::Suspect),
        ("failed", Self::Failed),
        ("left", Self::Left),
        ("unknown", Self::Unknown),
        ("degraded", Self::Degraded),
    ];
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(Self::WORDS, *self))
    }
}

pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], x: T) -> &'static str {
    words.iter().find(|(_, y)| *y == x).map_or("", |(w, _)| w)
}

impl fmt::Display for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fresh {
            f.write_str(" fresh")?;
        }
        if self.new_address {
            f.write_str(" at new-address")?;
        }
        if let Some((min, max)) = self.protocol {
            write!(f, " protocol {min}..{max}")?;
        }
        if let Some(n) = self.name {
            write!(f, " as {n}")?;
        }
        if let Some(set) = &self.join {
            write!(f, " join {set}")?;
        }
        if !self.keys.is_empty() {
            f.write_str(" keys")?;
        }
        print_keys(f, &self.keys)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { nodes, via } => write!(f, "join {nodes} via {via}"),
            Self::Partition { groups } => {
                f.write_str("partition")?;
                for (i, g) in groups.iter().enumerate() {
                    write!(f, "{} {g}", if i > 0 { " |" } else { "" })?;
                }
                Ok(())
            }
            Self::Isolate { nodes } => write!(f, "isolate {nodes}"),
            Self::Cut { from, direction, to } => write!(f, "cut {from} {direction} {to}"),
            Self::Mend { nodes } => write!(f, "mend {nodes}"),
            Self::Flap { nodes, every, lasts } => {
                write!(f, "flap {nodes} every {every} for {lasts}")
            }
            Self::Heal => f.write_str("heal"),
            Self::Crash { nodes } => write!(f, "crash {nodes}"),
            Self::Poweroff { nodes } => write!(f, "poweroff {nodes}"),
            Self::Pause { nodes, lasts } => write!(f, "pause {nodes} for {lasts}"),
            Self::Suspend { nodes, lasts } => write!(f, "suspend {nodes} for {lasts}"),
            Self::Saturate { processes, lasts } => write!(f, "saturate {processes} for {lasts}"),
            Self::Starve { nodes, factor, lasts } => {
                write!(f, "starve {nodes} {factor} for {lasts}")
            }
            Self::Clock(c) => write!(f, "clock {c}"),
            Self::Net(s) => write!(f, "net{s}"),
            Self::Link(l) => write!(f, "link {l}"),
            Self::Restart { nodes, options } => write!(f, "restart {nodes}{options}"),
            Self::Start { nodes, options } => write!(f, "start {nodes}{options}"),
            Self::Leave { nodes } => write!(f, "leave {nodes}"),
            Self::ForceLeave { nodes, on: None } => write!(f, "force-leave {nodes}"),
            Self::ForceLeave { nodes, on: Some(on) } => write!(f, "force-leave {nodes} on {on}"),
            Self::Replay { nodes, window } => write!(f, "replay {nodes} {window}"),
            Self::Garbage { nodes, count } => write!(f, "garbage {nodes} {count}"),
            Self::Event { name, on } => write!(f, "event {name} on {on}"),
            Self::Query { name, on } => write!(f, "query {name} on {on}"),
            Self::ForgeEvent { nodes, ahead } => write!(f, "forge {nodes} ahead {ahead}"),
            Self::Retag { nodes } => write!(f, "retag {nodes}"),
            Self::Misplace { nodes } => write!(f, "misplace {nodes}"),
            Self::Rumour { nodes, on } => write!(f, "rumour {nodes} on {on}"),
            Self::Disk { nodes, fault } => write!(f, "disk {nodes} {fault}"),
            Self::Key { verb, key, on: None } => write!(f, "key {verb} {key}"),
            Self::Key { verb, key, on: Some(on) } => write!(f, "key {verb} {key} on {on}"),
            Self::Forge { nodes, lie, accused, version } => {
                write!(f, "forge {nodes} {lie} {accused} {version}")
            }
        }
    }
}

impl fmt::Display for Viewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("everywhere"),
            Self::On(set) => write!(f, "on {set}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Converged => f.write_str("converged"),
            Self::Held { nodes, held, viewers } => write!(f, "{nodes} {held} {viewers}"),
            Self::Quorum { voters: None } => f.write_str("quorum"),
            Self::Quorum { voters: Some(set) } => write!(f, "quorum {set}"),
            Self::Event { name, viewers } => write!(f, "event {name} {viewers}"),
            Self::Query { name } => write!(f, "query {name} answered"),
            Self::Rtt { nodes, off } => write!(f, "rtt {nodes} {off}"),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(t, c) => write!(f, "within {t} {c}"),
            Self::For { lasts, nodes, not, held, viewers } => {
                let not = if *not { "not " } else { "" };
                write!(f, "for {lasts} {nodes} {not}{held}")?;
                if *viewers != Viewers::Everywhere {
                    write!(f, " {viewers}")?;
                }
                Ok(())
            }
            Self::NeverFalseFailed => f.write_str("never false-failed"),
            Self::Never(goal) => write!(f, "never {}", goal.name()),
            Self::NeverQuorum => f.write_str("never quorum"),
            Self::Sometimes(goal) => write!(f, "sometimes {}", goal.name()),
        }
    }
}
