//! Steps of a scenario take effect. Every step is total: where it does not apply it does nothing.

use super::{
    agent::Order,
    control::{Flapping, Runner, name},
    fabric::address,
};
use crate::network::{Alone, Network};
use crate::scenario::{Action, ClockLine, NodeSet, StartOptions};
use crate::world::host::Process;

impl Runner<'_> {
    /// A step's time has come.
    pub(super) fn acts(&mut self, action: &Action) {
        self.dirty = true;
        match action {
            Action::Partition { groups } => {
                let highest = self.highest();
                self.changes(|n| n.partition(groups, highest));
            }
            Action::Isolate { nodes } => {
                self.each(nodes, |r, h| r.changes(|n| n.isolate(h as u32, Alone::Step, true)));
            }
            Action::Cut { from, direction, to } => self.changes(|n| n.cut(from, *direction, to)),
            Action::Mend { nodes } => self.each(nodes, |r, h| {
                r.flapping.remove(&(h as u32));
                r.changes(|n| n.mend(h as u32));
            }),
            Action::Heal => {
                self.flapping.clear();
                self.changes(|n| n.heal());
            }
            Action::Net(s) => self.changes(|n| n.set_base(s)),
            Action::Link(l) => self.changes(|n| n.set_links(l)),
            Action::Clock(c) => self.set_clocks(c),
            _ => self.acts_on_nodes(action),
        }
    }

    fn acts_on_nodes(&mut self, action: &Action) {
        match action {
            Action::Join { nodes, via } => self.each(nodes, |r, h| r.join(h, via)),
            Action::Flap { nodes, every, lasts } => {
                let (every, until) = (every.as_nanos(), self.now + lasts.as_nanos());
                self.each(nodes, |r, h| {
                    let flapping = Flapping { every, until, next: r.now, isolated: false };
                    r.flapping.insert(h as u32, flapping);
                });
            }
            Action::Crash { nodes } => self.each(nodes, |r, h| r.stop_process(h, false)),
            Action::Poweroff { nodes } => self.each(nodes, |r, h| r.stop_process(h, true)),
            Action::Restart { nodes, options } => self.each(nodes, |r, h| r.restart(h, options)),
            Action::Start { nodes, options } => self.each(nodes, |r, h| {
                if r.hosts[h].process == Process::Never {
                    r.begin(h, options);
                }
            }),
            Action::Leave { nodes } => self.each(nodes, |r, h| r.hosts[h].order(Order::Leave)),
            Action::ForceLeave { nodes, on } => self.force_leave(nodes, on.as_ref()),
            Action::Replay { nodes, window } => self.each(nodes, |r, h| {
                let since = r.now.saturating_sub(window.as_nanos());
                r.injections.extend(r.fabric.replays(h as u32, since, r.now));
            }),
            Action::Garbage { nodes, count } => self.each(nodes, |r, h| {
                r.injections.extend(r.fabric.garbage(h as u32, *count, r.now));
            }),
            // The others were refused when the plan was made.
            _ => {}
        }
    }

    pub(super) fn highest(&self) -> u32 {
        self.hosts.len() as u32 - 1
    }

    /// Does something to each of the nodes, in the order in which they are named.
    fn each(&mut self, nodes: &NodeSet, mut act: impl FnMut(&mut Self, usize)) {
        for n in nodes.numbers(self.highest()) {
            if (n as usize) < self.hosts.len() {
                act(self, n as usize);
            }
        }
    }

    fn join(&mut self, h: usize, via: &NodeSet) {
        let mut targets = via.numbers(self.highest());
        targets.retain(|n| *n as usize != h);
        if !targets.is_empty() {
            self.hosts[h].order(Order::Join(targets));
        }
    }

    /// Whatever changes the network is done in here.
    fn changes(&self, change: impl FnOnce(&mut Network)) {
        self.fabric.change(self.now, change);
    }

    /// The next turns of flapping nodes, where they are due.
    pub(super) fn flaps(&mut self) {
        let due = self.flapping.iter().filter(|(_, f)| f.next <= self.now);
        for (n, f) in due.map(|(n, f)| (*n, *f)).collect::<Vec<_>>() {
            let over = self.now >= f.until;
            let isolated = !f.isolated && !over;
            self.changes(|net| net.isolate(n, Alone::Flap, isolated));
            self.dirty = true;
            if over {
                self.flapping.remove(&n);
            } else {
                let next = (f.next + f.every).min(f.until);
                self.flapping.insert(n, Flapping { next, isolated, ..f });
            }
        }
    }

    /// Datagrams that no agent sends arrive when it is time.
    pub(super) fn injects(&mut self) {
        let now = self.now;
        for x in self.injections.extract_if(.., |x| x.at <= now) {
            self.fabric.inject(x);
        }
    }

    fn restart(&mut self, h: usize, options: &StartOptions) {
        if self.hosts[h].process == Process::Never {
            return;
        }
        if self.hosts[h].process == Process::Up {
            self.stop_process(h, false);
        }
        if options.new_address {
            self.moves(h);
        }
        self.begin(h, options);
    }

    /// The node's next process has an address that nobody had.
    fn moves(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        host.moves = host.moves.saturating_add(1);
        let addr = address(host.number, host.moves);
        self.fabric.put(host.number, addr, false);
    }

    fn begin(&mut self, h: usize, options: &StartOptions) {
        if let Some(other) = options.name {
            self.hosts[h].name = name(other.0);
        }
        self.start_process(h, options);
        if let Some(via) = &options.join {
            self.join(h, via);
        }
    }

    /// At the named nodes, or at the first other one that takes part.
    fn force_leave(&mut self, nodes: &NodeSet, on: Option<&NodeSet>) {
        let highest = self.highest();
        for subject in nodes.numbers(highest) {
            let Some(host) = self.hosts.get(subject as usize) else { continue };
            let name = host.name.clone();
            let at: Vec<u32> = match on {
                Some(set) => set.numbers(highest),
                None => {
                    let able = |n: &u32| *n != subject && self.takes_part(*n as usize);
                    (1..=highest).find(able).into_iter().collect()
                }
            };
            for host in at.into_iter().filter_map(|n| self.hosts.get(n as usize)) {
                host.order(Order::ForceLeave(name.clone()));
            }
        }
    }

    /// Drift of some clocks.
    pub(super) fn set_clocks(&mut self, c: &ClockLine) {
        let now = self.now;
        if let Some(drift) = c.drift {
            self.each(&c.nodes, |r, h| r.hosts[h].clock.set_drift(now, drift.0));
        }
    }
}
