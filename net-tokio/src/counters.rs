//! What the driver itself counts, beside the node's own counters: traffic that never reached the
//! node or never left the host. One table names each for code, metrics and docs.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! io_counters {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// Counters since the start of the agent. Shared; never reset.
        #[derive(Debug, Default)]
        pub struct IoCounters { $($(#[$doc])* pub $field: AtomicU64,)+ }

        impl IoCounters {
            /// All counters with their names (the metric's, without the prefix).
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field.load(Ordering::Relaxed)),)+].into_iter()
            }
        }
    };
}

io_counters! {
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

/// Counts one.
pub(crate) fn count(c: &AtomicU64) {
    c.fetch_add(1, Ordering::Relaxed);
}
