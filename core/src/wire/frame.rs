//! Heads, checksums and the framing of streams.

use alloc::{boxed::Box, vec::Vec};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    message::{Message, MessageError},
    packed::Packed,
    seal::{
        self, KeyId, Keyring, SALT_BYTES, SEAL_BYTES, Salt, SealError, Sealer, StreamSeal,
        TAG_BYTES,
    },
};
use crate::identity::Label;

/// First byte of every packet.
const MAGIC: u8 = b'Q';
/// The format this code speaks.
const FORMAT: u8 = 1;
/// Not sealed: integrity by checksum only.
const MODE_CLEAR: u8 = 0;
/// Sealed with a key: see `seal`.
const MODE_SEALED: u8 = 1;
/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 4;
/// Largest frame of a stream, tag and body.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Why a packet or stream is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not our format.
    #[error("not a packet of this protocol and format version")]
    NotOurs,
    /// Another cluster or datacenter.
    #[error("a packet of another datacenter")]
    Label,
    /// Damaged on the way.
    #[error("the checksum is wrong")]
    Checksum,
    /// Sealed with no key of ours, changed on the way, or only one side seals.
    #[error("not sealed with a key of this agent")]
    Key,
    /// It came before.
    #[error("a packet that came before")]
    Replay,
}

/// The checksum of a frame: half of its XXH3. It finds damage, it does not prove an author.
pub fn checksum(frame: &[u8]) -> [u8; CHECKSUM_BYTES] {
    lower_half(xxh3_64(frame))
}

/// The checksum of a datagram, which stands between the two parts.
fn datagram_checksum(head: &[u8], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    lower_half(xxh3_64(head).rotate_left(32) ^ xxh3_64(body))
}

const fn lower_half(hash: u64) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    [a, b, c, d]
}

/// What a stream begins with, in each direction.
pub fn stream_head(label: &Label) -> Vec<u8> {
    Head::new(MODE_CLEAR, label).to_vec()
}

/// What a sealed stream begins with: the key that is meant and this side's part of the keys.
pub fn sealed_stream_head(label: &Label, key: KeyId, salt: &Salt) -> Vec<u8> {
    let mut out = Head::new(MODE_SEALED, label).to_vec();
    out.extend_from_slice(&key.0);
    out.extend_from_slice(salt);
    out
}

/// What a packet begins with. It stands where it is used: each packet is compared with it, and
/// what is elsewhere in memory is read anew for each.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; 4 + Label::MAX],
    len: u8,
}

impl Head {
    fn new(mode: u8, label: &Label) -> Self {
        let text = label.as_str().as_bytes();
        // A label has at most 64 bytes.
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let mut bytes = [0; 4 + Label::MAX];
        bytes[..4].copy_from_slice(&[MAGIC, FORMAT, mode, len]);
        bytes[4..4 + text.len()].copy_from_slice(text);
        Self { bytes, len: 4 + len }
    }
}

impl core::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Splits a head off: (is it sealed, label, rest).
fn split_head(bytes: &[u8]) -> Result<(bool, &[u8], &[u8]), HeadError> {
    let [MAGIC, FORMAT, mode @ (MODE_CLEAR | MODE_SEALED), len, rest @ ..] = bytes else {
        return Err(HeadError::NotOurs);
    };
    if usize::from(*len) > Label::MAX || *len == 0 {
        return Err(HeadError::NotOurs);
    }
    let (label, rest) = rest.split_at_checked(usize::from(*len)).ok_or(HeadError::NotOurs)?;
    Ok((*mode == MODE_SEALED, label, rest))
}

/// How an agent's datagrams are protected: by a checksum, or sealed.
#[derive(Debug)]
pub struct Envelope {
    head: Head,
    /// Elsewhere in memory: what is not sealed has no use for it.
    sealer: Option<Box<Sealer>>,
    /// Room for what is opened.
    room: Vec<u8>,
    /// A fault that a test has it overlook: see [`crate::planted`].
    #[cfg(any(test, feature = "planted-bugs"))]
    overlooks: Option<HeadError>,
}

