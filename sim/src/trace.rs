//! What happened in a run, with causes: JSON lines for tools, text for people, a hash for all.
//!
//! Guarantee: number and hash of the events do not depend on whether anybody keeps them, so a
//! run with its trace on is the run that failed with its trace off.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Kinds of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $variant,)+ }

        impl Kind {
            /// The word in the trace.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    /// A line of the scenario takes effect.
    Step = "step",
    /// A process starts.
    Start = "start",
    /// A process cannot start.
    StartRefused = "start-refused",
    /// A process ends.
    Stop = "stop",
    /// A process or host runs again.
    Resume = "resume",
    /// A datagram leaves.
    Send = "send",
    /// A datagram is lost; the detail says why.
    Drop = "drop",
    /// A datagram is handed to the node.
    Receive = "receive",
    /// The node opens a stream.
    Open = "open",
    /// A stream is accepted.
    Accept = "accept",
    /// A stream is connected.
    Connect = "connect",
    /// The node writes to a stream.
    Write = "write",
    /// Bytes of a stream arrive.
    Data = "data",
    /// The remote end of a stream finished.
    Finish = "finish",
    /// A stream failed; the detail says how.
    Broken = "broken",
    /// A write to disk begins.
    Persist = "persist",
    /// A write to disk is acknowledged.
    Persisted = "persisted",
    /// The node's own record has a new version.
    Version = "version",
    /// A member is new or back.
    Alive = "alive",
    /// A member published a change.
    Updated = "updated",
    /// A member is accused.
    Suspected = "suspected",
    /// A suspected member spoke up.
    SuspicionRefuted = "suspicion-refuted",
    /// A member failed.
    Failed = "failed",
    /// A member left.
    Left = "left",
    /// A member that was only heard of was dropped.
    Unconfirmed = "unconfirmed",
    /// A member was forgotten.
    Reaped = "reaped",
    /// The node refuted an accusation.
    Refuted = "refuted",
    /// A join ended.
    JoinFinished = "join-finished",
    /// A leave ended.
    LeaveFinished = "leave-finished",
    /// A keyring operation ended.
    KeyringFinished = "keyring-finished",
    /// Two members have one name.
    NameConflict = "name-conflict",
    /// The node gave its name up to a senior member.
    NameLost = "name-lost",
    /// A member is reached by others or over streams only, or by itself again.
    Degraded = "degraded",
    /// The node noticed that it had been away.
    Paused = "paused",
    /// A server wrote down a step of the bootstrap agreement, or a client learned of a quorum.
    Bootstrap = "bootstrap",
    /// A server does not fit the bootstrap of this one.
    BootstrapConflict = "bootstrap-conflict",
    /// An application fires an event.
    UserEvent = "user-event",
    /// A node told its application of an event.
    Told = "told",
    /// An application asks a query.
    Query = "query",
    /// A node told its application of a query.
    Asked = "asked",
    /// An answer to a query came.
    Answered = "answered",
    /// A query is over.
    QueryDone = "query-done",
    /// Events were lost.
    Lost = "lost",
    /// An expectation is met.
    Met = "met",
    /// An invariant or expectation is broken.
    Violation = "violation",
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Virtual time, nanoseconds.
    pub t: u64,
    /// From 1, in the order of the run.
    pub seq: u64,
    /// The `seq` of the event that led to this one; 0: nothing did.
    pub cause: u64,
    /// Whose event it is; 0: the world's.
    pub node: u32,
    /// [`Kind::name`].
    pub event: String,
    /// The other node.
    pub to: Option<u32>,
    /// Messages in the packet.
    pub message: String,
    /// Bytes on the wire or disk.
    pub bytes: u32,
    /// What else there is to say.
    pub detail: String,
}

/// What is known of an event before anybody asks for its text.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// Virtual time, nanoseconds.
    pub t: u64,
    /// What led to it.
    pub cause: u64,
    /// Whose event it is; 0: the world's.
    pub node: u32,
    /// What happened.
    pub kind: Kind,
    /// The other node.
    pub to: Option<u32>,
    /// Bytes on the wire or disk.
    pub bytes: u32,
    /// Anything that tells two such events apart (a version, a checksum).
    pub mark: u64,
}

/// What becomes of the events.
pub enum Sink {
    /// Only counted and hashed.
    Hash,
    /// Kept.
    Memory(Vec<Event>),
    /// Written as JSON lines; the first error ends it and is kept.
    Lines(Box<dyn std::io::Write + Send>, Option<std::io::Error>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hash => "Hash",
            Self::Memory(_) => "Memory",
            Self::Lines(..) => "Lines",
        })
    }
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    sink: Sink,
    seq: u64,
    hash: u64,
}

impl Trace {
    /// An empty trace.
    pub fn new(sink: Sink) -> Self {
        Self { sink, seq: 0, hash: 0 }
    }

    /// Adds an event; `text` gives message and detail, and is asked only if somebody reads.
    pub fn add(&mut self, f: Fact, text: impl FnOnce() -> (String, String)) -> u64 {
        self.seq += 1;
        let words = [
            f.t,
            f.cause,
            u64::from(f.node) << 32 | u64::from(f.to.unwrap_or(0)),
            (f.kind as u64) << 32 | u64::from(f.bytes),
            f.mark,
        ];
        let mut bytes = [0; 40];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        self.hash = xxh3_64_with_seed(&bytes, self.hash);
        if !matches!(self.sink, Sink::Hash) {
            let (message, detail) = text();
            self.keep(f, message, detail);
        }
        self.seq
    }

