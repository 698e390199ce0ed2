//! A claim beside its encoding, and a memory of the claims that came in lately.
//!
//! Gossip repeats itself: nearly every claim that arrives is one that arrived before, byte for
//! byte. Decoding is a pure function, so its result may be looked up; and what goes out again
//! goes out as the bytes that came in, for a body has one encoding only (see `strict`).

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::Deref;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{message::MessageError, strict};
use crate::{bounded::BoundedBytes, digest, identity::NodeId, record::Claim};

/// A claim, its only encoding, and what the member list derives from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Packed {
    /// As in the record, which is elsewhere in memory.
    id: NodeId,
    claim: Claim,
    body: Box<[u8]>,
    pub(crate) fingerprint: digest::Fingerprint,
    pub(crate) name_key: u32,
}

impl Packed {
    /// Encodes a claim.
    pub fn new(claim: Claim) -> Arc<Self> {
        let mut body = Vec::new();
        strict::encode(&claim, &mut body);
        Self::with_body(claim, &body)
    }

    /// Decodes a claim strictly.
    ///
    /// # Errors
    /// [`MessageError::Body`].
    pub fn decode(body: &[u8]) -> Result<Arc<Self>, MessageError> {
        let claim: Claim = strict::decode(body).ok_or(MessageError::Body(super::CLAIM))?;
        Ok(Self::with_body(claim, body))
    }

    fn with_body(claim: Claim, body: &[u8]) -> Arc<Self> {
        let fingerprint = digest::fingerprint(claim.id(), claim.version(), claim.state());
        let name_key = digest::name_key(&claim.record.name);
        let id = claim.id();
        Arc::new(Self { id, claim, body: body.into(), fingerprint, name_key })
    }

    /// The member it is about.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The encoding, without tag and length.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Deref for Packed {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        &self.claim
    }
}

/// Claims on a stream: length (2 bytes, little endian) and body of each.
///
/// They stay encoded until somebody looks at them one by one, for most are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimList(BoundedBytes<{ ClaimList::MAX_BYTES }>);

impl ClaimList {
    /// Bytes of a list, lengths included.
    pub const MAX_BYTES: usize = 65_536;

    /// As many lists as all these claims need.
    pub fn pack<'a>(all: impl IntoIterator<Item = &'a Packed>) -> Vec<Self> {
        let mut lists = Vec::new();
        let mut bytes = Vec::new();
        for p in all {
            // A record is bounded, so a claim is far below 64 KiB.
            let Ok(len) = u16::try_from(p.body.len()) else { continue };
            if bytes.len() + 2 + p.body.len() > Self::MAX_BYTES {
                lists.push(core::mem::take(&mut bytes));
            }
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&p.body);
        }
        lists.push(bytes);
        let list = |b: Vec<u8>| BoundedBytes::new(b).ok().map(Self);
        lists.into_iter().filter(|b| !b.is_empty()).filter_map(list).collect()
    }

    /// The bodies, in order. Nothing follows an error.
    pub fn bodies(&self) -> impl Iterator<Item = Result<&[u8], MessageError>> {
        let mut rest: &[u8] = &self.0;
        core::iter::from_fn(move || {
            let all = core::mem::take(&mut rest);
            let (len, after) = match all {
                [] => return None,
                [l0, l1, after @ ..] => (usize::from(u16::from_le_bytes([*l0, *l1])), after),
                [_] => return Some(Err(MessageError::Truncated)),
            };
            let Some((body, after)) = after.split_at_checked(len) else {
                return Some(Err(MessageError::Truncated));
            };
            rest = after;
            Some(Ok(body))
        })
    }
}

/// The claims that were decoded lately, found by their bytes.
///
/// It changes no result, only what finding it costs; so several nodes of one process may share
/// one by handing it around ([`crate::Node::swap_scratch`]), and then share the records in it.
/// Invariant: at most as many claims as it was made for.
#[derive(Debug)]
pub struct Memo {
    /// A power of two of them, in pairs, made when the first claim comes; a new claim of a pair
    /// replaces the older one of the two.
    places: Vec<Option<Arc<Packed>>>,
    size: usize,
}

impl Memo {
    /// Of a single agent: enough for what is news at one time, even in a mass join.
    const OWN: usize = 2048;

    /// Remembers at most `claims`, rounded up to a power of two.
    pub fn new(claims: usize) -> Self {
        Self { places: Vec::new(), size: claims.clamp(2, 1 << 24).next_power_of_two() }
    }

    /// Decodes the body of a claim strictly, or finds it.
    ///
    /// # Errors
    /// [`MessageError::Body`].
    pub fn decode(&mut self, body: &[u8]) -> Result<Arc<Packed>, MessageError> {
        let at = place(body) & (self.size - 1) & !1;
        for known in self.places.iter().skip(at).take(2).flatten() {
            if *known.body == *body {
                return Ok(Arc::clone(known));
            }
        }
        let p = Packed::decode(body)?;
        if self.places.is_empty() {
            self.places.resize(self.size, None);
        }
        if let Some([newer, older]) = self.places.get_mut(at..at + 2) {
            *older = newer.replace(Arc::clone(&p));
        }
        Ok(p)
    }
}

impl Default for Memo {
    fn default() -> Self {
        Self::new(Self::OWN)
    }
}

/// Spreads bodies over the places. Not keyed: whoever makes bodies collide makes them be decoded
/// again, no more.
fn place(body: &[u8]) -> usize {
    let [a, b, c, d, ..] = xxh3_64(body).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Statement, wire::tests::record};
    use alloc::sync::Arc;

    fn claim(n: u8) -> Claim {
        Claim { record: Arc::new(record(n)), statement: Statement::Alive }
    }

    #[test]
    fn what_is_found_is_what_decoding_gives() {
        let mut memo = Memo::new(4);
        for round in 0..3 {
            for n in 0..20 {
                let fresh = Packed::new(claim(n));
                let got = memo.decode(fresh.body()).unwrap();
                assert_eq!(got, fresh, "round {round}");
            }
        }
        assert_eq!(memo.places.len(), 4);
    }

    #[test]
    fn lists_hold_all_claims_in_order_and_notice_a_cut() {
        let all: Vec<_> = (0..200).map(|n| Packed::new(claim(n))).collect();
        let many: Vec<_> = all.iter().cycle().take(2000).map(|p| &**p).collect();
        let lists = ClaimList::pack(many.iter().copied());
        assert!(lists.len() > 1);
        let back = lists.iter().flat_map(ClaimList::bodies).map(Result::unwrap);
        assert!(back.eq(many.iter().map(|p| p.body())));
        let mut cut = ClaimList::pack([&*all[0]]).remove(0).0.to_vec();
        cut.pop();
        let cut = ClaimList(BoundedBytes::new(cut).unwrap());
        assert!(cut.bodies().eq([Err(MessageError::Truncated)]));
        assert!(ClaimList::pack([]).is_empty());
    }

    #[test]
    fn a_repeated_claim_is_one_object_and_a_changed_one_is_not_taken_for_it() {
        let mut memo = Memo::new(1);
        let body = Packed::new(claim(1)).body().to_vec();
        let first = memo.decode(&body).unwrap();
        assert!(Arc::ptr_eq(&first, &memo.decode(&body).unwrap()));
        let other =
            Packed::new(Claim { statement: Statement::Failed { by: first.id() }, ..claim(1) });
        assert_eq!(memo.decode(other.body()).unwrap().state(), crate::State::Failed);
        let mut long = body.clone();
        long.push(0);
        assert!(memo.decode(&long).is_err(), "strict");
    }
}
