//! Counters: one table names each for code, metrics and docs.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What is counted. The name is the metric's, without the prefix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter { $($(#[$doc])* $variant,)+ }

        impl Counter {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The metric's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

counters! {
    /// Datagrams handed in.
    DatagramsIn = "datagrams_in",
    /// Bytes of the datagrams handed in.
    DatagramBytesIn = "datagram_bytes_in",
    /// Datagrams written.
    DatagramsOut = "datagrams_out",
    /// Bytes of the datagrams written.
    DatagramBytesOut = "datagram_bytes_out",
    /// Probes started.
    Probes = "probes",
    /// Round trips measured, each of which moved our coordinate.
    RoundTrips = "round_trips",
    /// Forgotten members whose version is not remembered any more: too many were forgotten.
    TombstonesDropped = "tombstones_dropped",
    /// Streams accepted or opened.
    Streams = "streams",
    /// Bytes read from streams.
    StreamBytesIn = "stream_bytes_in",
    /// Bytes given to streams.
    StreamBytesOut = "stream_bytes_out",
    /// Packets whose head is not ours, or of another format version.
    DropNotOurs = "drop_not_ours",
    /// Packets of another cluster or datacenter.
    DropLabel = "drop_label",
    /// Packets whose checksum is wrong.
    DropChecksum = "drop_checksum",
    /// Packets not sealed with a key of ours, or in clear where we seal, or the other way round.
    DropKey = "drop_key",
    /// Sealed packets that came before.
    DropReplay = "drop_replay",
    /// Packets with a message that does not decode, strictly.
    DropMalformed = "drop_malformed",
    /// Messages with a tag that this version does not know (skipped).
    UnknownTag = "unknown_tag",
    /// Coordinates that are out of bounds, or round trips of more than 10 s.
    DropCoordinate = "drop_coordinate",
    /// Pings for another node id than ours.
    WrongTarget = "wrong_target",
    /// Acks and nacks that nobody waited for, bootstrap reports of strangers or of an earlier life
    /// (late, duplicated or forged).
    StrayReply = "stray_reply",
    /// Answers withheld from an address that no member has: larger than what came from there, or
    /// too many at once.
    RepliesWithheld = "replies_withheld",
    /// Corrections, and questions to those that are spoken of, that had to wait: too many at once.
    CorrectionsWithheld = "corrections_withheld",
    /// Claims that lost to what we know.
    StaleClaim = "stale_claim",
    /// Claims with an absurd jump of version.
    ImplausibleClaim = "implausible_claim",
    /// Claims about members we have no room for.
    DropFull = "drop_full",
    /// Claims that were told less often than others because too many were to be told.
    GossipDisplaced = "gossip_displaced",
    /// User events that came, or were fired here, for the first time.
    UserEvents = "user_events",
    /// Events and queries older than all that are remembered.
    OldEvents = "old_events",
    /// Events and queries from an absurdly late Lamport time.
    ImplausibleEvents = "implausible_events",
    /// Queries asked here.
    Queries = "queries",
    /// Queries of strangers, or more than can be open at once.
    QueriesDropped = "queries_dropped",
    /// Probes without an answer to the direct ping in time.
    ProbesLate = "probes_late",
    /// Probes answered only through a helper or a stream.
    ProbesRescued = "probes_rescued",
    /// Of those, probes answered over a stream.
    ProbesByStream = "probes_by_stream",
    /// Probes that failed.
    ProbesFailed = "probes_failed",
    /// Probes that were not begun because too many were under way.
    ProbesDropped = "probes_dropped",
    /// Members that wanted to be observed and were not: unknown here, or too many.
    WatchesRefused = "watches_refused",
    /// Watch streams that ended without a word: their other side was looked at.
    WatchesBroken = "watches_broken",
    /// Pings relayed for others.
    Relays = "relays",
    /// Relays refused because too many were open.
    RelaysDropped = "relays_dropped",
    /// Suspicions raised here.
    Suspicions = "suspicions",
    /// Members declared failed here.
    FailuresDeclared = "failures_declared",
    /// Failures that others reported of members held alive here: they were looked into first.
    FailuresDoubted = "failures_doubted",
    /// Accusations against us that we refuted.
    Refutations = "refutations",
    /// Full or partial state exchanges finished.
    Syncs = "syncs",
    /// Streams that broke the protocol, stalled or came when too many were open.
    StreamsDropped = "streams_dropped",
    /// Outputs dropped because a queue was full.
    QueueOverflow = "queue_overflow",
    /// Events dropped because nobody took them.
    EventsLost = "events_lost",
    /// Times the process was away and deadlines were shifted.
    Pauses = "pauses",
    /// Joins under the name of a live member that waited for an answer of that one.
    JoinsHeld = "joins_held",
    /// Times that this node gave its name up to a member that has held it for longer.
    NamesLost = "names_lost",
    /// Members that were only heard of, did not answer anybody, and were taken off the list.
    HearsayDropped = "hearsay_dropped",
    /// Returns of members that failed so often lately that suspicions of them run longer.
    FlapsDamped = "flaps_damped",
    /// Members that began to be reached through others or over streams only.
    Degradations = "degradations",
}

/// All counters of a node since its start. What each input writes comes first, together, in the
/// table of counters, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Local health (Lifeguard): 0 is healthy.
    pub awareness: u32,
    /// Claims waiting to be gossiped.
    pub queued_claims: usize,
    /// Live members that are reached through others or over streams only.
    pub degraded: usize,
    counts: [u64; Counter::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self { counts: [0; Counter::ALL.len()], awareness: 0, queued_claims: 0, degraded: 0 }
    }
}

impl Stats {
    /// See [`crate::Node::touch`].
    pub(crate) fn touch(&self) -> u64 {
        u64::from(self.awareness) ^ self.get(Counter::DatagramBytesOut)
    }

    /// The value of a counter.
    pub fn get(&self, c: Counter) -> u64 {
        self.counts[c as usize]
    }

    /// All counters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.iter().map(|&c| (c.name(), self.get(c)))
    }

    pub(crate) fn add(&mut self, c: Counter, n: u64) {
        let x = &mut self.counts[c as usize];
        *x = x.saturating_add(n);
    }

    pub(crate) fn count(&mut self, c: Counter) {
        self.add(c, 1);
    }
}
