//! Bugs that a test can plant, to find out whether the simulator finds them.
//!
//! Without the feature `planted-bugs` (test-only) the switch does not exist and every check
//! is constantly false. What finds each of them: `sim/tests/planted.rs`.

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
    SaltStands = "salt-stands",
        "all streams between two members are sealed with the same keys";
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
    AccusesItself = "accuses-itself",
        "who joins is told of the member that it joined by as of one that failed";
    AwaySaysNothing = "away-says-nothing",
        "who was away for long waits until it hears that it is accused";
    AwaySaysAgain = "away-says-again",
        "who was away for long says that it is there however lately it did";
    AwayReadsFirst = "away-reads-first",
        "who was away for long reads all that came in meanwhile before it minds that";
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
    RefusedAsSilent = "refused-as-silent",
        "who refuses is given as much time as who is silent";
    MuteAsSilent = "mute-as-silent",
        "a process that stands is given no more time than a silent host";
    WitnessesUncounted = "witnesses-uncounted",
        "what helpers met does not shorten a suspicion";
    AccusersUncounted = "accusers-uncounted",
        "a further accuser does not shorten a suspicion";
    NackLate = "nack-late",
        "a helper says that it met nobody when its budget is over";
    AccusedNotTold = "accused-not-told",
        "who is accused is not told so in a ping";
    LastLookNotTaken = "last-look-not-taken",
        "nobody looks once more before it declares a failure";
    PingsNotRepeated = "pings-not-repeated",
        "a lost ping is not repeated";
    MutePinged = "mute-pinged",
        "a process that accepts and does not answer is pinged again and again";
    RefusalAloneCounts = "refusal-alone-counts",
        "a refusal ends a probe although nobody else met one";
    HealthUnminded = "health-unminded",
        "a bad health of its own makes a node no more patient";
    ReasonsAddUp = "reasons-add-up",
        "several reasons to wait longer make a suspicion as long as they like";
    PauseUnguarded = "pause-unguarded",
        "a process that was stopped blames others for what it did not hear";
    WrongTargetAcks = "wrong-target-acks",
        "a ping that was meant for somebody else is answered";
    NotMeUnminded = "not-me-unminded",
        "that another id answers at an address means nothing";
    AnyCookieCounts = "any-cookie-counts",
        "an ack with any cookie ends the probe that is under way";
    ResetIsSilence = "reset-is-silence",
        "a probe's stream that is reset is not opened once more";
    BreakUnminded = "break-unminded",
        "nobody looks when a watch stream breaks";
    DoneNotSaid = "done-not-said",
        "a watch stream is closed without a word";
    ObserversByChance = "observers-by-chance",
        "observers are pinged in the shuffled round only";
    StrangersHelped = "strangers-helped",
        "whoever asks has others pinged";
    NewsWaits = "news-waits",
        "news waits for the next tick of the gossip";
    NewsByChance = "news-by-chance",
        "news goes to random members only, not round the ring";
    RoundsUnlimited = "rounds-unlimited",
        "each piece of news leaves at once, however many there are";
    DigestsNotCompared = "digests-not-compared",
        "nobody minds that the digest of another member differs";
    ForgottenStays = "forgotten-stays",
        "who was forgotten by others stays on the list";
    StaleUncorrected = "stale-uncorrected",
        "who sends a claim that has lost gets nothing back";
    LeftLowersVersion = "left-lowers-version",
        "a Left of an older incarnation takes the stored version down";
    NotHedged = "not-hedged",
        "a stream that does not connect is not opened again beside it";
    FailedNotContacted = "failed-not-contacted",
        "a failed member is not contacted";
    FailedContactedByAll = "failed-contacted-by-all",
        "each member contacts a failed one in each interval";
    GoneNotTold = "gone-not-told",
        "a ping to who is held for gone does not say that we live";
    PeersNotContacted = "peers-not-contacted",
        "a restart does not contact the peers of its earlier life";
    AnyWriteCounts = "any-write-counts",
        "a generation is used when an earlier write is done";
    LeaveToldOnce = "leave-told-once",
        "a leave that nobody confirms is not repeated";
    NameUnchecked = "name-unchecked",
        "a join under the name of a live member is not refused";
    IncompatibleTaken = "incompatible-taken",
        "who has no protocol version in common is let in";
    EventsNotCompared = "events-not-compared",
        "events that gossip missed are not asked for";
    PastTold = "past-told",
        "a newcomer is told events of the time before it";
    FarTimesTaken = "far-times-taken",
        "the events' clock takes any time that it meets";
    ReplyNotRepeated = "reply-not-repeated",
        "an answer to a query that was lost is not sent again";
    StrangersQuery = "strangers-query",
        "a query of somebody unknown is taken";
    QueriesUncapped = "queries-uncapped",
        "queries of others are open without a limit";
    LatencyUnfiltered = "latency-unfiltered",
        "each round trip counts instead of the median of three";
    CorrectionsUnlimited = "corrections-unlimited",
        "stronger claims are sent back without a limit";
    StrangersToldMore = "strangers-told-more",
        "an answer to a stranger may be larger than its question";
    StrangersOftenTold = "strangers-often-told",
        "strangers are answered without a limit";
    LabelUnchecked = "label-unchecked",
        "datagrams of another datacenter are taken";
    ChecksumUnchecked = "checksum-unchecked",
        "damaged datagrams are taken";
    ClearTaken = "clear-taken",
        "clear datagrams are taken where all is sealed";
    ExpectIgnored = "expect-ignored",
        "a server promises itself to an attempt of another size";
    BirthIgnored = "birth-ignored",
        "who lost its disk is taken for who it was before";
    ForgetfulPromises = "forgetful-promises",
        "a server promises although its disk is older than what others know";
    AttemptNotAsked = "attempt-not-asked",
        "nobody asks about an attempt that stands still";
    FinalNotFollowed = "final-not-followed",
        "a quorum that exists already is not followed";
    EchoUnchecked = "echo-unchecked",
        "a bootstrap report counts without the cookie that was asked with";
    ConflictNotTold = "conflict-not-told",
        "that two servers cannot bootstrap together is kept quiet";
    BeatUnminded = "beat-unminded",
        "a watch stream is kept although nothing comes for minutes";
    LooksUnlimited = "looks-unlimited",
        "each watch stream that breaks makes a member look";
    WatchesUncapped = "watches-uncapped",
        "more members are watched than the cap allows";
    SaidTwice = "said-twice",
        "what has a large answer may be said on a stream again and again";
    StreamsUncapped = "streams-uncapped",
        "more streams are accepted than the cap allows";
    NewsToUnmet = "news-to-unmet",
        "an ack to who was only heard of carries news";
    UnmetHelp = "unmet-help",
        "who was only heard of is asked to help like everybody else";
    RepeatMeasured = "repeat-measured",
        "a round trip is measured although a repeat was answered";
    LeftDoubted = "left-doubted",
        "who left in the middle of a probe is accused";
    LoneAccusesAloud = "lone-accuses-aloud",
        "who hears nobody tells all whom it accuses";
    GraceNotGiven = "grace-not-given",
        "who never met a member declares its failure as early as those who did";
    SlowLookedAt = "slow-looked-at",
        "all take the last look at a process that is slow";
    EarlierLifeCounts = "earlier-life-counts",
        "a bootstrap report of an earlier life counts";
    CookiesGuessable = "cookies-guessable",
        "the cookies of probes are counted up";
    RelaysUncapped = "relays-uncapped",
        "more pings are relayed for others than the cap allows";
    OverflowUntold = "overflow-untold",
        "events that did not fit the queue are lost without a word";
    HelpersNotAsked = "helpers-not-asked",
        "nobody else is asked to ping a member that does not answer";
    StreamNotTried = "stream-not-tried",
        "no stream is opened to a member that does not answer";
    HealthStays = "health-stays",
        "a node that was accused or missed nacks thinks itself as well as before";
    HearsayTakesNames = "hearsay-takes-names",
        "a senior holder that only others speak of takes a name away";
    WaitingUncapped = "waiting-uncapped",
        "a join that waits may send as much as it likes";
    EventsUncapped = "events-uncapped",
        "an application may queue as many events as it likes";
    OldEventsTold = "old-events-told",
        "an event from before the window is told again";
    HelpersByChance = "helpers-by-chance",
        "helpers that were met are drawn by chance among many that were not";
    UnmetOweNacks = "unmet-owe-nacks",
        "a nack that does not come from who was only heard of is held against one's own health";
    RoundStands = "round-stands",
        "who was only heard of is always looked at before the round's next";
    ObserversLetGo = "observers-let-go",
        "observers are let go before others are there in their place";
    UnmetAwaited = "unmet-awaited",
        "an observer that was only heard of and cannot be reached is waited for";
    TalkKept = "talk-kept",
        "any number of those that were only heard of are kept as peers for a restart";
    NewsToAnybody = "news-to-anybody",
        "news goes to any listed member although many may be made up";
    WatchWaits = "watch-waits",
        "new observers are not picked while one that could not be reached is waited for";
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{caught, chosen};
