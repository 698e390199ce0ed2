//! hickory-server's `RequestHandler`: decides what a query is, answers or forwards it, and fits
//! the reply to the client. Reads the view once per query and waits for nothing but recursors.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, Metadata, OpCode, ResponseCode};
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tracing::debug;

use super::{
    answer::{Answer, Context, Outcome, Question, answer},
    fit::{fit, limit_bytes},
    forward::Forwarder,
    zone::{Transport, Zone},
};
use crate::{counters::DnsCounters, handle::AgentHandle};

/// Answers queries from the agent's view.
#[derive(Debug)]
pub struct Responder {
    handle: AgentHandle,
    zone: Zone,
    forwarder: Forwarder,
    seed: AtomicU64,
    /// What came in.
    pub counters: Arc<DnsCounters>,
}

impl Responder {
    /// A responder; `seed` decides in which order instances of services come.
    pub fn new(handle: AgentHandle, zone: Zone, seed: u64) -> Self {
        let recursors = zone.config.recursors.clone();
        let forwarder = Forwarder::new(recursors, zone.config.recursor_timeout);
        Self { handle, zone, forwarder, seed: AtomicU64::new(seed), counters: Arc::default() }
    }

    fn context(&self, transport: Transport, edns: bool) -> Context {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Context {
            transport,
            edns,
            // Serial numbers wrap by definition (RFC 1982).
            now_unix_s: now.as_secs() as u32,
            seed: self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed),
        }
    }

    async fn reply(&self, request: &Request, transport: Transport) -> Answer {
        if request.metadata.op_code != OpCode::Query {
            return Answer::bare(ResponseCode::NotImp);
        }
        if request.edns.as_ref().is_some_and(|e| e.version() > 0) {
            return Answer::bare(ResponseCode::BADVERS);
        }
        let [query] = request.queries.queries() else {
            return Answer::bare(ResponseCode::FormErr);
        };
        let query = query.original();
        let question =
            Question { name: query.name(), kind: query.query_type(), class: query.query_class() };
        let cx = self.context(transport, request.edns.is_some());
        match answer(&self.zone, &self.handle.view(), question, cx) {
            Outcome::Reply(reply) => reply,
            Outcome::Forward => match self.forwarder.ask(request.as_slice(), query).await {
                Some(m) => forwarded(m),
                None => Answer::bare(ResponseCode::ServFail),
            },
        }
    }
}

/// What a recursor said.
fn forwarded(m: Message) -> Answer {
    Answer {
        code: m.metadata.response_code,
        authoritative: m.metadata.authoritative,
        truncated: m.metadata.truncation,
        answers: m.answers,
        authorities: m.authorities,
        additionals: m.additionals,
    }
}

/// EDNS goes back to who sent it (RFC 6891 §7), with the size that we keep to.
fn reply_edns(theirs: &Edns, limit: u16) -> Edns {
    let mut ours = Edns::new();
    ours.set_max_payload(limit).set_dnssec_ok(theirs.flags().dnssec_ok);
    ours
}

#[async_trait::async_trait]
impl RequestHandler for Responder {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let transport = match request.protocol() {
            Protocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let mut reply = self.reply(request, transport).await;
        let size = limit_bytes(Transport::Udp, request.edns.as_ref());
        let edns = request.edns.as_ref().map(|e| reply_edns(e, size));
        if edns.is_none() && reply.code.high() > 0 {
            // The upper bits of the code have no place without EDNS.
            reply = Answer::bare(ResponseCode::ServFail);
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = !self.zone.config.recursors.is_empty();
        metadata.checking_disabled = false;
        let limit = limit_bytes(transport, request.edns.as_ref());
        if let Err(error) = fit(&mut reply, &metadata, &request.queries, edns.as_ref(), limit) {
            debug!(%error, "a DNS reply cannot be encoded");
            reply = Answer::bare(ResponseCode::ServFail);
        }
        metadata.authoritative = reply.authoritative;
        metadata.truncation = reply.truncated;
        metadata.response_code = reply.code;
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            &reply.answers,
            &reply.authorities,
            [],
            &reply.additionals,
        );
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                debug!(%error, "a DNS reply was not sent");
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}
