//! Plays a tape to a node: the harness is the network, the disk, the operator and all other
//! members.
//!
//! It knows what the node asked, and puts the right cookie into answers that have another one: a
//! tape is changed by the fuzzer, so the node's chance goes another way than when it was
//! recorded.

mod streams;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use quorate_core::{
    Claim, Command, Config, Durable, Evidence, Instant, Limits, Memory, Name, NodeId, Pairs,
    Record, Role, Statement, Stats, Version,
    wire::{
        self, Ack, BootstrapReport, Envelope, LeaveAck, Message, Nack, NackReason, NotMe, Sealer,
        Sender,
    },
};
use sim::corpus::tape::{Head, Reader, Step};

use crate::{
    frames, heap, key, label, limits, ring,
    watched::{Ledger, Outputs, Watched},
};
use streams::Streams;

/// Questions of the node that can still be answered.
const QUESTIONS: usize = 32;
/// What a node with these caps may hold beside what waits in streams: several times what it takes.
const HELD_BYTES: i64 = 768 << 10;
/// A tape is played so often when it asks whether anything grows.
const ROUNDS: usize = 6;
/// Steps of a tape.
const STEPS: usize = 4000;

fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 8301))
}

fn config(head: &Head, durable: Durable) -> Config {
    let role = match head.role {
        0 => Role::Client,
        255 => Role::Server { port: 8300, expect: 1, bootstrap: true },
        n => Role::Server { port: 8300, expect: (n - 1) % 8, bootstrap: false },
    };
    Config {
        name: Name::new(format!("n{}", head.host)).expect("a letter and digits are a name"),
        addr: addr(head.host),
        label: label(),
        keys: head.sealed.then(ring),
        role,
        tags: Pairs::default(),
        meta: Pairs::default(),
        durable,
        rejoin_after_leave: head.host % 2 == 0,
        tuning: std::sync::Arc::default(),
        limits: std::sync::Arc::new(limits()),
    }
}

/// A node and the world around it.
struct Player {
    head: Head,
    me: Watched,
    ledger: Ledger,
    now: Instant,
    limits: Limits,
    streams: Streams,
    /// Protects what others send, by their host; none in clear.
    others: BTreeMap<u8, Envelope>,
    asked: VecDeque<(SocketAddr, Message)>,
}

/// Plays a whole tape, some of them several times over; what the last process counted.
pub fn play(bytes: &[u8]) -> Option<Stats> {
    heap::reset();
    let mut r = Reader::new(bytes);
    let again = bytes.first().is_some_and(|flags| flags & 2 != 0);
    let mut p = Player::new(r.head())?;
    for _ in 0..if again { ROUNDS } else { 1 } {
        let mut r = r.clone();
        for _ in 0..STEPS {
            let Some(step) = r.step() else { break };
            p.step(step);
        }
        p.check_held();
    }
    Some(p.me.node.stats().clone())
}

impl Player {
    fn new(head: Head) -> Option<Self> {
        let mut ledger = Ledger::forged(head.durable.id);
        let now = Instant::from_nanos(1);
        let config = config(&head, head.durable.clone());
        let me = Watched::start(config, head.seed, now, 0, &mut ledger)?;
        let (streams, others, asked) = (Streams::default(), BTreeMap::new(), VecDeque::new());
        let limits = limits();
        let mut p = Self { head, me, ledger, now, limits, streams, others, asked };
        p.drain();
        Some(p)
    }

    /// Nothing may grow with the number of inputs.
    fn check_held(&self) {
        let waits = self.streams.waiting_bytes() as i64;
        let held = heap::held();
        assert!(held <= HELD_BYTES + 2 * waits, "S8: {held} bytes held, {waits} wait in streams");
        // Also of members that are forgotten: that a member was pruned is still told.
        let queued = self.me.node.stats().queued_claims;
        assert!(queued <= self.limits.queued_claims, "S8: {queued} claims queued");
    }

    fn drain(&mut self) {
        let out = self.me.drain(self.now, &mut self.ledger);
        self.take(out);
    }

    fn take(&mut self, out: Outputs) {
        for (to, _, body) in out.datagrams {
            for m in wire::messages(&body).flatten().flatten() {
                if self.asked.len() == QUESTIONS {
                    self.asked.pop_front();
                }
                if is_question(&m) {
                    self.asked.push_back((to, m));
                }
            }
        }
        for action in out.streams {
            self.streams.obey(action, self.head.sealed);
        }
        let (held, open) = (self.me.node.open_streams(), self.streams.open());
        assert!(held <= open, "S8: {held} streams held, {open} are open");
    }