    fn keep(&mut self, f: Fact, message: String, detail: String) {
        let event = Event {
            t: f.t,
            seq: self.seq,
            cause: f.cause,
            node: f.node,
            event: f.kind.name().to_owned(),
            to: f.to,
            message,
            bytes: f.bytes,
            detail,
        };
        match &mut self.sink {
            Sink::Hash => {}
            Sink::Memory(events) => events.push(event),
            Sink::Lines(out, error) => {
                if error.is_none() {
                    let line = serde_json::to_writer(&mut *out, &event).map_err(Into::into);
                    *error = line.and_then(|()| out.write_all(b"\n")).err();
                }
            }
        }
    }

    /// Is anybody going to read it?
    pub fn is_kept(&self) -> bool {
        !matches!(self.sink, Sink::Hash)
    }

    /// Events so far.
    pub fn count(&self) -> u64 {
        self.seq
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Writes out what is buffered; gives the kept events, if they were kept.
    ///
    /// # Errors
    /// The first error of the writer.
    pub fn finish(self) -> std::io::Result<Vec<Event>> {
        match self.sink {
            Sink::Hash => Ok(Vec::new()),
            Sink::Memory(events) => Ok(events),
            Sink::Lines(mut out, error) => match error {
                Some(e) => Err(e),
                None => out.flush().map(|()| Vec::new()),
            },
        }
    }
}

/// One line for people.
pub fn render(e: &Event) -> String {
    let mut s = format!("{:>4}.{:06}s ", e.t / 1_000_000_000, e.t / 1_000 % 1_000_000);
    let node = if e.node == 0 { String::from("world") } else { format!("n{}", e.node) };
    // Writing to a string does not fail.
    let _ = write!(s, "{:>8} <-{:<8} {:<6} {:<17}", e.seq, e.cause, node, e.event);
    if let Some(to) = e.to {
        let _ = write!(s, " n{to}");
    }
    if !e.message.is_empty() {
        let _ = write!(s, " [{}]", e.message);
    }
    if e.bytes > 0 {
        let _ = write!(s, " {} bytes", e.bytes);
    }
    if !e.detail.is_empty() {
        let _ = write!(s, " {}", e.detail);
    }
    s
}

/// The first place where two traces differ: both events, as far as they are there.
pub fn first_difference<'a>(
    a: &'a [Event],
    b: &'a [Event],
) -> Option<(Option<&'a Event>, Option<&'a Event>)> {
    let n = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    if n == a.len() && n == b.len() { None } else { Some((a.get(n), b.get(n))) }
}

/// The events that led to event `seq`, oldest first, itself last.
pub fn slice(events: &[Event], seq: u64) -> Vec<&Event> {
    let mut out = Vec::new();
    let mut at = seq;
    while at > 0 {
        let Ok(i) = events.binary_search_by_key(&at, |e| e.seq) else { break };
        out.push(&events[i]);
        // A cause is always older, so this ends.
        at = if events[i].cause < at { events[i].cause } else { 0 };
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(t: u64, cause: u64, node: u32) -> Fact {
        Fact { t, cause, node, kind: Kind::Send, to: Some(2), bytes: 40, mark: 9 }
    }

    #[test]
    fn the_hash_does_not_depend_on_the_sink() {
        let mut traces = [Trace::new(Sink::Hash), Trace::new(Sink::Memory(vec![]))];
        for t in &mut traces {
            assert_eq!(t.add(fact(1, 0, 1), || ("ping".into(), String::new())), 1);
            assert_eq!(t.add(fact(2, 1, 1), || ("ping".into(), String::new())), 2);
        }
        let [a, b] = traces;
        assert_eq!(a.hash(), b.hash());
        let mut c = Trace::new(Sink::Hash);
        c.add(fact(1, 0, 1), Default::default);
        c.add(fact(2, 0, 1), Default::default);
        assert_ne!(a.hash(), c.hash(), "another cause is another history");
        assert_eq!(b.finish().unwrap().len(), 2);
    }

    #[test]
    fn causes_are_followed_and_lines_read_back() {
        let mut t = Trace::new(Sink::Memory(vec![]));
        for (time, cause) in [(1, 0), (2, 0), (3, 1), (4, 3)] {
            t.add(fact(time, cause, 1), || ("ping,claims".into(), "lost".into()));
        }
        let events = t.finish().unwrap();
        let seqs: Vec<_> = slice(&events, 4).iter().map(|e| e.seq).collect();
        assert_eq!(seqs, [1, 3, 4]);
        let line = serde_json::to_string(&events[3]).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), events[3]);
        let text = render(&events[3]);
        assert!(text.contains("n1") && text.contains("[ping,claims] 40 bytes lost"), "{text}");
        assert!(first_difference(&events, &events).is_none());
        let (a, b) = first_difference(&events, &events[..2]).unwrap();
        assert_eq!((a.map(|e| e.seq), b), (Some(3), None));
    }
}
