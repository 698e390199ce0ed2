//! Who an event is for: regular expressions on node names, services and their tags.
//!
//! Guarantee: a pattern from elsewhere costs bounded memory and linear time, whatever it is.

use quorate_core::UserEvent;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::FiredEvent;

/// Bytes of a compiled pattern. It is compiled between packets, whoever sent it.
const COMPILED_BYTES: usize = 64 << 10;

/// Regular expressions; an empty one lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// On the node's name.
    pub node: String,
    /// On the names of the agent's services.
    pub service: String,
    /// On the tags of a service whose name matches.
    pub tag: String,
}

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not a regular expression.
    #[error("Invalid {which} filter '{text}': {cause}{}", place(*.at))]
    Pattern {
        /// `node`, `service` or `tag`.
        which: &'static str,
        /// The pattern.
        text: String,
        /// What is wrong.
        cause: String,
        /// At which character, from 1, if that is known.
        at: Option<usize>,
    },
    /// A tag belongs to a service.
    #[error("Cannot provide tag filter without service filter")]
    TagWithoutService,
}

fn place(at: Option<usize>) -> String {
    at.map_or_else(String::new, |n| format!(" (at character {n})"))
}

/// Go's patterns are about bytes and ASCII classes where they do not say otherwise.
fn compile(which: &'static str, text: &str) -> Result<Option<Regex>, FilterError> {
    if text.is_empty() {
        return Ok(None);
    }
    let built = RegexBuilder::new(text).unicode(false).size_limit(COMPILED_BYTES).build();
    built.map(Some).map_err(|e| {
        let told = e.to_string();
        // The parser draws a caret under the pattern, which is indented by four.
        let is_caret = |l: &&str| l.contains('^') && l.trim_matches([' ', '^']).is_empty();
        let caret = told.lines().find(is_caret).and_then(|l| l.find('^'));
        let at = caret.and_then(|column| (column + 1).checked_sub(4));
        let cause = told.lines().last().unwrap_or_default();
        let cause = cause.strip_prefix("error: ").unwrap_or(cause).to_owned();
        FilterError::Pattern { which, text: text.to_owned(), cause, at }
    })
}

impl Filters {
    /// Checks all of them.
    ///
    /// # Errors
    /// [`FilterError`]: the first that cannot be used.
    pub fn check(&self) -> Result<(), FilterError> {
        if !self.tag.is_empty() && self.service.is_empty() {
            return Err(FilterError::TagWithoutService);
        }
        compile("node", &self.node)?;
        compile("service", &self.service)?;
        compile("tag", &self.tag).map(|_| ())
    }

    /// Is an agent meant, that has this name and these services with their tags?
    ///
    /// # Errors
    /// [`FilterError`]: a pattern is none, so nobody is meant.
    pub fn takes(&self, node: &str, services: &[(&str, &[&str])]) -> Result<bool, FilterError> {
        let named = compile("node", &self.node)?.is_none_or(|r| r.is_match(node.as_bytes()));
        let Some(service) = compile("service", &self.service)? else { return Ok(named) };
        let tag = compile("tag", &self.tag)?;
        let tagged = |tags: &[&str]| {
            tag.as_ref().is_none_or(|r| tags.iter().any(|t| r.is_match(t.as_bytes())))
        };
        let serves =
            |(name, tags): &(&str, &[&str])| service.is_match(name.as_bytes()) && tagged(tags);
        Ok(named && services.iter().any(serves))
    }
}

/// What an event carries: its payload, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrapped {
    version: u8,
    node: String,
    service: String,
    tag: String,
    payload: Vec<u8>,
}

impl Wrapped {
    /// The form of now, and Consul's version of events.
    pub(super) const VERSION: u8 = 1;

    pub(super) fn new(f: &Filters, payload: Vec<u8>) -> Self {
        let (node, service, tag) = (f.node.clone(), f.service.clone(), f.tag.clone());
        Self { version: Self::VERSION, node, service, tag, payload }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings and bytes always encode.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let all = postcard::take_from_bytes::<Self>(bytes).ok();
        all.filter(|(w, rest)| w.version == Self::VERSION && rest.is_empty()).map(|(w, _)| w)
    }

    pub(super) fn filters(&self) -> Filters {
        let Self { node, service, tag, .. } = self.clone();
        Filters { node, service, tag }
    }

    pub(super) fn into_event(self, e: &UserEvent) -> FiredEvent {
        let filters = self.filters();
        let (id, name, time) = (e.id, e.name.as_str().to_owned(), e.time);
        FiredEvent { id, name, payload: self.payload, filters, version: self.version, time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(node: &str, service: &str, tag: &str) -> Filters {
        Filters { node: node.into(), service: service.into(), tag: tag.into() }
    }

    #[test]
    fn filters_are_consul_s() {
        let services: &[(&str, &[&str])] = &[("web", &["v1", "eu"]), ("db", &[])];
        for (f, hit) in [
            (filters("", "", ""), true),
            (filters("agent-(one|two)", "", ""), true),
            (filters("^one", "", ""), false),
            (filters(r"^agent-\w+$", "", ""), true),
            (filters("", "web", ""), true),
            (filters("", "we", "^v1$"), true),
            (filters("", "db", "v1"), false),
            (filters("", "cache", ""), false),
            (filters("two", "web", ""), false),
        ] {
            assert_eq!(f.takes("agent-one", services), Ok(hit), "{f:?}");
        }
        assert_eq!(filters("", "web", "").takes("agent-one", &[]), Ok(false));
    }

    #[test]
    fn a_bad_filter_says_where() {
        let told = |f: Filters| f.check().unwrap_err().to_string();
        assert_eq!(
            told(filters("agent-(one", "", "")),
            "Invalid node filter 'agent-(one': unclosed group (at character 7)"
        );
        assert!(told(filters("", "[a", "")).starts_with("Invalid service filter '[a': unclosed"));
        assert!(told(filters("", "a", "*")).contains("(at character 1)"));
        assert_eq!(told(filters("", "", "v1")), "Cannot provide tag filter without service filter");
        let huge = filters(&r"\w{1000}".repeat(50), "", "");
        assert!(huge.check().is_err());
    }

    proptest! {
        #[test]
        fn what_is_wrapped_comes_back(
            (node, service, tag) in ("\\PC{0,9}", "\\PC{0,9}", "\\PC{0,9}"),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let w = Wrapped::new(&filters(&node, &service, &tag), payload);
            prop_assert_eq!(Wrapped::decode(&w.encode()), Some(w));
        }

        #[test]
        fn any_bytes_are_an_event_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            if let Some(w) = Wrapped::decode(&bytes) {
                let _ = w.filters().takes("n", &[]);
            }
        }
    }
}
