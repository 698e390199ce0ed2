//! Three nodes and a network that does what the input says: packets are lost, repeated, overtaken
//! and changed, streams are cut anywhere and break, processes die and come back with what was on
//! their disk, and deadlines come late.
//!
//! All of them are honest, so every invariant of the simulator's checker applies. What is changed
//! on the way must have no effect at all.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use quorate_core::{
    Command, Config, Durable, Instant, Name, NodeId, Pairs, Role, StreamAction, StreamError,
    StreamEvent, StreamId,
};
use sim::corpus::tape::Reader;

use crate::{
    label, limits, ring,
    watched::{Ledger, Outputs, Watched},
};

/// Nodes.
const NODES: usize = 3;
/// Packets on their way; more are lost.
const PACKETS: usize = 256;
/// Steps of one input.
const STEPS: usize = 3000;

struct Packet {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

enum Chunk {
    Bytes(Vec<u8>),
    Fin,
    Rst,
}

/// One end of a stream.
#[derive(Clone, Copy)]
struct End {
    node: usize,
    id: StreamId,
    /// Its process holds it.
    open: bool,
}

/// A stream: the opener's end, the acceptor's once there is one, and what is on its way.
struct Conn {
    ends: [Option<End>; 2],
    to: usize,
    /// Towards the acceptor, towards the opener.
    way: [VecDeque<Chunk>; 2],
}

struct Network {
    sealed: bool,
    nodes: Vec<Watched>,
    lives: [u8; NODES],
    roles: u8,
    ledger: Ledger,
    now: Instant,
    packets: VecDeque<Packet>,
    conns: Vec<Conn>,
    accepted: u64,
}

fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8 + 1], 8301))
}

fn number(a: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = a.ip() else { return None };
    let n = usize::from(ip.octets()[3]).checked_sub(1)?;
    (n < NODES).then_some(n)
}

fn id(n: usize) -> NodeId {
    NodeId::from_bytes([n as u8 + 1; 16])
}

fn config(n: usize, roles: u8, sealed: bool, durable: Durable) -> Config {
    let server = roles >> n & 1 == 1;
    let expect = (roles & 7).count_ones() as u8;
    let role =
        if server { Role::Server { port: 8300, expect, bootstrap: false } } else { Role::Client };
    Config {
        name: Name::new(format!("n{n}")).expect("a letter and digits are a name"),
        addr: addr(n),
        label: label(),
        keys: sealed.then(ring),
        role,
        tags: Pairs::default(),
        meta: Pairs::default(),
        durable,
        rejoin_after_leave: roles & 8 != 0,
        tuning: std::sync::Arc::default(),
        limits: std::sync::Arc::new(limits()),
    }
}

/// Plays one input.
pub fn play(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let (flags, roles) = (r.byte(), r.byte());
    let Some(mut w) = Network::new(flags & 1 == 1, roles) else { return };
    if flags & 2 == 0 {
        // Most inputs begin where members know each other.
        w.command(1, Command::Join { addr: addr(0) });
        w.command(2, Command::Join { addr: addr(0) });
        w.fairly(40);
    }
    for _ in 0..STEPS {
        if r.is_empty() {
            return;
        }
        w.step(&mut r);
    }
}

impl Network {
    fn new(sealed: bool, roles: u8) -> Option<Self> {
        let mut ledger = Ledger::honest((0..NODES).map(id));
        let now = Instant::from_nanos(1);
        let mut nodes = Vec::new();
        for n in 0..NODES {
            let config = config(n, roles, sealed, Durable::new(id(n)));
            nodes.push(Watched::start(config, [n as u8; 32], now, n as u32, &mut ledger)?);
        }
        let (packets, conns, lives) = (VecDeque::new(), Vec::new(), [0; NODES]);
        let mut w = Self { sealed, nodes, lives, roles, ledger, now, packets, conns, accepted: 0 };
        for n in 0..NODES {
            w.drain(n);
            w.persisted(n);
        }
        Some(w)
    }

    fn drain(&mut self, n: usize) {
        let out = self.nodes[n].drain(self.now, &mut self.ledger);
        self.take(n, out);
    }

    fn take(&mut self, n: usize, out: Outputs) {
        for (to, bytes, _) in out.datagrams {
            if let Some(to) = number(to)
                && self.packets.len() < PACKETS
            {
                self.packets.push_back(Packet { from: n, to, bytes });
            }
        }
        for action in out.streams {
            self.obey(n, action);
        }
        let ends = self.conns.iter().flat_map(|c| c.ends).flatten();
        let open = ends.filter(|e| e.node == n && e.open).count();
        let held = self.nodes[n].node.open_streams();
        assert!(held <= open, "S8: {held} streams held, {open} are open");
    }

