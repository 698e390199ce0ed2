//! The order of claims: which of two statements about one member is the stronger one.
//!
//! Generation first. Within a generation `Left` beats everything: it is final. Then the
//! incarnation, then Alive < Suspect < Failed (SWIM §4.2).

use core::cmp::Ordering;

use crate::{identity::Version, record::State};

/// How an incoming claim stands against what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It wins.
    Newer,
    /// It says what is known.
    Same,
    /// It lost to something known: whoever sent it should be told.
    Older,
}

/// Compares a claim with what is known of the same member.
pub fn compare(known: (Version, State), incoming: (Version, State)) -> Order {
    let key = |(v, s): (Version, State)| (v.generation, s == State::Left, v.incarnation, s);
    match key(incoming).cmp(&key(known)) {
        Ordering::Greater => Order::Newer,
        Ordering::Equal => Order::Same,
        Ordering::Less => Order::Older,
    }
}

/// Largest step that one claim may bring: that many restarts, or that many refutations, unseen.
pub const LARGEST_STEP: Version = Version { generation: 1 << 24, incarnation: 1 << 16 };
/// Largest step above its own version that a member refutes. Others may have been led there by
/// several claims that it did not hear of: it must be able to go above all of them.
pub const LARGEST_OWN_STEP: Version = Version { generation: 1 << 40, incarnation: 1 << 24 };
/// Most generations that a member is followed over that says so itself at another address: many
/// claims near the limit that were missed, and it could go above many such lies.
const MOVED_GENERATIONS: u64 = 1 << 32;

/// Can `incoming` follow `known`? A forged claim with the highest numbers must not put a live
/// member beyond what it can refute.
pub fn plausible(known: Version, incoming: Version) -> bool {
    if incoming.generation > known.generation {
        incoming.generation - known.generation <= LARGEST_STEP.generation
            && incoming.incarnation <= LARGEST_STEP.incarnation
    } else {
        incoming.incarnation.saturating_sub(known.incarnation) <= LARGEST_STEP.incarnation
    }
}

/// Can a member that moved have come from `known` to `incoming`, by claims that were missed here?
pub(crate) fn plausible_when_moved(known: Version, incoming: Version) -> bool {
    // Above any incarnation it can go, with a generation.
    incoming.generation.saturating_sub(known.generation) <= MOVED_GENERATIONS
}

/// Does a member that is at `own` answer to a claim of itself at `claimed`? Beyond that nobody can
/// have come by claims that are plausible; within its generation it begins a new one then.
pub(crate) fn refutable(own: Version, claimed: Version) -> bool {
    if claimed.generation > own.generation {
        claimed.generation - own.generation <= LARGEST_OWN_STEP.generation
    } else {
        claimed.incarnation.saturating_sub(own.incarnation) <= LARGEST_OWN_STEP.incarnation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        let number = |largest: u64| prop_oneof![0u64..4, largest - 3..largest + 4, any::<u64>()];
        let incarnations = number(u64::from(LARGEST_STEP.incarnation));
        (number(LARGEST_STEP.generation), incarnations).prop_map(|(generation, n)| Version {
            generation,
            incarnation: u32::try_from(n).unwrap_or(u32::MAX),
        })
    }

    fn claim() -> impl Strategy<Value = (Version, State)> {
        let states = [State::Alive, State::Suspect, State::Failed, State::Left];
        // Small numbers, so that many are equal.
        let version =
            (0u64..3, 0u32..3).prop_map(|(g, i)| Version { generation: g, incarnation: i });
        (version, prop::sample::select(states.to_vec()))
    }

    proptest! {
        #[test]
        fn the_order_of_claims_is_one(a in claim(), b in claim(), c in claim()) {
            let is = |x, y| compare(x, y);
            prop_assert_eq!(is(a, b) == Order::Same, a == b);
            prop_assert_eq!(is(a, b) == Order::Newer, is(b, a) == Order::Older);
            if is(a, b) == Order::Newer && is(b, c) == Order::Newer {
                prop_assert_eq!(is(a, c), Order::Newer);
            }
        }

        #[test]
        fn left_is_final_for_its_generation(a in claim(), b in claim()) {
            let gone = (a.0, State::Left);
            let beats = compare(gone, b) == Order::Newer;
            prop_assert!(!beats || b.0.generation > a.0.generation || b.1 == State::Left);
        }

        /// Who believes an accusation follows its subject out of it.
        #[test]
        fn what_is_believed_can_be_refuted(own in version(), claimed in version()) {
            if plausible(own, claimed) {
                prop_assert!(refutable(own, claimed));
                prop_assert!(plausible_when_moved(own, claimed));
            }
        }
    }
}
