//! What a node needs only while it handles an input and its outputs are drained.
//!
//! Whoever drives many nodes in turns lends one to each of them: it stays in the cache then.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::mem::swap;

use super::{Node, drain::Outgoing};
use crate::wire::{Memo, Packed};

/// Claims that were decoded lately, and room for datagrams on their way out.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) memo: Memo,
    /// Datagrams to be written.
    pub(super) out: VecDeque<Outgoing>,
    /// Room for the claims of the datagram at hand.
    pub(super) claims: Vec<Arc<Packed>>,
}

impl Scratch {
    /// Remembers at most so many claims, rounded up to a power of two.
    pub fn new(claims: usize) -> Self {
        Self { memo: Memo::new(claims), ..Self::default() }
    }
}

impl Node {
    /// Exchanges its scratch space with `other`. Nodes that take turns may share one: it is swapped
    /// in before an input and out again when the outputs are drained. They share the records of
    /// the claims they decode then; it changes nothing else.
    pub fn swap_scratch(&mut self, other: &mut Scratch) {
        let own = &mut self.scratch;
        swap(&mut own.memo, &mut other.memo);
        swap(&mut own.claims, &mut other.claims);
        // What was not drained is this node's own.
        if own.out.is_empty() && other.out.is_empty() {
            swap(&mut own.out, &mut other.out);
        }
    }
}
