//! Streams: opening, framing, deadlines, and who speaks next. What is said is in `sync`.
//!
//! Guarantees: at most `Limits::streams` at once, each ends within its deadline, and a stream
//! that breaks the protocol is aborted and counted.

use alloc::{boxed::Box, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{LocalState, Node, Timer, differences::Difference, probe};
use crate::{
    identity::NodeId,
    output::{JoinError, JoinId, StreamAction, StreamError, StreamEvent, StreamId},
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::{
        self, Cookie, FrameReader, Hello, KeyId, Message, NackReason, Purpose, Salt, StreamSeal,
    },
};

/// One open stream.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) remote: SocketAddr,
    pub(super) role: Role,
    pub(super) reader: FrameReader,
    pub(super) head_sent: bool,
    /// What we send on a sealed stream, once both sides' random numbers are known.
    pub(super) seal: Option<StreamSeal>,
    /// Our random number, and the key we mean.
    pub(super) own: Option<(KeyId, Salt)>,
    /// The other side's head was met.
    pub(super) met_head: bool,
    /// Opened by us, and the other side's kernel accepted.
    pub(super) connected: bool,
    /// Streams that were opened beside it.
    pub(super) hedges: usize,
    /// What the other side has said of [`Once`]: a bit each.
    said: u8,
    /// Records that it asked for.
    pub(super) wanted: usize,
}

/// What is said once on a stream: it is small and its answer is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Once {
    Buckets = 1,
    EventDigest = 2,
    EventKeys = 4,
}

impl Conn {
    fn new(remote: SocketAddr, role: Role) -> Self {
        let (reader, seal, own) = (FrameReader::default(), None, None);
        Self {
            remote,
            role,
            reader,
            head_sent: false,
            seal,
            own,
            met_head: false,
            connected: false,
            hedges: 0,
            said: 0,
            wanted: 0,
        }
    }
}

/// What a stream is used for, seen from here.
#[derive(Debug)]
pub(super) enum Role {
    /// Accepted, nothing said yet.
    AwaitHello,
    /// Accepted; a join under the name of `holder` waits for what becomes of that one; `held`
    /// bytes came meanwhile.
    AwaitName { hello: Box<Hello>, holder: NodeId, held: usize },
    /// Accepted; we have told all we know and read what they know.
    ServeJoin,
    /// Accepted; exchanging differences.
    ServeSync,
    /// We join. `id` is `None` when nobody waits for the outcome; `alone`: nobody else here needs
    /// to hear what we learn; `learned` counts live members.
    Joining { id: Option<JoinId>, alone: bool, welcomed: bool, learned: usize },
    /// We exchange differences.
    Syncing(Box<Difference>),
    /// Opened because that one does not connect.
    Hedging { of: StreamId },
    /// A late probe of ours.
    Probing { cookie: Cookie, target: NodeId },
    /// A probe for somebody else.
    Relaying { cookie: Cookie, target: NodeId },
    /// Opened; `met`: the generation of the observer that accepted to watch us.
    Watched { observer: NodeId, met: Option<u64> },
    /// Accepted; we observe this member.
    Watching { member: NodeId },
    /// Opened; something is asked of this member's keyring.
    AskingKeys { member: NodeId },
    /// Accepted; something is to be done with our keyring.
    ServeKeys,
}

impl Role {
    /// Is it a watch stream, seen from either end?
    pub(super) const fn is_watch(&self) -> bool {
        matches!(self, Self::Watched { .. } | Self::Watching { .. })
    }

    /// A join that somebody waits for?
    fn is_join(&self) -> bool {
        match self {
            Self::Joining { id, .. } => id.is_some(),
            Self::Syncing(d) => d.join.is_some_and(|id| id.is_some()),
            _ => false,
        }
    }

    /// Is it opened again where it does not connect?
    pub(super) const fn is_hedged(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Syncing(_))
    }

    /// Is all that is known exchanged on it, or what differs?
    pub(super) const fn exchanges(&self) -> bool {
        let opened = matches!(self, Self::Joining { welcomed: true, .. } | Self::Syncing(_));
        opened || matches!(self, Self::ServeJoin | Self::ServeSync)
    }

    /// Is it about keyrings, seen from either end?
    const fn is_about_keys(&self) -> bool {
        matches!(self, Self::AskingKeys { .. } | Self::ServeKeys)
    }

    /// Does its end tell something, rather than that it did not work?
    const fn may_break(&self) -> bool {
        let tried =
            matches!(self, Self::Probing { .. } | Self::Relaying { .. } | Self::Hedging { .. });
        tried || self.is_watch()
    }
}

impl Node {
    /// Opens a stream that ends within `limit`; `None` if too many are open.
    pub(super) fn open(
        &mut self,
        now: Instant,
        to: SocketAddr,
        role: Role,
        limit: Duration,
    ) -> Option<StreamId> {
        if self.conns.len() >= self.cfg.limits.streams {
            self.stats.count(Counter::StreamsDropped);
            return None;
        }
        self.streams_opened += 1;
        let id = StreamId::opened(self.streams_opened);
        self.stats.count(Counter::Streams);
        let hedged = role.is_hedged();
        self.conns.insert(id, Conn::new(to, role));
        self.timers.set(Timer::Stream(id), now + limit);
        if hedged {
            self.arm_hedge(now, id, 0);
        }
        self.stream_out.push_back(StreamAction::Open { id, to });
        Some(id)
    }

