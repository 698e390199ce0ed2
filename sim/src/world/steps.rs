//! Steps of a scenario take effect. Every step is total: where it does not apply it does nothing.

use quorate_core::LocalState;

use super::{
    World,
    events::is_running,
    host::{Flapping, Joining, Order, Process, address},
    name,
    queue::Plan,
};
use crate::{
    keyed::Purpose,
    network::Alone,
    scenario::{Action, ClockLine, DiskFault, Line, NodeSet, StartOptions},
    trace::Kind,
};

impl World {
    /// A line's time has come.
    pub(super) fn line_takes_effect(&mut self, i: usize) {
        let Some(Line::At(_, action)) = self.scenario.lines.get(i) else { return };
        let action = action.clone();
        self.cause = self.say(0, Kind::Step, || action.to_string());
        self.dirty = true;
        self.stepped_at = self.now;
        self.step_disturbs(&action);
        match &action {
            Action::Join { nodes, via } => self.join(nodes, via),
            Action::Partition { groups } => {
                self.changes_paths(|w| w.network.partition(groups, w.highest()));
            }
            Action::Isolate { nodes } => self.changes_paths(|w| {
                w.each(nodes, |w, h| w.network.isolate(h as u32, Alone::Step, true));
            }),
            Action::Cut { from, direction, to } => {
                self.changes_paths(|w| w.network.cut(from, *direction, to));
            }
            Action::Mend { nodes } => {
                self.changes_paths(|w| w.each(nodes, |w, h| w.mend(h)));
            }
            Action::Heal => {
                self.each(&NodeSet::All, |w, h| w.hosts[h].flapping = None);
                self.changes_paths(|w| w.network.heal());
            }
            Action::Net(s) => self.changes_paths(|w| w.network.set_base(s)),
            Action::Link(l) => self.changes_paths(|w| w.network.set_links(l)),
            Action::Clock(c) => self.set_clocks(c),
            Action::Saturate { processes, lasts } => self.saturate(*processes, lasts.as_nanos()),
            Action::Key { verb, key, on } => self.key_step(*verb, *key, on.as_ref()),
            Action::Forge { nodes, lie, accused, version } => {
                let accused = accused.numbers(self.highest());
                self.each(nodes, |w, h| {
                    for n in accused.iter().map(|n| *n as usize) {
                        if n < w.hosts.len() && n != h {
                            w.forge(h, n, *lie, *version);
                        }
                    }
                });
            }
            _ => self.act_on_nodes(&action),
        }
    }

    fn act_on_nodes(&mut self, action: &Action) {
        match action {
            Action::Flap { nodes, every, lasts } => {
                let (every, until) = (every.as_nanos(), self.now + lasts.as_nanos());
                self.each(nodes, |w, h| w.begin_flapping(h, every, until));
            }
            Action::Crash { nodes } => self.each(nodes, |w, h| {
                if w.hosts[h].is_up() {
                    w.stop_process(h, false);
                }
            }),
            Action::Poweroff { nodes } => self.each(nodes, |w, h| w.stop_process(h, true)),
            Action::Pause { nodes, lasts } => {
                let until = self.now + lasts.as_nanos();
                self.each(nodes, |w, h| w.pause(h, until));
            }
            Action::Suspend { nodes, lasts } => {
                let until = self.now + lasts.as_nanos();
                self.each(nodes, |w, h| w.suspend(h, until));
            }
            Action::Starve { nodes, factor, lasts } => {
                self.each(nodes, |w, h| w.starve(h, factor.0, lasts.as_nanos()));
            }
            Action::Restart { nodes, options } => self.each(nodes, |w, h| w.restart(h, options)),
            Action::Start { nodes, options } => self.each(nodes, |w, h| {
                if w.hosts[h].process == Process::Never {
                    w.begin(h, options);
                }
            }),
            Action::Leave { nodes } => self.each(nodes, |w, h| w.order(h, Order::Leave)),
            Action::ForceLeave { nodes, on } => self.force_leave(nodes, on.as_ref()),
            Action::Replay { nodes, window } => {
                self.each(nodes, |w, h| w.replay(h, window.as_nanos()));
            }
            Action::Garbage { nodes, count } => self.each(nodes, |w, h| w.garbage(h, *count)),
            Action::ForgeEvent { nodes, ahead } => {
                self.each(nodes, |w, h| w.forge_event(h, *ahead))
            }
            Action::Event { name, on } => self.order_each(on, || Order::Event(name.clone())),
            Action::Query { name, on } => self.order_each(on, || Order::Query(name.clone())),
            Action::Retag { nodes } => self.each(nodes, |w, h| w.order(h, Order::Retag(w.now))),
            Action::Misplace { nodes } => self.each(nodes, |w, h| w.hosts[h].misplaced = true),
            Action::Rumour { nodes, on } => {
                let on = on.numbers(self.highest());
                self.each(nodes, |w, h| w.rumour(h, &on));
            }
            Action::Disk { nodes, fault } => self.each(nodes, |w, h| w.disk_fault(h, *fault)),
            _ => {}
        }
    }

