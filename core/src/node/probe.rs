//! Failure detection: shuffled round-robin pings, then helpers and a stream (SWIM §4.1, §4.3).
//!
//! What a prober meets instead of an answer is graded: see [`Evidence`]. A broken or refused
//! stream alone proves nothing; with an independent helper's refusal it ends the wait at once.

use alloc::{sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing, Timer, degraded::Path, streams::Role, table::Table};
use crate::{
    coordinate::Place,
    identity::NodeId,
    output::{StreamError, StreamId},
    planted::Bug,
    record::Evidence,
    stats::Counter,
    time::Instant,
    wire::{self, Ack, Cookie, Mark, Message, Nack, NackReason, NotMe, Packed, Ping, PlacedAck},
};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The round's next member; its outcome moves our awareness.
    Regular,
    /// A doubt about one member.
    Verify,
    /// Say something and compare digests; silence means nothing.
    Contact,
}

#[derive(Debug)]
pub(super) struct Probe {
    target: NodeId,
    kind: Kind,
    /// When the first ping left.
    sent: Instant,
    /// The direct ping was not answered in time.
    late: bool,
    helpers: u32,
    /// Of those, whom we have met: they exist, and owe a nack.
    owed: Vec<NodeId>,
    nacks: Vec<(NodeId, NackReason)>,
    stream: Option<StreamId>,
    /// What our own stream met.
    met: Option<NackReason>,
    /// Our stream was reset, and opened once more.
    again: bool,
    /// A watch stream to the target broke: its kernel said so once already.
    unwatched: bool,
    /// That it failed, as somebody else says: the reason for the probe.
    pub(super) told: Option<Arc<Packed>>,
}

impl Probe {
    /// See [`Node::touch`].
    pub(super) const fn touch(&self) -> u64 {
        self.sent.as_nanos()
    }
}

/// This bit of a cookie says that the ping was a repeat; a probe is known by the cookie without
/// it. So an answer to the first ping is told from one to a later one (Karn and Partridge 1987:
/// else the time between them would mean nothing).
const REPEAT: Cookie = 1;
/// Probes under way at once, of all kinds.
const MAX_PROBES: usize = 1024;

impl Node {
    pub(super) fn on_probe_timer(&mut self, now: Instant) {
        self.timers.add(Timer::Probe, now + self.patient(self.cfg.tuning.probe_interval));
        self.refill_looks();
        if let Some(id) = self.next_target() {
            self.start_probe(now, id, Kind::Regular);
        }
    }

    pub(super) fn start_probe(
        &mut self,
        now: Instant,
        target: NodeId,
        kind: Kind,
    ) -> Option<Cookie> {
        let to = self.table.get(target).map(|e| e.record.addr)?;
        if kind == Kind::Verify && self.probes.values().any(|p| p.verifies(target)) {
            return None;
        }
        if self.probes.len() >= MAX_PROBES {
            self.stats.count(Counter::ProbesDropped);
            return None;
        }
        let cookie = self.new_cookie();
        if kind != Kind::Contact {
            self.stats.count(Counter::Probes);
        }
        let t = &self.cfg.tuning;
        if kind != Kind::Contact {
            self.timers.add(Timer::ProbeLate(cookie), now + self.patient(t.probe_timeout));
        }
        self.timers.add(Timer::ProbeEnd(cookie), now + self.patient(t.probe_interval));
        let probe = Probe {
            target,
            kind,
            sent: now,
            late: false,
            helpers: 0,
            owed: Vec::new(),
            nacks: Vec::new(),
            stream: None,
            met: None,
            again: false,
            unwatched: false,
            told: None,
        };
        self.probes.insert(cookie, probe);
        self.transmit(Outgoing::Ping { to, target, cookie });
        if let Some(every) = self.repeat_every() {
            self.timers.add(Timer::ProbeRepeat(cookie), now + self.patient(every));
        }
        Some(cookie)
    }

    /// Is a probe of this member under way?
    pub(super) fn is_probed(&self, id: NodeId) -> bool {
        self.probes.values().any(|p| p.target == id)
    }

    /// A probe after a watch stream broke: there is no reason to wait with helpers and a stream.
    pub(super) fn probe_watched(&mut self, now: Instant, cookie: Cookie) {
        self.timers.stop(Timer::ProbeLate(cookie));
        if let Some(p) = self.probes.get_mut(&cookie) {
            p.unwatched = true;
        }
        self.on_probe_late(now, cookie);
    }

    /// Of a probe or a relay.
    pub(super) fn new_cookie(&mut self) -> Cookie {
        let drawn = self.rng.u64() & !REPEAT;
        let counted = (self.stats.get(Counter::Probes) + 1) * 2;
        if self.broken(Bug::CookiesGuessable) { counted } else { drawn }
    }

