//! Vivaldi: each round trip measured to a member moves our coordinate a little, as a spring
//! between the two would (Dabek, Cox, Kaashoek and Morris 2004), with the height of that paper
//! and, as in Serf, a median over the last three measurements of a member, an adjustment for what
//! the space cannot express, and a pull to the origin so that the whole does not drift away.
//!
//! Only answers to the first ping of a regular probe are measured, for those alone say how long
//! the way was: see `probe::REPEAT`.
//!
//! Nobody is trusted: what is out of bounds is counted and dropped, and a member that says it is
//! far away although it answers at once pulls no harder than if it were half the longest round trip
//! of late too far (and for a quarter of that once we are sure), is never taken for surer than a
//! tenth, and costs us little of our own certainty.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Node, index::Spread, peers::Peers, random::Random};
use crate::{
    coordinate::{
        Coordinate, DIMENSIONS, MAX_ERROR_PPM, MAX_NS, MIN_HEIGHT_NS, Place, length, part_of,
    },
    identity::NodeId,
    planted::Bug,
    stats::Counter,
};

/// How far one sample moves error and coordinate at most (`c_e` and `c_c` of the paper), parts
/// per million.
const GAIN_PPM: i64 = 250_000;
/// One, in parts per million.
const ONE: i64 = 1_000_000;
/// Measurements of one member of which the median counts.
const FILTER: usize = 3;
/// Measurements over which the adjustment is the mean.
const WINDOW: usize = 20;
/// A member's own error counts as at least this, parts per million: nobody is that sure.
const SUREST_PPM: i64 = 100_000;
/// Once our own error is below this, what cannot be counts for this part of a sample only: not for
/// nothing, for a network may have become faster and all of us be wrong.
const DOUBTFUL_PPM: i64 = 500_000;
const ABSURD_DIVISOR: i64 = 4;
/// What is shorter is taken as this long, nanoseconds.
const SHORTEST_NS: i64 = 1000;
/// The pull to the origin is one second at this distance, and falls with its square; seconds.
const GRAVITY_S: i64 = 150;

/// What a member's answers told.
#[derive(Debug)]
struct Peer {
    place: Place,
    /// The last measurements, nanoseconds.
    rtts: [i64; FILTER],
    measured: u32,
}

/// Our coordinate, and those of the members that were heard.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Vivaldi {
    own: Coordinate,
    peers: Peers<Peer>,
    next: usize,
    /// What the last measurements were off by, nanoseconds.
    off: [i64; WINDOW],
    /// How long they were, nanoseconds.
    rtts: [i64; WINDOW],
    /// A test has taken the bounds away: see [`crate::planted`].
    credulous: bool,
    /// As above, the filter.
    unfiltered: bool,
}

impl Vivaldi {
    /// Knows nobody.
    pub(super) fn new(spread: Spread) -> Self {
        let own = Coordinate::default();
        let (off, rtts) = ([0; WINDOW], [0; WINDOW]);
        Self {
            own,
            off,
            rtts,
            next: 0,
            peers: Peers::new(spread),
            credulous: false,
            unfiltered: false,
        }
    }

    /// See [`Node::touch`].
    pub(super) fn touch(&self) -> u64 {
        (self.own.vec_ns[0] ^ self.own.height_ns).cast_unsigned()
    }

    /// The member said where it is.
    fn heard(&mut self, id: NodeId, place: Place) {
        let fresh = || Peer { place, rtts: [0; FILTER], measured: 0 };
        self.peers.entry(id, fresh).place = place;
    }

    /// A round trip to a member that is at `other`, and said so.
    fn measured(&mut self, rng: &mut Random, id: NodeId, other: &Coordinate, rtt_ns: i64) {
        let fresh = || Peer { place: Place::from(other), rtts: [0; FILTER], measured: 0 };
        let p = self.peers.entry(id, fresh);
        p.rtts[p.measured as usize % FILTER] = rtt_ns.max(SHORTEST_NS);
        p.measured = p.measured.saturating_add(1);
        let mut known = p.rtts;
        let known = &mut known[..FILTER.min(p.measured as usize)];
        known.sort_unstable();
        let rtt = if self.unfiltered { rtt_ns } else { known[known.len() / 2] };
        self.rtts[self.next] = rtt;
        self.pull(rng, other, rtt);
        self.adjust(other, rtt);
        self.gravity(rng);
    }