    /// Whatever changes the network is done in here.
    fn changes_paths(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.network.clone();
        change(self);
        if self.paths.changed(self.now, before, &self.network) {
            self.dirty = true;
            self.network_changed();
        }
    }

    fn highest(&self) -> u32 {
        self.hosts.len() as u32 - 1
    }

    /// Does something to each of the nodes, in the order in which they are named.
    pub(super) fn each(&mut self, nodes: &NodeSet, mut act: impl FnMut(&mut Self, usize)) {
        let cause = self.cause;
        for n in nodes.numbers(self.highest()) {
            if (n as usize) < self.hosts.len() {
                self.cause = cause;
                act(self, n as usize);
            }
        }
    }

    fn join(&mut self, nodes: &NodeSet, via: &NodeSet) {
        self.each(nodes, |w, h| w.join_one(h, via));
    }

    fn join_one(&mut self, h: usize, via: &NodeSet) {
        let me = self.hosts[h].number;
        let mut targets = via.numbers(self.highest());
        targets.retain(|n| *n != me && (*n as usize) < self.hosts.len());
        if !targets.is_empty() && self.hosts[h].is_up() {
            self.hosts[h].joining = Joining { targets, ..Joining::default() };
            self.order(h, Order::Join);
        }
    }

    fn mend(&mut self, h: usize) {
        self.hosts[h].flapping = None;
        self.network.mend(h as u32);
    }

    fn begin_flapping(&mut self, h: usize, every: u64, until: u64) {
        self.hosts[h].flapping = Some(Flapping { every, until, isolated: false, next: self.now });
        self.flaps(h);
    }

    /// The next turn of a flapping node, unless it was planned for a flapping that has ended.
    pub(super) fn flaps(&mut self, h: usize) {
        let Some(f) = self.hosts[h].flapping.filter(|f| f.next == self.now) else { return };
        let over = self.now >= f.until;
        let isolated = !f.isolated && !over;
        self.changes_paths(|w| w.network.isolate(h as u32, Alone::Flap, isolated));
        let next = (self.now + f.every).min(f.until);
        self.hosts[h].flapping = (!over).then_some(Flapping { isolated, next, ..f });
        if !over {
            self.queue.plan(next, Plan::Flap(h as u32));
        }
    }

    fn pause(&mut self, h: usize, until: u64) {
        if self.hosts[h].is_up() {
            self.hosts[h].paused_until = self.hosts[h].paused_until.max(until);
            let life = self.hosts[h].life;
            self.queue.plan(until, Plan::Resume(h as u32, life));
        }
    }

    fn suspend(&mut self, h: usize, until: u64) {
        let now = self.now;
        let host = &mut self.hosts[h];
        if matches!(host.process, Process::Up | Process::Ended) && host.suspended_until < until {
            host.clock.set_frozen(now, true);
            host.suspended_until = until;
            let life = host.life;
            self.queue.plan(until, Plan::Resume(h as u32, life));
        }
    }

