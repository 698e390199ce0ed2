//! What the driver and the DNS server count, beside the node's own counters: traffic that never
//! reached the node or never left the host. One table names each for code, metrics and docs.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[$head:meta])* $name:ident: $($(#[$doc:meta])* $field:ident,)+) => {
        $(#[$head])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: AtomicU64,)+ }

        impl $name {
            /// All counters with their names (the metric's, without the prefix).
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field.load(Ordering::Relaxed)),)+].into_iter()
            }
        }
    };
}

counters! {
    /// The driver's counters since the start of the agent. Shared; never reset.
    IoCounters:
    /// Datagrams that the system refused to send.
    io_send_errors,
    /// Times the gossip socket had no room: what follows waits, bounded, in the node.
    io_send_blocked,
    /// Errors while receiving datagrams.
    io_receive_errors,
    /// Times accepting a stream failed (too many open files, for instance).
    io_accept_errors,
    /// Streams refused because too many accepted ones were open.
    io_streams_refused,
    /// Streams cut off because their remote end did not read what was sent.
    io_streams_stalled,
}

counters! {
    /// The DNS server's counters since the start of the agent. Shared; never reset.
    DnsCounters:
    /// Queries that were answered or forwarded.
    dns_queries,
    /// Packets that are no query: shorter than a header, or replies.
    dns_drop_not_queries,
    /// Queries that do not decode, answered with FORMERR.
    dns_drop_malformed,
}

/// Counts one.
pub(crate) fn count(c: &AtomicU64) {
    c.fetch_add(1, Ordering::Relaxed);
}
