//! Datagrams on their way: latency, loss, duplication, reordering, corruption, MTU, bandwidth.
//!
//! Guarantee: what happens to a packet is a function of seed, link and its number on that link.

use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};

use quorate_core::{Claim, Record, Statement, Version, wire};

use super::{
    Injected, World,
    coordinates::misplace,
    events::content,
    host::{Host, Input, Process, address, number_of},
    queue::Plan,
};
use crate::{
    invariants::Seen,
    keyed::{self, Purpose, scale},
    network::Profile,
    trace::Kind,
};

/// A loss in a burst takes all packets of this long.
const BURST_NS: u64 = 250_000_000;
/// More than this much queueing at a bounded link is loss.
const QUEUE_NS: u64 = 1_000_000_000;
/// Datagrams that a socket buffers for a process that does not read.
const SOCKET_DATAGRAMS: usize = 512;
/// Packets of the recent past kept per node for `replay`.
const HISTORY: usize = 4096;

/// A datagram under way. Hosts have addresses of IPv4 only, which are smaller.
#[derive(Debug, Default)]
struct Packet {
    way: Option<(SocketAddrV4, SocketAddrV4)>,
    bytes: Vec<u8>,
    cause: u64,
}

/// Packets under way, and buffers for the next ones.
#[derive(Debug, Default)]
pub(super) struct Slab {
    packets: Vec<Packet>,
    free: Vec<u32>,
    buffers: Vec<Vec<u8>>,
}

impl Slab {
    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < 1024 {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn put(&mut self, p: Packet) -> u32 {
        match self.free.pop() {
            Some(i) => {
                self.packets[i as usize] = p;
                i
            }
            None => {
                self.packets.push(p);
                self.packets.len() as u32 - 1
            }
        }
    }

    fn take(&mut self, i: u32) -> Packet {
        self.free.push(i);
        std::mem::take(&mut self.packets[i as usize])
    }
}

/// The names of the messages in a datagram.
fn messages(ring: Option<&wire::Keyring>, bytes: &[u8]) -> String {
    wire::describe_datagram(ring, bytes).join(",")
}

/// Sets trace entries of two packets apart: the last bytes, which hold part of every body.
fn mark(bytes: &[u8]) -> u64 {
    let short = || bytes.iter().rev().fold(0, |m, b| m << 8 | u64::from(*b));
    bytes.last_chunk().map_or_else(short, |last| u64::from_le_bytes(*last))
}

impl World {
    /// Host `h` sends a datagram from its address.
    pub(super) fn send(&mut self, h: usize, to: SocketAddr, mut bytes: Vec<u8>) {
        if self.hosts[h].misplaced {
            misplace(&mut bytes);
        }
        self.measures.datagrams += 1;
        self.measures.datagram_bytes += bytes.len() as u64;
        let target = number_of(to).filter(|n| (*n as usize) < self.hosts.len());
        let ring = self.ring.clone();
        let seq = self.note(h, Kind::Send, target, (bytes.len(), mark(&bytes)), || {
            (messages(ring.as_ref(), &bytes), String::new())
        });
        let outer = std::mem::replace(&mut self.cause, seq);
        match target {
            Some(n) => {
                if self.keeps_history {
                    remember(&mut self.hosts[h], self.now, n, &bytes);
                }
                let from = self.hosts[h].addr;
                if self.record {
                    let (at, from) = (self.now, self.hosts[h].number);
                    self.recorded.push(Injected { at, from, to: n, bytes: bytes.clone() });
                }
                self.travel(h, n, from, to, bytes);
            }
            None => self.lose(h, target, bytes, "no such host"),
        }
        self.cause = outer;
    }

    fn lose(&mut self, h: usize, to: Option<u32>, bytes: Vec<u8>, why: &str) {
        self.note(h, Kind::Drop, to, (bytes.len(), 0), || (String::new(), why.to_owned()));
        self.packets.recycle(bytes);
    }

    /// The settings between two hosts.
    pub(super) fn profile(&self, h: usize, n: u32) -> Profile {
        self.network.profile(self.hosts[h].number, n)
    }

