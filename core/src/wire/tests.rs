//! The codec: round trips, one encoding only, and hostile bytes.

use super::*;
use crate::*;
use alloc::{sync::Arc, vec, vec::Vec};
use proptest::prelude::*;

pub(crate) fn record(n: u8) -> Record {
    Record {
        version: Version { generation: 3, incarnation: 300 },
        role: Role::Server { port: 8300, expect: 3, bootstrap: false },
        tags: Pairs::new([("build", "0.1.0")]).unwrap(),
        ..Record::of_client(
            NodeId::from_bytes([n; 16]),
            Name::new("agent-one").unwrap(),
            "127.0.0.10:8301".parse().unwrap(),
        )
    }
}

fn memory() -> Memory {
    let id = NodeId::from_bytes([7; 16]);
    let addr = "[::1]:8300".parse().unwrap();
    let voter = Voter { id, birth: u64::MAX, era: u64::MAX, addr };
    let attempt = Arc::new(Attempt {
        cluster: ClusterId::from_random([9; 16]),
        voters: BoundedVec::new(vec![voter; MAX_VOTERS]).unwrap(),
    });
    let ballot = Ballot { round: u32::MAX, owner: id };
    let stage = Stage::Promised { attempt, ballot, accepted: Some((ballot, Outcome::Commit)) };
    Memory { birth: u64::MAX, era: u64::MAX, stage }
}

/// One of every message.
fn samples() -> Vec<Message> {
    let (r, id) = (record(1), NodeId::from_bytes([2; 16]));
    let from = Sender { id, version: r.version };
    let addr = "[::1]:8301".parse().unwrap();
    let ack = Ack { cookie: u64::MAX, version: r.version, root: 7 };
    let claim = |statement| Claim { record: Arc::new(record(1)), statement };
    let left = claim(Statement::Left { by: id, prune: true });
    let suspect = Statement::Suspect { by: id, evidence: Evidence::Mute, witnesses: 2 };
    let both = [Packed::new(left.clone()), Packed::new(claim(Statement::Alive))];
    let claims = ClaimList::pack(both.iter().map(|p| &**p)).remove(0);
    vec![
        Message::Ping(Ping { cookie: 1, from, target: Mark::new(1, id), root: 9 }),
        Message::Ack(ack),
        Message::NotMe(NotMe { cookie: 1, from }),
        Message::ProbeRequest(ProbeRequest { cookie: 5, from, target: id, addr, budget_ms: 400 }),
        Message::Nack(Nack { cookie: 5, from: id, reason: NackReason::Mute }),
        Message::Claim(claim(suspect)),
        Message::Leave(Leave { cookie: 8, claim: left.clone() }),
        Message::LeaveAck(LeaveAck { cookie: 8, from: id }),
        Message::BootstrapReport(BootstrapReport {
            from,
            cookie: 1,
            echo: 2,
            ask: true,
            memory: memory(),
        }),
        Message::UserEvent(user_event()),
        Message::Query(query()),
        Message::QueryReply(QueryReply {
            id: EventId::from_bytes([6; 16]),
            from: id,
            answer: None,
        }),
        Message::QueryReceipt(QueryReceipt {
            id: EventId::from_bytes([6; 16]),
            from: id,
            answer: true,
        }),
        Message::PlacedAck(PlacedAck { ack, place: Place::from(&Coordinate::ORIGIN) }),
        Message::Hello(Hello {
            purpose: Purpose::Probe { cookie: 3, target: id },
            record: r.clone(),
        }),
        Message::Welcome(Welcome { record: r }),
        Message::Reject(Reject::NameTaken { holder: id, addr }),
        Message::Claims(claims),
        Message::Buckets(BoundedVec::new(vec![0, 1, u64::MAX]).unwrap()),
        Message::Mismatch(Mismatch { bits: [1, 2, 3, u64::MAX] }),
        Message::Summaries(Summaries { items: BoundedVec::default(), last: true }),
        Message::Want(Want { ids: BoundedVec::new(vec![id]).unwrap() }),
        Message::Done(()),
        Message::StreamAck(ack),
        Message::Forgotten(Forgotten { items: BoundedVec::default() }),
        Message::Watching(from),
        Message::Beat(()),
        Message::EventDigest(u64::MAX),
        Message::EventKeys(BoundedVec::new(vec![(3, EventId::from_bytes([6; 16]))]).unwrap()),
        Message::Events(BoundedVec::new(vec![user_event()]).unwrap()),
        Message::KeyRequest(KeyOp::Install(Key::new(&[1; 24]).unwrap())),
        Message::KeyReply(KeyReply::Refused(KeyError::InUse)),
    ]
}

