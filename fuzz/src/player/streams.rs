//! The other ends of a node's streams.

use quorate_core::{
    StreamAction, StreamError, StreamEvent, StreamId,
    wire::{self, FrameReader, Message, Purpose, Salt, StreamSeal},
};
use sim::corpus::tape::{Step, Stream};
use std::{collections::BTreeMap, net::SocketAddr};

use crate::{RECORDED, frames, key, label};

/// A [`StreamEvent`] that holds its bytes.
pub enum Event {
    /// Somebody connects.
    Accepted(SocketAddr),
    /// Connected.
    Connected,
    /// Bytes come.
    Data(Vec<u8>),
    /// No more will come.
    Finished,
    /// It broke.
    Failed(StreamError),
}

impl Event {
    /// As the node takes it.
    pub fn as_event(&self) -> StreamEvent<'_> {
        match self {
            Self::Accepted(from) => StreamEvent::Accepted { from: *from },
            Self::Connected => StreamEvent::Connected,
            Self::Data(b) => StreamEvent::Data(b),
            Self::Finished => StreamEvent::Finished,
            Self::Failed(e) => StreamEvent::Failed(*e),
        }
    }
}

/// The other end of one stream.
#[derive(Default)]
struct Peer {
    /// Reads what the node says.
    reader: FrameReader,
    head_said: bool,
    /// What this end says is sealed so.
    seal: Option<StreamSeal>,
    /// What the node probes with.
    cookie: Option<u64>,
    /// Bytes said.
    bytes: usize,
}

/// All streams of a node that its kernel holds, and the order in which they came.
#[derive(Default)]
pub struct Streams {
    peers: BTreeMap<StreamId, Peer>,
    accepted: Vec<StreamId>,
    opened: Vec<StreamId>,
}

impl Streams {
    /// Streams that are open.
    pub fn open(&self) -> usize {
        self.peers.len()
    }

    /// Bytes said on streams that are open: the node may hold them.
    pub fn waiting_bytes(&self) -> usize {
        self.peers.values().map(|p| p.bytes).sum()
    }

    /// Does what the node asks for, and reads what it says.
    pub fn obey(&mut self, action: StreamAction, sealed: bool) {
        match action {
            StreamAction::Open { id, .. } => {
                self.opened.push(id);
                self.peers.insert(id, Peer::default());
            }
            StreamAction::Write { id, bytes } => {
                if let Some(p) = self.peers.get_mut(&id) {
                    p.read(id, &bytes, sealed);
                }
            }
            StreamAction::Close { id } | StreamAction::Abort { id } => {
                self.peers.remove(&id);
            }
        }
    }

    fn find(&self, s: Stream) -> Option<StreamId> {
        let all = if s.accepted { &self.accepted } else { &self.opened };
        let n = usize::from(s.number);
        // One that is still open, if that one is not.
        let named = all.get(n).filter(|id| self.peers.contains_key(id));
        named.copied().or_else(|| {
            let open = self.peers.keys().filter(|id| id.is_accepted() == s.accepted);
            let count = open.clone().count();
            open.copied().nth(n.checked_rem(count)?)
        })
    }

