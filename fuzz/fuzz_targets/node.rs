//! A node that is fed arbitrary packets, streams, timers and commands.
//!
//! It must not panic, its outputs must fit, its version must never go down, and what it holds
//! must stay below its caps.
#![no_main]

use std::{net::SocketAddr, time::Duration};

use libfuzzer_sys::fuzz_target;
use quorate_core::{
    BoundedVec, Claim, Command, Config, Counter, Durable, Instant, Label, Limits, Name, Node,
    NodeId, Pairs, Record, Role, State, Statement, StreamError, StreamEvent, StreamId, Tuning,
    Version, wire,
};

/// Takes bytes off the front; zeros when there are none left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(f, r)| (*f, r));
        self.0 = rest;
        first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()).min(self.0.len());
        let (a, b) = self.0.split_at(n);
        self.0 = b;
        a
    }
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n % 8], 8301))
}

fn config() -> Option<Config> {
    let limits = Limits { members: 12, streams: 6, relays: 4, ..Limits::default() };
    Some(Config {
        name: Name::new("me").ok()?,
        addr: addr(1),
        label: Label::new("dc1").ok()?,
        keys: None,
        role: Role::Server { port: 8300, expect: 3, bootstrap: false },
        tags: Pairs::default(),
        meta: Pairs::default(),
        durable: Durable::new(NodeId::from_bytes([1; 16])),
        rejoin_after_leave: false,
        tuning: Tuning::default(),
        limits,
    })
}

/// A claim that a correct member could make, so that the fuzzer gets past the codec.
fn claim(i: &mut Input<'_>) -> Option<Claim> {
    let (who, by) = (i.byte(), NodeId::from_bytes([i.byte() % 16; 16]));
    let version =
        Version { generation: u64::from(i.byte() % 4), incarnation: u32::from(i.byte() % 4) };
    let record = Record {
        id: NodeId::from_bytes([who % 16; 16]),
        version,
        name: Name::new(format!("n{}", i.byte() % 16)).ok()?,
        addr: addr(who),
        role: match who % 2 {
            0 => Role::Client,
            _ => Role::Server { port: 8300, expect: 3, bootstrap: false },
        },
        protocol: (1, 1),
        turn: 0,
        tags: Pairs::default(),
        meta: Pairs::default(),
    };
    let statement = match i.byte() % 5 {
        0 | 1 => Statement::Alive,
        2 => Statement::Suspect { by, evidence: quorate_core::Evidence::Refused, witnesses: 3 },
        3 => Statement::Failed { by },
        _ => Statement::Left { by, prune: i.byte() % 2 == 0 },
    };
    Some(Claim { record: record.into(), statement })
}

fn datagram(messages: &[wire::Message]) -> Vec<u8> {
    let Ok(label) = Label::new("dc1") else { return Vec::new() };
    let head = wire::stream_head(&label);
    let mut out = Vec::new();
    wire::begin_datagram(&head, &mut out);
    messages.iter().for_each(|m| wire::append_message(m, &mut out));
    wire::finish_datagram(&head, &mut out);
    out
}

fn step(node: &mut Node, now: &mut Instant, i: &mut Input<'_>) -> Option<()> {
    let stream = |n: u8| {
        if n % 2 == 0 { StreamId::accepted(u64::from(n % 16)) } else { StreamId::accepted(99) }
    };
    match i.byte() % 10 {
        0 => node.handle_datagram(*now, addr(i.byte()), i.bytes()),
        1 | 2 => {
            let m = wire::Message::Claim(claim(i)?);
            node.handle_datagram(*now, addr(i.byte()), &datagram(&[m]));
        }
        3 => {
            let (tag, body) = (i.byte() % 26, i.bytes());
            let m = wire::Message::decode(tag, body).ok()??;
            node.handle_datagram(*now, addr(i.byte()), &datagram(&[m]));
        }
        4 => node.handle_stream(
            *now,
            stream(i.byte()),
            StreamEvent::Accepted { from: addr(i.byte()) },
        ),
        5 => node.handle_stream(*now, stream(i.byte()), StreamEvent::Data(i.bytes())),
        6 => {
            let mut bytes = wire::stream_head(&Label::new("dc1").ok()?);
            let all = BoundedVec::new(vec![claim(i)?, claim(i)?]).ok()?;
            wire::append_frame(&wire::Message::Claims(all), &mut bytes);
            node.handle_stream(*now, stream(i.byte()), StreamEvent::Data(&bytes));
        }
        7 => {
            let e = [StreamError::Refused, StreamError::Reset, StreamError::TimedOut];
            let ev = StreamEvent::Failed(e[usize::from(i.byte()) % 3]);
            node.handle_stream(*now, stream(i.byte()), ev);
        }
        8 => {
            *now = *now + Duration::from_millis(u64::from(i.byte()) * 20);
            node.handle_timeout(*now);
        }
        _ => {
            let name = Name::new(format!("n{}", i.byte() % 16)).ok()?;
            let c = match i.byte() % 8 {
                0 => Command::Leave,
                1..4 => Command::ForceLeave { name, prune: i.byte() % 2 == 0 },
                _ => Command::Join { addr: addr(i.byte()) },
            };
            let _ = node.command(*now, c);
        }
    }
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let mut i = Input(data);
    let mut now = Instant::from_nanos(1);
    let Some(Ok(mut node)) = config().map(|c| Node::new(c, [i.byte(); 32], now)) else { return };
    let mut buf = Vec::new();
    let mut version = Version::default();
    while !i.0.is_empty() {
        step(&mut node, &mut now, &mut i);
        while let Some(p) = node.poll_persist() {
            node.handle_persisted(now, p.token);
        }
        let mut outputs = 0;
        while let Some(t) = node.poll_transmit(now, &mut buf) {
            assert!(t.len <= 1400 && t.len == buf.len(), "a datagram of {} bytes", t.len);
            outputs += 1;
        }
        while node.poll_stream().is_some() {
            outputs += 1;
        }
        while node.poll_event().is_some() {
            outputs += 1;
        }
        assert!(outputs < 2000, "{outputs} outputs for one input");
        assert!(node.members().count() < 12, "more members than the cap");
        assert!(node.poll_timeout().is_none_or(|t| t > now || node.revision() > 0));
        let local = node.local().record.version;
        assert!(local >= version, "the version went down from {version} to {local}");
        version = local;
        let own = NodeId::from_bytes([1; 16]);
        assert!(node.members().all(|m| m.record.id != own || m.state == State::Alive));
    }
    assert_eq!(node.stats().get(Counter::EventsLost), 0);
});