    /// A lost packet is the likeliest reason for silence, and a ping is cheap: it is repeated
    /// until the probe ends, before and beside what helpers do.
    fn arm_repeat(&mut self, now: Instant, cookie: Cookie) {
        if let Some(every) = self.repeat_every() {
            self.timers.set(Timer::ProbeRepeat(cookie), now + self.patient(every));
        }
    }

    /// The pause between two pings of one probe.
    pub(super) fn repeat_every(&self) -> Option<Duration> {
        let t = &self.cfg.tuning;
        let repeats = t.ping_repeats > 0 && !self.broken(Bug::PingsNotRepeated);
        repeats.then(|| t.probe_timeout / (t.ping_repeats + 1))
    }

    pub(super) fn on_probe_repeat(&mut self, now: Instant, cookie: Cookie) {
        let Some(target) = self.probes.get(&cookie).map(|p| p.target) else { return };
        if let Some(to) = self.table.get(target).map(|e| e.record.addr) {
            self.transmit(Outgoing::Ping { to, target, cookie: cookie | REPEAT });
            self.arm_repeat(now, cookie);
        }
    }

    /// No answer yet: helpers and a stream, for the rest of the interval.
    pub(super) fn on_probe_late(&mut self, now: Instant, cookie: Cookie) {
        let Some(target) = self.probes.get(&cookie).map(|p| p.target) else { return };
        let Some(addr) = self.table.get(target).map(|e| e.record.addr) else { return };
        if self.has_left(target) {
            // Nothing is owed by who left meanwhile.
            self.end_probe(cookie);
            return;
        }
        self.stats.count(Counter::ProbesLate);
        let t = &self.cfg.tuning;
        let rest = self.patient(t.probe_interval - t.probe_timeout);
        let budget_ms = u32::try_from(rest.as_millis()).unwrap_or(u32::MAX);
        let nobody = self.broken(Bug::HelpersNotAsked);
        let k = if nobody { 0 } else { t.indirect_checks as usize };
        let usable = |t: &Table, id: NodeId| {
            id != target && t.get(id).is_some_and(|e| e.state() == crate::State::Alive)
        };
        let (helpers, met) = self.random_met(k, usable);
        let owing = if self.broken(Bug::UnmetOweNacks) { helpers.len() } else { met };
        let from = self.sender();
        for id in &helpers {
            let Some(to) = self.table.get(*id).map(|e| e.record.addr) else { continue };
            let r = wire::ProbeRequest { cookie, from, target, addr, budget_ms };
            let message = Message::ProbeRequest(r);
            self.transmit(Outgoing::Message { to, message, known: Some(*id) });
        }
        let mut stream = None;
        if !self.broken(Bug::StreamNotTried) {
            stream = self.open(now, addr, Role::Probing { cookie, target }, rest);
        }
        if let Some(p) = self.probes.get_mut(&cookie) {
            p.late = true;
            p.helpers = u32::try_from(helpers.len()).unwrap_or(u32::MAX);
            p.owed = helpers[..owing].to_vec();
            p.stream = stream;
        }
    }

    fn has_left(&self, id: NodeId) -> bool {
        let left = self.table.get(id).is_some_and(|e| e.state() == crate::State::Left);
        left && !self.broken(Bug::LeftDoubted)
    }

    /// Time is up.
    pub(super) fn on_probe_end(&mut self, now: Instant, cookie: Cookie) {
        let Some(p) = self.end_probe(cookie) else { return };
        if p.kind == Kind::Contact || self.has_left(p.target) {
            return;
        }
        self.stats.count(Counter::ProbesFailed);
        self.drop_doubt(p.target);
        if p.kind == Kind::Regular && p.misses_nacks() {
            // However many nacks are missing, it is one hint that the fault may be ours.
            self.worse_health();
        }
        self.conclude(now, &p, p.evidence());
    }

    /// Nobody was met.
    fn conclude(&mut self, now: Instant, p: &Probe, evidence: Evidence) {
        if p.told.as_ref().is_some_and(|told| self.believe_told(now, told)) {
            return;
        }
        let witnesses = u8::try_from(p.nacks.len()).unwrap_or(u8::MAX);
        self.accuse(now, p.target, evidence, witnesses);
    }

    fn end_probe(&mut self, cookie: Cookie) -> Option<Probe> {
        let p = self.probes.remove(&cookie)?;
        self.timers.stop_probe(cookie);
        if let Some(id) = p.stream {
            self.abort(id);
        }
        Some(p)
    }