    fn step(&mut self, step: Step<'_>) {
        let now = self.now;
        match step {
            Step::Wait(us) => self.now = now + Duration::from_micros(u64::from(us)),
            Step::Sleep(n) => self.now = now + Duration::from_secs(u64::from(n) * 600),
            Step::Timeout => self.timeout(),
            Step::Datagram { from, body } => {
                let body = self.with_right_cookies(from, body);
                self.hear(from, &body);
            }
            Step::Raw { from, bytes } => {
                self.me.input(|n| n.handle_datagram(now, addr(from), bytes));
            }
            Step::Persisted => {
                let out = self.me.persisted(now, &mut self.ledger);
                self.take(out);
            }
            Step::Answer(which, how) => self.answer(which, how),
            Step::Claim(c) => {
                let mut body = Vec::new();
                wire::append_message(&Message::Claim(claim(c)), &mut body);
                self.hear(c[0] % 16, &body);
            }
            Step::Restart(n) => return self.restart(n),
            Step::Join(_) | Step::Leave | Step::ForceLeave(..) | Step::Key(..) => {
                self.command(step);
            }
            on_stream => self.on_stream(on_stream),
        }
        self.drain();
    }

    fn timeout(&mut self) {
        if let Some(due) = self.me.node.poll_timeout() {
            self.now = self.now.max(due);
            let now = self.now;
            self.me.input(|n| n.handle_timeout(now));
            let next = self.me.node.poll_timeout();
            assert!(next.is_none_or(|t| t > now), "a deadline that was met is due again");
        }
    }

    /// A datagram that a member sends.
    fn hear(&mut self, from: u8, body: &[u8]) {
        let now = self.now;
        let bytes = if self.head.sealed {
            let sealer = || Sealer::new(ring(), [from.wrapping_add(1); 16], 4);
            let new = || Envelope::new(label(), Some(sealer()));
            let envelope = self.others.entry(from).or_insert_with(new);
            let mut bytes = Vec::new();
            envelope.begin(&mut bytes);
            bytes.extend_from_slice(body);
            envelope.finish(&mut bytes);
            bytes
        } else {
            frames::datagram(body)
        };
        self.me.input(|n| n.handle_datagram(now, addr(from), &bytes));
    }

    fn with_right_cookies(&self, from: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, bytes) in wire::bodies(body).map_while(Result::ok) {
            let Ok(Some(mut m)) = Message::decode(tag, bytes) else { return body.to_vec() };
            let asked = |m: &Message, cookie: u64| {
                let to = addr(from);
                let same = |q: &&(SocketAddr, Message)| q.0 == to && answers(m, &q.1);
                let all = || self.asked.iter().rev().filter(same).filter_map(|q| cookie_of(&q.1));
                if all().any(|c| c == cookie) { cookie } else { all().next().unwrap_or(cookie) }
            };
            let cookie = cookie_of(&m).map(|c| asked(&m, c)).unwrap_or_default();
            match &mut m {
                Message::Ack(a) => a.cookie = cookie,
                Message::NotMe(a) => a.cookie = cookie,
                Message::Nack(a) => a.cookie = cookie,
                Message::LeaveAck(a) => a.cookie = cookie,
                Message::BootstrapReport(r) if r.echo != 0 => {
                    let copy = Message::BootstrapReport(r.clone());
                    r.echo = asked(&copy, r.echo);
                }
                _ => {}
            }
            wire::append_message(&m, &mut out);
        }
        out
    }

    fn version_of(&self, id: NodeId) -> Version {
        let found = self.me.node.members().find(|m| m.record.id == id);
        found.map_or_else(Version::default, |m| m.record.version)
    }

    fn sender_at(&self, a: SocketAddr) -> Sender {
        let found = self.me.node.members().find(|m| m.record.addr == a);
        found.map_or_else(
            || Sender { id: NodeId::from_bytes([1; 16]), version: Version::default() },
            |m| Sender { id: m.record.id, version: m.record.version },
        )
    }

    /// Somebody answers a question.
    fn answer(&mut self, which: u8, how: u8) {
        let n = self.asked.len();
        if n == 0 {
            return;
        }
        let (to, question) = self.asked[n - 1 - usize::from(which) % n].clone();
        let at = self.sender_at(to);
        let answer = match question {
            Message::Ping(p) => {
                let (version, none) = (at.version, Version::default());
                let root = if how & 4 == 0 { self.me.node.digest() } else { u64::from(how) };
                match how % 4 {
                    0 | 1 => Message::Ack(Ack { cookie: p.cookie, version, root }),
                    2 => Message::NotMe(NotMe { cookie: p.cookie, from: at }),
                    _ => Message::Ack(Ack { cookie: p.cookie, version: none, root }),
                }
            }
            Message::ProbeRequest(r) => {
                let version = self.version_of(r.target);
                let nack = |reason| Message::Nack(Nack { cookie: r.cookie, from: at.id, reason });
                match how % 5 {
                    0 => Message::Ack(Ack { cookie: r.cookie, version, root: 0 }),
                    1 => nack(NackReason::Silent),
                    2 => nack(NackReason::Mute),
                    3 => nack(NackReason::Refused),
                    _ => nack(NackReason::NotMe),
                }
            }
            Message::Leave(l) => Message::LeaveAck(LeaveAck { cookie: l.cookie, from: at.id }),
            Message::BootstrapReport(r) => {
                let memory = if how & 1 == 0 { r.memory.clone() } else { Memory::blank() };
                let (cookie, echo, ask) = (u64::from(how) + 1, r.cookie, how & 2 == 0);
                Message::BootstrapReport(BootstrapReport { from: at, cookie, echo, ask, memory })
            }
            _ => return,
        };
        let mut body = Vec::new();
        wire::append_message(&answer, &mut body);
        let std::net::IpAddr::V4(ip) = to.ip() else { return };
        self.hear(ip.octets()[3], &body);
    }

    fn command(&mut self, step: Step<'_>) {
        let now = self.now;
        // Made where it counts: the node takes it over.
        let _ = self.me.input(|n| {
            let command = match step {
                Step::Join(host) => Command::Join { addr: addr(host) },
                Step::ForceLeave(host, prune) => {
                    let name = Name::new(format!("n{host}")).expect("a name");
                    Command::ForceLeave { name, prune: prune & 1 == 1 }
                }
                Step::Key(k, what) => match what % 3 {
                    0 => Command::InstallKey(key(k)),
                    1 => Command::UseKey(key(k)),
                    _ => Command::RemoveKey(key(k)),
                },
                _ => Command::Leave,
            };
            n.command(now, command)
        });
    }

    fn restart(&mut self, n: u8) {
        let mut seed = self.head.seed;
        seed[0] = seed[0].wrapping_add(n).wrapping_add(1);
        let disk = self.me.disk.clone();
        let config = config(&self.head, disk);
        let (now, ledger) = (self.now, &mut self.ledger);
        let Some(next) = Watched::start(config, seed, now, 0, ledger) else { return };
        let before = std::mem::replace(&mut self.me, next);
        heap::count(|| drop(before.node));
        self.streams = Streams::default();
        self.asked.clear();
        self.drain();
    }

    fn on_stream(&mut self, step: Step<'_>) {
        let Some(said) = self.streams.step(step, self.head.sealed) else { return };
        let now = self.now;
        for (id, event) in said {
            self.me.input(|n| n.handle_stream(now, id, event.as_event()));
            self.drain();
        }
        // With both heads there, what waited for the keys can be said.
        if let Step::Said { on, tag, body } = step
            && let Some((id, event)) = self.streams.say_sealed(on, tag, body)
        {
            self.me.input(|n| n.handle_stream(now, id, event.as_event()));
        }
    }
}

