//! A node whose every output is checked, by the simulator's invariants as far as they apply.
//!
//! Among honest members ([`Ledger::honest`]) all of them do. A node that is fed forged claims can
//! know of versions and contents that no member published; of others then only what holds for any
//! input is checked: versions and deaths (S1, S2; of a node without room for all its tombstones
//! only where it remembers them) and events against the list (S7).

use std::{collections::BTreeMap, hash::Hasher, net::SocketAddr};

use quorate_core::{
    Config, Counter, Durable, Event, Instant, Limits, LocalState, Node, NodeId, Persist,
    PersistToken, Record, State, StreamAction, Version,
    wire::{self, Message},
};
use sim::invariants::{self, Checker, Seen, Told, Violation};
use siphasher::sip::SipHasher13;

use crate::{heap, label};

/// What is known of all members, and by whom.
pub struct Ledger {
    checker: Checker,
    subjects: BTreeMap<NodeId, u32>,
    honest: bool,
}

fn must(checked: Result<(), Violation>) {
    if let Err(v) = checked {
        panic!("{v}");
    }
}

/// A hash of what a record says beside its version.
fn content(r: &Record) -> u64 {
    let bare = Record { version: Version::default(), ..r.clone() };
    let mut h = SipHasher13::new();
    h.write(&postcard::to_allocvec(&bare).expect("records encode"));
    h.finish()
}

impl Ledger {
    /// All claims are made by these members themselves, in this order.
    pub fn honest(members: impl IntoIterator<Item = NodeId>) -> Self {
        let subjects = (0..).zip(members).map(|(i, id)| (id, i)).collect();
        Self { checker: Checker::default(), subjects, honest: true }
    }

    /// Others may say anything of anybody.
    pub fn forged(own: NodeId) -> Self {
        let checker = Checker::of(0, true);
        Self { checker, subjects: BTreeMap::from([(own, 0)]), honest: false }
    }

    fn seen(&mut self, r: &Record) -> Seen {
        if let Some(&subject) = self.subjects.get(&r.id) {
            let content = if self.honest || subject == 0 { content(r) } else { 0 };
            return Seen { subject, version: r.version, content };
        }
        assert!(!self.honest, "S3: {} never was", r.id);
        let subject = self.subjects.len() as u32;
        self.subjects.insert(r.id, subject);
        // Whatever version comes, it is taken as one that was published.
        let highest = Version { generation: u64::MAX, incarnation: u32::MAX };
        must(self.checker.publishes(Seen { subject, version: highest, content: 0 }));
        Seen { subject, version: r.version, content: 0 }
    }
}

/// What one input led to.
#[derive(Default)]
pub struct Outputs {
    /// Datagrams: where they go, as they are, and the messages in them in plain.
    pub datagrams: Vec<(SocketAddr, Vec<u8>, Vec<u8>)>,
    /// What to do with streams.
    pub streams: Vec<StreamAction>,
}

/// A node and its driver's part.
pub struct Watched {
    /// The node.
    pub node: Node,
    /// What is on its disk.
    pub disk: Durable,
    place: u32,
    limits: std::sync::Arc<Limits>,
    asked: Option<(PersistToken, u64)>,
    writing: Option<Persist>,
    revision: u64,
    tombstones_dropped: u64,
    published: Option<Version>,
    /// It took part at least once: one that left before it did has published nothing.
    ran: bool,
    /// Its sealed datagrams are not opened here.
    skips_sealed: bool,
    buf: Vec<u8>,
}

impl Watched {
    /// Starts a node; none if its configuration cannot work.
    pub fn start(
        config: Config,
        seed: [u8; 32],
        now: Instant,
        place: u32,
        ledger: &mut Ledger,
    ) -> Option<Self> {
        let (disk, limits) = (config.durable.clone(), config.limits.clone());
        let node = heap::count(|| Node::new(config, seed, now)).ok()?;
        ledger.checker.starts(place, place);
        let buf = Vec::with_capacity(2 * limits.datagram_bytes);
        let (asked, writing, published) = (None, None, None);
        let (revision, tombstones_dropped, ran, skips_sealed) = (0, 0, false, ledger.honest);
        Some(Self {
            node,
            disk,
            place,
            limits,
            asked,
            writing,
            revision,
            tombstones_dropped,
            published,
            ran,
            skips_sealed,
            buf,
        })
    }

    /// One input.
    pub fn input<T>(&mut self, f: impl FnOnce(&mut Node) -> T) -> T {
        heap::count(|| f(&mut self.node))
    }

    /// Does it wait for its disk?
    pub const fn writes(&self) -> bool {
        self.writing.is_some()
    }

    /// The disk is done with what it was given last.
    pub fn persisted(&mut self, now: Instant, ledger: &mut Ledger) -> Outputs {
        let Some(p) = self.writing.take() else { return Outputs::default() };
        let token = p.token;
        self.disk = p.state;
        self.input(|n| n.handle_persisted(now, token));
        let outputs = self.drain(now, ledger);
        let running = self.node.local().state == LocalState::Running;
        if let Some((last, generation)) = self.asked
            && last == token
            && running
        {
            must(ledger.checker.written(self.place, generation));
        }
        outputs
    }

