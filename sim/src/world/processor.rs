//! Who has the processor: turns of starved processes, and cores that all share.
//!
//! Every process has a processor of its own that costs nothing, unless the scenario says otherwise.
//! One that is starved has the processor in turns: it runs for a while and then stands for a
//! while that it knows nothing of, as beside many busy processes, under a quota, or on a host whose
//! hypervisor gives it little. Where cores are shared, whoever has something to do waits in a line
//! for one of them. In both cases each input costs time. Guarantees: turns are a function
//! of time (who sleeps gets no more of them); what came first is handled first; at most
//! [`BATCH`] inputs come before a deadline that is due.

use std::collections::VecDeque;

use super::{
    World,
    host::{Host, Input},
    queue::Plan,
};
use crate::{
    keyed::{Keyed, Purpose},
    program::DueFirst,
};

/// Inputs that a process handles before it looks at its deadlines.
const BATCH: u32 = 64;
/// A starved process runs for so long on average: the quantum of Linux' round robin, and the
/// period of its quotas.
const TURN_NS: u64 = 100_000_000;
/// No process stands for longer than so many times what it stands on average.
const LONGEST: u64 = 6;
/// On shared cores a process gives way after this, if others wait.
const QUANTUM_NS: u64 = 4_000_000;
/// What a datagram costs, from the read to the answer that is written.
const DATAGRAM_NS: u64 = 30_000;
/// What something on a stream costs.
const STREAM_NS: u64 = 60_000;
/// What a deadline costs, a command, or a write that is done.
const OTHER_NS: u64 = 30_000;

/// No turn is planned.
const NEVER: u64 = u64::MAX;
/// In the line: a process of somebody else that always has something to do.
const BUSY: u32 = 0;

/// The turns of a starved process: the present or next one, and how many were drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    starts: u64,
    ends: u64,
    drawn: u64,
}

/// A process and the processor.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Share {
    /// Starved until then, by this factor.
    starved: (u64, u32),
    /// What it does takes until then.
    busy_until: u64,
    /// When its next turn is, if it waits for one: what was planned for another time is void.
    wakes_at: u64,
    turn: Turn,
    /// Inputs since it looked at its deadlines.
    handled: u32,
    /// It has one of the shared cores, since when.
    core: Option<u64>,
    /// It waits in the line for one.
    in_line: bool,
}

/// Cores that all processes share.
#[derive(Debug, Default)]
pub(super) struct Cores {
    /// How many; 0: each process has its own.
    pub(super) count: u32,
    taken: u32,
    /// Hosts whose process waits, and [`BUSY`].
    line: VecDeque<u32>,
    /// Busy processes of others are there until then.
    busy_until: u64,
}

impl Share {
    /// Is it starved?
    pub(super) fn is_starved(&self, now: u64) -> bool {
        self.starved.0 > now
    }

    /// What is left of it when its process ends: a core is given back when its turn is over.
    pub(super) fn forget(&mut self) {
        *self = Self { core: self.core, in_line: self.in_line, turn: self.turn, ..Self::default() };
    }

    /// When it may run, now or later.
    fn runs_at(&mut self, now: u64, keyed: &Keyed, subject: u64) -> u64 {
        if !self.is_starved(now) {
            return now;
        }
        let factor = u64::from(self.starved.1);
        while self.turn.ends <= now {
            let t = &mut self.turn;
            t.drawn += 1;
            let stands = TURN_NS * (factor - 1);
            // Without memory: how long it stood says nothing about how long it will.
            let stands = exponential(keyed.bits(Purpose::Starve, subject, t.drawn), stands);
            let runs = exponential(keyed.bits(Purpose::Starve, !subject, t.drawn), TURN_NS);
            t.starts = t.ends + stands;
            t.ends = t.starts + runs.max(1);
        }
        self.turn.starts.max(now).min(self.starved.0)
    }
}

/// Drawn without memory, with this mean: `-ln(u)` by the leading zeros of `u`, and a line between.
fn exponential(bits: u64, mean: u64) -> u64 {
    let zeros = bits.leading_zeros().min(62);
    let rest = (bits << (zeros + 1)) >> 48;
    let log2 = (u64::from(zeros + 1) << 16) - rest;
    let drawn = (u128::from(mean) * u128::from(log2) * 45_426) >> 32;
    u64::try_from(drawn).unwrap_or(u64::MAX).min(mean * LONGEST)
}