    /// What the driver saw on a stream. Ids that are closed here are ignored.
    pub fn handle_stream(&mut self, now: Instant, id: StreamId, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Accepted { from } => self.on_accepted(now, id, from),
            StreamEvent::Connected => self.on_connected(now, id),
            StreamEvent::Data(bytes) => self.on_data(now, id, bytes),
            StreamEvent::Finished => self.on_finished(now, id),
            StreamEvent::Failed(e) => self.on_stream_failed(now, id, e),
        }
        self.finish();
    }

    fn on_accepted(&mut self, now: Instant, id: StreamId, from: SocketAddr) {
        let serving = matches!(self.state, LocalState::Running | LocalState::Leaving);
        if !serving || !self.has_stream_for(from) && !self.broken(Bug::StreamsUncapped) {
            self.stats.count(Counter::StreamsDropped);
            self.stream_out.push_back(StreamAction::Abort { id });
            return;
        }
        self.stats.count(Counter::Streams);
        self.conns.insert(id, Conn::new(from, Role::AwaitHello));
        self.timers.set(Timer::Stream(id), now + self.cfg.tuning.stream_timeout);
    }

    /// Is there room for a stream from there? The last quarter is for live members.
    fn has_stream_for(&self, from: SocketAddr) -> bool {
        let (open, most) = (self.conns.len(), self.cfg.limits.streams);
        let member = |e: &super::table::Entry| e.record.addr.ip() == from.ip();
        open < most - most / 4 || open < most && self.table.live().any(member)
    }

    fn on_connected(&mut self, now: Instant, id: StreamId) {
        if !self.connected(id) {
            return;
        }
        // It accepts; until it answers, that is all we know.
        match self.conns.get(&id).map(|c| &c.role) {
            Some(&Role::Probing { cookie, .. }) => {
                self.probe_stream_met(now, cookie, NackReason::Mute);
            }
            Some(&Role::Relaying { cookie, .. }) => drop(self.relay_met(cookie, NackReason::Mute)),
            _ => {}
        }
        match self.keyring().map(wire::Keyring::primary) {
            // What is said depends on the other side's random number.
            Some(key) => drop(self.say_sealed_head(id, key)),
            None => self.greet(id),
        }
    }

    /// The first message of the side that opened the stream.
    pub(super) fn greet(&mut self, id: StreamId) {
        let Some(c) = self.conns.get(&id) else { return };
        let purpose = match c.role {
            Role::Joining { .. } => Purpose::Join,
            Role::Syncing(ref d) if d.join.is_some() => Purpose::Merge,
            Role::Syncing(_) => Purpose::Sync,
            Role::Probing { cookie, target } | Role::Relaying { cookie, target } => {
                Purpose::Probe { cookie, target }
            }
            Role::Watched { observer, .. } => Purpose::Watch { target: observer },
            Role::AskingKeys { member } => Purpose::Keys { target: member },
            Role::AwaitHello
            | Role::AwaitName { .. }
            | Role::Hedging { .. }
            | Role::ServeJoin
            | Role::ServeSync
            | Role::ServeKeys
            | Role::Watching { .. } => return,
        };
        let record = (*self.me).clone();
        let mut say = alloc::vec![Message::Hello(Hello { purpose, record })];
        if matches!(purpose, Purpose::Join | Purpose::Sync | Purpose::Merge) {
            self.tell_events(purpose == Purpose::Join, &mut say);
        }
        match purpose {
            Purpose::Join => self.all_claims(&mut say),
            Purpose::Sync | Purpose::Merge => say.push(self.bucket_message()),
            Purpose::Keys { .. } => say.extend(self.key_request()),
            Purpose::Watch { .. } | Purpose::Probe { .. } => {}
        }
        self.say(id, &say);
    }

    pub(super) fn on_data(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        self.stats.add(Counter::StreamBytesIn, bytes.len() as u64);
        let Some(c) = self.conns.get_mut(&id) else { return };
        c.reader.push(bytes);
        if self.holds_bytes(id, bytes.len()) {
            return;
        }
        let Some(c) = self.conns.get_mut(&id) else { return };
        let own = self.cfg.label.as_str().as_bytes();
        let same = match c.reader.label() {
            Ok(None) => return,
            Ok(Some(theirs)) => theirs == own,
            Err(_) => {
                self.stats.count(Counter::DropNotOurs);
                self.fail(now, id, JoinError::NotQuorate);
                return;
            }
        };
        if !c.met_head && !self.agree_on_seal(now, id) {
            return;
        }
        loop {
            if self.holds_bytes(id, 0) {
                return;
            }
            let Some(c) = self.conns.get_mut(&id) else { return };
            match c.reader.next_message() {
                Ok(Some(m)) if same && c.role.is_about_keys() => self.on_keys_message(now, id, m),
                Ok(Some(m)) if same => self.on_stream_message(now, id, m),
                Ok(Some(m)) => self.on_foreign_message(now, id, m),
                Ok(None) => return,
                Err(_) => {
                    self.stats.count(Counter::DropMalformed);
                    self.fail(now, id, JoinError::NotQuorate);
                }
            }
        }
    }

    /// The other side belongs to another cluster: say so, and nothing else.
    fn on_foreign_message(&mut self, now: Instant, id: StreamId, m: Message) {
        self.stats.count(Counter::DropLabel);
        match m {
            Message::Hello(_) if id.is_accepted() => {
                let (name, label) = (self.me.name.clone(), self.cfg.label.clone());
                self.say(id, &[Message::Reject(wire::Reject::Label { name, label })]);
                self.close(id);
            }
            Message::Reject(r) => self.on_reject(now, id, r),
            _ => self.fail(now, id, JoinError::NotQuorate),
        }
    }

    fn on_finished(&mut self, now: Instant, id: StreamId) {
        if self.conns.contains_key(&id) {
            self.fail(now, id, JoinError::Closed);
        }
    }

    fn on_stream_failed(&mut self, now: Instant, id: StreamId, e: StreamError) {
        let Some(c) = self.conns.get(&id) else { return };
        if e == StreamError::Reset && self.broken(Bug::StreamLeaks) {
            self.timers.stop(Timer::Stream(id));
            return;
        }
        let again = e == StreamError::Reset && !self.broken(Bug::ResetIsSilence);
        match c.role {
            Role::Probing { cookie, target } => {
                self.drop_conn(id);
                if !again || !self.probe_stream_again(now, cookie, target) {
                    self.probe_stream_met(now, cookie, probe::met(e));
                }
            }
            Role::Relaying { cookie, target } => {
                self.drop_conn(id);
                if !again || !self.relay_stream_again(now, cookie, target) {
                    self.relay_met(cookie, probe::met(e));
                }
            }
            _ => {
                let c = self.drop_conn(id);
                self.ended(now, c, Err(JoinError::Stream(e)));
            }
        }
    }

    pub(super) fn on_stream_timeout(&mut self, now: Instant, id: StreamId) {
        if !self.refuse_name(id) && self.conns.contains_key(&id) {
            self.fail(now, id, JoinError::TimedOut);
        }
    }

    /// Is this said for the first time on that stream? Else it breaks the protocol, and ends.
    pub(super) fn once(&mut self, now: Instant, id: StreamId, what: Once) -> bool {
        let again = self.broken(Bug::SaidTwice);
        let Some(c) = self.conns.get_mut(&id) else { return false };
        let first = c.said & what as u8 == 0 || again;
        c.said |= what as u8;
        if !first {
            self.stats.count(Counter::DropMalformed);
            self.fail(now, id, JoinError::NotQuorate);
        }
        first
    }

    /// Ends a stream that did not do its work.
    pub(super) fn fail(&mut self, now: Instant, id: StreamId, why: JoinError) {
        let c = self.abort(id);
        if c.as_ref().is_some_and(|c| !c.role.may_break()) {
            self.stats.count(Counter::StreamsDropped);
        }
        self.ended(now, c, Err(why));
    }

    /// Ends a stream that did its work.
    pub(super) fn complete(&mut self, now: Instant, id: StreamId) {
        let c = self.close(id);
        self.ended(now, c, Ok(()));
    }

    fn drop_conn(&mut self, id: StreamId) -> Option<Conn> {
        self.timers.stop(Timer::Stream(id));
        let c = self.conns.remove(&id)?;
        if c.role.is_hedged() && !c.connected {
            self.end_hedges(id);
        }
        Some(c)
    }

    pub(super) fn abort(&mut self, id: StreamId) -> Option<Conn> {
        let c = self.drop_conn(id);
        if c.is_some() {
            self.stream_out.push_back(StreamAction::Abort { id });
        }
        c
    }

    pub(super) fn close(&mut self, id: StreamId) -> Option<Conn> {
        let c = self.drop_conn(id);
        if c.is_some() {
            self.stream_out.push_back(StreamAction::Close { id });
        }
        c
    }

    /// Sends messages, the stream's head before the first one.
    pub(super) fn say(&mut self, id: StreamId, messages: &[Message]) {
        let Some(c) = self.conns.get_mut(&id) else { return };
        let mut bytes = Vec::new();
        if !c.head_sent {
            c.head_sent = true;
            bytes.extend_from_slice(&wire::stream_head(&self.cfg.label));
        }
        for m in messages {
            match &mut c.seal {
                Some(seal) => wire::append_sealed_frame(m, seal, &mut bytes),
                None => wire::append_frame(m, &mut bytes),
            }
        }
        self.stats.add(Counter::StreamBytesOut, bytes.len() as u64);
        self.stream_out.push_back(StreamAction::Write { id, bytes });
    }

    pub(super) fn joins_under_way(&self) -> usize {
        self.conns.values().filter(|c| c.role.is_join()).count()
    }
}