    fn pull(&mut self, rng: &mut Random, other: &Coordinate, rtt: i64) {
        let longest = self.rtts.iter().copied().max().unwrap_or(rtt);
        let off = rtt - self.own.distance_ns(other);
        let doubted = i64::from(self.own.error_ppm) < DOUBTFUL_PPM && !self.credulous;
        let absurd = off < -longest / 2 && doubted;
        let off = if self.credulous { off } else { off.max(-longest / 2) };
        let wrong = part_of(off.abs(), ONE, rtt);
        let wrong = wrong.min(ONE / 2);
        let mine = i64::from(self.own.error_ppm);
        let theirs = i64::from(other.error_ppm).max(SUREST_PPM);
        let weight = mine * ONE / (mine + theirs);
        let gain = GAIN_PPM * weight / ONE / if absurd { ABSURD_DIVISOR } else { 1 };
        let error = (gain * wrong + mine * (ONE - gain)) / ONE;
        self.own.error_ppm = u32::try_from(error).unwrap_or(MAX_ERROR_PPM).min(MAX_ERROR_PPM);
        self.push(rng, other, part_of(gain, off, ONE));
    }

    /// Moves away from `other` by `force` nanoseconds; towards it if that is negative.
    fn push(&mut self, rng: &mut Random, other: &Coordinate, force: i64) {
        let mut way = self.own.minus(other);
        let apart = length(&way);
        let mut norm = apart;
        if apart <= SHORTEST_NS {
            way = core::array::from_fn(|_| (rng.below(1 << 24) as i64) - (1 << 23));
            norm = length(&way).max(1);
        }
        let part = |of: i64| part_of(force, of, norm);
        for (x, d) in self.own.vec_ns.iter_mut().zip(way) {
            *x = (*x + part(d)).clamp(-MAX_NS, MAX_NS);
        }
        if apart > SHORTEST_NS {
            let rise = part(self.own.height_ns + other.height_ns).clamp(-force.abs(), force.abs());
            self.own.height_ns = (self.own.height_ns + rise).clamp(MIN_HEIGHT_NS, MAX_NS);
        }
    }

    fn adjust(&mut self, other: &Coordinate, rtt: i64) {
        let off = rtt - self.own.raw_distance_ns(other);
        self.off[self.next] = off.clamp(-rtt, rtt);
        self.next = (self.next + 1) % WINDOW;
        self.own.adjustment_ns = self.off.iter().sum::<i64>() / (2 * WINDOW as i64);
    }

    fn gravity(&mut self, rng: &mut Random) {
        let origin = Coordinate::ORIGIN;
        let far = self.own.distance_ns(&origin);
        let force = part_of(far, far, GRAVITY_S * GRAVITY_S * 1_000_000_000);
        if force > 0 {
            self.push(rng, &origin, -force);
        }
    }

    /// The member is no longer listed.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.peers.remove(id);
    }
}

impl Node {
    /// Where this node is; the origin until it has measured something.
    pub const fn coordinate(&self) -> Coordinate {
        self.vivaldi.own
    }

    /// Where a member (or this node) said it is, the last time it answered a probe of this node.
    pub fn coordinate_of(&self, id: NodeId) -> Option<Coordinate> {
        if id == self.me.id {
            return Some(self.vivaldi.own);
        }
        self.vivaldi.peers.get(id)?.place.coordinate()
    }

