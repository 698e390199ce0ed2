//! Sealing: ChaCha20-Poly1305 (RFC 8439) under keys derived from the cluster's by HKDF-SHA256
//! (RFC 5869).
//!
//! Datagrams: a sender draws a random boot id at its start and derives its own key from the
//! cluster's key and that id; the nonce is a counter. So no nonce is used twice under one key, and
//! a receiver can drop what it has seen (a window of 1024, as RFC 6479 has it). Streams: both
//! sides contribute a random number to the keys, so nothing recorded can be played back to either.
//!
//! Guarantee: nothing is kept, and no window moves, for bytes whose tag is wrong.

use alloc::{collections::BTreeMap, vec::Vec};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Tag,
    aead::{AeadInOut, inout::InOutBuf},
};
use core::{fmt, time::Duration};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::time::Instant;

/// Bytes of a tag, behind every sealed message.
pub const TAG_BYTES: usize = 16;
/// Bytes of a boot id, and of a stream's random number.
pub const SALT_BYTES: usize = 16;
/// Bytes between a sealed datagram's head and what is sealed: key id, boot id, counter.
pub(super) const SEAL_BYTES: usize = 4 + SALT_BYTES + 8;
/// Counters behind the newest one that may still come.
const WINDOW: u64 = 1024;
/// Words of a window.
const WORDS: usize = (WINDOW / 64) as usize;

/// A sender's run, or one side of a stream: random, never used again.
pub type Salt = [u8; SALT_BYTES];

/// Names a key on the wire; tells nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

/// Why bytes cannot be a key, or a keyring cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum KeyError {
    /// Not a length of Consul's keys.
    #[error("it has {0} bytes, not 16, 24 or 32")]
    Length(usize),
    /// It is not in the keyring.
    #[error("the key is not in the keyring")]
    Unknown,
    /// It seals what this agent sends.
    #[error("the key is the primary one: use another one first")]
    Primary,
    /// Others still seal with it.
    #[error("the key is still in use by another agent: use another one everywhere first")]
    InUse,
    /// No room.
    #[error("the keyring is full, it has {max} keys", max = Keyring::MAX)]
    Full,
}

/// A key that all agents of a cluster share: 16, 24 or 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    /// Never the key itself: logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x?})", self.id().0)
    }
}

impl Key {
    /// Checks the length.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            16 | 24 | 32 => Ok(Self(bytes.to_vec())),
            n => Err(KeyError::Length(n)),
        }
    }

    /// The secret itself, to be written to a keyring file or shown to an operator who asks.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Its name on the wire.
    pub fn id(&self) -> KeyId {
        KeyId(self.derive(&[], "quorate 1 key id"))
    }

    fn derive<const N: usize>(&self, salt: &[u8], what: &str) -> [u8; N] {
        let mut out = [0; N];
        let expanded = Hkdf::<Sha256>::new(Some(salt), &self.0).expand(what.as_bytes(), &mut out);
        debug_assert!(expanded.is_ok(), "HKDF gives up to 8160 bytes");
        out
    }

    fn cipher(&self, salt: &[u8], what: &str) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&self.derive::<32>(salt, what).into())
    }
}

/// The keys an agent accepts; the primary one, which is the first, seals what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring(Vec<(KeyId, Key)>);

impl Keyring {
    /// Keys that fit.
    pub const MAX: usize = 8;

    /// Of one key.
    pub fn new(primary: Key) -> Self {
        Self(alloc::vec![(primary.id(), primary)])
    }

