//! The wire format: our own frame around postcard bodies.
//!
//! A datagram in clear mode is `Q`, format version, mode, label (length, bytes), checksum (4
//! bytes), then messages of tag (1), length (2, little endian), body. A stream begins with the
//! same head (without checksum) once in each direction; then come frames of length (4), checksum
//! (4), tag (1), body. Sealed, key id (4), boot id (16) and counter (8) stand for the checksum,
//! and a tag (16) follows the messages; a stream's head ends with key id and a random number (16),
//! and its frames have a tag behind instead of a checksum in front. Unknown tags are skipped, so
//! that newer members may say more.
//!
//! Guarantees: decoding never panics and never allocates for what is not there; a body has one
//! encoding only: what decodes encodes to the same bytes (see `strict`, and `quick` for
//! what is sent most).

use alloc::vec::Vec;

mod frame;
mod keys;
mod message;
mod packed;
mod quick;
mod seal;
mod strict;

pub use frame::{
    CHECKSUM_BYTES, Envelope, FrameReader, HeadError, MAX_FRAME_BYTES, append_claim, append_frame,
    append_message, append_sealed_frame, begin_datagram, checksum, finish_datagram, open_datagram,
    peek_datagram, sealed_stream_head, stream_head,
};
pub use keys::{KeyOp, KeyReply};
pub use packed::{ClaimList, Memo, Packed};
pub use seal::{
    Key, KeyError, KeyId, Keyring, SALT_BYTES, Salt, SealError, Sealer, StreamSeal, TAG_BYTES,
};
/// The tag of [`Message::Claim`]. Its body begins with the 16 bytes of the subject's id.
pub const CLAIM: u8 = 6;

pub use message::{
    Ack, BootstrapReport, Cookie, Forgotten, Hello, Leave, LeaveAck, Mark, Message, MessageError,
    Mismatch, Nack, NackReason, NotMe, Ping, PlacedAck, ProbeRequest, Purpose, Reject, Sender,
    Summaries, Summary, TAGS, Want, Welcome,
};

/// The (tag, body) pairs of a datagram, in order. A length that points beyond the end is an
/// error, and the last thing that comes.
pub fn bodies(mut rest: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), MessageError>> {
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = core::mem::take(&mut rest);
        let [tag, l0, l1, body @ ..] = all else { return Some(Err(MessageError::Truncated)) };
        let len = usize::from(u16::from_le_bytes([*l0, *l1]));
        let Some((body, after)) = body.split_at_checked(len) else {
            return Some(Err(MessageError::Truncated));
        };
        rest = after;
        Some(Ok((*tag, body)))
    })
}

/// The messages of a datagram, in order. Unknown tags come as `None`; nothing follows an error.
pub fn messages(body: &[u8]) -> impl Iterator<Item = Result<Option<Message>, MessageError>> {
    let mut broken = false;
    bodies(body).map_while(move |b| {
        if broken {
            return None;
        }
        let m = b.and_then(|(tag, body)| Message::decode(tag, body));
        broken = m.is_err();
        Some(m)
    })
}

/// The names of the messages in a datagram, for traces. Nothing for what is not a datagram.
pub fn describe_datagram(ring: Option<&Keyring>, bytes: &[u8]) -> Vec<&'static str> {
    let body = frame::peek_datagram(ring, bytes).unwrap_or_default();
    messages(&body).map_while(Result::ok).map(|m| m.map_or("unknown", |m| m.name())).collect()
}

#[cfg(test)]
pub(crate) mod tests;