    pub(super) fn on_ping(&mut self, now: Instant, from: SocketAddr, p: Ping) {
        if self.table.get(p.from.id).is_some_and(|e| e.record.addr == from) {
            self.heard_somebody(now);
        }
        let known = self.known_at(p.from.id, from);
        let cookie = p.cookie;
        if p.target != Mark::new(cookie, self.me.id) && !self.broken(Bug::WrongTargetAcks) {
            let me = self.sender();
            self.stats.count(Counter::WrongTarget);
            let message = Message::NotMe(NotMe { cookie, from: me });
            self.answer(from, message);
            return;
        }
        // To a stranger the digest tells nothing, and without it the ack is smaller than the ping.
        let root = known.map_or(0, |_| self.root());
        let ack = Ack { cookie, version: self.me.version, root };
        // A stranger is not told where we are.
        let message =
            match self.own_place().filter(|_| known.is_some() && self.takes_placed_acks(p.from)) {
                Some(place) => Message::PlacedAck(PlacedAck { ack, place }),
                None => Message::Ack(ack),
            };
        // News is for those that were met.
        let all = self.broken(Bug::NewsToUnmet);
        let trusted = known.filter(|id| all || !self.is_unmet(*id));
        if known.is_some() {
            self.transmit(Outgoing::Message { to: from, message, known: trusted });
        } else {
            self.answer(from, message);
        }
        self.tell_sender(from, p.from);
        self.ask_for_voucher(now, from, p.from);
        if known.is_some() {
            self.compare_root(now, p.from.id, p.root);
            self.expect_ping(now, p.from.id);
        }
    }

    /// A member that we hold for accused or gone speaks: it should hear of that.
    fn tell_sender(&mut self, to: SocketAddr, s: wire::Sender) {
        if let Some(e) = self.table.get(s.id)
            && e.state() != crate::State::Alive
            && e.record.version >= s.version
        {
            self.correct_at(to, s.id);
        }
    }

    /// The sender, if it is a live member and the packet came from its address.
    pub(super) fn known_at(&self, id: NodeId, from: SocketAddr) -> Option<NodeId> {
        self.table.get(id).filter(|e| e.is_live() && e.record.addr == from).map(|_| id)
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        from: SocketAddr,
        a: Ack,
        path: Path,
        place: Option<Place>,
    ) {
        let any = self.probes.keys().next().filter(|_| self.broken(Bug::AnyCookieCounts));
        let Some(p) = self.end_probe(any.copied().unwrap_or(a.cookie & !REPEAT)) else {
            if !self.relay_ack(a) && !self.stranger_answered(now, from, a.cookie, a.version) {
                self.stats.count(Counter::StrayReply);
            }
            return;
        };
        self.heard_somebody(now);
        if p.late && !p.unwatched {
            self.stats.count(Counter::ProbesRescued);
            if path == Path::Stream {
                self.stats.count(Counter::ProbesByStream);
            }
        }
        if p.kind == Kind::Regular {
            self.better_health();
        }
        let sender = wire::Sender { id: p.target, version: a.version };
        self.vouch(now, from, sender);
        self.met(now, p.target);
        let known = self.known_at(p.target, from).is_some();
        if known && path == Path::Packet {
            self.reached(p.target);
        } else if p.kind == Kind::Regular {
            self.reached_by_others(p.target);
        }
        self.tell_sender(from, sender);
        if known {
            if let Some(place) = place {
                let direct = a.cookie & REPEAT == 0 || self.broken(Bug::RepeatMeasured);
                let regular = p.kind == Kind::Regular && direct;
                let first = regular && self.samples_fairly(p.target);
                self.learn_place(p.target, place, first.then(|| now.since(p.sent)));
            }
            self.compare_root(now, p.target, a.root);
        }
        self.holder_answered(now, p.target);
    }

    /// Somebody else is at that address: the process we knew is gone.
    pub(super) fn on_not_me(&mut self, now: Instant, n: NotMe) {
        let cookie = n.cookie & !REPEAT;
        if self.broken(Bug::NotMeUnminded) || self.relay_met(cookie, NackReason::NotMe) {
            return;
        }
        let asked = |p: &Probe| p.target != n.from.id && p.kind != Kind::Contact;
        if !self.probes.get(&cookie).is_some_and(asked) {
            return;
        }
        if let Some(p) = self.end_probe(cookie) {
            self.accuse(now, p.target, Evidence::Refused, 1);
        }
    }

    pub(super) fn on_nack(&mut self, now: Instant, n: Nack) {
        if self.broken(Bug::NackCountsAsAck) {
            self.end_probe(n.cookie);
            return;
        }
        let Some(p) = self.probes.get_mut(&n.cookie) else {
            self.stats.count(Counter::StrayReply);
            return;
        };
        let room = (p.nacks.len() as u32) < p.helpers;
        match p.nacks.iter_mut().find(|(id, _)| *id == n.from) {
            Some(old) => old.1 = n.reason,
            None if room => p.nacks.push((n.from, n.reason)),
            None => return,
        }
        self.decide_early(now, n.cookie);
    }

