//! From (zone, view, question) to the records of a reply. Pure: no clock, socket or chance.
//!
//! Names that are found take their owner name from the question, letter by letter. Everything
//! that finds nothing carries the zone's SOA, so that resolvers may cache it (RFC 2308).

use std::net::IpAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{NS, PTR, SOA, SRV, TXT},
    },
};
use quorate_core::Role;

use super::zone::{Domain, Place, Target, Transport, Zone};
use crate::view::{Member, Status, View};

/// Name servers listed at most; any of them answers for all.
const MAX_NAME_SERVERS: usize = 8;
/// Instances of a service that a datagram of 1,232 bytes could hold at most.
const MAX_UDP_INSTANCES: usize = 80;
/// Instances of a service that a message of 65,535 bytes could hold at most.
const MAX_TCP_INSTANCES: usize = 4096;

/// One question, as asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// With the letters as the client wrote them.
    pub name: &'a Name,
    /// The type.
    pub kind: RecordType,
    /// The class.
    pub class: DNSClass,
}

/// What else an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// What the question came over.
    pub transport: Transport,
    /// Did the client send EDNS?
    pub edns: bool,
    /// Seconds since 1970, for the SOA's serial.
    pub now_unix_s: u32,
    /// Decides the order of instances.
    pub seed: u64,
}

/// The records of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub code: ResponseCode,
    /// Do we answer for the name?
    pub authoritative: bool,
    /// Were records left out on purpose? (TC is set.)
    pub truncated: bool,
    /// What was asked for.
    pub answers: Vec<Record>,
    /// The SOA, or the name servers.
    pub authorities: Vec<Record>,
    /// What is likely to be asked next.
    pub additionals: Vec<Record>,
}

/// What to do with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Reply so.
    Reply(Answer),
    /// Ask the recursors. Only if there are any.
    Forward,
}

impl Answer {
    /// Nothing but a response code.
    pub fn bare(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            truncated: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    fn found() -> Self {
        Self { authoritative: true, ..Self::bare(ResponseCode::NoError) }
    }
}

/// Answers one question from the view.
pub fn answer(zone: &Zone, view: &View, q: Question<'_>, cx: Context) -> Outcome {
    let refused = Outcome::Reply(Answer::bare(ResponseCode::Refused));
    if !matches!(q.class, DNSClass::IN | DNSClass::ANY)
        || matches!(q.kind, RecordType::AXFR | RecordType::IXFR)
    {
        return refused;
    }
    let outside = || match zone.config.recursors.is_empty() {
        true => Outcome::Reply(Answer::bare(ResponseCode::Refused)),
        false => Outcome::Forward,
    };
    match zone.place(q.name) {
        Place::Outside => outside(),
        Place::Reverse(ip) => reverse(zone, view, q, ip).map_or_else(outside, Outcome::Reply),
        Place::Inside(domain, target) => {
            let a = Asker { zone, view, domain, q, cx };
            let mut reply = match target {
                Target::Apex => a.apex(),
                Target::Node(name) => a.node(&name),
                Target::Service { name, tag } => a.service(&name, tag.as_deref()),
                Target::Addr(ip) => Some(a.addr(ip)),
                Target::Nothing => None,
            }
            .unwrap_or(Answer { code: ResponseCode::NXDomain, ..Answer::found() });
            if reply.answers.is_empty() {
                reply.authorities.push(a.soa());
            }
            Outcome::Reply(reply)
        }
    }
}

/// `<node>.node.<dc>.consul.` of a member that has the address and has not left.
fn reverse(zone: &Zone, view: &View, q: Question<'_>, ip: IpAddr) -> Option<Answer> {
    if !matches!(q.kind, RecordType::PTR | RecordType::ANY) {
        return None;
    }
    let member = view.by_ip(ip).filter(|m| m.status != Status::Left)?;
    let name = node_name(zone, zone.main(), member)?;
    let mut reply = Answer::found();
    let data = RData::PTR(PTR(name));
    reply.answers.push(Record::from_rdata(q.name.clone(), zone.config.node_ttl_s, data));
    Some(reply)
}

/// The full name of a member; `None` if its name cannot be one in DNS.
fn node_name(zone: &Zone, domain: &Domain, m: &Member) -> Option<Name> {
    let parts = m.record.name.as_str().split('.');
    domain.child(parts.chain(["node", zone.datacenter.as_str()]))
}

fn address(name: Name, ttl_s: u32, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    };
    Record::from_rdata(name, ttl_s, data)
}

/// Would a question of this type be answered with that address?
fn wants(kind: RecordType, ip: IpAddr) -> bool {
    match kind {
        RecordType::ANY => true,
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        _ => false,
    }
}

/// One place where a service is offered.
struct Instance<'a> {
    member: &'a Member,
    port: u16,
}

struct Asker<'a> {
    zone: &'a Zone,
    view: &'a View,
    domain: &'a Domain,
    q: Question<'a>,
    cx: Context,
}

impl<'a> Asker<'a> {
    fn soa(&self) -> Record {
        let apex = &self.domain.apex;
        let below = |label| self.domain.child([label]).unwrap_or_else(|| apex.clone());
        let soa = &self.zone.config.soa;
        let timer = |s: u32| i32::try_from(s).unwrap_or(i32::MAX);
        let data = SOA::new(
            below("ns"),
            below("hostmaster"),
            self.cx.now_unix_s,
            timer(soa.refresh_s),
            timer(soa.retry_s),
            timer(soa.expire_s),
            soa.min_ttl_s,
        );
        Record::from_rdata(apex.clone(), soa.min_ttl_s, RData::SOA(data))
    }