    /// The place of a stream among all, and which end it is.
    fn find(&self, n: usize, id: StreamId) -> Option<(usize, usize)> {
        let is = |e: &Option<End>| e.is_some_and(|e| e.node == n && e.id == id && e.open);
        let all = self.conns.iter().enumerate();
        all.flat_map(|(c, conn)| [(c, 0, &conn.ends[0]), (c, 1, &conn.ends[1])])
            .find(|(_, _, e)| is(e))
            .map(|(c, side, _)| (c, side))
    }

    fn obey(&mut self, n: usize, action: StreamAction) {
        let (id, chunk) = match action {
            StreamAction::Open { id, to } => {
                let end = End { node: n, id, open: true };
                let to = number(to).unwrap_or(n);
                let way = [VecDeque::new(), VecDeque::new()];
                return self.conns.push(Conn { ends: [Some(end), None], to, way });
            }
            StreamAction::Write { id, bytes } => (id, Chunk::Bytes(bytes)),
            StreamAction::Close { id } => (id, Chunk::Fin),
            StreamAction::Abort { id } => (id, Chunk::Rst),
        };
        let Some((c, side)) = self.find(n, id) else { return };
        let conn = &mut self.conns[c];
        if let (Chunk::Fin | Chunk::Rst, Some(end)) = (&chunk, &mut conn.ends[side]) {
            end.open = false;
        }
        conn.way[side].push_back(chunk);
    }

    fn tell(&mut self, n: usize, id: StreamId, event: StreamEvent<'_>) {
        let now = self.now;
        self.nodes[n].input(|node| node.handle_stream(now, id, event));
        self.drain(n);
    }

    /// A stream goes on towards one of its ends; of bytes, `part` of 256.
    fn stream(&mut self, c: usize, side: usize, part: u8) {
        let conn = &mut self.conns[c];
        if conn.ends[1].is_none() {
            let Some(opener) = conn.ends[0].filter(|e| e.open) else { return };
            self.accepted += 1;
            let (to, id) = (conn.to, StreamId::accepted(self.accepted));
            conn.ends[1] = Some(End { node: to, id, open: true });
            let from = SocketAddr::from((addr(opener.node).ip(), 40_000));
            self.tell(to, id, StreamEvent::Accepted { from });
            return self.tell(opener.node, opener.id, StreamEvent::Connected);
        }
        let Some(mut chunk) = conn.way[side].pop_front() else { return };
        let Some(end) = conn.ends[1 - side] else { return };
        if !end.open {
            return;
        }
        if let Chunk::Bytes(bytes) = &mut chunk
            && part > 0
            && bytes.len() > 1
        {
            let at = (bytes.len() * usize::from(part) / 256).max(1);
            let rest = bytes.split_off(at);
            conn.way[side].push_front(Chunk::Bytes(rest));
        }
        match chunk {
            Chunk::Bytes(bytes) => self.tell(end.node, end.id, StreamEvent::Data(&bytes)),
            Chunk::Fin => self.tell(end.node, end.id, StreamEvent::Finished),
            Chunk::Rst => self.breaks(c, 1 - side, StreamError::Reset),
        }
    }

    /// One end hears that the stream is gone.
    fn breaks(&mut self, c: usize, side: usize, e: StreamError) {
        if let Some(end) = &mut self.conns[c].ends[side]
            && end.open
        {
            end.open = false;
            let (n, id) = (end.node, end.id);
            self.tell(n, id, StreamEvent::Failed(e));
        }
    }

    fn hear(&mut self, p: &Packet) {
        let (now, from) = (self.now, addr(p.from));
        self.nodes[p.to].input(|n| n.handle_datagram(now, from, &p.bytes));
        self.drain(p.to);
    }

    /// A packet that was changed on the way: nothing comes of it.
    fn hear_changed(&mut self, mut p: Packet, at: u8, bit: u8) {
        let at = p.bytes.len() * usize::from(at) / 256;
        p.bytes[at] ^= 1 << (bit % 8);
        let (now, from, packets) = (self.now, addr(p.from), self.packets.len());
        let before = self.nodes[p.to].node.revision();
        self.nodes[p.to].input(|n| n.handle_datagram(now, from, &p.bytes));
        self.drain(p.to);
        assert_eq!(self.nodes[p.to].node.revision(), before, "S9: changed at {at}");
        assert_eq!(self.packets.len(), packets, "S9: an answer to what was changed at {at}");
    }

