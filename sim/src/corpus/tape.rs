//! What one node was given, as bytes: the format that the fuzz target `node` reads.
//!
//! A tape is a [`Head`] (who the node is, its chance, its disk) and [`Step`]s. What a step says is
//! in plain: datagrams without what protects them, frames without checksum. Whoever plays a tape
//! puts both on, so that a changed byte changes what is said and not whether it is heard.
//!
//! Guarantee: all bytes are a tape. What is missing at the end is zero, and every number means
//! something.

use quorate_core::{Durable, NodeId};

/// Bytes of a tape: longer ones are cut between two steps.
pub const MAX_BYTES: usize = 6 << 10;

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Datagrams and streams are sealed.
    pub sealed: bool,
    /// 0: a client; `n`: a server that expects `n - 1` servers.
    pub role: u8,
    /// Number of its host, which is its address and name.
    pub host: u8,
    /// Its chance.
    pub seed: [u8; 32],
    /// Its disk.
    pub durable: Durable,
}

/// One input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// So many microseconds pass.
    Wait(u32),
    /// The next deadline comes.
    Timeout,
    /// Messages of a datagram from that host.
    Datagram {
        /// Number of the host.
        from: u8,
        /// The messages, in plain.
        body: &'a [u8],
    },
    /// A datagram as it is.
    Raw {
        /// Number of the host.
        from: u8,
        /// All of it.
        bytes: &'a [u8],
    },
    /// A host connects.
    Accepted {
        /// Number of the host.
        from: u8,
    },
    /// A stream that the node opened is connected.
    Connected(Stream),
    /// The other side says a message.
    Said {
        /// Where.
        on: Stream,
        /// The message's tag.
        tag: u8,
        /// Its body.
        body: &'a [u8],
    },
    /// Bytes as they are.
    Bytes {
        /// Where.
        on: Stream,
        /// What comes.
        bytes: &'a [u8],
    },
    /// The other side says no more.
    Finished(Stream),
    /// The stream broke.
    Failed(Stream, u8),
    /// The disk is done with all it was given.
    Persisted,
    /// An operator: join that host.
    Join(u8),
    /// An operator: leave.
    Leave,
    /// An operator: that host is gone; forget it at once if odd.
    ForceLeave(u8, u8),
    /// An operator: install, use or remove a key.
    Key(u8, u8),
    /// Somebody answers one of the node's last questions: which, and how.
    Answer(u8, u8),
    /// A member claims something: whom it is about, by whom, version, statement.
    Claim([u8; 6]),
    /// The process dies and starts again with what is on its disk.
    Restart(u8),
    /// So many times ten minutes pass.
    Sleep(u8),
}

/// Names a stream: the n-th that was accepted, or the n-th that the node opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Accepted here, or opened?
    pub accepted: bool,
    /// Which; up to 127.
    pub number: u8,
}

/// Reads a tape.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From its first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing left?
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte; 0 when there is none left.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(f, r)| (*f, r));
        self.0 = rest;
        first
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn blob(&mut self) -> &'a [u8] {
        let n = usize::from(u16::from_le_bytes(self.array())).min(self.0.len());
        let (blob, rest) = self.0.split_at(n);
        self.0 = rest;
        blob
    }

    fn stream(&mut self) -> Stream {
        let b = self.byte();
        Stream { accepted: b & 1 == 1, number: b >> 1 }
    }

    /// The head.
    pub fn head(&mut self) -> Head {
        let [flags, role, host] = self.array();
        let (seed, disk) = (self.array(), self.blob());
        let durable = postcard::from_bytes(disk)
            .unwrap_or_else(|_| Durable::new(NodeId::from_bytes([host; 16])));
        Head { sealed: flags & 1 == 1, role, host, seed, durable }
    }

    /// The next step; none at the end.
    pub fn step(&mut self) -> Option<Step<'a>> {
        if self.is_empty() {
            return None;
        }
        Some(match self.byte() % KINDS {
            0 => Step::Wait(u32::from_le_bytes(self.array())),
            1 => Step::Timeout,
            2 => Step::Datagram { from: self.byte(), body: self.blob() },
            3 => Step::Raw { from: self.byte(), bytes: self.blob() },
            4 => Step::Accepted { from: self.byte() },
            5 => Step::Connected(self.stream()),
            6 => Step::Said { on: self.stream(), tag: self.byte(), body: self.blob() },
            7 => Step::Bytes { on: self.stream(), bytes: self.blob() },
            8 => Step::Finished(self.stream()),
            9 => Step::Failed(self.stream(), self.byte()),
            10 => Step::Persisted,
            11 => Step::Join(self.byte()),
            12 => Step::Leave,
            13 => Step::ForceLeave(self.byte(), self.byte()),
            14 => Step::Key(self.byte(), self.byte()),
            15 => Step::Answer(self.byte(), self.byte()),
            16 => Step::Claim(self.array()),
            17 => Step::Restart(self.byte()),
            _ => Step::Sleep(self.byte()),
        })
    }
}

/// Kinds of steps.
const KINDS: u8 = 19;

/// Writes a tape.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    full: bool,
}

