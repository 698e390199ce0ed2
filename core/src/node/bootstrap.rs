//! Bootstrap: brings the servers in contact, and their agreement to disk.
//!
//! Servers tell each other what is on their disks ([`BootstrapReport`]). A report counts only if
//! it echoes a cookie that was sent to its sender within the last moments: its sender is alive
//! and reachable both ways now, and is no hearsay. What the agreement wants to say next is told
//! only once it is on disk.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{LocalState, Node, Outgoing, Timer};
use crate::{
    bootstrap::{Agreement, Attempt, ClusterId, Memory, Stage, Voter},
    bounded::BoundedVec,
    identity::NodeId,
    output::{
        BootstrapConflict, BootstrapState, BootstrapStatus, Event, PersistToken, Quorum,
        QuorumVoter,
    },
    planted::Bug,
    record::{Claim, Record, Role},
    stats::Counter,
    time::Instant,
    wire::{BootstrapReport, Cookie},
};

/// Servers that wait for a quorum report to each other this often.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// A server in a quorum looks this often for servers that it has not heard of.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often it asks one of them.
const CHECKS: u8 = 10;
/// A server whose last answer is older than this is not in contact.
const CONTACT: Duration = Duration::from_millis(1000);
/// The candidates must not have changed for this long before one of them proposes.
const SETTLE: Duration = Duration::from_millis(100);
/// Views differ: the lowest of our candidates may not have enough of its own. Each server after it
/// waits this much longer, then proposes itself.
const TURN: Duration = Duration::from_millis(500);
/// No server waits for more turns.
const TURNS: usize = 6;
/// A server that expects only itself first gives a join this long to find a quorum.
const ALONE: Duration = Duration::from_millis(200);
/// After an attempt failed, wait this long and up to twice as long again.
const RETRY: Duration = Duration::from_millis(100);
/// An attempt that stands still for this long is asked about, by its lowest server first.
const STILL: Duration = Duration::from_millis(600);
/// Each further server waits this much longer.
const STILL_STEP: Duration = Duration::from_millis(250);
/// Reports to servers per round; more servers than this take turns.
const REPORTS: usize = 32;
/// Answers to others between two rounds.
const ANSWERS: u32 = 128;
/// Waits of who looks on between two questions: the first, and at most while there is no answer.
const CLIENT_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A client that knows the quorum asks again after this.
const CLIENT_REFRESH: Duration = Duration::from_secs(60);
/// Cookies that are still good; one a round.
const COOKIES: usize = 8;

/// A live server.
#[derive(Debug, Default)]
struct Peer {
    /// Its cookie, to be echoed.
    cookie: Cookie,
    /// When it last answered us.
    heard: Option<Instant>,
    asked: u8,
    told: Vec<BootstrapConflict>,
}

/// The node's part in the bootstrap, and what it knows of others.
#[derive(Debug)]
pub(super) struct Bootstrap {
    agreement: Agreement,
    writing: Option<(PersistToken, Memory)>,
    cookies: [Cookie; COOKIES],
    /// The live servers.
    peers: BTreeMap<NodeId, Peer>,
    answers_left: u32,
    began: Instant,
    /// When the agreement last moved here, and how long to wait before asking about it.
    moved: Instant,
    patience: Duration,
    candidates: Vec<NodeId>,
    candidates_since: Instant,
    /// Since when there are enough of them.
    enough_since: Option<Instant>,
    propose_after: Instant,
    /// The disk was empty at the start: there is nothing that could be forgotten.
    fresh: bool,
    /// Others know more of us than our disk does.
    doubt: bool,
    client_wait: Duration,
    status: BootstrapStatus,
}

impl Bootstrap {
    pub(super) fn new(
        me: NodeId,
        role: Role,
        memory: Memory,
        fresh: bool,
        bug: Option<Bug>,
    ) -> Self {
        Self {
            agreement: Agreement::new(me, expected(role), memory, bug),
            writing: None,
            cookies: [0; COOKIES],
            peers: BTreeMap::new(),
            answers_left: ANSWERS,
            began: Instant::ZERO,
            moved: Instant::ZERO,
            patience: STILL,
            candidates: Vec::new(),
            candidates_since: Instant::ZERO,
            enough_since: None,
            propose_after: Instant::ZERO,
            fresh,
            doubt: false,
            client_wait: CLIENT_WAIT.0,
            status: BootstrapStatus::default(),
        }
    }
}

