//! What lies between the hosts, as our own sockets ask it: who is where, what gets through.
//!
//! Guarantee: what happens to a packet is a function of seed, link and its number on that link.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::TICK_NS;
use crate::{
    keyed::{self, Draws, Keyed, Purpose, scale},
    network::{Network, Profile},
    paths::Paths,
};

/// The gossip port of every node.
pub(super) const GOSSIP_PORT: u16 = 8301;
/// Packets of the recent past kept per node for `replay`.
const HISTORY: usize = 4096;
/// Datagrams that may wait in a node's socket beside turmoil's.
const INBOX: usize = 512;
/// A loss in a burst takes all packets of this long.
const BURST_NS: u64 = 250_000_000;

/// Where node `number` is after so many moves: 10.MOVES.HIGH.LOW.
pub(super) fn address(number: u32, moves: u8) -> SocketAddr {
    let [_, _, high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, moves, high, low)), GOSSIP_PORT)
}

/// A node's host, as the network sees it.
#[derive(Clone, Copy, Debug)]
struct Place {
    addr: SocketAddr,
    /// Is it powered?
    on: bool,
}

/// What one host sent: when, to whom, the bytes.
type Sent = VecDeque<(u64, u32, Vec<u8>)>;

#[derive(Debug)]
struct State {
    seed: u64,
    keyed: Keyed,
    network: Network,
    paths: Paths,
    /// By number; place 0 is unused.
    places: Vec<Place>,
    /// Rises with each change of what gets through.
    epoch: u64,
    datagrams: BTreeMap<u64, u64>,
    segments: BTreeMap<u64, u64>,
    /// What each node sent of late, if the scenario wants it back: time, to whom, bytes.
    history: Option<Vec<Sent>>,
    /// What was put into each node's socket.
    inboxes: Vec<VecDeque<(SocketAddr, Vec<u8>)>>,
}

/// A datagram that no agent sends now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Injection {
    /// When it arrives, nanoseconds.
    pub at: u64,
    pub to: u32,
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
}

/// One copy of a datagram on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// Waits so long before turmoil's network gets it, nanoseconds: whole ticks.
    pub wait_ns: u64,
    /// This bit is flipped.
    pub flipped: Option<usize>,
}

impl Flight {
    /// What arrives of the bytes.
    pub(super) fn carry(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if let Some(bit) = self.flipped
            && let Some(byte) = bytes.get_mut(bit / 8)
        {
            *byte ^= 1 << (bit % 8);
        }
        bytes
    }
}

/// Shared by the controller and all sockets.
#[derive(Clone, Debug)]
pub(super) struct Fabric {
    state: Arc<Mutex<State>>,
    /// Tells each node's socket that something was put into it.
    injected: Arc<Vec<Notify>>,
}

impl State {
    fn number_of(&self, ip: IpAddr) -> Option<u32> {
        let i = self.places.iter().skip(1).position(|p| p.addr.ip() == ip)?;
        u32::try_from(i + 1).ok()
    }

    /// The node at `to`, if packets of `from` can get there at all.
    fn reached(&self, from: u32, to: IpAddr) -> Option<u32> {
        let n = self.number_of(to)?;
        let on = |n: u32| self.places.get(n as usize).is_some_and(|p| p.on);
        (on(from) && on(n) && !self.network.is_blocked(from, n)).then_some(n)
    }

    fn is_lost(&self, p: &Profile, purpose: Purpose, link: u64, nth: u64, now: u64) -> bool {
        self.keyed.chance(purpose, link, nth, p.loss)
            || self.keyed.chance(Purpose::Burst, link, now / BURST_NS, p.burst)
    }

    /// Keeps a packet for `replay`.
    fn remember(&mut self, from: u32, to: u32, now: u64, bytes: &[u8]) {
        let Some(sent) = self.history.as_mut().and_then(|h| h.get_mut(from as usize)) else {
            return;
        };
        if sent.len() >= HISTORY {
            sent.pop_front();
        }
        sent.push_back((now, to, bytes.to_vec()));
    }

