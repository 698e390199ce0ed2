//! Listens to the nodes of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use quorate_core::{
    Command, Config, Instant, Role, StreamError, StreamEvent, StreamId,
    wire::{self, FrameReader, Message},
};

use super::tape::{Head, Step, Stream, Writer};

/// Tapes, streams and datagrams kept of one run.
const KEPT: usize = 4096;
/// Bytes kept of one side of a stream.
const STREAM_BYTES: usize = 8 << 10;

/// What a stream's other side said so far.
#[derive(Debug, Default)]
struct Heard {
    reader: FrameReader,
    broken: bool,
    /// Lengths of the parts in which it came, then all of it.
    cuts: Vec<u16>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Node {
    tape: Writer,
    /// Its own clock at the last step.
    now: Instant,
    accepted: BTreeMap<StreamId, u8>,
    heard: BTreeMap<StreamId, Heard>,
}

/// What was handed to the nodes of a run.
#[derive(Debug, Default)]
pub struct Recorder {
    until: u64,
    sealed: bool,
    nodes: BTreeMap<usize, Node>,
    tapes: Vec<Vec<u8>>,
    streams: Vec<Vec<u8>>,
    /// Datagrams as they came, each once.
    pub(super) datagrams: BTreeSet<Vec<u8>>,
    /// Messages of streams.
    pub(super) said: Vec<Message>,
}

fn host(a: SocketAddr) -> u8 {
    match a.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

impl Recorder {
    /// Listens up to that time of the world, in nanoseconds. Tapes are only written of runs that
    /// are not sealed: they are in plain anyway.
    pub fn new(until: u64, sealed: bool) -> Self {
        Self { until, sealed, ..Self::default() }
    }

    /// A process starts on host `h`.
    pub(crate) fn starts(&mut self, h: usize, config: &Config, seed: [u8; 32], now: Instant) {
        self.ends(h);
        let role = match config.role {
            Role::Client => 0,
            Role::Server { expect, .. } => expect.saturating_add(1),
        };
        let (host, durable) = (host(config.addr), config.durable.clone());
        let tape = Writer::new(&Head { sealed: false, role, host, seed, durable });
        let (accepted, heard) = (BTreeMap::new(), BTreeMap::new());
        self.nodes.insert(h, Node { tape, now, accepted, heard });
    }

    fn ends(&mut self, h: usize) {
        let Some(node) = self.nodes.remove(&h) else { return };
        for heard in node.heard.into_values() {
            self.keep_stream(heard);
        }
        if self.tapes.len() < KEPT && !self.sealed {
            self.tapes.push(node.tape.finish());
        }
    }

    fn keep_stream(&mut self, mut heard: Heard) {
        if self.streams.len() < KEPT && !heard.bytes.is_empty() {
            heard.cuts.truncate(usize::from(u8::MAX));
            let mut out = vec![heard.cuts.len() as u8];
            out.extend(heard.cuts.iter().flat_map(|c| c.to_le_bytes()));
            out.append(&mut heard.bytes);
            self.streams.push(out);
        }
    }

    /// The node at `h`, if it is still listened to, with the time that passed put on its tape.
    fn node(&mut self, h: usize, world: u64, now: Instant) -> Option<&mut Node> {
        if world > self.until {
            return None;
        }
        let node = self.nodes.get_mut(&h)?;
        let us = now.since(node.now).as_micros();
        if us > 0 {
            node.tape.add(Step::Wait(u32::try_from(us).unwrap_or(u32::MAX)));
            node.now = now;
        }
        Some(node)
    }

    /// A datagram comes.
    pub(crate) fn datagram(
        &mut self,
        h: usize,
        world: u64,
        now: Instant,
        (from, bytes): (SocketAddr, &[u8]),
    ) {
        if world <= self.until && self.datagrams.len() < KEPT {
            self.datagrams.insert(bytes.to_vec());
        }
        let Some(node) = self.node(h, world, now) else { return };
        let from = host(from);
        match wire::peek_datagram(None, bytes) {
            // What was damaged on the way is heard as it is.
            Some(body) if wire::messages(&body).all(|m| m.is_ok()) => {
                node.tape.add(Step::Datagram { from, body: &body });
            }
            _ => node.tape.add(Step::Raw { from, bytes }),
        }
    }

    /// A deadline comes.
    pub(crate) fn timeout(&mut self, h: usize, world: u64, now: Instant) {
        if world > self.until {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&h) {
            node.now = now;
            node.tape.add(Step::Timeout);
        }
    }

    /// The disk is done.
    pub(crate) fn persisted(&mut self, h: usize, world: u64, now: Instant) {
        if let Some(node) = self.node(h, world, now) {
            node.tape.add(Step::Persisted);
        }
    }

    /// An operator wants something.
    pub(crate) fn command(&mut self, h: usize, world: u64, now: Instant, c: &Command) {
        let Some(node) = self.node(h, world, now) else { return };
        match c {
            Command::Join { addr } => node.tape.add(Step::Join(host(*addr))),
            Command::Leave => node.tape.add(Step::Leave),
            Command::ForceLeave { name, prune } => {
                let number = name.as_str().trim_start_matches('n').parse().unwrap_or(0);
                node.tape.add(Step::ForceLeave(number, u8::from(*prune)));
            }
            // Others come with keys and names of their own.
            _ => {}
        }
    }

    /// Something comes on a stream.
    pub(crate) fn stream(
        &mut self,
        h: usize,
        world: u64,
        now: Instant,
        (id, event): (StreamId, StreamEvent<'_>),
    ) {
        let Some(node) = self.node(h, world, now) else { return };
        let n = node.accepted.len();
        let number = match id.is_accepted() {
            true => *node.accepted.entry(id).or_insert(n as u8),
            false => (id.number() >> 1) as u8,
        };
        let on = Stream { accepted: id.is_accepted(), number: number & 127 };
        match event {
            StreamEvent::Accepted { from } => node.tape.add(Step::Accepted { from: host(from) }),
            StreamEvent::Connected => node.tape.add(Step::Connected(on)),
            StreamEvent::Finished => node.tape.add(Step::Finished(on)),
            StreamEvent::Failed(e) => {
                let all = [StreamError::Refused, StreamError::Reset, StreamError::Unreachable];
                let e = all.iter().position(|x| *x == e).unwrap_or(all.len());
                node.tape.add(Step::Failed(on, e as u8));
            }
            StreamEvent::Data(bytes) => {
                let heard = node.heard.entry(id).or_default();
                let mut said = hear(heard, bytes, &mut node.tape, on);
                said.truncate(KEPT - self.said.len());
                self.said.append(&mut said);
            }
        }
    }

    /// The streams, with their cuts.
    pub(super) fn streams(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.streams.iter().cloned()
    }

    /// The tapes.
    pub(super) fn tapes(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.tapes.iter().cloned()
    }

    /// The run is over.
    pub(crate) fn finish(&mut self) {
        let all: Vec<usize> = self.nodes.keys().copied().collect();
        all.into_iter().for_each(|h| self.ends(h));
    }
}

/// Bytes come in: whole messages go on the tape.
fn hear(heard: &mut Heard, bytes: &[u8], tape: &mut Writer, on: Stream) -> Vec<Message> {
    if heard.bytes.len() + bytes.len() <= STREAM_BYTES {
        heard.cuts.push(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        heard.bytes.extend_from_slice(bytes);
    }
    let (mut said, reader) = (Vec::new(), &mut heard.reader);
    reader.push(bytes);
    if heard.broken || !matches!(reader.label(), Ok(Some(_))) || reader.meant().is_some() {
        return said;
    }
    loop {
        match reader.next_message() {
            Ok(Some(m)) => {
                let mut body = Vec::new();
                m.encode_body(&mut body);
                tape.add(Step::Said { on, tag: m.tag(), body: &body });
                said.push(m);
            }
            Ok(None) => return said,
            Err(_) => {
                heard.broken = true;
                tape.add(Step::Bytes { on, bytes });
                return said;
            }
        }
    }
}