impl Envelope {
    /// For the packets of this datacenter.
    pub fn new(label: Label, sealer: Option<Sealer>) -> Self {
        let mode = if sealer.is_some() { MODE_SEALED } else { MODE_CLEAR };
        Self {
            head: Head::new(mode, &label),
            sealer: sealer.map(Box::new),
            room: Vec::new(),
            #[cfg(any(test, feature = "planted-bugs"))]
            overlooks: None,
        }
    }

    /// As a test has it.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(crate) fn overlooking(self, overlooks: Option<HeadError>) -> Self {
        Self { overlooks, ..self }
    }

    /// See [`crate::Node::touch`].
    pub(crate) fn touch(&self) -> u64 {
        u64::from(self.head.bytes[0])
            ^ u64::from(self.head.len)
            ^ self.room.len() as u64
            ^ u64::from(self.sealer.is_some())
    }

    fn label(&self) -> &[u8] {
        &self.head[4..]
    }

    /// What seals, if anything does.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.sealer.as_deref()
    }

    /// As [`Envelope::sealer`].
    pub fn sealer_mut(&mut self) -> Option<&mut Sealer> {
        self.sealer.as_deref_mut()
    }

    /// Appends as many bytes as a datagram with this message alone has.
    pub fn measure(&self, m: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let rest = if self.sealer.is_some() { SEAL_BYTES + TAG_BYTES } else { CHECKSUM_BYTES };
        out.resize(out.len() + rest, 0);
        append_message(m, out);
    }

    /// Bytes that [`Envelope::finish`] appends.
    pub const fn trailer(&self) -> usize {
        if self.sealer.is_some() { TAG_BYTES } else { 0 }
    }

    /// Begins a datagram; messages follow, then [`Envelope::finish`].
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        match &mut self.sealer {
            None => begin_datagram(&self.head, out),
            Some(s) => {
                out.clear();
                out.extend_from_slice(&self.head);
                s.begin(out);
            }
        }
    }

    /// Protects a datagram that began with [`Envelope::begin`].
    pub fn finish(&self, out: &mut Vec<u8>) {
        match &self.sealer {
            None => finish_datagram(&self.head, out),
            Some(s) => s.finish(self.head.len() + SEAL_BYTES, out),
        }
    }

    /// Checks a datagram and returns its messages, still encoded: as they came, or opened in
    /// `room`.
    ///
    /// # Errors
    /// [`HeadError`]: whose packet it is not, or that it is damaged, forged or a replay.
    pub fn open<'a>(
        &mut self,
        bytes: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], HeadError> {
        if self.sealer.is_none() {
            return open_clear(self.label(), bytes).or_else(|e| self.overlook(e, bytes));
        }
        let (sealed, label, rest) = split_head(bytes)?;
        if !sealed {
            return self.overlook(HeadError::Key, bytes);
        }
        if label != self.label() {
            return Err(HeadError::Label);
        }
        let head = bytes.len() - rest.len() + SEAL_BYTES;
        room.clear();
        room.extend_from_slice(bytes);
        let opened = self.sealer.as_mut().map_or(Err(SealError::Key), |s| s.open(head, room));
        opened.map_err(|e| match e {
            SealError::Key => HeadError::Key,
            SealError::Replay => HeadError::Replay,
        })?;
        Ok(&room[head..])
    }

    /// The messages of a clear datagram with this fault, if a test says so.
    #[cfg(any(test, feature = "planted-bugs"))]
    fn overlook<'a>(&self, e: HeadError, bytes: &'a [u8]) -> Result<&'a [u8], HeadError> {
        if self.overlooks != Some(e) {
            return Err(e);
        }
        split_head(bytes)?.2.get(CHECKSUM_BYTES..).ok_or(HeadError::NotOurs)
    }

    #[cfg(not(any(test, feature = "planted-bugs")))]
    #[allow(clippy::unused_self)]
    const fn overlook<'a>(&self, e: HeadError, _: &'a [u8]) -> Result<&'a [u8], HeadError> {
        Err(e)
    }

    /// Lends the room for what is opened; to be given back.
    pub fn lend(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.room)
    }

    /// Takes the room back.
    pub fn give_back(&mut self, room: Vec<u8>) {
        self.room = room;
    }
}

