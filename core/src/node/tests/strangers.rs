//! Strangers that are said to be far ahead: asked, and believed when they said so twice.

use super::*;
use crate::wire::{Ack, Message};

const FAR: Version = Version { generation: (1 << 40) + 1, incarnation: 0 };
const WAIT: Duration = Duration::from_secs(5);

fn id() -> NodeId {
    NodeId::from_bytes([77; 16])
}

fn claim(w: &World, version: Version, at: usize, statement: Statement) -> Claim {
    let name = w.hosts[1].node.me.name.clone();
    let own = (*w.hosts[1].node.me).clone();
    let record = Record { id: id(), version, addr: addr(at), name, ..own };
    Claim { record: record.into(), statement }
}

/// n0 hears a claim about the stranger; the cookie of the ping that it sends, and where to.
fn hears(w: &mut World, c: Claim) -> Option<(SocketAddr, wire::Cookie)> {
    let now = w.now;
    let node = &mut w.hosts[0].node;
    node.begin_replies(now, 100);
    node.learn_claim(now, c, claims::Origin::Packet(addr(1)));
    node.scratch.out.drain(..).find_map(|o| match o {
        super::super::Outgoing::Ping { to, target, cookie } if target == id() => Some((to, cookie)),
        _ => None,
    })
}

fn answers(w: &mut World, from: usize, cookie: wire::Cookie, version: Version) {
    let now = w.now;
    let ack = Message::Ack(Ack { cookie, version, root: 0 });
    w.hosts[0].node.on_message(now, addr(from), ack);
}

fn alive(w: &World, at: usize) -> Claim {
    claim(w, FAR, at, Statement::Alive)
}

fn listed(w: &World) -> Option<SocketAddr> {
    let held = w.hosts[0].node.members().find(|m| m.record.id == id());
    held.filter(|m| m.record.version == FAR).map(|m| m.record.addr)
}

fn after(w: &mut World, d: Duration) {
    w.now = w.now + d;
}

/// Asks for the first time, and has an answer.
fn once(w: &mut World) -> wire::Cookie {
    let c = alive(w, 50);
    let (to, cookie) = hears(w, c).unwrap();
    assert_eq!(to, addr(50));
    answers(w, 50, cookie, FAR);
    assert_eq!(listed(w), None, "one answer");
    cookie
}

#[test]
fn it_is_listed_when_it_said_so_twice() {
    let mut w = World::joined(2);
    once(&mut w);
    after(&mut w, WAIT);
    let c = alive(&w, 50);
    let (_, cookie) = hears(&mut w, c).unwrap();
    answers(&mut w, 50, cookie, FAR);
    assert_eq!(listed(&w), Some(addr(50)));
}

#[test]
fn an_answer_counts_once_and_is_not_asked_for_before_its_time() {
    let mut w = World::joined(2);
    let first = once(&mut w);
    after(&mut w, WAIT - Duration::from_millis(1));
    let c = alive(&w, 50);
    assert_eq!(hears(&mut w, c.clone()), None);
    after(&mut w, WAIT);
    answers(&mut w, 50, first, FAR);
    assert_eq!(listed(&w), None, "the first answer again");
    let (_, cookie) = hears(&mut w, c).unwrap();
    answers(&mut w, 51, cookie, FAR);
    assert_eq!(listed(&w), None, "from another address");
}

#[test]
fn another_address_or_another_answer_begins_anew() {
    let mut w = World::joined(2);
    once(&mut w);
    after(&mut w, WAIT);
    let (here, there) = (alive(&w, 50), alive(&w, 51));
    assert_eq!(hears(&mut w, there).unwrap().0, addr(51));
    let (_, cookie) = hears(&mut w, here.clone()).unwrap();
    answers(&mut w, 50, cookie, FAR);
    assert_eq!(listed(&w), None, "it was said to be elsewhere meanwhile");
    after(&mut w, WAIT);
    let (_, cookie) = hears(&mut w, here.clone()).unwrap();
    answers(&mut w, 50, cookie, Version { generation: 1, incarnation: 0 });
    after(&mut w, WAIT);
    let (_, cookie) = hears(&mut w, here).unwrap();
    answers(&mut w, 50, cookie, FAR);
    assert_eq!(listed(&w), None, "it said otherwise meanwhile");
}

/// It can go above what it was forgotten at only if that stays so.
#[test]
fn what_it_was_forgotten_at_meanwhile_counts() {
    let mut w = World::joined(2);
    once(&mut w);
    after(&mut w, WAIT);
    let c = alive(&w, 50);
    let (_, cookie) = hears(&mut w, c).unwrap();
    let by = id();
    let mut left = claim(&w, FAR, 50, Statement::Left { by, prune: true });
    let now = w.now;
    w.hosts[0].node.accept(now, &wire::Packed::new(left.clone()), claims::Origin::Own);
    answers(&mut w, 50, cookie, FAR);
    assert_eq!(listed(&w), None);
    // Nor is the dead asked for.
    Arc::make_mut(&mut left.record).version.generation += 1;
    assert_eq!(hears(&mut w, left), None);
}

/// Whoever makes members up gets one packet for each claim out of us, and few are remembered.
#[test]
fn few_are_asked_about_at_once() {
    let mut w = World::joined(2);
    let asked = |w: &mut World| {
        let mut asked = 0;
        for i in 0..200_u8 {
            let mut c = alive(w, 50);
            Arc::make_mut(&mut c.record).id = NodeId::from_bytes([i + 5; 16]);
            let now = w.now;
            let node = &mut w.hosts[0].node;
            node.begin_replies(now, 100);
            node.learn_claim(now, c, claims::Origin::Packet(addr(1)));
            asked += node.scratch.out.drain(..).count();
            w.now = now + Duration::from_millis(10);
        }
        asked
    };
    assert_eq!(asked(&mut w), 32);
    assert!(w.hosts[0].node.stats().get(Counter::DropFull) > 100);
    after(&mut w, Duration::from_secs(30));
    assert_eq!(asked(&mut w), 32, "the old ones make room");
}
