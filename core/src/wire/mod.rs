//! The wire format: our own frame around postcard bodies.
//!
//! A datagram is `Q`, format version, mode, label (length, bytes), checksum (4 bytes), then
//! messages of tag (1), length (2, little endian), body. A stream begins with the same head
//! (without checksum) once in each direction; then come frames of length (4), checksum (4), tag
//! (1), body. Unknown tags are skipped, so that newer members may say more.
//!
//! Guarantees: decoding never panics and never allocates for what is not there; a body has one
//! encoding only: what decodes encodes to the same bytes (see `strict`).

mod frame;
mod message;
mod strict;

pub use frame::{
    CHECKSUM_BYTES, FrameReader, HeadError, MAX_FRAME_BYTES, append_frame, append_message,
    begin_datagram, finish_datagram, open_datagram, stream_head,
};
/// The tag of [`Message::Claim`]. Its body begins with the 16 bytes of the subject's id.
pub const CLAIM: u8 = 6;

pub use message::{
    Ack, BootstrapReport, Cookie, Forgotten, Hello, Leave, LeaveAck, Message, MessageError,
    Mismatch, Nack, NackReason, NotMe, Ping, ProbeRequest, Purpose, Reject, Sender, Summaries,
    Summary, TAGS, Want, Welcome,
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
pub fn describe_datagram(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    let body = frame::skip_head(bytes).unwrap_or(&[]);
    messages(body).map_while(Result::ok).map(|m| m.map_or("unknown", |m| m.name()))
}

#[cfg(test)]
mod tests;