    /// The copies of a datagram that get through.
    fn fate(&mut self, from: u32, n: u32, bytes: usize, now: u64) -> [Option<Flight>; 2] {
        if n == from {
            return [Some(Flight { wait_ns: 0, flipped: None }), None];
        }
        let link = keyed::link(from, n);
        let nth = count(&mut self.datagrams, link);
        let p = self.network.profile(from, n);
        if bytes > p.mtu as usize || self.is_lost(&p, Purpose::Loss, link, nth, now) {
            return [None; 2];
        }
        let k = self.keyed;
        let flipped = (k.chance(Purpose::Corrupt, link, nth, p.corrupt) && bytes > 0)
            .then(|| scale(k.bits(Purpose::Corrupt, !link, nth), bytes as u64 * 8) as usize);
        let mut wait_ns = self.wait(&p, link, nth);
        if k.chance(Purpose::Reorder, link, nth, p.reorder) {
            let most = p.latency_max_ns.saturating_mul(10).max(2 * TICK_NS);
            wait_ns += whole_ticks(k.below(Purpose::Reorder, !link, nth, most));
        }
        let copy = k
            .chance(Purpose::Duplicate, link, nth, p.dup)
            .then(|| Flight { wait_ns: self.wait(&p, !link, nth), flipped });
        [Some(Flight { wait_ns, flipped }), copy]
    }

    /// Whole ticks beyond the least latency, which turmoil's links have.
    fn wait(&self, p: &Profile, link: u64, nth: u64) -> u64 {
        let more = p.latency_max_ns.saturating_sub(p.latency_min_ns);
        whole_ticks(self.keyed.between(Purpose::Latency, link, nth, 0, more))
    }
}

/// The nearest multiple of a tick.
fn whole_ticks(ns: u64) -> u64 {
    (ns + TICK_NS / 2) / TICK_NS * TICK_NS
}

fn count(table: &mut BTreeMap<u64, u64>, link: u64) -> u64 {
    let n = table.entry(link).or_insert(0);
    *n += 1;
    *n
}