/// How many servers a server's quorum begins with; 0: it joins an existing one only.
const fn expected(role: Role) -> u8 {
    match role {
        Role::Client => 0,
        Role::Server { bootstrap: true, .. } => 1,
        Role::Server { expect, .. } => expect,
    }
}

impl Node {
    /// The bootstrap quorum as seen from here.
    pub const fn bootstrap(&self) -> &BootstrapStatus {
        &self.bootstrap.status
    }

    /// What of the bootstrap agreement is on disk.
    pub const fn bootstrap_memory(&self) -> &Memory {
        self.bootstrap.agreement.memory()
    }

    pub(super) fn start_bootstrap(&mut self, now: Instant) {
        let b = &mut self.bootstrap;
        (b.began, b.moved, b.candidates_since) = (now, now, now);
        if self.me.role.is_server() {
            self.on_bootstrap_timer(now);
        }
    }

    /// One round: a new cookie, reports to those who should hear one, and whatever time allows.
    pub(super) fn on_bootstrap_timer(&mut self, now: Instant) {
        let cookie = self.rng.u64().max(1);
        self.bootstrap.cookies.rotate_right(1);
        self.bootstrap.cookies[0] = cookie;
        self.bootstrap.answers_left = ANSWERS;
        let server = self.me.role.is_server();
        if server || !self.bootstrap.peers.is_empty() {
            let wait = if self.looks_on() { self.client_round() } else { self.server_round() };
            self.timers.set(Timer::Bootstrap, now + wait);
        }
        self.advance_bootstrap(now);
    }

    /// Is there nothing to agree on here? So with clients, and with servers that expect no quorum
    /// among others that do not: one may hold a quorum of earlier, but none will come.
    fn looks_on(&self) -> bool {
        let waits = |role| expected(role) != 0;
        let other = |id: &NodeId| self.table.get(*id).is_some_and(|e| waits(e.record.role));
        let bound = self.bootstrap_memory().stage != Stage::Free;
        let server = self.me.role.is_server();
        !(server && (bound || waits(self.me.role) || self.bootstrap.peers.keys().any(other)))
    }

    fn server_round(&mut self) -> Duration {
        let peers = &mut self.bootstrap.peers;
        self.bootstrap.agreement.retain(|id| peers.contains_key(id));
        let is_final = matches!(self.bootstrap.agreement.memory().stage, Stage::Final { .. });
        let mut to: Vec<NodeId> = peers.keys().copied().collect();
        if is_final {
            to.retain(|id| {
                peers.get_mut(id).is_some_and(|peer| {
                    let ask = peer.heard.is_none() && peer.asked < CHECKS;
                    peer.asked += u8::from(ask);
                    ask
                })
            });
            to.truncate(REPORTS);
        } else if to.len() > REPORTS {
            // The lowest ids become the voters; the rest take turns.
            let rest = to.split_off(REPORTS - 4);
            to.extend(self.rng.pick(&rest, 4, |_| true));
        }
        for id in to {
            self.report_to(id);
        }
        if is_final { CHECK_EVERY } else { REPORT_EVERY }
    }

    /// Asks one server, of those that look on.
    fn client_round(&mut self) -> Duration {
        let servers: Vec<NodeId> = self.bootstrap.peers.keys().copied().collect();
        for id in self.rng.pick(&servers, 1, |_| true) {
            self.report_to(id);
        }
        let wait = self.bootstrap.client_wait;
        self.bootstrap.client_wait = (wait * 2).min(CLIENT_WAIT.1);
        if self.bootstrap_memory().stage == Stage::Free { wait } else { CLIENT_REFRESH }
    }

    /// Keeps the list of live servers, and turns to a server that is new in it.
    pub(super) fn track_server(&mut self, now: Instant, claim: &Claim) {
        let id = claim.id();
        if !(claim.state().is_live() && claim.record.role.is_server()) {
            self.bootstrap.peers.remove(&id);
            return;
        }
        if self.bootstrap.peers.contains_key(&id) {
            return;
        }
        self.bootstrap.peers.insert(id, Peer::default());
        if self.me.role.is_server() {
            self.report_to(id);
        }
        if self.bootstrap_memory().stage == Stage::Free {
            self.bootstrap.client_wait = CLIENT_WAIT.0;
            self.timers.set_earlier(Timer::Bootstrap, now + CLIENT_WAIT.0);
        }
    }

    fn report_to(&mut self, id: NodeId) {
        let Some(to) = self.table.get(id).map(|e| e.record.addr) else { return };
        let echo = self.bootstrap.peers.get(&id).map_or(0, |p| p.cookie);
        self.transmit(Outgoing::Report { to, id, echo });
    }