impl Writer {
    /// Of that node.
    pub fn new(head: &Head) -> Self {
        let mut bytes = vec![u8::from(head.sealed), head.role, head.host];
        bytes.extend_from_slice(&head.seed);
        let disk = postcard::to_allocvec(&head.durable).unwrap_or_default();
        // A disk that does not fit is left out: the node is another one then, and the tape goes on.
        let disk = if disk.len() < MAX_BYTES / 2 { &disk[..] } else { &[] };
        put_blob(&mut bytes, disk);
        Self { bytes, full: false }
    }

    /// Adds a step; nothing once there was one that did not fit.
    pub fn add(&mut self, step: Step<'_>) {
        let before = self.bytes.len();
        put_step(&mut self.bytes, step);
        if self.full || self.bytes.len() > MAX_BYTES {
            self.full = true;
            self.bytes.truncate(before);
        }
    }

    /// Nothing more fits.
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// All of it.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    // What is longer is cut: a datagram is not, and no frame of a small cluster.
    let n = u16::try_from(blob.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&n.to_le_bytes());
    out.extend_from_slice(&blob[..usize::from(n)]);
}

fn put_step(out: &mut Vec<u8>, step: Step<'_>) {
    let stream = |s: Stream| s.number << 1 | u8::from(s.accepted);
    match step {
        Step::Wait(us) => {
            out.push(0);
            out.extend_from_slice(&us.to_le_bytes());
        }
        Step::Timeout => out.push(1),
        Step::Datagram { from, body } => {
            out.extend_from_slice(&[2, from]);
            put_blob(out, body);
        }
        Step::Raw { from, bytes } => {
            out.extend_from_slice(&[3, from]);
            put_blob(out, bytes);
        }
        Step::Accepted { from } => out.extend_from_slice(&[4, from]),
        Step::Connected(s) => out.extend_from_slice(&[5, stream(s)]),
        Step::Said { on, tag, body } => {
            out.extend_from_slice(&[6, stream(on), tag]);
            put_blob(out, body);
        }
        Step::Bytes { on, bytes } => {
            out.extend_from_slice(&[7, stream(on)]);
            put_blob(out, bytes);
        }
        Step::Finished(s) => out.extend_from_slice(&[8, stream(s)]),
        Step::Failed(s, e) => out.extend_from_slice(&[9, stream(s), e]),
        Step::Persisted => out.push(10),
        Step::Join(n) => out.extend_from_slice(&[11, n]),
        Step::Leave => out.push(12),
        Step::ForceLeave(n, prune) => out.extend_from_slice(&[13, n, prune]),
        Step::Key(n, what) => out.extend_from_slice(&[14, n, what]),
        Step::Answer(which, how) => out.extend_from_slice(&[15, which, how]),
        Step::Claim(c) => {
            out.push(16);
            out.extend_from_slice(&c);
        }
        Step::Restart(n) => out.extend_from_slice(&[17, n]),
        Step::Sleep(n) => out.extend_from_slice(&[18, n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let durable = Durable { generation: 7, ..Durable::new(NodeId::from_bytes([9; 16])) };
        Head { sealed: true, role: 4, host: 3, seed: [5; 32], durable }
    }

    #[test]
    fn what_is_written_is_read() {
        let on = Stream { accepted: true, number: 127 };
        let steps = [
            Step::Wait(1 << 30),
            Step::Timeout,
            Step::Datagram { from: 2, body: &[1, 2, 3] },
            Step::Raw { from: 2, bytes: &[] },
            Step::Accepted { from: 9 },
            Step::Connected(Stream { accepted: false, number: 1 }),
            Step::Said { on, tag: 16, body: &[4; 300] },
            Step::Bytes { on, bytes: &[0] },
            Step::Finished(on),
            Step::Failed(on, 2),
            Step::Persisted,
            Step::Join(1),
            Step::Leave,
            Step::ForceLeave(2, 1),
            Step::Key(1, 2),
            Step::Answer(3, 4),
            Step::Claim([1, 2, 3, 4, 5, 6]),
            Step::Restart(1),
            Step::Sleep(255),
        ];
        assert_eq!(steps.len(), usize::from(KINDS));
        let mut w = Writer::new(&head());
        steps.into_iter().for_each(|s| w.add(s));
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.head(), head());
        let read: Vec<_> = std::iter::from_fn(|| r.step()).collect();
        assert_eq!(read, steps);
    }

    #[test]
    fn tapes_end_between_steps() {
        let mut w = Writer::new(&head());
        while !w.is_full() {
            w.add(Step::Datagram { from: 1, body: &[7; 1000] });
        }
        w.add(Step::Leave);
        let bytes = w.finish();
        assert!(bytes.len() <= MAX_BYTES && bytes.len() > MAX_BYTES - 1010, "{}", bytes.len());
        let mut r = Reader::new(&bytes);
        r.head();
        while let Some(s) = r.step() {
            assert_eq!(s, Step::Datagram { from: 1, body: &[7; 1000] });
        }
    }

    #[test]
    fn any_bytes_are_a_tape() {
        for n in 0..=255 {
            let mut r = Reader(&[n; 50]);
            r.head();
            while r.step().is_some() {}
        }
    }
}
