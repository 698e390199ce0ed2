//! The bodies of pings and acks, read and written by hand: a cluster at rest sends nothing else.
//!
//! The bytes are those of postcard (`strict`), which goes through such a body three times, field by
//! field: to write it, to read it, and to write it again for the comparison. Here a number that is
//! longer than it must be is refused where it is read.
//!
//! Guarantee: what is written, taken and refused is what `strict` writes, takes and refuses.

use alloc::vec::Vec;

use super::message::{Ack, Mark, Ping, PlacedAck, Sender};
use crate::{
    coordinate::{DIMENSIONS, Place},
    identity::{NodeId, Version},
};

/// A body that is read and written by hand.
pub(super) trait Quick: Sized {
    /// Reads the fields in order; none if they are not there, or not in their only encoding.
    fn read(r: &mut Reader<'_>) -> Option<Self>;

    /// Writes the fields in order.
    fn write(&self, w: &mut Writer);
}

/// Decodes exactly one encoding, using up all of `bytes`.
pub(super) fn decode<T: Quick>(bytes: &[u8]) -> Option<T> {
    let mut r = Reader(bytes);
    T::read(&mut r).filter(|_| r.0.is_empty())
}

/// Appends a body.
pub(super) fn encode<T: Quick>(value: &T, out: &mut Vec<u8>) {
    let mut w = Writer { bytes: [0; Writer::ROOM], len: 0 };
    value.write(&mut w);
    out.extend_from_slice(w.bytes.get(..w.len).unwrap_or_default());
}

/// What is left of a body.
pub(super) struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn fixed(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have their highest bit set.
    fn number(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut n = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // A last byte of 0 could be left out, and the tenth has one bit.
                return (byte > 0 && (shift < 63 || byte == 1)).then_some(n);
            }
        }
        None
    }

    fn below_32_bits(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// The sign is the lowest bit.
    fn signed(&mut self) -> Option<i32> {
        let n = self.below_32_bits()?;
        Some((n >> 1) as i32 ^ -((n & 1) as i32))
    }

    fn version(&mut self) -> Option<Version> {
        let generation = self.number()?;
        Some(Version { generation, incarnation: self.below_32_bits()? })
    }
}

/// A body that is being written.
pub(super) struct Writer {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl Writer {
    /// More than the longest body: see `the_longest_fit`.
    const ROOM: usize = 96;

    fn byte(&mut self, b: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = b;
        }
        self.len += 1;
    }

    fn array<const N: usize>(&mut self, array: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + N) {
            place.copy_from_slice(&array);
        }
        self.len += N;
    }

    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.byte(n as u8 | 0x80);
            n >>= 7;
        }
        self.byte(n as u8);
    }

    fn signed(&mut self, n: i32) {
        self.number(u64::from((n << 1 ^ n >> 31) as u32));
    }

    fn version(&mut self, v: Version) {
        self.number(v.generation);
        self.number(u64::from(v.incarnation));
    }
}

impl Quick for Ping {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let cookie = r.fixed()?;
        let from = Sender { id: NodeId::from_bytes(r.array()?), version: r.version()? };
        Some(Self { cookie, from, target: Mark(r.array()?), root: r.fixed()? })
    }

    fn write(&self, w: &mut Writer) {
        w.array(self.cookie.to_le_bytes());
        w.array(*self.from.id.as_bytes());
        w.version(self.from.version);
        w.array(self.target.0);
        w.array(self.root.to_le_bytes());
    }
}

impl Quick for Ack {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self { cookie: r.fixed()?, version: r.version()?, root: r.fixed()? })
    }

    fn write(&self, w: &mut Writer) {
        w.array(self.cookie.to_le_bytes());
        w.version(self.version);
        w.array(self.root.to_le_bytes());
    }
}

impl Quick for PlacedAck {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let ack = Ack::read(r)?;
        let mut vec_us = [0; DIMENSIONS];
        for x in &mut vec_us {
            *x = r.signed()?;
        }
        let (height_us, adjustment_us) = (r.below_32_bits()?, r.signed()?);
        let error = r.number()?.try_into().ok()?;
        Some(Self { ack, place: Place { vec_us, height_us, adjustment_us, error } })
    }

    fn write(&self, w: &mut Writer) {
        self.ack.write(w);
        let p = &self.place;
        p.vec_us.iter().for_each(|x| w.signed(*x));
        w.number(u64::from(p.height_us));
        w.signed(p.adjustment_us);
        w.number(u64::from(p.error));
    }
}