/// The messages of a datagram, sealed or not, for traces: it may have come before.
pub fn peek_datagram(ring: Option<&Keyring>, bytes: &[u8]) -> Option<Vec<u8>> {
    let (sealed, _, rest) = split_head(bytes).ok()?;
    if !sealed {
        return rest.get(CHECKSUM_BYTES..).map(<[u8]>::to_vec);
    }
    let head = bytes.len() - rest.len() + SEAL_BYTES;
    let mut out = bytes.to_vec();
    seal::peek(ring?, head, &mut out).then(|| out.split_off(head))
}

/// Begins a datagram; messages follow, then [`finish_datagram`].
pub fn begin_datagram(head: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(head);
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
}

/// Fills in the checksum of a datagram that began with `head`.
pub fn finish_datagram(head: &[u8], out: &mut [u8]) {
    let (front, body) = out.split_at_mut(head.len() + CHECKSUM_BYTES);
    front[head.len()..].copy_from_slice(&datagram_checksum(head, body));
}

/// Checks head and checksum of a datagram and returns its messages, still encoded.
///
/// # Errors
/// [`HeadError`]: whose packet it is not, or that it is damaged.
pub fn open_datagram<'a>(label: &Label, bytes: &'a [u8]) -> Result<&'a [u8], HeadError> {
    open_clear(label.as_str().as_bytes(), bytes)
}

fn open_clear<'a>(label: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], HeadError> {
    let (sealed, theirs, rest) = split_head(bytes)?;
    if sealed {
        return Err(HeadError::Key);
    }
    let (sum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(HeadError::NotOurs)?;
    let head = &bytes[..bytes.len() - rest.len()];
    if datagram_checksum(head, body) != sum {
        return Err(HeadError::Checksum);
    }
    if theirs != label {
        return Err(HeadError::Label);
    }
    Ok(body)
}

/// Appends a message to a datagram.
pub fn append_message(m: &Message, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[m.tag(), 0, 0]);
    m.encode_body(out);
    let len = u16::try_from(out.len() - at - 3).unwrap_or(u16::MAX);
    out[at + 1..at + 3].copy_from_slice(&len.to_le_bytes());
}

/// Appends a claim to a datagram: a [`Message::Claim`] that is encoded already.
pub fn append_claim(p: &Packed, out: &mut Vec<u8>) {
    let body = p.body();
    let [l0, l1] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
    out.extend_from_slice(&[super::CLAIM, l0, l1]);
    out.extend_from_slice(body);
}

/// Appends a message to a stream.
pub fn append_frame(m: &Message, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4 + CHECKSUM_BYTES]);
    out.push(m.tag());
    m.encode_body(out);
    let body = at + 4 + CHECKSUM_BYTES;
    let len = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
    let sum = checksum(&out[body..]);
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    out[at + 4..body].copy_from_slice(&sum);
}

/// Appends a message to a sealed stream.
pub fn append_sealed_frame(m: &Message, seal: &mut StreamSeal, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(m.tag());
    m.encode_body(out);
    let body = at + 4;
    let len = u32::try_from(out.len() - body).unwrap_or(u32::MAX).to_le_bytes();
    out[at..body].copy_from_slice(&len);
    let tag = seal.seal(&len, &mut out[body..]);
    out.extend_from_slice(&tag);
}

/// Takes a stream apart. Holds what was pushed and not taken yet, and at most as much again that
/// was taken: many small frames in one read cost as much per byte as few large ones.
#[derive(Debug, Default)]
pub struct FrameReader {
    buf: Vec<u8>,
    /// Bytes at the front of `buf` that were taken.
    taken: usize,
    /// Bytes that were moved to the front, ever.
    #[cfg(test)]
    moved: usize,
    label: Option<Vec<u8>>,
    /// Of a sealed stream: the key that the other side means, and its part of the keys.
    meant: Option<(KeyId, Salt)>,
    seal: Option<StreamSeal>,
}

