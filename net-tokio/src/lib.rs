//! quorate on real hosts: the one task that owns the node, its sockets and disk, and the DNS and
//! HTTP servers that read from an immutable view of it.
//!
//! Code map: [`agent`] binds and starts everything; [`driver`] is the task that owns the node and
//! drains it, over the traits of [`transport`] and [`clock`]; [`persist`] is the data directory;
//! [`retry`] finds members to join, at the addresses that [`address`] reads; [`view`] is what
//! readers see, [`handle`] is how commands reach the node; [`dns`] and [`http`] are pure
//! functions from (view, request) to response with thin servers around them; [`consul`] has the
//! shapes they share; [`counters`] is what the driver counts; [`user`] is about
//! what applications say.

pub mod address;
pub mod agent;
pub mod clock;
pub mod consul;
pub mod counters;
pub mod dns;
pub mod driver;
pub mod handle;
pub mod http;
pub mod persist;
pub mod retry;
pub mod transport;
pub mod user;
pub mod view;