    /// All members that were heard, with where they are, in the order of their ids; not this node.
    pub fn coordinates(&self) -> impl Iterator<Item = (NodeId, Coordinate)> + '_ {
        let heard = self.vivaldi.peers.iter();
        let mut all: Vec<_> =
            heard.filter_map(|(id, p)| Some((id, p.place.coordinate()?))).collect();
        all.sort_unstable_by_key(|x| x.0);
        all.into_iter()
    }

    /// What an ack says of where we are; nothing if that is switched off.
    pub(super) fn own_place(&self) -> Option<Place> {
        self.cfg.tuning.coordinates.then(|| Place::from(&self.vivaldi.own))
    }

    /// A live member answered a ping of ours from its own address and said where it is. `rtt`: how
    /// long that took, if that is known.
    pub(super) fn learn_place(&mut self, id: NodeId, place: Place, rtt: Option<Duration>) {
        if !self.cfg.tuning.coordinates {
            return;
        }
        let rtt = rtt.map(|d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
        let Some(other) = place.coordinate().filter(|_| rtt.is_none_or(|ns| ns <= MAX_NS)) else {
            self.stats.count(Counter::DropCoordinate);
            return;
        };
        self.vivaldi.heard(id, place);
        if let Some(ns) = rtt {
            self.stats.count(Counter::RoundTrips);
            self.vivaldi.credulous = self.broken(Bug::LiarFollowed);
            self.vivaldi.unfiltered = self.broken(Bug::LatencyUnfiltered);
            self.vivaldi.measured(&mut self.rng, id, &other, ns);
        }
    }
}