    /// What goes out: what is on disk when it does. An answer is asked for as long as there is
    /// none, or none that is recent while the quorum is not final.
    pub(super) fn bootstrap_report(
        &self,
        now: Instant,
        to: NodeId,
        echo: Cookie,
    ) -> BootstrapReport {
        let writing =
            self.bootstrap.writing.as_ref().filter(|_| self.broken(Bug::PromiseNotOnDisk));
        let memory = writing.map_or(self.bootstrap_memory(), |w| &w.1).clone();
        let heard = self.bootstrap.peers.get(&to).and_then(|p| p.heard);
        let settled = matches!(memory.stage, Stage::Final { .. });
        let ask = heard.is_none_or(|at| !settled && now.since(at) >= REPORT_EVERY);
        BootstrapReport {
            from: self.sender(),
            cookie: self.bootstrap.cookies[0],
            echo,
            ask,
            memory,
        }
    }

    pub(super) fn on_bootstrap_report(&mut self, now: Instant, r: BootstrapReport) {
        if self.state != LocalState::Running {
            return;
        }
        if !r.memory.is_well_formed() {
            self.stats.count(Counter::DropMalformed);
            return;
        }
        let id = r.from.id;
        // A stranger is told nothing: it becomes a member first.
        let Some(record) =
            self.table.get(id).filter(|e| e.is_live()).map(|e| Arc::clone(&e.record))
        else {
            self.stats.count(Counter::StrayReply);
            return;
        };
        // Its disk was put back, or this is of an earlier life: what it says may be forgotten.
        let earlier = r.from.version.generation < record.version.generation;
        if earlier && !self.broken(Bug::EarlierLifeCounts) {
            self.stats.count(Counter::StrayReply);
            return;
        }
        let echoed = self.bootstrap.cookies.contains(&r.echo) || self.broken(Bug::EchoUnchecked);
        let answers = r.echo != 0 && echoed;
        if record.role.is_server() {
            if let Some(peer) = self.bootstrap.peers.get_mut(&id) {
                peer.cookie = r.cookie;
                peer.heard = if answers { Some(now) } else { peer.heard };
            }
            if answers {
                self.hear_server(&record, r.memory);
            }
        }
        if r.ask && self.me.role.is_server() && self.bootstrap.answers_left > 0 {
            self.bootstrap.answers_left -= 1;
            self.transmit(Outgoing::Report { to: record.addr, id, echo: r.cookie });
        }
        self.advance_bootstrap(now);
    }

    fn hear_server(&mut self, server: &Arc<Record>, memory: Memory) {
        let (ours, theirs) = (expected(self.me.role), expected(server.role));
        let own = &self.bootstrap_memory().stage;
        match (own, &memory.stage) {
            (Stage::Final { attempt: a, .. }, Stage::Final { attempt: b, .. })
                if a.cluster != b.cluster && self.me.role.is_server() =>
            {
                let (ours, theirs) = (a.cluster, b.cluster);
                self.tell_conflict(server, BootstrapConflict::Cluster { ours, theirs });
            }
            (Stage::Final { .. }, _) | (_, Stage::Final { .. }) => {}
            _ if ours != 0 && theirs != 0 && ours != theirs => {
                self.tell_conflict(server, BootstrapConflict::Expect { ours, theirs });
            }
            _ => {}
        }
        if !self.me.role.is_server()
            && let Stage::Final { attempt, .. } = memory.stage
        {
            // A client only looks on: what it heard last holds, and its disk has no part in it.
            let stage = Stage::Final { attempt, voter: false };
            self.bootstrap.agreement.written(Memory { stage, ..Memory::blank() });
        } else {
            self.bootstrap.agreement.hear(server.id, memory);
        }
    }

    fn tell_conflict(&mut self, server: &Arc<Record>, conflict: BootstrapConflict) {
        let silent = self.broken(Bug::ConflictNotTold);
        let Some(told) = self.bootstrap.peers.get_mut(&server.id).map(|p| &mut p.told) else {
            return;
        };
        if !told.contains(&conflict) && told.len() < 8 && !silent {
            told.push(conflict);
            let server = Arc::clone(server);
            self.event(Event::BootstrapConflict { server, conflict });
        }
    }

    /// Somebody knows a generation of ours that our disk does not: what else is missing there?
    pub(super) fn bootstrap_doubt(&mut self, now: Instant) {
        if self.me.role.is_server() && !self.bootstrap.fresh {
            self.bootstrap.doubt = true;
            self.advance_bootstrap(now);
        }
    }