#[cfg(test)]
mod tests {
    use super::super::strict;
    use super::*;
    use core::fmt::Debug;
    use proptest::prelude::*;
    use serde::{Serialize, de::DeserializeOwned};

    fn version((generation, incarnation): (u64, u32)) -> Version {
        Version { generation, incarnation }
    }

    fn all(fixed: u64, v: Version, vec_us: [i32; DIMENSIONS], p: (u32, i32, u16)) -> All {
        let id = NodeId::from_bytes([fixed as u8; 16]);
        let ack = Ack { cookie: fixed, version: v, root: !fixed };
        let from = Sender { id, version: v };
        let (height_us, adjustment_us, error) = p;
        let place = Place { vec_us, height_us, adjustment_us, error };
        let ping = Ping { cookie: !fixed, from, target: Mark::new(fixed, id), root: fixed };
        (ping, ack, PlacedAck { ack, place })
    }

    type All = (Ping, Ack, PlacedAck);

    /// Written alike; and read alike, also with a byte changed, without the end or with more.
    fn same<T>(value: &T, at: usize, x: u8) -> Result<(), TestCaseError>
    where
        T: Quick + Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let (mut by_hand, mut by_postcard) = (Vec::new(), Vec::new());
        encode(value, &mut by_hand);
        strict::encode(value, &mut by_postcard);
        prop_assert_eq!(&by_hand, &by_postcard);
        let mut body = by_hand;
        prop_assert!(decode::<T>(&body).is_some_and(|back| back == *value));
        for end in 0..body.len() {
            prop_assert_eq!(decode::<T>(&body[..end]), strict::decode(&body[..end]));
        }
        let at = at % body.len();
        body[at] ^= x;
        prop_assert_eq!(decode::<T>(&body), strict::decode(&body));
        // A number that goes on: longer than it must be, or another one.
        body[at] |= 0x80;
        body.insert(at + 1, x & 1);
        prop_assert_eq!(decode::<T>(&body), strict::decode(&body));
        Ok(())
    }

    proptest! {
        #[test]
        fn they_are_what_postcard_makes_of_them(
            (fixed, v) in (any::<u64>(), any::<(u64, u32)>()),
            (vec_us, p) in (prop::array::uniform8(any::<i32>()), any::<(u32, i32, u16)>()),
            (down, at, x) in (0u32..64, any::<usize>(), any::<u8>()),
        ) {
            let v = version((v.0 >> down, v.1 >> (down / 2)));
            let vec_us = vec_us.map(|x| x >> (down / 2));
            let (ping, ack, placed) = all(fixed, v, vec_us, p);
            same(&ping, at, x)?;
            same(&ack, at, x)?;
            same(&placed, at, x)?;
        }

        #[test]
        fn arbitrary_bytes_are_taken_alike(
            body in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0)], 0..90),
        ) {
            prop_assert_eq!(decode::<Ping>(&body), strict::decode(&body));
            prop_assert_eq!(decode::<Ack>(&body), strict::decode(&body));
            prop_assert_eq!(decode::<PlacedAck>(&body), strict::decode(&body));
        }
    }

    #[test]
    fn a_number_has_one_encoding_and_fits() {
        let numbers: [(&[u8], Option<u64>); 8] = [
            (&[0x7f], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0x80, 0], None),
            (&[0x80], None),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], None),
            (&[], None),
        ];
        for (bytes, n) in numbers {
            assert_eq!(Reader(bytes).number(), n, "{bytes:?}");
        }
        assert_eq!(Reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).below_32_bits(), None);
    }

    #[test]
    fn the_longest_fit() {
        let (v, p) = (version((u64::MAX, u32::MAX)), (u32::MAX, i32::MIN, u16::MAX));
        let (ping, ack, placed) = all(u64::MAX, v, [i32::MIN; DIMENSIONS], p);
        same(&ping, 0, 1).unwrap();
        same(&ack, 0, 1).unwrap();
        same(&placed, 0, 1).unwrap();
    }
}
