//! Logarithms in integers: a branch must not depend on a platform's floats.

use core::time::Duration;

/// One, in the fixed point used here.
const ONE: u64 = 1 << 16;

/// `log2(n)` with 16 fractional bits; 0 for `n < 2`.
pub(crate) fn log2_q16(n: u32) -> u64 {
    if n < 2 {
        return 0;
    }
    let whole = u64::from(n.ilog2());
    // x is n / 2^whole with 31 fractional bits, in [1, 2).
    let mut x = (u64::from(n) << 31) >> whole;
    let mut frac = 0;
    for _ in 0..16 {
        x = (x * x) >> 31;
        frac <<= 1;
        if x >= 2 << 31 {
            x >>= 1;
            frac |= 1;
        }
    }
    whole * ONE + frac
}

/// How often an item is sent: `mult * ceil(log10(n + 1))`.
pub(crate) fn retransmit_limit(mult: u32, n: usize) -> u32 {
    let mut digits = 0;
    let mut reach = 1usize;
    while reach < n.saturating_add(1) {
        reach = reach.saturating_mul(10);
        digits += 1;
    }
    mult * digits.max(1)
}

/// `base * max(1, log10(n))`.
pub(crate) fn times_log10(base: Duration, n: usize) -> Duration {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    let log = (log2_q16(n) * ONE / log2_q16(10)).max(ONE);
    scale(base, log, ONE)
}

/// memberlist's suspicion curve: `max - (max - min) * ln(c + 1) / ln(k + 1)`, at least `min`.
pub(crate) fn suspicion_timeout(min: Duration, max: Duration, c: u32, k: u32) -> Duration {
    if k == 0 || c >= k {
        return min;
    }
    let part = scale(max.saturating_sub(min), log2_q16(c + 1), log2_q16(k + 1));
    max.saturating_sub(part).max(min)
}

fn scale(d: Duration, num: u64, den: u64) -> Duration {
    let ns = d.as_nanos() * u128::from(num) / u128::from(den.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close() {
        for (n, want) in [(2, 1.0), (3, 1.584_962), (7, 2.807_354), (1000, 9.965_784)] {
            let got = log2_q16(n) as f64 / ONE as f64;
            assert!((got - want).abs() < 0.001, "{n}: {got}");
        }
    }

    #[test]
    fn suspicion_runs_from_max_to_min() {
        let (min, max) = (Duration::from_secs(4), Duration::from_secs(24));
        assert_eq!(suspicion_timeout(min, max, 0, 2), max);
        let one = suspicion_timeout(min, max, 1, 2).as_millis();
        assert!((11_300..11_500).contains(&one), "{one}");
        assert_eq!(suspicion_timeout(min, max, 2, 2), min);
        assert_eq!(suspicion_timeout(min, max, 9, 2), min);
    }

    #[test]
    fn retransmits_follow_the_digits() {
        let all = [1, 9, 10, 99, 100, 1000].map(|n| retransmit_limit(4, n));
        assert_eq!(all, [4, 4, 8, 8, 12, 16]);
    }
}