    /// Takes and checks all outputs.
    pub fn drain(&mut self, now: Instant, ledger: &mut Ledger) -> Outputs {
        let mut out = Outputs::default();
        while let Some(p) = heap::count(|| self.node.poll_persist()) {
            self.asked = Some((p.token, p.state.generation));
            self.writing = Some(p.clone());
            heap::count(|| drop(p));
        }
        self.datagrams(now, &mut out);
        while let Some(action) = heap::count(|| self.node.poll_stream()) {
            out.streams.push(action.clone());
            heap::count(|| drop(action));
            assert!(out.streams.len() < 2000, "S8: stream actions without end");
        }
        self.events(ledger);
        assert_eq!(self.node.stats().get(Counter::EventsLost), 0, "S8: more events than fit");
        assert!(self.node.open_streams() <= self.limits.streams, "S8: streams");
        if self.revision != self.node.revision() {
            self.revision = self.node.revision();
            self.lists(ledger);
        }
        out
    }

    fn datagrams(&mut self, now: Instant, out: &mut Outputs) {
        let ring = self.node.keyring().cloned();
        let own = self.node.local().record.id;
        let mut largest = 0;
        while let Some(t) = heap::count(|| self.node.poll_transmit(now, &mut self.buf)) {
            assert_eq!(t.len, self.buf.len());
            largest = largest.max(t.len);
            let body = match &ring {
                None => wire::open_datagram(&label(), &self.buf).ok().map(<[u8]>::to_vec),
                // Opening costs most of a run: where members are real, they read it themselves.
                Some(_) if self.skips_sealed => Some(Vec::new()),
                Some(_) => wire::peek_datagram(ring.as_ref(), &self.buf),
            };
            let body = body.expect("S8: a datagram that its own members cannot read");
            for m in wire::messages(&body) {
                let m = m.expect("S8: a message that does not decode").expect("S8: unknown tag");
                if let Message::Claim(c) = m {
                    let accused = matches!(c.state(), State::Suspect | State::Failed);
                    assert!(c.id() != own || !accused, "S5: {c:?}");
                }
            }
            out.datagrams.push((t.to, self.buf.clone(), body));
            must(invariants::outputs(&self.limits, out.datagrams.len(), largest));
        }
    }

    /// What the node had no room to remember it can hold against nobody, neither those that it told
    /// of before nor those that it tells of now.
    fn events(&mut self, ledger: &mut Ledger) {
        let dropped = self.node.stats().get(Counter::TombstonesDropped);
        let is_full = std::mem::replace(&mut self.tombstones_dropped, dropped) != dropped;
        if is_full {
            ledger.checker.drops_tombstones(self.place);
        }
        while let Some(event) = heap::count(|| self.node.poll_event()) {
            self.told(&event, ledger);
            heap::count(|| drop(event));
        }
        if is_full {
            ledger.checker.drops_tombstones(self.place);
        }
    }

    fn told(&mut self, event: &Event, ledger: &mut Ledger) {
        let (told, record) = match event {
            Event::Alive { record } => (Told::Alive, record),
            Event::Updated { record } => (Told::Updated, record),
            Event::Suspected { record, .. } => (Told::Suspected, record),
            Event::SuspicionRefuted { record } => (Told::SuspicionRefuted, record),
            Event::Failed { record } => (Told::Failed, record),
            Event::Left { record } => (Told::Left, record),
            Event::Reaped { record } => (Told::Reaped, record),
            Event::Unconfirmed { record } => (Told::Unconfirmed, record),
            Event::Refuted { version, .. } => {
                return must(ledger.checker.refutes(self.place, *version));
            }
            _ => return,
        };
        let seen = ledger.seen(record);
        must(ledger.checker.tells(self.place, told, seen));
    }

    /// The list and the own record changed.
    fn lists(&mut self, ledger: &mut Ledger) {
        let local = self.node.local();
        self.ran |= local.state == LocalState::Running;
        if self.ran {
            let own = ledger.seen(&local.record);
            let version = own.version;
            match self.published.replace(version) {
                Some(before) if before == version => {}
                Some(_) => must(ledger.checker.publishes(own)),
                None => must(ledger.checker.begins(own)),
            }
        }
        let all: Vec<_> = self.node.members().collect();
        // The node itself is one of the members that the cap counts.
        assert!(all.len() < self.limits.members, "S8: {} members and itself", all.len());
        assert!(all.iter().all(|m| m.record.id != local.record.id), "S5: it lists itself");
        let all: Vec<_> = all.iter().map(|m| (ledger.seen(&m.record), m.state)).collect();
        must(ledger.checker.lists(self.place, &self.limits, all.into_iter()));
    }
}