impl Host {
    /// Does the process have a processor of its own that costs nothing?
    fn is_free(&self, now: u64, cores: &Cores) -> bool {
        cores.count == 0 && !self.share.is_starved(now) && self.share.busy_until <= now
    }
}

impl World {
    /// May an input be handled at once?
    pub(super) fn is_ready(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        host.inbox.is_empty() && !host.is_stopped(self.now) && host.is_free(self.now, &self.cores)
    }

    /// The process on `h` is starved from now on.
    pub(super) fn starve(&mut self, h: usize, factor: u32, lasts: u64) {
        let now = self.now;
        let host = &mut self.hosts[h];
        // Turns of an earlier starvation are over, too.
        host.share.turn.ends = now;
        host.share.starved = (now + lasts, factor.max(1));
        self.queue.plan(now + lasts, Plan::Resume(h as u32, host.life));
        if host.waking {
            self.wake_anew(h);
        }
    }

    /// Lacks the process on `h` processor time by the scenario's word?
    pub(super) fn is_starved(&self, h: usize) -> bool {
        self.hosts[h].share.is_starved(self.now) || self.cores.busy_until > self.now
    }

    /// An input waits until the process gets the processor.
    pub(super) fn waits(&mut self, h: usize, input: Input) {
        self.hosts[h].inbox.push_back(input);
        self.wake_later(h);
    }

    /// Plans the next turn of a process that cannot run at once.
    pub(super) fn wake_later(&mut self, h: usize) {
        let now = self.now;
        let host = &mut self.hosts[h];
        if host.waking || host.is_stopped(now) {
            return;
        }
        host.waking = true;
        let at = host.share.runs_at(now.max(host.share.busy_until), &self.keyed, h as u64);
        host.share.wakes_at = at;
        self.queue.plan(at, Plan::Wake(h as u32));
    }

    /// As above; what was planned is void, for it depends on something that has changed.
    pub(super) fn wake_anew(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if !host.share.in_line {
            host.waking = false;
        }
        self.wake_later(h);
    }

    /// The process has the processor, if nothing came in between.
    pub(super) fn wakes(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.share.wakes_at != self.now {
            return self.gives_way(h);
        }
        host.share.wakes_at = NEVER;
        host.waking = false;
        let is_free = self.hosts[h].is_free(self.now, &self.cores);
        if is_free {
            return self.handles_at_once(h);
        }
        if !self.has_core(h) {
            return;
        }
        let now = self.now;
        let host = &mut self.hosts[h];
        if host.is_up() && !host.is_stopped(now) {
            if host.share.runs_at(now.max(host.share.busy_until), &self.keyed, h as u64) > now {
                self.wake_later(h);
            } else {
                self.handles_one(h);
            }
        }
        self.gives_way(h);
    }

    /// A batch of inputs, then deadlines, in no time.
    fn handles_at_once(&mut self, h: usize) {
        for _ in 0..BATCH {
            if !self.hosts[h].is_up() || self.hosts[h].is_stopped(self.now) {
                return;
            }
            let Some(input) = self.hosts[h].inbox.pop_front() else { break };
            self.takes(h, input);
        }
        if !self.hosts[h].is_up() || self.hosts[h].is_stopped(self.now) {
            return;
        }
        if self.is_due(h) {
            self.cause = 0;
            self.deadlines(h);
        }
        if !self.hosts[h].inbox.is_empty() {
            self.wake_later(h);
        }
        self.arm(h);
    }

    /// One input or what is due, and what that costs.
    fn handles_one(&mut self, h: usize) {
        let due = self.is_due(h);
        let host = &mut self.hosts[h];
        let first = self.program.due_first == DueFirst::Deadlines;
        let looks = first || host.inbox.is_empty() || host.share.handled >= BATCH;
        let cost = if due && looks {
            host.share.handled = 0;
            self.cause = 0;
            self.deadlines(h);
            OTHER_NS
        } else if let Some(input) = host.inbox.pop_front() {
            host.share.handled += 1;
            let cost = match &input {
                Input::Datagram { .. } => DATAGRAM_NS,
                Input::Stream { .. } => STREAM_NS,
                _ => OTHER_NS,
            };
            self.takes(h, input);
            cost
        } else {
            // The deadline that it woke for was put off.
            self.arm(h);
            0
        };
        self.hosts[h].share.busy_until = self.now + cost;
        if self.hosts[h].is_up() && (!self.hosts[h].inbox.is_empty() || self.is_due(h)) {
            self.wake_later(h);
        }
    }