    /// The network takes the packet and decides.
    pub(super) fn travel(
        &mut self,
        h: usize,
        n: u32,
        from: SocketAddr,
        to: SocketAddr,
        mut bytes: Vec<u8>,
    ) {
        let me = self.hosts[h].number;
        let hosts = self.hosts.len();
        let nth = self.hosts[h].count_packet(n, hosts);
        let link = keyed::link(me, n);
        if me == n {
            return self.arrives_in(10_000, from, to, bytes);
        }
        if self.network.is_blocked(me, n) {
            return self.lose(h, Some(n), bytes, "no way");
        }
        let p = self.profile(h, n);
        if bytes.len() > p.mtu as usize {
            return self.lose(h, Some(n), bytes, "larger than the MTU");
        }
        if self.loses(&p, link, nth) {
            return self.lose(h, Some(n), bytes, "lost");
        }
        let Some(queueing) = self.queueing(h, &p, bytes.len()) else {
            return self.lose(h, Some(n), bytes, "queue full");
        };
        if self.keyed.chance(Purpose::Corrupt, link, nth, p.corrupt) && !bytes.is_empty() {
            let bits = bytes.len() as u64 * 8;
            let bit = scale(self.keyed.bits(Purpose::Corrupt, !link, nth), bits) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if self.keyed.chance(Purpose::Duplicate, link, nth, p.dup) {
            let delay = self.latency(&p, !link, nth) + queueing;
            let mut copy = self.packets.buffer();
            copy.extend_from_slice(&bytes);
            self.arrives_in(delay, from, to, copy);
        }
        let mut delay = self.latency(&p, link, nth) + queueing;
        if self.keyed.chance(Purpose::Reorder, link, nth, p.reorder) {
            let most = p.latency_max_ns.saturating_mul(10).max(1_000_000);
            delay += self.keyed.below(Purpose::Reorder, !link, nth, most);
        }
        self.arrives_in(delay, from, to, bytes);
    }

    /// Is this packet lost, by itself or in a burst?
    pub(super) fn loses(&self, p: &Profile, link: u64, nth: u64) -> bool {
        self.keyed.chance(Purpose::Loss, link, nth, p.loss)
            || self.keyed.chance(Purpose::Burst, link, self.now / BURST_NS, p.burst)
    }

    /// Time on the way.
    pub(super) fn latency(&self, p: &Profile, link: u64, nth: u64) -> u64 {
        self.keyed.between(Purpose::Latency, link, nth, p.latency_min_ns, p.latency_max_ns)
    }

    /// Time in the queue of the sender's link; none if that is full.
    pub(super) fn queueing(&mut self, h: usize, p: &Profile, len: usize) -> Option<u64> {
        if p.bandwidth == 0 {
            return Some(0);
        }
        let host = &mut self.hosts[h];
        let wait = host.link_free_at.saturating_sub(self.now);
        if wait > QUEUE_NS {
            return None;
        }
        // 28 bytes of IP and UDP heads travel along.
        let takes = (len as u64 + 28) * 1_000_000_000 / u64::from(p.bandwidth);
        host.link_free_at = self.now + wait + takes;
        Some(wait + takes)
    }

    pub(super) fn arrives_in(
        &mut self,
        delay: u64,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { return };
        let packet = Packet { way: Some((from, to)), bytes, cause: self.cause };
        let slot = self.packets.put(packet);
        self.queue.plan(self.now + delay, Plan::Datagram(slot));
    }

    /// A datagram reaches its host.
    pub(super) fn datagram_arrives(&mut self, slot: u32) {
        let Packet { way, bytes, cause } = self.packets.take(slot);
        self.cause = cause;
        let Some((from, to)) = way.map(|(from, to)| (from.into(), to.into())) else { return };
        let h = number_of(to).unwrap_or(0) as usize;
        let sender = number_of(from).unwrap_or(0) as usize;
        let host = &self.hosts[h];
        if host.addr != to || !host.is_up() || !host.hears(self.now) {
            return self.lose(sender, Some(h as u32), bytes, "nobody there");
        }
        if self.is_ready(h) {
            self.takes_datagram(h, from, &bytes);
            self.packets.recycle(bytes);
        } else if self.hosts[h].inbox_datagrams < SOCKET_DATAGRAMS {
            self.hosts[h].inbox_datagrams += 1;
            self.waits(h, Input::Datagram { from, bytes, cause });
        } else {
            self.lose(sender, Some(h as u32), bytes, "socket buffer full");
        }
    }

    /// Packets of the last `window` are sent again, each once, as they were; so is what the node
    /// said on the streams that it opened.
    pub(super) fn replay(&mut self, h: usize, window: u64) {
        let since = self.now.saturating_sub(window);
        let host = &self.hosts[h];
        let from = host.addr;
        let again: Vec<_> =
            host.history.iter().filter(|p| p.0 >= since).map(|p| (p.1, p.2.clone())).collect();
        for (n, bytes) in again {
            let to = self.hosts.get(n as usize).map_or(address(n, 0), |x| x.addr);
            self.travel(h, n, from, to, bytes);
        }
        self.replay_streams(h, since);
    }

    /// Tells the hosts `on` that a member lives on `h`, where none ever ran. In a sealed cluster it
    /// comes from somebody who has the key.
    pub(super) fn rumour(&mut self, h: usize, on: &[u32]) {
        if self.hosts[h].process != Process::Never {
            return;
        }
        if !self.hosts[h].rumoured {
            self.hosts[h].rumoured = true;
            self.hosts[h].identity = self.new_identity(self.hosts[h].number).0;
        }
        let (host, identity) = (&self.hosts[h], self.hosts[h].identity);
        let record = Record {
            version: Version { generation: 1, incarnation: 0 },
            ..Record::of_client(self.identities[identity as usize].0, host.name.clone(), host.addr)
        };
        let from = record.addr;
        let seen = Seen { subject: identity, version: record.version, content: content(&record) };
        let checked = self.checker.publishes(seen);
        self.check(h, checked);
        let claim = Claim { record: Arc::new(record), statement: Statement::Alive };
        let mut boot = [0; wire::SALT_BYTES];
        boot[..8].copy_from_slice(&self.now.to_be_bytes());
        let sealer = |ring| wire::Sealer::new(ring, boot, 1);
        let sealer = self.ring.clone().map(sealer);
        let mut envelope = wire::Envelope::new(super::drive::label(), sealer);
        let mut bytes = Vec::new();
        envelope.begin(&mut bytes);
        wire::append_message(&wire::Message::Claim(claim), &mut bytes);
        envelope.finish(&mut bytes);
        if self.ring.is_some() {
            self.genuine.insert(super::drive::datagram_hash(&bytes));
        }
        for &n in on {
            if let Some(to) = self.hosts.get(n as usize).map(|x| x.addr) {
                self.arrives_in(1_000, from, to, bytes.clone());
            }
        }
    }

    /// Random datagrams to a host, some of which begin like real ones.
    pub(super) fn garbage(&mut self, h: usize, count: u32) {
        let n = self.hosts[h].number;
        let to = self.hosts[h].addr;
        let mut draws =
            keyed::Draws::new(self.scenario.cluster.seed, Purpose::Garbage, u64::from(n));
        for i in 0..count {
            // A step may come twice: later ones go on where the time says.
            let salt = self.now ^ u64::from(i);
            let mut bytes = self.packets.buffer();
            let len = (draws.bits() ^ salt) % 1401;
            if let (true, Some(real)) = (draws.percent(50), self.hosts[h].history.back()) {
                bytes.extend_from_slice(&real.2);
                for _ in 0..=draws.below(4) {
                    let at = draws.below(bytes.len() as u64) as usize;
                    if let Some(b) = bytes.get_mut(at) {
                        *b = draws.bits() as u8;
                    }
                }
            } else {
                bytes.extend((0..len).map(|_| draws.bits() as u8));
            }
            let from = address(draws.below(1 << 14) as u32 + 1, 200);
            self.arrives_in(1_000 * u64::from(i), from, to, bytes);
        }
    }
}

/// Keeps a packet for `replay`.
fn remember(host: &mut Host, now: u64, to: u32, bytes: &[u8]) {
    if host.history.len() >= HISTORY {
        host.history.pop_front();
    }
    host.history.push_back((now, to, bytes.to_vec()));
}