    /// A pause, suspension or starvation is over, unless another one goes on, or the process that
    /// it was about ended meanwhile.
    pub(super) fn resumes(&mut self, h: usize, life: u32) {
        let now = self.now;
        let host = &mut self.hosts[h];
        let thaws = host.suspended_until > 0 && host.suspended_until <= now;
        if thaws {
            host.suspended_until = 0;
            host.clock.set_frozen(now, false);
            host.timer_at = u64::MAX;
        }
        let is_other = host.life != life && !thaws;
        if is_other || !host.is_up() || host.is_stopped(now) {
            return;
        }
        if std::mem::take(&mut host.paused_until) > 0 || thaws {
            host.well_since = now;
        }
        host.timer_at = u64::MAX;
        self.dirty = true;
        self.disturbs(now);
        self.cause = self.say(h, Kind::Resume, String::new);
        self.wake_anew(h);
        self.arm(h);
    }

    fn restart(&mut self, h: usize, options: &StartOptions) {
        if self.hosts[h].process == Process::Never {
            return;
        }
        if self.hosts[h].is_up() {
            self.stop_process(h, false);
        }
        if self.hosts[h].suspended_until > self.now {
            let now = self.now;
            self.hosts[h].clock.set_frozen(now, false);
            self.hosts[h].suspended_until = 0;
        }
        if options.new_address {
            let host = &mut self.hosts[h];
            host.moves = host.moves.saturating_add(1).min(199);
            host.addr = address(host.number, host.moves);
        }
        self.begin(h, options);
    }

    fn begin(&mut self, h: usize, options: &StartOptions) {
        self.hosts[h].protocol = options.protocol.or(self.hosts[h].protocol);
        if let Some(other) = options.name {
            self.hosts[h].name = name(other.0);
        }
        if let Err(e) = self.start_process(h, options) {
            self.say(h, Kind::StartRefused, || e.to_string());
            return;
        }
        if let Some(via) = &options.join {
            self.join_one(h, via);
        }
    }

    /// At the named nodes, or at the first other one that takes part.
    fn force_leave(&mut self, nodes: &NodeSet, on: Option<&NodeSet>) {
        let names: Vec<_> = nodes
            .numbers(self.highest())
            .into_iter()
            .filter_map(|n| Some((n as usize, self.hosts.get(n as usize)?.name.clone())))
            .collect();
        for (subject, name) in names {
            let at: Vec<usize> = match on {
                Some(set) => set.numbers(self.highest()).into_iter().map(|n| n as usize).collect(),
                None => {
                    let able = |h: &usize| {
                        *h != subject
                            && is_running(&self.hosts[*h])
                            && !self.hosts[*h].is_stopped(self.now)
                    };
                    (1..self.hosts.len()).find(able).into_iter().collect()
                }
            };
            for h in at {
                if h < self.hosts.len() {
                    self.order(h, Order::ForceLeave(name.clone()));
                }
            }
        }
    }

    /// Drift, offset and step of some clocks.
    pub(super) fn set_clocks(&mut self, c: &ClockLine) {
        let now = self.now;
        self.each(&c.nodes, |w, h| {
            let host = &mut w.hosts[h];
            if let Some(d) = c.drift {
                host.clock.set_drift(now, d.0);
                host.timer_at = u64::MAX;
            }
            if let Some(o) = c.offset {
                host.clock.set_offset(o.0);
            }
            if let Some(o) = c.step {
                host.clock.step(o.0);
            }
            w.arm(h);
        });
    }

    fn disk_fault(&mut self, h: usize, fault: DiskFault) {
        let n = u64::from(self.hosts[h].number);
        let coin = self.keyed.bits(Purpose::Disk, !n, self.now);
        let identity = self.hosts[h].identity;
        if fault == DiskFault::Restore
            && let Some((id, ..)) = self.identities.get(identity as usize)
        {
            self.checker.restored(identity, *id);
        }
        if self.hosts[h].disk.fault(fault, coin) {
            self.begin_write(h);
        }
    }

    /// Does the node at `h` take part, with the processor at hand?
    pub(super) fn takes_part(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        host.is_up()
            && !host.is_stopped(self.now)
            && host.node.as_ref().is_some_and(|n| n.local().state == LocalState::Running)
    }
}