/// The largest there is.
fn user_event() -> UserEvent {
    UserEvent {
        time: u64::MAX,
        id: EventId::from_bytes([5; 16]),
        origin: NodeId::from_bytes([2; 16]),
        name: EventName::new("x".repeat(128)).unwrap(),
        payload: Payload::new(vec![255; EVENT_BYTES - 128]).unwrap(),
    }
}

fn query() -> Query {
    let nodes = BoundedVec::new(vec![Name::new("agent-one").unwrap()]).unwrap();
    Query {
        time: 1,
        id: EventId::from_bytes([6; 16]),
        origin: NodeId::from_bytes([2; 16]),
        timeout_ms: 3000,
        ack: true,
        filter: QueryFilter { nodes, tags: Pairs::new([("build", "0.1.0")]).unwrap() },
        name: EventName::new("ping").unwrap(),
        payload: Payload::default(),
    }
}

#[test]
fn events_and_answers_fit_a_datagram_beside_a_ping() {
    let ping = Message::Ping(Ping {
        cookie: u64::MAX,
        from: Sender {
            id: NodeId::from_bytes([2; 16]),
            version: Version { generation: u64::MAX, incarnation: u32::MAX },
        },
        target: Mark::new(u64::MAX, NodeId::from_bytes([3; 16])),
        root: u64::MAX,
    });
    let answer = Answer::new(vec![255; ANSWER_BYTES]).unwrap();
    let (id, from) = (EventId::from_bytes([6; 16]), NodeId::from_bytes([2; 16]));
    let reply = Message::QueryReply(QueryReply { id, from, answer: Some(answer) });
    // A head with the longest label, and what seals.
    let head = 4 + Label::MAX + 28 + TAG_BYTES;
    for beside in [Message::UserEvent(user_event()), reply] {
        let mut out = vec![];
        append_message(&ping, &mut out);
        append_message(&beside, &mut out);
        assert!(head + out.len() <= 1400, "{}", head + out.len());
    }
}

fn label() -> Label {
    Label::new("dc1").unwrap()
}

fn datagram(ms: &[Message]) -> Vec<u8> {
    let head = stream_head(&label());
    let mut out = Vec::new();
    begin_datagram(&head, &mut out);
    ms.iter().for_each(|m| append_message(m, &mut out));
    finish_datagram(&head, &mut out);
    out
}

#[test]
fn the_largest_bootstrap_report_fits_a_datagram() {
    let id = NodeId::from_bytes([2; 16]);
    let version = Version { generation: u64::MAX, incarnation: u32::MAX };
    let from = Sender { id, version };
    let (cookie, echo, ask) = (u64::MAX, u64::MAX, true);
    let report = BootstrapReport { from, cookie, echo, ask, memory: memory() };
    let head = stream_head(&Label::new("x".repeat(Label::MAX)).unwrap());
    let mut out = Vec::new();
    begin_datagram(&head, &mut out);
    append_message(&Message::BootstrapReport(report), &mut out);
    assert!(out.len() <= Limits::default().datagram_bytes, "{}", out.len());
}

#[test]
fn every_message_comes_back_as_it_was() {
    let all = samples();
    assert_eq!(
        all.iter().map(Message::tag).collect::<Vec<_>>(),
        TAGS.iter().map(|t| t.0).collect::<Vec<_>>()
    );
    let bytes = datagram(&all);
    let body = open_datagram(&label(), &bytes).unwrap();
    let back: Vec<_> = messages(body).map(|m| m.unwrap().unwrap()).collect();
    assert_eq!(back, all);
    assert_eq!(describe_datagram(None, &bytes).len(), all.len());
    let mut reader = FrameReader::default();
    let mut stream = stream_head(&label());
    all.iter().for_each(|m| append_frame(m, &mut stream));
    let mut back = Vec::new();
    for b in stream {
        reader.push(&[b]);
        if reader.label().unwrap().is_some() {
            back.extend(reader.next_message().unwrap());
        }
    }
    assert_eq!(back, all);
}

#[test]
fn a_claim_begins_with_its_subject() {
    let Some(m) = samples().into_iter().find(|m| m.tag() == CLAIM) else { panic!("no claim") };
    let Message::Claim(c) = &m else { panic!("tag {CLAIM} is {}", m.name()) };
    let mut body = Vec::new();
    m.encode_body(&mut body);
    assert_eq!(&body[..16], c.id().as_bytes());
}

