//! What this node publishes of itself.

use alloc::sync::Arc;
use core::ops::Deref;

use crate::{
    identity::{NodeId, Version},
    record::Record,
};

/// The record; nearly every input looks at its id and version, so they stand beside it, too.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: NodeId,
    pub(super) version: Version,
    record: Arc<Record>,
}

impl Own {
    /// The record, to keep.
    pub(super) fn shared(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }
}

impl From<Record> for Own {
    fn from(record: Record) -> Self {
        Self { id: record.id, version: record.version, record: Arc::new(record) }
    }
}

impl Deref for Own {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}