const _: () = assert!(DIMENSIONS == 8, "what Consul's clients expect");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const MS: i64 = 1_000_000;

    fn id(n: usize) -> NodeId {
        NodeId::from_bytes([n as u8; 16])
    }

    /// Sites with a distance between any two, and hosts with a last mile of their own.
    fn matrix(n: usize) -> impl Fn(usize, usize) -> i64 {
        let between = [[0, 20, 80, 150], [20, 0, 70, 130], [80, 70, 0, 210], [150, 130, 210, 0]];
        let mile = move |i: usize| MS / 5 + (i * 7 % n) as i64 * MS / 10;
        move |a, b| between[a % 4][b % 4] * MS + mile(a) + mile(b)
    }

    /// Round after round, each asks the next one. `at`: what somebody says of where it is.
    fn run(
        n: usize,
        rounds: usize,
        rtt: impl Fn(usize, usize) -> i64,
        at: impl Fn(usize, &Coordinate) -> Place,
    ) -> Vec<Vivaldi> {
        let mut all: Vec<Vivaldi> = (0..n).map(|_| Vivaldi::new(Spread::default())).collect();
        let mut rng = Random::new([9; 32]);
        for round in 0..rounds {
            for a in 0..n {
                let b = (a + 1 + round % (n - 1)) % n;
                let place = at(b, &all[b].own);
                let Some(other) = place.coordinate() else { continue };
                all[a].heard(id(b), place);
                // A tenth of noise, never below the true time.
                let noise = (rng.below(1000) as i64) * rtt(a, b) / 10_000;
                all[a].measured(&mut rng, id(b), &other, rtt(a, b) + noise);
            }
        }
        all
    }

    /// The errors of all pairs among the first `n`, sorted, as percent of the distance, or of
    /// `floor` for those nearer: in a space 200 ms wide with a tenth of noise, neighbours are near
    /// and not more.
    fn errors(
        all: &[Vivaldi],
        n: usize,
        floor: i64,
        rtt: impl Fn(usize, usize) -> i64,
    ) -> Vec<i64> {
        let mut out: Vec<i64> = Vec::new();
        for a in 0..n {
            for b in 0..a {
                let got = all[a].own.distance_ns(&all[b].own);
                out.push((got - rtt(a, b)).abs() * 100 / rtt(a, b).max(floor));
            }
        }
        out.sort_unstable();
        out
    }

    fn honest(_: usize, c: &Coordinate) -> Place {
        Place::from(c)
    }

    #[test]
    fn distances_come_close_to_what_was_measured() {
        let n = 20;
        let rtt = matrix(n);
        let of = |rounds| errors(&run(n, rounds, &rtt, honest), n, 20 * MS, &rtt);
        let (early, late) = (of(10), of(400));
        let mid = |v: &Vec<i64>| (v[v.len() / 2], v[v.len() * 9 / 10]);
        assert!(mid(&late).0 <= 10 && mid(&late).1 <= 20, "{:?}", mid(&late));
        assert!(mid(&early).0 > mid(&late).0, "{:?} {:?}", mid(&early), mid(&late));
        let sure = run(n, 400, &rtt, honest);
        assert!(sure.iter().all(|v| v.own.error_ppm < 200_000), "{:?}", sure[0].own);
    }

    #[test]
    fn two_on_one_host_are_close() {
        let all = run(2, 200, |_, _| 60_000, honest);
        let off = errors(&all, 2, 0, |_, _| 60_000)[0];
        assert!(off <= 20, "{off}%: {:?}", all[0].own);
    }

    #[test]
    fn one_liar_spoils_little() {
        // It answers in time, is sure, and says each time that it is somewhere else, far away.
        let n = 20;
        let rtt = matrix(n);
        let lie = |b: usize, c: &Coordinate| {
            let far = 9_000_000 - (c.vec_ns[0] % 1000) as i32;
            if b == n - 1 {
                Place { vec_us: [far; DIMENSIONS], error: 0, ..Place::from(c) }
            } else {
                Place::from(c)
            }
        };
        let late = errors(&run(n, 400, &rtt, lie), n - 1, 40 * MS, &rtt);
        let (half, most) = (late[late.len() / 2], late[late.len() * 9 / 10]);
        assert!(half <= 15 && most <= 40, "{half}% {most}%");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = Place::from(&Coordinate::ORIGIN);
        assert_eq!(good.coordinate(), Some(Coordinate::ORIGIN));
        let vec = |x: i32| Place { vec_us: [0, 0, 0, 0, 0, 0, 0, x], ..good };
        for bad in [
            vec(10_000_001),
            vec(-10_000_001),
            vec(i32::MIN),
            Place { height_us: 9, ..good },
            Place { height_us: u32::MAX, ..good },
            Place { adjustment_us: i32::MAX, ..good },
            Place { error: 1501, ..good },
        ] {
            assert_eq!(bad.coordinate(), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_heard_the_coordinate_stays_one(
            said in prop::collection::vec(
                (prop::array::uniform8(-10_000_000i32..=10_000_000), 10u32..=10_000_000,
                 -10_000_000i32..=10_000_000, 0u16..=1500, 0i64..=MAX_NS),
                1..60,
            ),
        ) {
            let mut v = Vivaldi::new(Spread::default());
            let mut rng = Random::new([3; 32]);
            for (vec_us, height_us, adjustment_us, error, rtt) in said {
                let place = Place { vec_us, height_us, adjustment_us, error };
                let other = place.coordinate().unwrap();
                v.heard(id(1), place);
                v.measured(&mut rng, id(1), &other, rtt);
                let own = Place::from(&v.own);
                // What we say is what others take.
                prop_assert!(own.coordinate().is_some(), "{:?}", v.own);
                prop_assert_eq!(Place::from(&own.coordinate().unwrap()), own);
            }
        }

        #[test]
        fn a_step_is_no_longer_than_the_round_trip(
            vec_us in prop::array::uniform8(-10_000_000i32..=10_000_000),
            rtt in 1000i64..=MS * 100,
        ) {
            let mut v = Vivaldi::new(Spread::default());
            let place = Place { vec_us, height_us: 10, adjustment_us: 0, error: 0 };
            let other = place.coordinate().unwrap();
            v.heard(id(1), place);
            v.measured(&mut Random::new([3; 32]), id(1), &other, rtt);
            let moved = v.own.length_to(&Coordinate::ORIGIN);
            prop_assert!(moved <= rtt, "{} of {}", moved, rtt);
        }
    }
}