#[test]
fn a_number_has_one_encoding() {
    // Generation 1 as `81 00`: postcard alone would take it.
    let version = Version { generation: 1, incarnation: 0 };
    let mut body = Vec::new();
    Message::Ack(Ack { cookie: 1, version, root: 2 }).encode_body(&mut body);
    assert!(Message::decode(2, &body).unwrap().is_some());
    let long = [&body[..8], &[0x81, 0x00], &body[9..]].concat();
    assert_eq!(Message::decode(2, &long), Err(MessageError::Body(2)));
    body.push(0);
    assert_eq!(Message::decode(2, &body), Err(MessageError::Body(2)), "something left over");
}

#[test]
fn a_ping_and_its_answer_are_small() {
    // What is at rest on the wire (docs/protocol.md): whatever the random numbers are.
    let id = NodeId::from_bytes([0xff; 16]);
    let version = Version { generation: 100, incarnation: 100 };
    let (cookie, root) = (u64::MAX, u64::MAX);
    let from = Sender { id, version };
    let ping = Message::Ping(Ping { cookie, from, target: Mark::new(cookie, id), root });
    assert_eq!(datagram(&[ping]).len(), 56);
    assert_eq!(datagram(&[Message::Ack(Ack { cookie, version, root })]).len(), 32);
}

#[test]
fn a_mark_is_anothers_for_one_cookie_at_most() {
    let ids = [1, 2].map(|n| NodeId::from_bytes([n; 16]));
    for cookie in 0..1000 {
        assert_ne!(Mark::new(cookie, ids[0]), Mark::new(cookie, ids[1]));
        assert_ne!(Mark::new(cookie, ids[0]), Mark::new(cookie + 1, ids[0]));
    }
}

#[test]
fn a_huge_count_is_refused_before_it_allocates() {
    assert_eq!(Message::decode(20, &[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(MessageError::Body(20)));
    let mut r = FrameReader::default();
    r.push(&stream_head(&label()));
    r.push(&u32::MAX.to_le_bytes());
    r.push(&[0; 4]);
    assert!(r.label().unwrap().is_some());
    assert_eq!(r.next_message(), Err(MessageError::Truncated));
}

/// Found by fuzzing with the check of the length off by one.
#[test]
fn a_length_one_beyond_the_end_is_cut_off() {
    let all: Vec<_> = messages(&[5, 1, 0]).collect();
    assert_eq!(all, [Err(MessageError::Truncated)]);
}

#[test]
fn unknown_tags_are_skipped() {
    let mut out = datagram(&[]);
    out.extend_from_slice(&[200, 2, 0, 9, 9]);
    append_message(&Message::Done(()), &mut out);
    let head = stream_head(&label());
    finish_datagram(&head, &mut out);
    let got: Vec<_> = messages(open_datagram(&label(), &out).unwrap()).collect();
    assert_eq!(got, [Ok(None), Ok(Some(Message::Done(())))]);
}

#[test]
fn other_clusters_and_damage_are_told_apart() {
    let good = datagram(&samples()[..1]);
    assert_eq!(open_datagram(&Label::new("dc2").unwrap(), &good), Err(HeadError::Label));
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 1;
        assert!(open_datagram(&label(), &bad).is_err(), "bit of byte {i}");
        assert!(open_datagram(&label(), &good[..i]).is_err(), "cut at {i}");
    }
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        tag in 0u8..30,
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(Some(m)) = Message::decode(tag, &body) {
            let mut again = Vec::new();
            m.encode_body(&mut again);
            prop_assert_eq!(again, body);
        }
    }

    #[test]
    fn damaged_bodies_decode_to_nothing_or_to_themselves(
        n in 0usize..23,
        at in any::<prop::sample::Index>(),
        x in 1u8..,
    ) {
        let m = &samples()[n];
        let mut body = Vec::new();
        m.encode_body(&mut body);
        if !body.is_empty() {
            let i = at.index(body.len());
            body[i] ^= x;
            if let Ok(Some(other)) = Message::decode(m.tag(), &body) {
                let mut again = Vec::new();
                other.encode_body(&mut again);
                prop_assert_eq!(again, body);
            }
        }
    }

    #[test]
    fn arbitrary_datagrams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open_datagram(&label(), &bytes);
        messages(&bytes).for_each(drop);
        describe_datagram(None, &bytes);
    }
}
