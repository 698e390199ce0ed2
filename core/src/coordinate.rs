//! Network coordinates: where a member is, so that the round trip between any two can be estimated
//! without measuring it. How they come about is in `node::vivaldi`.
//!
//! A coordinate is a point of eight dimensions and a height above it (Dabek, Cox, Kaashoek and
//! Morris 2004): the distance of two is that of their points plus both heights, for a packet
//! climbs down to the core of the network and up again. All in integers: the same samples give the
//! same coordinate on every platform.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Dimensions of the space.
pub const DIMENSIONS: usize = 8;
/// Whatever is longer is no round trip, and no component of a coordinate: 10 s, in nanoseconds.
pub(crate) const MAX_NS: i64 = 10_000_000_000;
/// Least height, nanoseconds.
pub(crate) const MIN_HEIGHT_NS: i64 = 10_000;
/// Largest error, parts per million.
pub(crate) const MAX_ERROR_PPM: u32 = 1_500_000;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinate {
    /// The point, nanoseconds in each dimension; -10 s to 10 s.
    pub vec_ns: [i64; DIMENSIONS],
    /// Above the point, nanoseconds; 10 µs to 10 s.
    pub height_ns: i64,
    /// What the member's last measurements were off by, as a part of each distance to it,
    /// nanoseconds; -10 s to 10 s.
    pub adjustment_ns: i64,
    /// How sure it is, parts per million of a distance: 0 is exact, 1,500,000 says nothing.
    pub error_ppm: u32,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self::ORIGIN
    }
}

impl Coordinate {
    /// Where everybody starts, knowing nothing.
    pub const ORIGIN: Self = Self {
        vec_ns: [0; DIMENSIONS],
        height_ns: MIN_HEIGHT_NS,
        adjustment_ns: 0,
        error_ppm: MAX_ERROR_PPM,
    };

    /// The estimated round trip to `other`; the same from there to here.
    pub fn distance(&self, other: &Self) -> Duration {
        Duration::from_nanos(self.distance_ns(other).unsigned_abs())
    }

    /// As [`Coordinate::distance`], nanoseconds, never below 0.
    pub(crate) fn distance_ns(&self, other: &Self) -> i64 {
        let raw = self.raw_distance_ns(other);
        let adjusted = raw + self.adjustment_ns + other.adjustment_ns;
        if adjusted > 0 { adjusted } else { raw }
    }

    /// Without the adjustments, nanoseconds.
    pub(crate) fn raw_distance_ns(&self, other: &Self) -> i64 {
        self.length_to(other) + self.height_ns + other.height_ns
    }

    /// The distance of the points, nanoseconds.
    pub(crate) fn length_to(&self, other: &Self) -> i64 {
        length(&self.minus(other))
    }

    /// From `other`'s point to this one.
    pub(crate) fn minus(&self, other: &Self) -> [i64; DIMENSIONS] {
        core::array::from_fn(|i| self.vec_ns[i] - other.vec_ns[i])
    }
}

/// The length of a vector.
pub(crate) fn length(v: &[i64; DIMENSIONS]) -> i64 {
    // Below 2^30, a second, eight squares stay below 2^63: nearly all are that short.
    if v.iter().all(|x| x.unsigned_abs() < 1 << 30) {
        return v.iter().map(|x| x * x).sum::<i64>().isqrt();
    }
    let square = |x: &i64| u128::from(x.unsigned_abs()).pow(2);
    i64::try_from(v.iter().map(square).sum::<u128>().isqrt()).unwrap_or(i64::MAX)
}

/// `a` times `b` by `c`, rounded towards zero; what does not fit is cut off. `c` is not 0.
pub(crate) fn part_of(a: i64, b: i64, c: i64) -> i64 {
    match a.checked_mul(b) {
        // A division of 64 bits takes a tenth of the time.
        Some(product) => product.wrapping_div(c),
        None => (i128::from(a) * i128::from(b) / i128::from(c)) as i64,
    }
}

/// A coordinate on the wire: microseconds, as small as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The point, microseconds.
    pub vec_us: [i32; DIMENSIONS],
    /// Above it, microseconds.
    pub height_us: u32,
    /// See [`Coordinate::adjustment_ns`]; microseconds.
    pub adjustment_us: i32,
    /// See [`Coordinate::error_ppm`]; thousandths.
    pub error: u16,
}

impl Place {
    /// The coordinate, if it can be one: bounds on every part, for anybody can write anything.
    pub fn coordinate(&self) -> Option<Coordinate> {
        let ns = |us: i32| Some(i64::from(us) * 1000).filter(|ns| ns.abs() <= MAX_NS);
        let mut vec_ns = [0; DIMENSIONS];
        for (to, from) in vec_ns.iter_mut().zip(self.vec_us) {
            *to = ns(from)?;
        }
        let height_ns = i64::from(self.height_us) * 1000;
        let error_ppm = u32::from(self.error) * 1000;
        let fits = (MIN_HEIGHT_NS..=MAX_NS).contains(&height_ns) && error_ppm <= MAX_ERROR_PPM;
        let adjustment_ns = ns(self.adjustment_us)?;
        fits.then_some(Coordinate { vec_ns, height_ns, adjustment_ns, error_ppm })
    }
}

impl From<&Coordinate> for Place {
    fn from(c: &Coordinate) -> Self {
        // Everything is within ten seconds: nothing is cut off.
        let us = |ns: i64| {
            let half = if ns < 0 { -500 } else { 500 };
            i32::try_from((ns + half) / 1000).unwrap_or_default()
        };
        Self {
            vec_us: c.vec_ns.map(us),
            height_us: us(c.height_ns).unsigned_abs(),
            adjustment_us: us(c.adjustment_ns),
            error: u16::try_from((c.error_ppm + 500) / 1000).unwrap_or(u16::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The short ways give what the long ones give.
        #[test]
        fn small_numbers_are_no_exception(
            v in prop::array::uniform8(-MAX_NS..=MAX_NS),
            down in 0u32..40,
            (a, b, c) in (any::<i64>(), any::<i64>(), 1..=i64::MAX),
        ) {
            let v = v.map(|x| x >> down);
            let squares: u128 = v.iter().map(|x| u128::from(x.unsigned_abs()).pow(2)).sum();
            prop_assert_eq!(length(&v) as u128, squares.isqrt());
            let (a, b) = (a >> down, b >> down);
            let long = i128::from(a) * i128::from(b) / i128::from(c);
            prop_assert_eq!(part_of(a, b, c), long as i64);
        }
    }

    #[test]
    fn the_longest_vector_on_the_short_way_fits() {
        for x in [(1 << 30) - 1, 1 << 30] {
            let length_of_one = u128::from(x as u64).pow(2) * 8;
            assert_eq!(length(&[-x; DIMENSIONS]) as u128, length_of_one.isqrt());
        }
    }
}