    /// SOA and NS; other types do not exist here.
    fn apex(&self) -> Option<Answer> {
        let ttl_s = self.zone.config.node_ttl_s;
        let (mut servers, mut glue) = (Vec::new(), Vec::new());
        for m in live_servers(self.view) {
            let Some(name) = node_name(self.zone, self.domain, m) else { continue };
            let data = RData::NS(NS(name.clone()));
            servers.push(Record::from_rdata(self.q.name.clone(), ttl_s, data));
            glue.push(address(name, ttl_s, m.record.addr.ip()));
            if servers.len() == MAX_NAME_SERVERS {
                break;
            }
        }
        let mut soa = self.soa();
        soa.name = self.q.name.clone();
        let mut reply = Answer { additionals: glue, ..Answer::found() };
        match self.q.kind {
            RecordType::SOA => {
                reply.answers.push(soa);
                reply.authorities = servers;
            }
            RecordType::NS => reply.answers = servers,
            RecordType::ANY => {
                reply.answers.push(soa);
                reply.answers.append(&mut servers);
            }
            _ => return None,
        }
        Some(reply)
    }

    fn node(&self, name: &str) -> Option<Answer> {
        let member = self.view.by_name(name).filter(|m| m.status != Status::Left)?;
        let ttl_s = self.zone.config.node_ttl_s;
        let mut reply = Answer::found();
        let ip = member.record.addr.ip();
        if wants(self.q.kind, ip) {
            reply.answers.push(address(self.q.name.clone(), ttl_s, ip));
        }
        if matches!(self.q.kind, RecordType::TXT | RecordType::ANY) {
            reply.answers.extend(self.meta(member));
        } else if !reply.answers.is_empty() && self.zone.config.node_meta_txt {
            reply.additionals.extend(self.meta(member));
        }
        Some(reply)
    }

    /// The member's meta as TXT.
    fn meta(&self, m: &'a Member) -> impl Iterator<Item = Record> + use<'_, 'a> {
        m.record.meta.iter().map(|(k, v)| {
            // RFC 1464 wants `k=v`; this prefix is how an operator asks for the bare value.
            let text = match k.get(..8) {
                Some(prefix) if prefix.eq_ignore_ascii_case("rfc1035-") => v.to_owned(),
                _ => format!("{k}={v}"),
            };
            // A character-string has at most 255 bytes (RFC 1035 §3.3).
            let mut chunks: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
            if chunks.is_empty() {
                chunks.push(b"");
            }
            let data = RData::TXT(TXT::from_bytes(chunks));
            Record::from_rdata(self.q.name.clone(), self.zone.config.node_ttl_s, data)
        })
    }

    /// The address that the name spells. Asked for another type, it is an additional.
    fn addr(&self, ip: IpAddr) -> Answer {
        let record = address(self.q.name.clone(), self.zone.config.node_ttl_s, ip);
        let mut reply = Answer::found();
        match wants(self.q.kind, ip) {
            true => reply.answers.push(record),
            false => reply.additionals.push(record),
        }
        reply
    }

    /// Healthy instances: those of the one service that exists by itself, the servers.
    fn instances(&self, name: &str, tag: Option<&str>) -> Vec<Instance<'a>> {
        if name != "consul" || tag.is_some() {
            return Vec::new();
        }
        let instance = |member: &'a Member| match member.record.role {
            Role::Server { port, .. } => Some(Instance { member, port }),
            Role::Client => None,
        };
        live_servers(self.view).filter_map(instance).collect()
    }

    fn service(&self, name: &str, tag: Option<&str>) -> Option<Answer> {
        let mut all = self.instances(name, tag);
        if all.is_empty() {
            return None;
        }
        let srv = self.q.kind == RecordType::SRV;
        all.retain(|i| srv || wants(self.q.kind, i.member.record.addr.ip()));
        let limit = match (self.cx.transport, self.cx.edns) {
            (Transport::Udp, false) => self.zone.config.udp_answer_limit.min(MAX_UDP_INSTANCES),
            (Transport::Udp, true) => MAX_UDP_INSTANCES,
            (Transport::Tcp, _) => MAX_TCP_INSTANCES,
        };
        let mut reply = Answer { truncated: all.len() > limit, ..Answer::found() };
        shuffle(&mut all, limit, self.cx.seed);
        let ttl_s = self.zone.config.service_ttl_s;
        for i in &all {
            let ip = i.member.record.addr.ip();
            if !srv {
                reply.answers.push(address(self.q.name.clone(), ttl_s, ip));
                continue;
            }
            let Some(target) = node_name(self.zone, self.domain, i.member) else { continue };
            let data = RData::SRV(SRV::new(1, 1, i.port, target.clone()));
            reply.answers.push(Record::from_rdata(self.q.name.clone(), ttl_s, data));
            reply.additionals.push(address(target, self.zone.config.node_ttl_s, ip));
        }
        Some(reply)
    }
}

/// Servers come first in the view: the clients behind them need not be looked at.
fn live_servers(view: &View) -> impl Iterator<Item = &Member> {
    let servers = view.members().iter().take_while(|m| m.record.role.is_server());
    servers.filter(|m| m.status == Status::Alive)
}

/// Keeps a random `limit` of the items in random order (Fisher-Yates, SplitMix64).
fn shuffle<T>(items: &mut Vec<T>, limit: usize, mut seed: u64) {
    let take = limit.min(items.len());
    for i in 0..take {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let left = (items.len() - i) as u64;
        items.swap(i, i + usize::try_from(z % left).unwrap_or(0));
    }
    items.truncate(take);
}