    /// Our own stream of a late probe ended, or opened without an answer so far. Where the kernel
    /// accepts, packets do come through: further pings would only queue up before a slow process.
    pub(super) fn probe_stream_met(&mut self, now: Instant, cookie: Cookie, r: NackReason) {
        let quiet = self.cfg.tuning.graded_evidence && !self.broken(Bug::MutePinged);
        if r == NackReason::Mute && quiet {
            self.timers.stop(Timer::ProbeRepeat(cookie));
        }
        if let Some(p) = self.probes.get_mut(&cookie) {
            p.met = Some(r);
            self.decide_early(now, cookie);
        }
    }

    /// The kernel of a process that ends closes what it held piece by piece: a stream that was
    /// accepted in between is reset with its listener, and only the next one is refused. So one
    /// that is reset is opened once more. False: it was already.
    pub(super) fn probe_stream_again(
        &mut self,
        now: Instant,
        cookie: Cookie,
        target: NodeId,
    ) -> bool {
        let fresh = self.probes.get(&cookie).is_some_and(|p| !p.again);
        let Some(to) = self.table.get(target).map(|e| e.record.addr).filter(|_| fresh) else {
            return false;
        };
        // It ends with its probe at the latest.
        let limit = self.patient(self.cfg.tuning.probe_interval);
        let stream = self.open(now, to, Role::Probing { cookie, target }, limit);
        if let Some(p) = self.probes.get_mut(&cookie) {
            // That its kernel accepted is no longer true.
            (p.stream, p.again, p.met) = (stream, true, None);
        }
        self.arm_repeat(now, cookie);
        stream.is_some()
    }

    /// Two independent refusals: the process is gone, waiting longer tells nothing new.
    fn decide_early(&mut self, now: Instant, cookie: Cookie) {
        let graded = self.cfg.tuning.graded_evidence;
        let hasty = self.broken(Bug::RefusalAloneCounts);
        let refused = |p: &Probe| hasty && p.met == Some(NackReason::Refused);
        let sure = |p: &Probe| (p.is_sure() || refused(p)) && p.kind != Kind::Contact;
        if graded && self.probes.get(&cookie).is_some_and(sure) {
            self.on_probe_end_early(now, cookie);
        }
    }

    fn on_probe_end_early(&mut self, now: Instant, cookie: Cookie) {
        if let Some(p) = self.end_probe(cookie) {
            self.stats.count(Counter::ProbesFailed);
            self.conclude(now, &p, Evidence::Refused);
        }
    }

    /// All probes end without a verdict: we were away, not they.
    pub(super) fn drop_probes(&mut self) {
        let all: Vec<Cookie> = self.probes.keys().copied().collect();
        for c in all {
            self.end_probe(c);
        }
    }
}

impl Probe {
    /// Is it a doubt about this member?
    pub(super) fn verifies(&self, id: NodeId) -> bool {
        self.target == id && self.kind == Kind::Verify
    }

    fn refused_twice(&self) -> bool {
        let refused =
            |r: &(NodeId, NackReason)| matches!(r.1, NackReason::Refused | NackReason::NotMe);
        self.met == Some(NackReason::Refused) && self.nacks.iter().any(refused)
    }

    /// Was it refused where nobody else can be asked, or nobody of whom there is more than talk?
    fn refused_alone(&self) -> bool {
        let nobody = self.late && self.owed.is_empty() && self.nacks.is_empty();
        nobody && self.met == Some(NackReason::Refused)
    }

    /// Was nobody there to help, or did one who was not say what it met?
    fn misses_nacks(&self) -> bool {
        let silent = |id: &NodeId| self.nacks.iter().all(|n| n.0 != *id);
        self.owed.is_empty() || self.owed.iter().any(silent)
    }

    /// Waiting longer tells nothing new. Where there is nobody to ask, a watch stream that broke
    /// and a refusal are two answers of the kernel.
    fn is_sure(&self) -> bool {
        self.refused_twice() || self.unwatched && self.refused_alone()
    }

    fn evidence(&self) -> Evidence {
        if self.refused_alone() || self.refused_twice() {
            return Evidence::Refused;
        }
        let mute = self.met == Some(NackReason::Mute)
            || self.nacks.iter().any(|n| n.1 == NackReason::Mute);
        if mute { Evidence::Mute } else { Evidence::Silent }
    }
}

/// What a stream that failed says about the other side.
pub(super) const fn met(e: StreamError) -> NackReason {
    match e {
        StreamError::Refused => NackReason::Refused,
        StreamError::Reset | StreamError::Unreachable | StreamError::TimedOut => NackReason::Silent,
    }
}