    /// All keys, the primary one first.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.0.iter().map(|(_, key)| key)
    }

    /// The primary key's id.
    pub fn primary(&self) -> KeyId {
        self.0.first().map_or(KeyId([0; 4]), |k| k.0)
    }

    /// The key of this id.
    pub(crate) fn get(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|k| k.0 == id).map(|k| &k.1)
    }

    /// Accepts another key from now on; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`KeyError::Full`].
    pub fn install(&mut self, key: Key) -> Result<(), KeyError> {
        if self.keys().any(|k| *k == key) {
            return Ok(());
        }
        if self.0.len() >= Self::MAX {
            return Err(KeyError::Full);
        }
        self.0.push((key.id(), key));
        Ok(())
    }

    /// Seals with a key that is there.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn use_key(&mut self, key: &Key) -> Result<(), KeyError> {
        let at = self.keys().position(|k| k == key).ok_or(KeyError::Unknown)?;
        self.0[..=at].rotate_right(1);
        Ok(())
    }

    /// Accepts a key no more.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Primary`].
    pub fn remove(&mut self, key: &Key) -> Result<(), KeyError> {
        let at = self.keys().position(|k| k == key);
        match at {
            None => Err(KeyError::Unknown),
            Some(0) => Err(KeyError::Primary),
            Some(at) => {
                self.0.remove(at);
                Ok(())
            }
        }
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut n = [0; 12];
    n[4..].copy_from_slice(&counter.to_le_bytes());
    n
}

fn seal(c: &ChaCha20Poly1305, counter: u64, head: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
    let tag = c.encrypt_inout_detached(&nonce(counter).into(), head, InOutBuf::from(body));
    // Only a message of 256 GiB is too long.
    debug_assert!(tag.is_ok());
    tag.map_or([0; TAG_BYTES], Into::into)
}

/// Opens in place; `false`: not sealed with this key and counter, or changed since.
fn open(c: &ChaCha20Poly1305, counter: u64, head: &[u8], body: &mut [u8], tag: &[u8]) -> bool {
    let Ok(tag) = <[u8; TAG_BYTES]>::try_from(tag) else { return false };
    let tag = Tag::from(tag);
    c.decrypt_inout_detached(&nonce(counter).into(), head, InOutBuf::from(body), &tag).is_ok()
}

/// Which counters of a sender were seen.
#[derive(Clone, Debug, Default)]
struct Window {
    /// The highest seen; 0: none, counters begin at 1.
    highest: u64,
    seen: [u64; WORDS],
}

impl Window {
    fn place(counter: u64) -> (usize, u64) {
        let n = counter % WINDOW;
        ((n / 64) as usize, 1 << (n % 64))
    }

    /// Not seen yet, and not too old to tell?
    fn is_new(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        counter > self.highest
            || counter != 0 && self.highest - counter < WINDOW && self.seen[word] & bit == 0
    }

    fn mark(&mut self, counter: u64) {
        if counter > self.highest {
            let steps = (counter - self.highest).min(WINDOW);
            for n in 1..=steps {
                let (word, bit) = Self::place(self.highest.wrapping_add(n));
                self.seen[word] &= !bit;
            }
            self.highest = counter;
        }
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
    }
}

/// A sender whose tag was right once.
#[derive(Debug)]
struct Peer {
    key: KeyId,
    /// None: the key is gone.
    cipher: Option<ChaCha20Poly1305>,
    window: Window,
    /// Counts datagrams of all senders, to find who was quiet for longest.
    heard: u64,
    at: Instant,
}

/// What a sealed datagram is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// Not sealed with a key that is accepted here, or changed on the way.
    Key,
    /// Seen before, or too old to tell.
    Replay,
}

/// Seals what goes out and opens what comes in.
pub struct Sealer {
    ring: Keyring,
    boot: Salt,
    counter: u64,
    cipher: ChaCha20Poly1305,
    peers: BTreeMap<Salt, Peer>,
    peers_max: usize,
    heard: u64,
    /// When what is opened came in.
    now: Instant,
    /// A test has broken the windows: see [`crate::planted`].
    pub(crate) forgetful: bool,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("ring", &self.ring).finish_non_exhaustive()
    }
}

fn datagram_cipher(key: &Key, boot: &Salt) -> ChaCha20Poly1305 {
    key.cipher(boot, "quorate 1 datagram")
}