    /// Takes the next step of the agreement, if there is one and the disk is done with the last.
    fn advance_bootstrap(&mut self, now: Instant) {
        let server = self.me.role.is_server();
        if self.state == LocalState::Running && self.bootstrap.writing.is_none() && server {
            let doubt = core::mem::take(&mut self.bootstrap.doubt);
            let forgot = if doubt { self.bootstrap.agreement.forgot() } else { None };
            let next = forgot
                .or_else(|| self.bootstrap.agreement.step())
                .or_else(|| self.propose(now))
                .or_else(|| self.recover(now));
            if let Some(memory) = next {
                self.storage.durable.bootstrap = memory.clone();
                let token = self.persist();
                self.bootstrap.writing = Some((token, memory));
            }
        }
        self.tell_status(now);
    }

    pub(super) fn bootstrap_persisted(&mut self, now: Instant, token: PersistToken) {
        let Some((_, memory)) = self.bootstrap.writing.take_if(|w| w.0 <= token) else { return };
        let was_bound = matches!(self.bootstrap_memory().stage, Stage::Promised { .. });
        let forgotten = match &memory.stage {
            Stage::Final { attempt, voter: false } => attempt.voter(self.me.id).is_some(),
            Stage::Forgetful => true,
            _ => false,
        };
        if was_bound && memory.stage == Stage::Free {
            self.bootstrap.propose_after = now + RETRY + self.jitter(2 * RETRY);
        }
        self.bootstrap.agreement.written(memory);
        if forgotten {
            let server = self.me.shared();
            self.event(Event::BootstrapConflict { server, conflict: BootstrapConflict::Forgotten });
        }
        self.bootstrap.moved = now;
        self.bootstrap.patience = STILL + self.jitter(STILL_STEP / 2);
        let servers: Vec<NodeId> = self.bootstrap.peers.keys().take(REPORTS).copied().collect();
        for id in servers {
            self.report_to(id);
        }
        self.advance_bootstrap(now);
    }

    fn jitter(&mut self, below: Duration) -> Duration {
        let ms = usize::try_from(below.as_millis()).unwrap_or(0);
        Duration::from_millis(self.rng.below(ms) as u64)
    }

    fn in_contact(&self, now: Instant, id: NodeId) -> bool {
        let heard = self.bootstrap.peers.get(&id).and_then(|p| p.heard);
        heard.is_some_and(|at| now.since(at) <= CONTACT)
    }

    /// Servers in contact that expect as many as this one does, in the order of their ids.
    fn company(&self, now: Instant) -> impl Iterator<Item = NodeId> {
        let alike = |id: &NodeId| {
            let role = self.table.get(*id).map(|e| e.record.role);
            role.is_some_and(|r| expected(r) == expected(self.me.role))
        };
        let peers = self.bootstrap.peers.keys().copied();
        peers.filter(move |id| alike(id) && self.in_contact(now, *id))
    }

