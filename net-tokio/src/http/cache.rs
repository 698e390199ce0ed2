//! Replies that were made from the present view: many clients ask the same until it changes.
//!
//! Invariant: a reply is handed out only for the very view that it was made from. The cache holds
//! at most [`MAX_ENTRIES`] replies and [`MAX_BYTES`] bytes of bodies and keys.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    http::reply::{Layout, Reply},
    view::View,
};

/// Replies held at once.
const MAX_ENTRIES: usize = 64;
/// Bytes of bodies and keys held at once.
const MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
struct Inner {
    view: Option<Arc<View>>,
    replies: HashMap<String, [Option<Reply>; 2]>,
    bytes: usize,
}

/// Replies by path and layout.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Inner>);

const fn slot(layout: Layout) -> usize {
    match layout {
        Layout::Compact => 0,
        Layout::Pretty => 1,
    }
}

impl Cache {
    /// The reply to `path` from `view`, made by `make` unless it is there already.
    pub(crate) fn reply(
        &self,
        view: &Arc<View>,
        path: &str,
        layout: Layout,
        make: impl FnOnce() -> Reply,
    ) -> Reply {
        if let Some(reply) = self.get(view, path, layout) {
            return reply;
        }
        // Made without the lock: the others are not held up. Two may make the same; no harm.
        let reply = make();
        self.put(view, path, layout, &reply);
        reply
    }

    fn get(&self, view: &Arc<View>, path: &str, layout: Layout) -> Option<Reply> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = inner.view.as_ref().is_some_and(|v| Arc::ptr_eq(v, view));
        if same { inner.replies.get(path)?[slot(layout)].clone() } else { None }
    }

    fn put(&self, view: &Arc<View>, path: &str, layout: Layout, reply: &Reply) {
        let size = reply.body.len() + path.len();
        if !reply.status.is_success() || size > MAX_BYTES {
            return;
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &inner.view {
            Some(held) if held.index > view.index => return,
            Some(held) if Arc::ptr_eq(held, view) => {}
            _ => *inner = Inner { view: Some(Arc::clone(view)), ..Inner::default() },
        }
        if inner.replies.len() >= MAX_ENTRIES || inner.bytes + size > MAX_BYTES {
            inner.replies.clear();
            inner.bytes = 0;
        }
        let place = &mut inner.replies.entry(path.to_owned()).or_default()[slot(layout)];
        if place.replace(reply.clone()).is_none() {
            inner.bytes += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::Content;
    use quorate_core::{Label, NodeId};

    fn view(index: u64) -> Arc<View> {
        let label = Label::new("dc1").unwrap();
        Arc::new(View::new(index, NodeId::from_bytes([1; 16]), label, Vec::new()))
    }

    fn text(s: &str) -> Reply {
        Reply::text(Content::Text, s.to_owned())
    }

    #[test]
    fn a_reply_lives_as_long_as_its_view() {
        let cache = Cache::default();
        let (one, two) = (view(1), view(2));
        let ask = |v: &Arc<View>, s: &str| cache.reply(v, "/a", Layout::Compact, || text(s)).body;
        assert_eq!(ask(&one, "1"), "1");
        assert_eq!(ask(&one, "other"), "1");
        assert_eq!(ask(&two, "2"), "2");
        assert_eq!(ask(&one, "late"), "late");
        assert_eq!(ask(&two, "other"), "2");
        let pretty = cache.reply(&two, "/a", Layout::Pretty, || text("p"));
        assert_eq!(pretty.body, "p");
    }

    #[test]
    fn it_stays_small() {
        let cache = Cache::default();
        let v = view(1);
        for i in 0..1000 {
            cache.reply(&v, &format!("/{i}"), Layout::Compact, || text("x"));
            assert!(cache.0.lock().unwrap().replies.len() <= MAX_ENTRIES);
        }
        let big = "x".repeat(MAX_BYTES / 3);
        for i in 0..10 {
            cache.reply(&v, &format!("/big{i}"), Layout::Compact, || text(&big));
            assert!(cache.0.lock().unwrap().bytes <= MAX_BYTES);
        }
    }
}