    /// Has a deadline of the node come?
    pub(super) fn is_due(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let now = host.clock_shows(self.now);
        host.node.as_ref().and_then(|n| n.poll_timeout()).is_some_and(|t| t <= now)
    }

    /// Has the process one of the shared cores? Takes one, or waits in the line.
    fn has_core(&mut self, h: usize) -> bool {
        let share = &mut self.hosts[h].share;
        if self.cores.count == 0 || share.core.is_some() {
            return true;
        }
        if self.cores.taken < self.cores.count {
            self.cores.taken += 1;
            share.core = Some(self.now);
            return true;
        }
        if !share.in_line {
            share.in_line = true;
            self.cores.line.push_back(h as u32);
        }
        self.hosts[h].waking = true;
        false
    }

    /// A process that has nothing to do, or had its quantum while others wait, leaves its core.
    fn gives_way(&mut self, h: usize) {
        let Some(since) = self.hosts[h].share.core else { return };
        let share = &self.hosts[h].share;
        let over = self.now.saturating_sub(since) >= QUANTUM_NS && !self.cores.line.is_empty();
        if self.hosts[h].waking && share.busy_until > self.now && !over {
            return;
        }
        // What it does last still takes its time.
        let at = share.busy_until.max(self.now);
        self.hosts[h].share.core = None;
        self.queue.plan(at, Plan::Core);
    }

    /// Busy processes of others want the shared cores for so long.
    pub(super) fn saturate(&mut self, processes: u32, lasts: u64) {
        let cores = &mut self.cores;
        if cores.count == 0 {
            return;
        }
        cores.busy_until = cores.busy_until.max(self.now + lasts);
        cores.line.extend((0..processes).map(|_| BUSY));
        for _ in cores.taken..cores.count {
            cores.taken += 1;
            self.queue.plan(self.now, Plan::Core);
        }
    }

    /// A busy process had its quantum.
    pub(super) fn busy_turn_ends(&mut self) {
        if self.now < self.cores.busy_until {
            self.cores.line.push_back(BUSY);
        }
        self.core_is_free();
    }

    /// A core is free: for the first in the line.
    pub(super) fn core_is_free(&mut self) {
        let first = self.cores.line.pop_front();
        match first {
            None => self.cores.taken -= 1,
            Some(BUSY) => self.queue.plan(self.now + QUANTUM_NS, Plan::Busy),
            Some(h) => {
                let share = &mut self.hosts[h as usize].share;
                (share.in_line, share.core) = (false, Some(self.now));
                share.wakes_at = self.now;
                self.queue.plan(self.now, Plan::Wake(h));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_without_memory_have_their_mean_and_an_end() {
        let keyed = Keyed::new(3);
        let mean = 1_900_000_000;
        let draws: Vec<u64> =
            (0..20_000).map(|n| exponential(keyed.bits(Purpose::Starve, 1, n), mean)).collect();
        let sum: u64 = draws.iter().map(|d| d / 20_000).sum();
        assert!(sum > mean * 94 / 100 && sum < mean * 106 / 100, "{sum}");
        let beyond = |d| draws.iter().filter(|x| **x > d).count();
        let (one, two) = (beyond(mean), beyond(2 * mean));
        assert!((6_600..8_100).contains(&one) && (2_400..3_000).contains(&two), "{one}, {two}");
        assert_eq!(draws.iter().max(), Some(&(mean * LONGEST)));
    }

    #[test]
    fn who_is_starved_twentyfold_runs_a_twentieth_of_the_time() {
        let hour = 3_600_000_000_000;
        let mut share = Share { starved: (hour, 20), ..Share::default() };
        let (mut at, mut ran, mut turns) = (0, 0, 0_u64);
        while share.runs_at(at, &Keyed::new(1), 7) < hour {
            ran += share.turn.ends - share.turn.starts;
            turns += 1;
            at = share.turn.ends;
        }
        assert!((hour / 22..hour / 18).contains(&ran), "{ran} ns in {turns} turns");
        assert_eq!(share.runs_at(hour, &Keyed::new(1), 7), hour, "it is over");
    }

    #[test]
    fn turns_are_a_function_of_time() {
        let starved = Share { starved: (u64::MAX, 50), ..Share::default() };
        let (mut often, mut once) = (starved, starved);
        for s in 0..60 {
            often.runs_at(s * 1_000_000_000, &Keyed::new(1), 7);
        }
        let at = 60_000_000_000;
        assert_eq!(often.runs_at(at, &Keyed::new(1), 7), once.runs_at(at, &Keyed::new(1), 7));
    }
}
