//! What the two members on a stream say, taken apart beside the network as their own cluster could.

use quorate_core::{
    NodeId,
    wire::{self, FrameReader, StreamSeal},
};

use super::{Invariant, Violation, broken, outputs::own_message};

/// Both directions of one stream.
#[derive(Debug, Default)]
pub struct Overheard {
    opener: FrameReader,
    acceptor: FrameReader,
    /// What comes after both heads can be read.
    is_open: bool,
}

impl Overheard {
    /// The member `own` writes `bytes`; `ring` has all keys that may be in use.
    ///
    /// # Errors
    /// S5: it accuses itself; S8 if the other side cannot read it.
    pub fn writes(
        &mut self,
        is_opener: bool,
        own: NodeId,
        bytes: &[u8],
        ring: Option<&wire::Keyring>,
    ) -> Result<(), Violation> {
        let unreadable = |e: &dyn std::fmt::Display| {
            broken(Invariant::S8, format!("a stream that its own members cannot read: {e}"))
        };
        let reader = if is_opener { &mut self.opener } else { &mut self.acceptor };
        reader.push(bytes);
        match reader.label() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(e) => return unreadable(&e),
        }
        if reader.meant().is_some() && !self.unlocks(ring) {
            return Ok(());
        }
        let reader = if is_opener { &mut self.opener } else { &mut self.acceptor };
        loop {
            match reader.next_message() {
                Ok(Some(m)) => own_message(own, &m)?,
                Ok(None) => return Ok(()),
                Err(e) => return unreadable(&e),
            }
        }
    }

    /// The keys of a sealed stream come from both heads: are they there?
    fn unlocks(&mut self, ring: Option<&wire::Keyring>) -> bool {
        if self.is_open {
            return true;
        }
        let (Some((id, ours)), Some((_, theirs))) = (self.opener.meant(), self.acceptor.meant())
        else {
            return false;
        };
        let Some(key) = ring.and_then(|r| r.keys().find(|k| k.id() == id)) else { return false };
        let (forth, back) = StreamSeal::pair(key, &ours, &theirs);
        self.opener.unlock(forth);
        self.acceptor.unlock(back);
        self.is_open = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_core::{BoundedVec, Claim, Label, Name, Record, State, Statement, Version};

    use super::*;
    use crate::program::keyring;
    use crate::scenario::KeyNo;

    const OWN: NodeId = NodeId::from_bytes([1; 16]);

    fn claim(about: NodeId, statement: Statement) -> wire::Message {
        let name = Name::new("n1").unwrap();
        let record = Record::of_client(about, name, "10.0.0.1:8301".parse().unwrap());
        wire::Message::Claim(Claim { record: Arc::new(record), statement })
    }

    fn failed() -> wire::Message {
        claim(OWN, Statement::Failed { by: OWN })
    }

    /// As streams tell of many.
    fn list(claims: [wire::Message; 2]) -> wire::Message {
        let packed = claims.map(|m| match m {
            wire::Message::Claim(c) => wire::Packed::new(c),
            m => panic!("{m:?} is no claim"),
        });
        wire::Message::Claims(wire::ClaimList::pack(packed.iter().map(|p| &**p)).remove(0))
    }

    fn summary(state: State) -> wire::Message {
        let item = wire::Summary { id: OWN, version: Version::default(), state };
        let items = BoundedVec::new(vec![item]).unwrap();
        wire::Message::Summaries(wire::Summaries { items, last: true })
    }

    /// Both sides of a sealed stream write; what comes of each write of the opener and acceptor.
    fn sealed(messages: [&wire::Message; 2], step: usize) -> [Result<(), Violation>; 2] {
        let ring = keyring(&[KeyNo(1), KeyNo(2)]).unwrap();
        let key = ring.keys().nth(1).unwrap();
        let label = Label::new("dc1").unwrap();
        let (ours, theirs) = StreamSeal::pair(key, &[3; 16], &[4; 16]);
        let mut seals = [ours, theirs];
        let mut heard = Overheard::default();
        for (is_opener, salt) in [(true, [3; 16]), (false, [4; 16])] {
            let head = wire::sealed_stream_head(&label, key.id(), &salt);
            heard.writes(is_opener, OWN, &head, Some(&ring)).unwrap();
        }
        [0, 1].map(|side| {
            let mut bytes = Vec::new();
            wire::append_sealed_frame(messages[side], &mut seals[side], &mut bytes);
            bytes.chunks(step).try_for_each(|b| heard.writes(side == 0, OWN, b, Some(&ring)))
        })
    }

    fn name(result: &Result<(), Violation>) -> Option<&'static str> {
        result.as_ref().err().map(|v| v.invariant.name())
    }

    #[test]
    fn s5_a_node_accuses_itself_on_a_stream() {
        let other = NodeId::from_bytes([2; 16]);
        let alive = claim(OWN, Statement::Alive);
        let about_another = || claim(other, Statement::Failed { by: OWN });
        let fine = list([about_another(), claim(OWN, Statement::Alive)]);
        let left = summary(State::Left);
        for step in [1, 7, 1000] {
            assert!(sealed([&alive, &about_another()], step).iter().all(Result::is_ok));
            assert!(sealed([&fine, &left], step).iter().all(Result::is_ok));
            let s5 = Some(Invariant::S5.name());
            for wrong in [failed(), list([about_another(), failed()]), summary(State::Suspect)] {
                assert_eq!(sealed([&wrong, &alive], step).each_ref().map(name), [s5, None]);
                assert_eq!(sealed([&alive, &wrong], step).each_ref().map(name), [None, s5]);
            }
        }
        let label = Label::new("dc1").unwrap();
        let mut bytes = wire::stream_head(&label);
        wire::append_frame(&alive, &mut bytes);
        let mut heard = Overheard::default();
        heard.writes(false, OWN, &bytes, None).unwrap();
        let mut more = Vec::new();
        wire::append_frame(&failed(), &mut more);
        assert_eq!(name(&heard.writes(false, OWN, &more, None)), Some(Invariant::S5.name()));
    }

    #[test]
    fn s8_a_stream_that_cannot_be_read() {
        let s8 = Some(Invariant::S8.name());
        let mut heard = Overheard::default();
        assert_eq!(name(&heard.writes(true, OWN, b"GET / HTTP/1.1", None)), s8);
        let mut bytes = wire::stream_head(&Label::new("dc1").unwrap());
        wire::append_frame(&failed(), &mut bytes);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(name(&Overheard::default().writes(true, OWN, &bytes, None)), s8);
    }
}
