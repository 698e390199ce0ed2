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

/// Largest step of an incarnation that one claim may bring.
const INCARNATION_STEP: u32 = 1 << 16;
/// Largest step of a generation that one claim may bring: that many restarts unseen.
const GENERATION_STEP: u64 = 1 << 24;

/// Can `incoming` follow `known`? A forged claim with the highest numbers must not put a live
/// member beyond what it can refute.
pub fn plausible(known: Version, incoming: Version) -> bool {
    if incoming.generation > known.generation {
        incoming.generation - known.generation <= GENERATION_STEP
            && incoming.incarnation <= INCARNATION_STEP
    } else {
        incoming.incarnation.saturating_sub(known.incarnation) <= INCARNATION_STEP
    }
}
