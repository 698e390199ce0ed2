//! Bugs that a test can plant, to find out whether the simulator finds them.
//!
//! Without the feature `planted-bugs` (test-only) the switch does not exist and every check
//! below is constantly false.

macro_rules! bugs {
    ($($variant:ident = $name:literal, $doc:literal;)+) => {
        /// One rule of the protocol, broken.
        #[allow(unreachable_pub, dead_code)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug { $(#[doc = $doc] $variant,)+ }

        #[allow(unreachable_pub, dead_code)]
        impl Bug {
            /// All of them: the bug, its name, what it breaks.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, $doc),)+];
        }
    };
}

bugs! {
    ResurrectOnEqual = "resurrect-on-equal",
        "a failed member is alive again at the version at which it failed";
    NoRefutation = "no-refutation",
        "an accused node says nothing";
    RefuteWithoutRaising = "refute-without-raising",
        "a refutation repeats the accused version";
    LeftOverridden = "left-overridden",
        "an Alive of the same version takes a Left back";
    SuspicionNeverFires = "suspicion-never-fires",
        "nobody is ever declared failed";
    MergeIgnoresGeneration = "merge-ignores-generation",
        "only incarnations are compared";
    IncarnationWraps = "incarnation-wraps",
        "after its last incarnation (here: 2) a node goes on at 0";
    NackCountsAsAck = "nack-counts-as-ack",
        "a helper's nack ends a probe as if the target had answered";
    LostSelfRecord = "lost-self-record",
        "a restart begins at generation 1 and does not learn its past";
    TombstonePrunedAtOnce = "tombstone-pruned-at-once",
        "who left is forgotten without a trace";
    StreamLeaks = "stream-leaks",
        "a stream that was reset stays in the list for ever";
    MajorityPromises = "majority-promises",
        "an attempt is committed when a majority of its servers promised";
    BallotForgetsAccepted = "ballot-forgets-accepted",
        "a later round decides an attempt without regard to what was accepted before";
    EraStays = "era-stays",
        "a server that refuses or releases a promise may give it again";
    PromiseNotOnDisk = "promise-not-on-disk",
        "a step of the bootstrap is told before it is on disk";
    WatchNotRenewed = "watch-not-renewed",
        "a watch stream that broke is not opened again";
    OverdueUnminded = "overdue-unminded",
        "an observer does not mind that no ping comes";
    ReplaysAccepted = "replays-accepted",
        "a sealed datagram is taken each time it comes";
    EventToldTwice = "event-told-twice",
        "an event that is heard again is told again";
    LamportWraps = "lamport-wraps",
        "after the last tick of the events' clock (here: 2) it goes on at 1";
    KeyUsedUnchecked = "key-used-unchecked",
        "a key is used before every member has it";
    KeyRemovedInUse = "key-removed-in-use",
        "a key is removed although a member still seals with it";
    ImplausibleJumps = "implausible-jumps",
        "a claim may raise a version by any step";
    ChallengedBelow = "challenged-below",
        "who is held for dead and forgotten is told so at the version that it says it has";
    MovedNotFollowed = "moved-not-followed",
        "who missed how a member was led far ahead does not believe it at a new address";
    GoneNotAsked = "gone-not-asked",
        "who is held for gone and said to live far ahead is not asked";
    LastIncarnationStands = "last-incarnation-stands",
        "a claim of the last incarnation of its own generation is not refuted";
    StrangerNotAsked = "stranger-not-asked",
        "who is not known here and said to live too far ahead is never listed";
    TurnNotTaken = "turn-not-taken",
        "a newcomer does not say that somebody had its name before";
    LoserStays = "loser-stays",
        "who meets a senior holder of its name does not leave";
    HolderNotProbed = "holder-not-probed",
        "a join under the name of a dead member that is held alive is refused unseen";
    LateTurnLost = "late-turn-lost",
        "a turn that comes back after another one was taken is ignored";
    HearsayBelieved = "hearsay-believed",
        "a member that nobody ever met is declared failed, and listed as such";
    DroppedNotSought = "dropped-not-sought",
        "who was dropped unmet is looked for by chance only, whatever others say of it";
    ObituaryBelieved = "obituary-believed",
        "a failure that others report of a member held alive is believed unseen";
    AloneUnminded = "alone-unminded",
        "who hears nobody waits until it is heard of";
    FlapsNotDamped = "flaps-not-damped",
        "a member may fail and come back as often as it likes";
    LatenessCharged = "lateness-charged",
        "a process that came late for its deadlines blames others for what it did not hear";
    SlowForgotten = "slow-forgotten",
        "a member that was accused and spoke up late has no more time than another";
    DegradedUnseen = "degraded-unseen",
        "nobody minds a member that only others reach";
    VersionIgnored = "version-ignored",
        "a member is sent a message that its protocol version does not have";
    RetagKeepsVersion = "retag-keeps-version",
        "a member publishes other metadata without raising its version";
    LiarFollowed = "liar-followed",
        "a coordinate is taken as far off as it says it is";
}