    fn persisted(&mut self, n: usize) {
        let out = self.nodes[n].persisted(self.now, &mut self.ledger);
        self.take(n, out);
    }

    fn command(&mut self, n: usize, command: Command) {
        let now = self.now;
        // What is refused changes nothing.
        let _ = self.nodes[n].input(|node| node.command(now, command));
        self.drain(n);
    }

    /// The earliest deadline of all comes.
    fn timeout(&mut self) {
        let due = |w: &Watched| w.node.poll_timeout();
        let all = self.nodes.iter().enumerate().filter_map(|(n, w)| Some((due(w)?, n)));
        if let Some((t, n)) = all.min() {
            self.now = self.now.max(t);
            let now = self.now;
            self.nodes[n].input(|node| node.handle_timeout(now));
            self.drain(n);
        }
    }

    /// The process dies, its kernel resets its streams, and it starts again.
    fn restart(&mut self, n: usize) {
        for c in 0..self.conns.len() {
            for side in [0, 1] {
                let conn = &mut self.conns[c];
                if let Some(end) = &mut conn.ends[side]
                    && end.node == n
                    && end.open
                {
                    end.open = false;
                    conn.way[side].push_back(Chunk::Rst);
                }
            }
        }
        self.lives[n] = self.lives[n].wrapping_add(1);
        let seed = [n as u8 ^ self.lives[n].rotate_left(3); 32];
        let config = config(n, self.roles, self.sealed, self.nodes[n].disk.clone());
        let started = Watched::start(config, seed, self.now, n as u32, &mut self.ledger);
        if let Some(w) = started {
            self.nodes[n] = w;
            self.drain(n);
        }
    }

    /// All goes well for so many turns.
    fn fairly(&mut self, turns: usize) {
        for _ in 0..turns {
            for n in 0..NODES {
                self.persisted(n);
            }
            for c in 0..self.conns.len() {
                self.stream(c, 0, 0);
                self.stream(c, 1, 0);
            }
            for _ in 0..self.packets.len() {
                self.packets.pop_front().iter().for_each(|p| self.hear(p));
            }
            self.conns.retain(|c| c.ends.iter().flatten().any(|e| e.open));
            self.timeout();
        }
    }

    fn step(&mut self, r: &mut Reader<'_>) {
        let what = r.byte();
        let (packets, conns) = (self.packets.len(), self.conns.len());
        match what % 16 {
            0..=6 if packets == 0 => self.timeout(),
            0 | 1 => self.packets.pop_front().iter().for_each(|p| self.hear(p)),
            2 => {
                let k = usize::from(r.byte()) % packets;
                self.packets.remove(k).iter().for_each(|p| self.hear(p));
            }
            3 => drop(self.packets.remove(usize::from(r.byte()) % packets)),
            4 => {
                let p = &self.packets[usize::from(r.byte()) % packets];
                let copy = Packet { bytes: p.bytes.clone(), ..*p };
                self.hear(&copy);
            }
            5 => {
                let p = &self.packets[usize::from(r.byte()) % packets];
                let copy = Packet { bytes: p.bytes.clone(), ..*p };
                self.hear_changed(copy, r.byte(), r.byte());
            }
            6 => self.packets.clear(),
            7..=9 if conns == 0 => self.timeout(),
            7 => self.stream(usize::from(r.byte()) % conns, usize::from(what >> 4 & 1), 0),
            8 => {
                let c = usize::from(r.byte()) % conns;
                self.stream(c, usize::from(what >> 4 & 1), r.byte());
            }
            9 => {
                let c = usize::from(r.byte()) % conns;
                let e = [StreamError::Refused, StreamError::Reset, StreamError::TimedOut];
                for side in [0, 1] {
                    self.breaks(c, side, e[usize::from(what >> 4) % 3]);
                }
            }
            10 => self.timeout(),
            11 => self.now = self.now + Duration::from_millis(u64::from(r.byte()) * 40),
            12 => self.persisted(usize::from(r.byte()) % NODES),
            13 => self.restart(usize::from(r.byte()) % NODES),
            14 => {
                let (n, about) = (usize::from(r.byte()) % NODES, usize::from(r.byte()) % NODES);
                let name = Name::new(format!("n{about}")).expect("a name");
                self.command(
                    n,
                    match what >> 4 & 3 {
                        0 | 1 => Command::Join { addr: addr(about) },
                        2 => Command::ForceLeave { name, prune: false },
                        _ => Command::Leave,
                    },
                );
            }
            _ => self.fairly(usize::from(what >> 4) + 1),
        }
    }
}
