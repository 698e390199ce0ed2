//! The same work many times on several threads. Guarantee: results come in the order of their
//! numbers, whichever was done first.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Does `work` for each number below `count`; begins nothing further once a result is `enough`.
pub(crate) fn each<T: Send>(
    count: u64,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    enough: impl Fn(&T) -> bool + Sync,
) -> Vec<T> {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let results = Mutex::new(Vec::new());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            let result = work(n);
            if enough(&result) {
                stop.store(true, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(|e| e.into_inner()).push((n, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_unstable_by_key(|r| r.0);
    results.into_iter().map(|r| r.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_until_one_is_enough() {
        let all: Vec<u64> = (0..100).map(|n| n * n).collect();
        for threads in [0, 1, 4] {
            assert_eq!(each(100, threads, |n| n * n, |_| false), all);
            assert!(each(100, threads, |n| n * n, |r| *r == 49).contains(&49));
        }
        assert_eq!(each(100, 1, |n| n * n, |r| *r == 49), all[..8], "then it is enough");
        assert!(each(0, 2, |n| n, |_| true).is_empty());
    }
}