    /// The lowest of enough free servers in contact proposes the quorum; if it does not, the next.
    fn propose(&mut self, now: Instant) -> Option<Memory> {
        let expect = usize::from(expected(self.me.role));
        let own = self.bootstrap_memory();
        if expect == 0 || own.stage != Stage::Free {
            return None;
        }
        let free = |id: &NodeId| {
            let heard = self.bootstrap.agreement.heard_of(*id);
            heard.is_some_and(|m| m.stage == Stage::Free && m.birth != 0)
        };
        let mut candidates: Vec<NodeId> = self.company(now).filter(free).collect();
        candidates.push(self.me.id);
        candidates.sort_unstable();
        if candidates != self.bootstrap.candidates {
            self.bootstrap.candidates.clone_from(&candidates);
            self.bootstrap.candidates_since = now;
        }
        if candidates.len() < expect {
            self.bootstrap.enough_since = None;
            return None;
        }
        let enough = *self.bootstrap.enough_since.get_or_insert(now);
        let rank = candidates.iter().take_while(|id| **id < self.me.id).count();
        let turns = u32::try_from(rank.min(TURNS)).unwrap_or(0);
        let settled = (self.bootstrap.candidates_since + SETTLE).max(enough + TURN * turns);
        let alone = if expect == 1 { self.bootstrap.began + ALONE } else { Instant::ZERO };
        let at = settled.max(alone).max(self.bootstrap.propose_after);
        if now < at {
            self.timers.set_earlier(Timer::Bootstrap, at);
            return None;
        }
        candidates.retain(|id| *id != self.me.id);
        candidates.truncate(expect - 1);
        candidates.push(self.me.id);
        candidates.sort_unstable();
        let voters: Vec<Voter> = candidates.iter().filter_map(|id| self.voter(*id)).collect();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rng.u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.rng.u64().to_le_bytes());
        let cluster = ClusterId::from_random(bytes);
        let voters = BoundedVec::truncated(voters);
        self.bootstrap.agreement.propose(Attempt { cluster, voters })
    }

    fn voter(&self, id: NodeId) -> Option<Voter> {
        let memory = if id == self.me.id {
            self.bootstrap_memory()
        } else {
            self.bootstrap.agreement.heard_of(id)?
        };
        Some(Voter { id, birth: memory.birth, era: memory.era, addr: self.server_addr(id)? })
    }

    /// Where servers reach a server (`ip:8300`).
    fn server_addr(&self, id: NodeId) -> Option<SocketAddr> {
        let other = || self.table.get(id).map(|e| &*e.record);
        let record = if id == self.me.id { &*self.me } else { other()? };
        match record.role {
            Role::Server { port, .. } => Some(SocketAddr::new(record.addr.ip(), port)),
            Role::Client => None,
        }
    }

    /// An attempt that stands still is asked about, once enough of its servers are in contact to
    /// give an answer.
    fn recover(&mut self, now: Instant) -> Option<Memory> {
        let Stage::Promised { attempt, .. } = &self.bootstrap_memory().stage else { return None };
        let rank = attempt.voters.iter().position(|v| v.id == self.me.id).unwrap_or(0);
        let there = attempt.voters.iter();
        let there = there.filter(|v| v.id == self.me.id || self.in_contact(now, v.id)).count();
        let steps = u32::try_from(rank).unwrap_or(0);
        let at = self.bootstrap.moved + self.bootstrap.patience + STILL_STEP * steps;
        if !attempt.majority(there) {
            return None;
        }
        if now < at {
            self.timers.set_earlier(Timer::Bootstrap, at);
            return None;
        }
        self.bootstrap.agreement.recover()
    }

    fn tell_status(&mut self, now: Instant) {
        let status = self.bootstrap_status(now);
        if status != self.bootstrap.status {
            self.bootstrap.status = status;
            self.revision += 1;
            let status = Box::new(self.bootstrap.status.clone());
            self.event(Event::Bootstrap { status });
        }
    }

    fn bootstrap_status(&self, now: Instant) -> BootstrapStatus {
        let memory = self.bootstrap_memory();
        let expect = expected(self.me.role);
        let server = self.me.role.is_server();
        let name = |id: NodeId| match self.table.get(id) {
            _ if id == self.me.id => Some(self.me.name.clone()),
            found => found.map(|e| e.record.name.clone()),
        };
        let (state, quorum, voter) = match &memory.stage {
            Stage::Final { attempt, voter } => {
                (BootstrapState::Final, Some(self.quorum(attempt)), *voter)
            }
            _ if !server => (BootstrapState::Client, None, false),
            Stage::Free if expect == 0 => (BootstrapState::Joining, None, false),
            Stage::Free => (BootstrapState::Waiting, None, false),
            Stage::Promised { .. } => (BootstrapState::Agreeing, None, false),
            Stage::Forgetful => (BootstrapState::Forgetful, None, false),
        };
        let mut contact = Vec::new();
        let mut awaited = Vec::new();
        if server && quorum.is_none() && expect > 0 {
            contact = self.company(now).chain([self.me.id]).filter_map(name).collect();
            contact.sort_unstable();
        }
        if let Stage::Promised { attempt, .. } = &memory.stage {
            let away = attempt.voters.iter().map(|v| v.id);
            let away = away.filter(|id| *id != self.me.id && !self.in_contact(now, *id));
            awaited = away.map(|id| (id, name(id))).collect();
        }
        let missing =
            if quorum.is_some() { 0 } else { usize::from(expect).saturating_sub(contact.len()) };
        BootstrapStatus { state, expect, contact, missing, awaited, quorum, voter }
    }

    fn quorum(&self, attempt: &Attempt) -> Quorum {
        let voter =
            |v: &Voter| QuorumVoter { id: v.id, addr: self.server_addr(v.id).unwrap_or(v.addr) };
        Quorum { cluster: attempt.cluster, voters: attempt.voters.iter().map(voter).collect() }
    }
}
