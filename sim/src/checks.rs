//! What a broken expectation is called, in both layers.
//!
//! Guarantee: two failures of one name are the same failure, for the shrinker goes by the name. So
//! an expectation that nobody could see is told from one that somebody saw broken.

use crate::scenario::{Condition, Expect, Held};

/// The check of an expectation that no live node could bear out or deny: it tests nothing.
pub const NOBODY: &str = "nobody-to-see";

/// Why a condition does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// On this node (0: on none of them), and what is there.
    On(usize, String),
    /// No live node is asked, so it would hold whatever the nodes do.
    Nobody,
    /// It is about an event or query of this name, and there was none.
    Unsaid(String),
}

/// It does not hold on node `h`.
pub(crate) fn wrong<T>(h: usize, what: String) -> Result<T, Wrong> {
    Err(Wrong::On(h, what))
}

impl Wrong {
    /// The node; 0: none.
    pub(crate) const fn node(&self) -> usize {
        match self {
            Self::On(h, _) => *h,
            Self::Nobody | Self::Unsaid(_) => 0,
        }
    }

    /// The check that `expect` fails by it, and what is there, for people.
    pub(crate) fn told(self, expect: &Expect) -> (String, String) {
        match self {
            Self::On(_, what) => (check_of(expect), what),
            Self::Nobody => (NOBODY.to_owned(), "nobody is there to see it".to_owned()),
            Self::Unsaid(name) => ("never-said".to_owned(), format!("{name} was never said")),
        }
    }
}

/// `within-failed`, `for-not-failed`, ...
pub(crate) fn check_of(e: &Expect) -> String {
    match e {
        Expect::Within(_, Condition::Converged) => "within-converged".to_owned(),
        Expect::Within(_, Condition::Held { held, .. }) => format!("within-{held}"),
        Expect::Within(_, Condition::Quorum { .. }) => "within-quorum".to_owned(),
        Expect::Within(_, Condition::Event { .. }) => "within-event".to_owned(),
        Expect::Within(_, Condition::Query { .. }) => "within-query".to_owned(),
        Expect::Within(_, Condition::Rtt { .. }) => "within-rtt".to_owned(),
        Expect::For { not: true, held, .. } => format!("for-not-{held}"),
        Expect::For { held, .. } => format!("for-{held}"),
        Expect::NeverFalseFailed => "false-failed".to_owned(),
        Expect::NeverQuorum => "never-quorum".to_owned(),
        Expect::Never(goal) => format!("never-{}", goal.name()),
        Expect::Sometimes(goal) => format!("sometimes-{}", goal.name()),
    }
}

/// Does the view of a live node say anything about a claim? That of another one does; a node's own
/// life bears out that it is alive, or is not failed, and cannot show that it is anything else.
pub(crate) const fn is_asked(itself: bool, held: Held, not: bool) -> bool {
    !itself || not || matches!(held, Held::Alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_no_witness_of_its_own_end() {
        assert!(is_asked(false, Held::Failed, false));
        assert!(is_asked(true, Held::Alive, false) && is_asked(true, Held::Failed, true));
        assert!(!is_asked(true, Held::Failed, false) && !is_asked(true, Held::Left, false));
    }
}