impl FrameReader {
    /// Bytes that came in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The other side's label, once its head is there.
    ///
    /// # Errors
    /// [`HeadError::NotOurs`].
    pub fn label(&mut self) -> Result<Option<&[u8]>, HeadError> {
        if self.label.is_none() {
            let known: &[u8] = &[MAGIC, FORMAT];
            let n = self.buf.len().min(known.len());
            let mode = self.buf.get(2).copied().unwrap_or(MODE_CLEAR);
            if self.buf[..n] != known[..n] || mode > MODE_SEALED {
                return Err(HeadError::NotOurs);
            }
            let Some(&len) = self.buf.get(3) else { return Ok(None) };
            if len == 0 || usize::from(len) > Label::MAX {
                return Err(HeadError::NotOurs);
            }
            let label_end = 4 + usize::from(len);
            let end = label_end + if mode == MODE_SEALED { 4 + SALT_BYTES } else { 0 };
            if self.buf.len() < end {
                return Ok(None);
            }
            let rest = self.buf.split_off(end);
            let head = core::mem::replace(&mut self.buf, rest);
            self.meant = head[label_end..].split_first_chunk::<4>().and_then(|(key, salt)| {
                salt.first_chunk::<SALT_BYTES>().map(|salt| (KeyId(*key), *salt))
            });
            self.label = Some(head[4..label_end].to_vec());
        }
        Ok(self.label.as_deref())
    }

    /// What the head of a sealed stream says, once it is there.
    pub const fn meant(&self) -> Option<(KeyId, Salt)> {
        self.meant
    }

    /// What comes after the head is sealed so.
    pub fn unlock(&mut self, seal: StreamSeal) {
        self.seal = Some(seal);
    }

    /// The first `n` bytes that are left were taken. They are given up when they are no fewer than
    /// those behind them, so a byte is moved once on average.
    fn take(&mut self, n: usize) {
        self.taken += n;
        if self.taken * 2 >= self.buf.len() {
            #[cfg(test)]
            {
                self.moved += self.buf.len() - self.taken;
            }
            self.buf.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// The next message; `Ok(None)` until all of it is there. Unknown tags are skipped.
    ///
    /// # Errors
    /// [`MessageError`]: a frame that is too long, damaged or does not decode.
    pub fn next_message(&mut self) -> Result<Option<Message>, MessageError> {
        loop {
            let sum = if self.seal.is_some() { 0 } else { CHECKSUM_BYTES };
            let tag = if self.seal.is_some() { TAG_BYTES } else { 0 };
            let buf = &mut self.buf[self.taken..];
            let Some((&bytes, rest)) = buf.split_first_chunk::<4>() else { return Ok(None) };
            let len = u32::from_le_bytes(bytes) as usize;
            if len == 0 || len > MAX_FRAME_BYTES {
                return Err(MessageError::Truncated);
            }
            if rest.len() < sum + len + tag {
                return Ok(None);
            }
            let (body, rest) = buf[4 + sum..].split_at_mut(len);
            if let Some(seal) = &mut self.seal
                && !seal.open(&bytes, body, &rest[..tag])
            {
                return Err(MessageError::Sealed);
            }
            let (frame, head) = (&buf[4 + sum..][..len], &buf[4..4 + sum]);
            if sum > 0 && checksum(frame) != head {
                return Err(MessageError::Body(frame[0]));
            }
            let m = Message::decode(frame[0], &frame[1..])?;
            self.take(4 + sum + len + tag);
            if m.is_some() {
                return Ok(m);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes moved while all frames are taken that came in reads of `chunk` bytes.
    fn moved(frames: usize, chunk: usize) -> (usize, usize) {
        let mut bytes = stream_head(&Label::new("dc1").unwrap());
        for _ in 0..frames {
            append_frame(&Message::Beat(()), &mut bytes);
        }
        let (mut r, mut taken, mut held) = (FrameReader::default(), 0, 0);
        for part in bytes.chunks(chunk) {
            r.push(part);
            held = held.max(r.buf.len());
            if r.label().unwrap().is_some() {
                taken += core::iter::from_fn(|| r.next_message().unwrap()).count();
            }
        }
        assert_eq!((taken, r.buf.len()), (frames, 0));
        assert!(held < 2 * chunk + 32, "{held} bytes held");
        (r.moved, bytes.len())
    }

    #[test]
    fn many_small_frames_cost_no_more_per_byte() {
        for (frames, chunk) in [(10, 1 << 20), (20_000, 1 << 20), (20_000, 1000), (500, 3)] {
            let (moved, bytes) = moved(frames, chunk);
            assert!(moved <= bytes, "{frames} frames in reads of {chunk}: {moved} of {bytes}");
        }
    }
}