/// (key id, boot id, counter) in front of what is sealed.
fn split_seal(seal: &[u8]) -> Option<(KeyId, Salt, u64)> {
    let (id, rest) = seal.split_first_chunk::<4>()?;
    let (boot, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
    let counter = rest.first_chunk::<8>()?;
    Some((KeyId(*id), *boot, u64::from_le_bytes(*counter)))
}

impl Sealer {
    /// `boot` must be random; windows are kept for at most `peers_max` senders.
    pub fn new(ring: Keyring, boot: Salt, peers_max: usize) -> Self {
        let cipher = ring.keys().next().map(|k| datagram_cipher(k, &boot));
        // A keyring is never empty.
        let cipher = cipher.unwrap_or_else(|| ChaCha20Poly1305::new(&[0; 32].into()));
        let (peers, forgetful) = (BTreeMap::new(), false);
        let (heard, now) = (0, Instant::ZERO);
        Self { ring, boot, counter: 0, cipher, peers, peers_max, heard, now, forgetful }
    }

    /// The keys.
    pub const fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// Works with other keys from now on.
    pub fn set_ring(&mut self, ring: Keyring) {
        if let Some(key) = ring.keys().next() {
            self.cipher = datagram_cipher(key, &self.boot);
        }
        // What was derived from a key that is gone goes with it; what was seen under it stays seen.
        for p in self.peers.values_mut().filter(|p| ring.get(p.key).is_none()) {
            p.cipher = None;
        }
        self.ring = ring;
    }

    /// What is opened from now on came in at `now`.
    pub(crate) const fn clock(&mut self, now: Instant) {
        self.now = now;
    }

    /// Is there a sender whose newest datagram was sealed with this key, and was heard `lately`?
    pub(crate) fn heard_within(&self, key: KeyId, now: Instant, lately: Duration) -> bool {
        self.peers.values().any(|p| p.key == key && now.since(p.at) < lately)
    }

    /// Writes key id, boot id and counter.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        // 2^64 datagrams take longer than any process lives.
        self.counter = self.counter.saturating_add(1);
        out.extend_from_slice(&self.ring.primary().0);
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&self.counter.to_le_bytes());
    }

    /// Seals everything behind the first `head` bytes and appends the tag.
    pub(super) fn finish(&self, head: usize, out: &mut Vec<u8>) {
        let (front, body) = out.split_at_mut(head);
        let tag = seal(&self.cipher, self.counter, front, body);
        out.extend_from_slice(&tag);
    }

    /// Opens what is behind the first `head` bytes, in place, and takes the tag off.
    pub(super) fn open(&mut self, head: usize, bytes: &mut Vec<u8>) -> Result<(), SealError> {
        let seal_at = head.checked_sub(SEAL_BYTES).ok_or(SealError::Key)?;
        let seal = bytes.get(seal_at..head).and_then(split_seal);
        let (id, boot, counter) = seal.ok_or(SealError::Key)?;
        let body_end = bytes.len().checked_sub(TAG_BYTES).filter(|end| *end >= head);
        let tag = bytes.split_off(body_end.ok_or(SealError::Key)?);
        let known = self.peers.get(&boot).filter(|p| p.key == id);
        if known.is_some_and(|p| !p.window.is_new(counter)) || boot == self.boot {
            return Err(SealError::Replay);
        }
        let (front, body) = bytes.split_at_mut(head);
        let fresh = match known.and_then(|p| p.cipher.as_ref()) {
            Some(cipher) if open(cipher, counter, front, body, &tag) => None,
            Some(_) => return Err(SealError::Key),
            None => {
                let key = self.ring.get(id).ok_or(SealError::Key)?;
                let cipher = datagram_cipher(key, &boot);
                if !open(&cipher, counter, front, body, &tag) {
                    return Err(SealError::Key);
                }
                Some(cipher)
            }
        };
        self.heard += 1;
        let (heard, at) = (self.heard, self.now);
        if let (Some(cipher), Some(p)) = (&fresh, self.peers.get_mut(&boot)) {
            // Under another key it is still the same sender: what was seen was seen.
            if !p.window.is_new(counter) {
                return Err(SealError::Replay);
            }
            // A late one does not say that the key is in use again.
            if counter > p.window.highest {
                (p.key, p.cipher) = (id, Some(cipher.clone()));
            }
        } else if let Some(cipher) = fresh {
            if counter == 0 {
                return Err(SealError::Replay);
            }
            self.make_room();
            let (cipher, window) = (Some(cipher), Window::default());
            self.peers.insert(boot, Peer { key: id, cipher, window, heard, at });
        }
        if let Some(p) = self.peers.get_mut(&boot) {
            if !self.forgetful {
                p.window.mark(counter);
            }
            (p.heard, p.at) = (heard, at);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.peers.len() >= self.peers_max {
            let quietest = self.peers.iter().min_by_key(|(_, p)| p.heard).map(|(b, _)| *b);
            quietest.into_iter().for_each(|b| drop(self.peers.remove(&b)));
        }
    }
}