impl Fabric {
    /// Nodes 1 to `highest`, none of them powered; what they send is kept for `replay` or not.
    pub(super) fn new(seed: u64, highest: u32, keeps_history: bool) -> Self {
        let all = highest as usize + 1;
        let places = (0..=highest).map(|n| Place { addr: address(n, 0), on: false }).collect();
        let state = State {
            seed,
            keyed: Keyed::new(seed),
            network: Network::default(),
            paths: Paths::default(),
            places,
            epoch: 0,
            datagrams: BTreeMap::new(),
            segments: BTreeMap::new(),
            history: keeps_history.then(|| vec![VecDeque::new(); all]),
            inboxes: vec![VecDeque::new(); all],
        };
        let injected = (0..all).map(|_| Notify::new()).collect();
        Self { state: Arc::new(Mutex::new(state)), injected: Arc::new(injected) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the topology or the settings of links, at time `now`.
    pub(super) fn change(&self, now: u64, f: impl FnOnce(&mut Network)) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.epoch += 1;
        let before = state.network.clone();
        f(&mut state.network);
        state.paths.changed(now, before, &state.network);
    }

    /// Asks about the topology or the settings of links.
    pub(super) fn ask<T>(&self, f: impl FnOnce(&Network) -> T) -> T {
        f(&self.state().network)
    }

    /// As [`Paths::were_in_reach`].
    pub(super) fn were_in_reach(&self, now: u64, pair: (u32, u32), well: u64) -> bool {
        let state = self.state();
        state.paths.were_in_reach(now, &state.network, pair, well)
    }

    /// Node `n` is at this address from now on, powered or not.
    pub(super) fn put(&self, n: u32, addr: SocketAddr, on: bool) {
        let mut state = self.state();
        state.epoch += 1;
        if let Some(place) = state.places.get_mut(n as usize) {
            *place = Place { addr, on };
        }
    }

    /// The gossip address of node `n`.
    pub(super) fn addr(&self, n: u32) -> Option<SocketAddr> {
        self.state().places.get(n as usize).map(|p| p.addr)
    }

    /// Does nothing get from one address to the other? True also for one that is in use no more.
    pub(super) fn is_blocked(&self, from: IpAddr, to: IpAddr) -> bool {
        let state = self.state();
        state.number_of(from).is_none_or(|from| state.reached(from, to).is_none())
    }

    /// What becomes of a datagram: up to two copies arrive.
    pub(super) fn send(
        &self,
        from: u32,
        to: SocketAddr,
        bytes: &[u8],
        now: u64,
    ) -> [Option<Flight>; 2] {
        let mut state = self.state();
        let Some(n) = state.reached(from, to.ip()) else { return [None; 2] };
        state.remember(from, n, now, bytes);
        state.fate(from, n, bytes.len(), now)
    }

    /// Does a segment of a stream get through, this time?
    pub(super) fn passes(&self, from: u32, to: IpAddr, now: u64) -> bool {
        let mut state = self.state();
        let Some(n) = state.reached(from, to) else { return false };
        let link = keyed::link(from, n);
        let nth = count(&mut state.segments, link);
        let p = state.network.profile(from, n);
        n == from || !state.is_lost(&p, Purpose::Segment, link, nth, now)
    }

    /// Do a connection's first segments get through, this time? The epoch in which they did.
    pub(super) fn connects(&self, from: u32, to: IpAddr, now: u64) -> Option<u64> {
        let back = {
            let state = self.state();
            let n = state.number_of(to)?;
            (n, state.places.get(from as usize)?.addr.ip())
        };
        let both = self.passes(from, to, now) && self.passes(back.0, back.1, now);
        both.then(|| self.epoch())
    }

    /// What node `from` sent since then, to be sent again, each once, as it was.
    pub(super) fn replays(&self, from: u32, since: u64, now: u64) -> Vec<Injection> {
        let mut state = self.state();
        let Some(source) = state.places.get(from as usize).map(|p| p.addr) else { return vec![] };
        let sent = state.history.as_ref().and_then(|h| h.get(from as usize));
        let again: Vec<_> = sent.into_iter().flatten().filter(|p| p.0 >= since).cloned().collect();
        let mut all = Vec::new();
        for (_, to, bytes) in again {
            if state.network.is_blocked(from, to) {
                continue;
            }
            for flight in state.fate(from, to, bytes.len(), now).into_iter().flatten() {
                let (at, bytes) = (now + TICK_NS + flight.wait_ns, flight.carry(&bytes));
                all.push(Injection { at, to, from: source, bytes });
            }
        }
        all
    }

    /// Random datagrams to a node, half of which begin as something that it sent.
    pub(super) fn garbage(&self, to: u32, count: u32, now: u64) -> Vec<Injection> {
        let state = self.state();
        let last = state.history.as_ref().and_then(|h| h.get(to as usize)?.back());
        let mut draws = Draws::new(state.seed, Purpose::Garbage, u64::from(to) ^ now << 16);
        let datagram = |_| {
            let len = draws.below(1401);
            let mut bytes: Vec<u8> = (0..len).map(|_| draws.bits() as u8).collect();
            if let (true, Some((_, _, real))) = (draws.percent(50), last) {
                bytes.clone_from(real);
                for _ in 0..=draws.below(4) {
                    let at = draws.below(real.len() as u64) as usize;
                    if let Some(b) = bytes.get_mut(at) {
                        *b = draws.bits() as u8;
                    }
                }
            }
            let from = address(draws.below(1 << 14) as u32 + 1, 200);
            Injection { at: now, to, from, bytes }
        };
        (0..count).map(datagram).collect()
    }

    /// Puts a datagram into the socket of a node, if it is there and has room.
    pub(super) fn inject(&self, x: Injection) {
        let n = x.to as usize;
        let mut state = self.state();
        let on = state.places.get(n).is_some_and(|p| p.on);
        if let Some(inbox) = state.inboxes.get_mut(n).filter(|i| on && i.len() < INBOX) {
            inbox.push_back((x.from, x.bytes));
            self.injected[n].notify_one();
        }
    }

    /// The next of what was put into the socket of node `n`.
    pub(super) fn take_injected(&self, n: u32) -> Option<(SocketAddr, Vec<u8>)> {
        self.state().inboxes.get_mut(n as usize)?.pop_front()
    }

    /// A new socket of node `n` has nothing in it.
    pub(super) fn clear_injected(&self, n: u32) {
        if let Some(inbox) = self.state().inboxes.get_mut(n as usize) {
            inbox.clear();
        }
    }

    /// Waits until something was put into the socket of node `n`. Cancel safe.
    pub(super) async fn injected(&self, n: u32) {
        loop {
            if self.state().inboxes.get(n as usize).is_some_and(|i| !i.is_empty()) {
                return;
            }
            match self.injected.get(n as usize) {
                Some(notify) => notify.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Rises with each change of what gets through.
    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{LinkSettings, NodeSet, Rate, Time};

    fn fabric() -> Fabric {
        let f = Fabric::new(1, 3, true);
        for n in 1..=3 {
            f.put(n, address(n, 0), true);
        }
        f
    }

    fn set(f: &Fabric, s: LinkSettings) {
        f.change(0, |n| n.set_base(&s));
    }

    #[test]
    fn datagrams_are_lost_cut_off_and_multiplied_as_set() {
        let f = fabric();
        let to = address(2, 0);
        let plain = [Some(Flight { wait_ns: 0, flipped: None }), None];
        assert_eq!(f.send(1, to, &[0; 100], 0), plain);
        set(&f, LinkSettings { mtu: Some(99), ..Default::default() });
        assert_eq!(f.send(1, to, &[0; 100], 0), [None; 2]);
        set(
            &f,
            LinkSettings { mtu: Some(1000), loss: Some(Rate::percent(30)), ..Default::default() },
        );
        let through = (0..10_000).filter(|_| f.send(1, to, &[0; 100], 0)[0].is_some()).count();
        assert!((6_800..7_200).contains(&through), "{through}");
        let (loss, dup) = (Some(Rate(0)), Some(Rate::percent(100)));
        set(&f, LinkSettings { loss, dup, corrupt: dup, ..Default::default() });
        let [first, copy] = f.send(1, to, &[0; 100], 0);
        assert!(first.is_some_and(|x| x.flipped.is_some_and(|b| b < 800)) && copy.is_some());
    }

    #[test]
    fn what_was_sent_can_be_sent_again_and_arrives_where_there_is_power() {
        let f = fabric();
        for t in 0..4 {
            f.send(1, address(2, 0), &[t as u8; 9], t);
        }
        f.put(1, address(1, 0), false);
        let again = f.replays(1, 2, 50);
        assert_eq!(again.iter().map(|x| x.bytes[0]).collect::<Vec<_>>(), [2, 3]);
        assert!(again.iter().all(|x| x.at == 50 + TICK_NS && x.from == address(1, 0)));
        again.into_iter().for_each(|x| f.inject(x));
        assert_eq!(f.take_injected(2), Some((address(1, 0), vec![2; 9])));
        f.clear_injected(2);
        assert_eq!(f.take_injected(2), None);
        f.put(2, address(2, 0), false);
        let garbage = f.garbage(2, 100, 7);
        assert_eq!(garbage.len(), 100);
        assert_eq!(garbage, f.garbage(2, 100, 7));
        garbage.into_iter().for_each(|x| f.inject(x));
        assert_eq!(f.take_injected(2), None);
    }

    #[test]
    fn latency_is_in_whole_ticks() {
        let f = fabric();
        let latency = Some((Time::from_millis(20), Time::from_millis(120)));
        set(&f, LinkSettings { latency, ..Default::default() });
        let waits: Vec<u64> = (0..1000)
            .filter_map(|_| f.send(1, address(2, 0), &[0; 9], 0)[0])
            .map(|x| x.wait_ns)
            .collect();
        assert!(waits.iter().all(|w| w.is_multiple_of(TICK_NS) && *w <= 10 * TICK_NS));
        assert!(waits.contains(&0) && waits.contains(&(10 * TICK_NS)));
    }

    #[test]
    fn nothing_passes_to_a_host_without_power_or_an_old_address() {
        let f = fabric();
        let (one, two) = (address(1, 0), address(2, 0));
        assert!(!f.is_blocked(one.ip(), two.ip()));
        f.put(2, two, false);
        assert!(f.is_blocked(one.ip(), two.ip()) && f.is_blocked(two.ip(), one.ip()));
        assert_eq!(f.connects(1, two.ip(), 0), None);
        f.put(2, address(2, 1), true);
        assert_eq!(f.send(1, two, &[0; 9], 0), [None; 2]);
        assert!(f.connects(1, address(2, 1).ip(), 0).is_some());
        f.change(0, |n| n.isolate(1, crate::network::Alone::Step, true));
        assert!(!f.passes(3, one.ip(), 0) && f.passes(3, address(2, 1).ip(), 0));
        f.change(0, |n| n.partition(&[NodeSet::of([2]), NodeSet::of([3])], 3));
        assert!(!f.passes(3, address(2, 1).ip(), 0));
    }
}