    /// What the node is told by that step.
    pub fn step(&mut self, step: Step<'_>, sealed: bool) -> Option<Vec<(StreamId, Event)>> {
        let one = |id, event| Some(vec![(id, event)]);
        match step {
            Step::Accepted { from } => {
                let id = StreamId::accepted(self.accepted.len() as u64 + 1);
                self.accepted.push(id);
                self.peers.insert(id, Peer::default());
                one(id, Event::Accepted(SocketAddr::from(([10, 0, 0, from], 40_000))))
            }
            Step::Connected(s) => one(self.find(s)?, Event::Connected),
            Step::Said { on, tag, body } => {
                let id = self.find(on)?;
                let p = self.peers.get_mut(&id)?;
                let head = p.head(id, sealed);
                p.bytes += head.len();
                if sealed {
                    return if head.is_empty() { Some(vec![]) } else { one(id, Event::Data(head)) };
                }
                let (tag, body) = p.with_right_cookie(tag, body);
                let bytes = [head, frames::frame(tag, &body)].concat();
                p.bytes += bytes.len();
                one(id, Event::Data(bytes))
            }
            Step::Bytes { on, bytes } => {
                let id = self.find(on)?;
                let p = self.peers.get_mut(&id)?;
                p.bytes += bytes.len();
                p.head_said = true;
                one(id, Event::Data(bytes.to_vec()))
            }
            Step::Finished(s) => one(self.find(s)?, Event::Finished),
            Step::Failed(s, e) => {
                let id = self.find(s)?;
                self.peers.remove(&id);
                let all = [
                    StreamError::Refused,
                    StreamError::Reset,
                    StreamError::Unreachable,
                    StreamError::TimedOut,
                ];
                one(id, Event::Failed(all[usize::from(e) % all.len()]))
            }
            _ => None,
        }
    }

    /// A message on a sealed stream whose keys both sides have.
    pub fn say_sealed(&mut self, on: Stream, tag: u8, body: &[u8]) -> Option<(StreamId, Event)> {
        let id = self.find(on)?;
        let p = self.peers.get_mut(&id)?;
        let (tag, body) = p.with_right_cookie(tag, body);
        let m = Message::decode(tag, &body).ok()??;
        let mut bytes = Vec::new();
        wire::append_sealed_frame(&m, p.seal.as_mut()?, &mut bytes);
        p.bytes += bytes.len();
        Some((id, Event::Data(bytes)))
    }
}

impl Peer {
    const SALT: Salt = [9; 16];

    /// What begins a stream, once.
    fn head(&mut self, id: StreamId, sealed: bool) -> Vec<u8> {
        if std::mem::replace(&mut self.head_said, true) {
            return Vec::new();
        }
        if !sealed {
            return wire::stream_head(&label());
        }
        self.agree(id);
        wire::sealed_stream_head(&label(), key(RECORDED).id(), &Self::SALT)
    }

    /// Both random numbers are known once the node has said its own.
    fn agree(&mut self, id: StreamId) {
        let Some((_, theirs)) = self.reader.meant() else { return };
        if self.seal.is_some() {
            return;
        }
        let (opener, acceptor) =
            if id.is_accepted() { (Self::SALT, theirs) } else { (theirs, Self::SALT) };
        let (forth, back) = StreamSeal::pair(&key(RECORDED), &opener, &acceptor);
        let (ours, theirs) = if id.is_accepted() { (forth, back) } else { (back, forth) };
        self.seal = Some(ours);
        self.reader.unlock(theirs);
    }

    /// All that the node says on a stream is what it could read itself.
    fn read(&mut self, id: StreamId, bytes: &[u8], sealed: bool) {
        self.reader.push(bytes);
        let head = self.reader.label().expect("S8: no head of a stream");
        assert!(head.is_some(), "S8: half a head");
        if sealed && self.reader.meant().is_some() {
            self.agree(id);
        }
        // With another key than the harness knows it cannot be read here.
        while let Ok(Some(m)) = self.reader.next_message() {
            if let Message::Hello(h) = m
                && let Purpose::Probe { cookie, .. } = h.purpose
            {
                self.cookie = Some(cookie);
            }
        }
    }

    fn with_right_cookie(&self, tag: u8, body: &[u8]) -> (u8, Vec<u8>) {
        if let (Some(cookie), Ok(Some(Message::StreamAck(mut a)))) =
            (self.cookie, Message::decode(tag, body))
        {
            a.cookie = cookie;
            let mut out = Vec::new();
            Message::StreamAck(a).encode_body(&mut out);
            return (tag, out);
        }
        (tag, body.to_vec())
    }
}
