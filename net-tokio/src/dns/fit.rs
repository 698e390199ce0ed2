//! Fits a reply to its transport: additionals go first and silently (RFC 2181 §9), answers that
//! do not fit are said with TC, and the OPT record always has its room.

use hickory_proto::{
    ProtoError,
    op::{Edns, Message, Metadata, Query},
    rr::{RData, Record},
    serialize::binary::BinEncoder,
};
use hickory_server::{
    server::ResponseInfo,
    zone_handler::{MessageResponseBuilder, Queries},
};

use super::{answer::Answer, zone::Transport};

/// Without EDNS (RFC 1035 §4.2.1).
pub(super) const PLAIN_UDP_BYTES: u16 = 512;
/// What passes every path unfragmented; more would also make amplification worth while.
pub(super) const EDNS_UDP_BYTES: u16 = 1232;
/// An OPT record without options.
const OPT_BYTES: u16 = 11;

/// Bytes that a reply may have.
pub(super) fn limit_bytes(transport: Transport, edns: Option<&Edns>) -> u16 {
    match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP_BYTES,
        (Transport::Udp, Some(e)) => e.max_payload().clamp(PLAIN_UDP_BYTES, EDNS_UDP_BYTES),
    }
}

/// Cuts `reply` to what fits `limit` bytes.
///
/// # Errors
/// A record that cannot be encoded at all.
pub(super) fn fit(
    reply: &mut Answer,
    metadata: &Metadata,
    queries: &Queries,
    edns: Option<&Edns>,
    limit: u16,
) -> Result<(), ProtoError> {
    if upper_bound(reply, queries) <= usize::from(limit) {
        return Ok(());
    }
    let room = limit - edns.map_or(0, |_| OPT_BYTES);
    loop {
        let written = measure(reply, metadata, queries, room)?;
        if !written.truncation {
            return Ok(());
        }
        if !reply.additionals.is_empty() {
            let half = reply.additionals.len() / 2;
            reply.additionals.truncate(half);
            continue;
        }
        reply.truncated = true;
        reply.answers.truncate(usize::from(written.counts().answers));
        reply.authorities.truncate(usize::from(written.counts().authorities));
        return Ok(());
    }
}

/// Encodes as the real reply will be, so that names are compressed the same way.
fn measure(
    reply: &Answer,
    metadata: &Metadata,
    queries: &Queries,
    room: u16,
) -> Result<ResponseInfo, ProtoError> {
    let mut scratch = Vec::with_capacity(usize::from(EDNS_UDP_BYTES));
    let mut encoder = BinEncoder::new(&mut scratch);
    encoder.set_max_size(room);
    let sections = (&reply.answers, &reply.authorities, &reply.additionals);
    MessageResponseBuilder::new(queries, None)
        .build(*metadata, sections.0, sections.1, [], sections.2)
        .destructive_emit(&mut encoder)
}

/// More than the reply can take, without encoding it: a few small records are the rule.
fn upper_bound(reply: &Answer, queries: &Queries) -> usize {
    let record = |r: &Record| {
        let data = match &r.data {
            RData::A(_) | RData::AAAA(_) => 16,
            RData::TXT(t) => t.txt_data.iter().map(|s| s.len() + 1).sum(),
            RData::SOA(s) => s.mname.len() + s.rname.len() + 22,
            RData::NS(n) => n.0.len() + 1,
            RData::PTR(n) => n.0.len() + 1,
            RData::SRV(s) => s.target.len() + 7,
            // Forwarded records: measured.
            _ => usize::from(u16::MAX),
        };
        r.name.len() + 11 + data
    };
    let sections = [&reply.answers, &reply.authorities, &reply.additionals];
    let records: usize = sections.iter().flat_map(|s| s.iter()).map(record).sum();
    12 + queries.as_bytes().len() + usize::from(OPT_BYTES) + records
}

/// Does a reply of a recursor belong to the question?
pub(super) fn same_question(reply: &Message, asked: &Query) -> bool {
    matches!(&reply.queries[..], [q] if q.query_type() == asked.query_type()
        && q.query_class() == asked.query_class()
        && q.name() == asked.name())
}