fn is_question(m: &Message) -> bool {
    matches!(
        m,
        Message::Ping(_)
            | Message::ProbeRequest(_)
            | Message::Leave(_)
            | Message::BootstrapReport(_)
    )
}

fn cookie_of(m: &Message) -> Option<u64> {
    Some(match m {
        Message::Ping(x) => x.cookie,
        Message::Ack(x) => x.cookie,
        Message::NotMe(x) => x.cookie,
        Message::ProbeRequest(x) => x.cookie,
        Message::Nack(x) => x.cookie,
        Message::Leave(x) => x.cookie,
        Message::LeaveAck(x) => x.cookie,
        Message::BootstrapReport(x) => x.cookie,
        _ => return None,
    })
}

fn answers(answer: &Message, question: &Message) -> bool {
    match answer {
        Message::Ack(_) | Message::NotMe(_) => {
            matches!(question, Message::Ping(_) | Message::ProbeRequest(_))
        }
        Message::Nack(_) => matches!(question, Message::ProbeRequest(_)),
        Message::LeaveAck(_) => matches!(question, Message::Leave(_)),
        Message::BootstrapReport(_) => matches!(question, Message::BootstrapReport(_)),
        _ => false,
    }
}

/// A claim that a member could make.
fn claim([who, by, generation, incarnation, what, extra]: [u8; 6]) -> Claim {
    let by = NodeId::from_bytes([by % 16; 16]);
    let id = NodeId::from_bytes([who % 16; 16]);
    let name = Name::new(format!("n{}", extra % 16)).expect("a letter and digits are a name");
    let record = Record {
        version: Version {
            generation: u64::from(generation % 8),
            incarnation: u32::from(incarnation % 8),
        },
        role: match who % 2 {
            0 => Role::Client,
            _ => Role::Server { port: 8300, expect: 3, bootstrap: false },
        },
        ..Record::of_client(id, name, addr(who % 16))
    };
    let evidence = [Evidence::Mute, Evidence::Silent, Evidence::Refused];
    let evidence = evidence[usize::from(extra) % 3];
    let statement = match what % 5 {
        0 | 1 => Statement::Alive,
        2 => Statement::Suspect { by, evidence, witnesses: extra % 4 },
        3 => Statement::Failed { by },
        _ => Statement::Left { by, prune: extra % 2 == 0 },
    };
    Claim { record: record.into(), statement }
}