/// Opens a sealed datagram without regard to what was seen before, for traces.
pub(super) fn peek(ring: &Keyring, head: usize, bytes: &mut Vec<u8>) -> bool {
    let Some(seal_at) = head.checked_sub(SEAL_BYTES) else { return false };
    let Some((id, boot, counter)) = bytes.get(seal_at..head).and_then(split_seal) else {
        return false;
    };
    let end = bytes.len().checked_sub(TAG_BYTES).filter(|end| *end >= head);
    let (Some(end), Some(key)) = (end, ring.get(id)) else { return false };
    let tag = bytes.split_off(end);
    let (front, body) = bytes.split_at_mut(head);
    open(&datagram_cipher(key, &boot), counter, front, body, &tag)
}

/// One direction of a sealed stream.
pub struct StreamSeal {
    cipher: ChaCha20Poly1305,
    counter: u64,
}

impl fmt::Debug for StreamSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSeal").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl StreamSeal {
    /// Both directions: what the opener sends, what the acceptor sends. Each side's random number
    /// is the one in its head.
    pub fn pair(key: &Key, opener: &Salt, acceptor: &Salt) -> (Self, Self) {
        let mut salt = [0; 2 * SALT_BYTES];
        salt[..SALT_BYTES].copy_from_slice(opener);
        salt[SALT_BYTES..].copy_from_slice(acceptor);
        let seal = |what| Self { cipher: key.cipher(&salt, what), counter: 0 };
        (seal("quorate 1 stream opener"), seal("quorate 1 stream acceptor"))
    }

    /// The next frame's body, sealed in place; returns the tag.
    pub(super) fn seal(&mut self, head: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
        self.counter += 1;
        seal(&self.cipher, self.counter, head, body)
    }

    /// Opens the next frame in place.
    pub(super) fn open(&mut self, head: &[u8], body: &mut [u8], tag: &[u8]) -> bool {
        self.counter += 1;
        open(&self.cipher, self.counter, head, body, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn key(n: u8) -> Key {
        Key::new(&[n; 32]).unwrap()
    }

    fn sealer(ring: Keyring, boot: u8) -> Sealer {
        Sealer::new(ring, [boot; SALT_BYTES], 4)
    }

    fn packet(s: &mut Sealer, body: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        s.begin(&mut out);
        out.extend_from_slice(body);
        s.finish(SEAL_BYTES, &mut out);
        out
    }

    fn opened(s: &mut Sealer, p: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut bytes = p.to_vec();
        s.open(SEAL_BYTES, &mut bytes).map(|()| bytes.split_off(SEAL_BYTES))
    }

    #[test]
    fn a_key_has_a_length_of_consuls() {
        for n in 0..64 {
            assert_eq!(Key::new(&vec![1; n]).is_ok(), matches!(n, 16 | 24 | 32), "{n}");
        }
        assert!(!alloc::format!("{:?}", key(77)).contains("77, 77"), "a key in a log");
    }

    #[test]
    fn once_only_and_only_with_the_key() {
        let mut a = sealer(Keyring::new(key(1)), 1);
        let mut b = sealer(Keyring::new(key(1)), 2);
        let mut stranger = sealer(Keyring::new(key(2)), 3);
        let p = packet(&mut a, b"hello");
        assert!(!p.windows(5).any(|w| w == b"hello"));
        assert_eq!(opened(&mut b, &p).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(opened(&mut b, &p), Err(SealError::Replay));
        assert_eq!(opened(&mut stranger, &p), Err(SealError::Key));
        assert_eq!(opened(&mut a, &p), Err(SealError::Replay), "our own, sent back");
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_moves_nothing() {
        let mut a = sealer(Keyring::new(key(1)), 1);
        let mut b = sealer(Keyring::new(key(1)), 2);
        let p = packet(&mut a, b"hello");
        for bit in 0..p.len() * 8 {
            let mut bad = p.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&mut b, &bad), Err(SealError::Key), "bit {bit}");
        }
        assert!(b.peers.is_empty());
        assert!(opened(&mut b, &p).is_ok());
    }

    #[test]
    fn rotation_keeps_everybody_in_touch() {
        let mut a = sealer(Keyring::new(key(1)), 1);
        let mut b = sealer(Keyring::new(key(1)), 2);
        let both = |s: &mut Sealer, f: &dyn Fn(&mut Keyring)| {
            let mut ring = s.ring().clone();
            f(&mut ring);
            s.set_ring(ring);
        };
        both(&mut a, &|r| r.install(key(2)).unwrap());
        both(&mut b, &|r| r.install(key(2)).unwrap());
        let old = packet(&mut a, b"old");
        both(&mut a, &|r| r.use_key(&key(2)).unwrap());
        let new = packet(&mut a, b"new");
        assert_eq!(opened(&mut b, &new).as_deref(), Ok(&b"new"[..]));
        assert_eq!(opened(&mut b, &old).as_deref(), Ok(&b"old"[..]), "under way meanwhile");
        assert_eq!(opened(&mut b, &new), Err(SealError::Replay), "seen under the other key");
        let in_use = |b: &Sealer, n, at| {
            b.heard_within(key(n).id(), Instant::from_nanos(at), Duration::from_nanos(5))
        };
        assert!(in_use(&b, 2, 4) && !in_use(&b, 2, 5), "not for ever");
        assert!(!in_use(&b, 1, 4), "a late one does not count");
        both(&mut b, &|r| {
            r.use_key(&key(2)).unwrap();
            assert_eq!(r.remove(&key(2)), Err(KeyError::Primary));
            r.remove(&key(1)).unwrap();
            assert_eq!(r.remove(&key(1)), Err(KeyError::Unknown));
        });
        assert_eq!(opened(&mut b, &new), Err(SealError::Replay), "seen before the key went");
        let back = packet(&mut b, b"back");
        assert_eq!(opened(&mut a, &back).as_deref(), Ok(&b"back"[..]));
    }

    #[test]
    fn a_full_ring_and_too_many_senders() {
        let mut ring = Keyring::new(key(0));
        (1..8).for_each(|n| ring.install(key(n)).unwrap());
        assert_eq!(ring.install(key(9)), Err(KeyError::Full));
        assert_eq!(ring.install(key(3)), Ok(()), "there already");
        let mut b = sealer(Keyring::new(key(0)), 200);
        for n in 0..100 {
            let p = packet(&mut sealer(Keyring::new(key(0)), n), b"x");
            assert!(opened(&mut b, &p).is_ok());
            assert!(b.peers.len() <= 4);
        }
    }

    #[test]
    fn streams_have_two_keys_and_an_order() {
        let (mut out, mut back) = StreamSeal::pair(&key(1), &[1; 16], &[2; 16]);
        let (mut their_in, _) = StreamSeal::pair(&key(1), &[1; 16], &[2; 16]);
        let mut one = *b"one";
        let tag = out.seal(b"", &mut one);
        let mut wrong_way = one;
        assert!(!back.open(b"", &mut wrong_way, &tag));
        let mut again = one;
        assert!(their_in.open(b"", &mut one, &tag));
        assert_eq!(&one, b"one");
        assert!(!their_in.open(b"", &mut again, &tag), "a frame comes once");
    }

    proptest! {
        /// The window agrees with a list of all that came.
        #[test]
        fn the_window_takes_each_once(counters in prop::collection::vec(1_u64..3000, 1..400)) {
            let mut w = Window::default();
            let mut seen = alloc::collections::BTreeSet::new();
            for c in counters {
                let highest = seen.last().copied().unwrap_or(0);
                let wanted = !seen.contains(&c) && (c > highest || highest - c < WINDOW);
                prop_assert_eq!(w.is_new(c), wanted, "{} after {}", c, highest);
                if w.is_new(c) {
                    w.mark(c);
                    seen.insert(c);
                }
            }
        }
    }
}
