//! postcard, made canonical.
//!
//! postcard accepts several encodings of a number (`81 00` is 1) and ignores what follows a
//! value. Here a body is read, then written again against the bytes it came from: any difference,
//! and anything left over, is an error. Nothing is allocated for the comparison.

use alloc::vec::Vec;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

/// Compares what is written with what was read.
struct Compare<'a>(&'a [u8]);

impl Flavor for Compare<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(data).ok_or(postcard::Error::DeserializeBadEncoding)?;
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        // Nearly all comes by single bytes.
        let (first, rest) = self.0.split_first().ok_or(postcard::Error::DeserializeBadEncoding)?;
        if *first != data {
            return Err(postcard::Error::DeserializeBadEncoding);
        }
        self.0 = rest;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(postcard::Error::DeserializeBadEncoding) }
    }
}

/// Decodes exactly one encoding of `T`, using up all of `bytes`.
pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    if !rest.is_empty() {
        return None;
    }
    postcard::serialize_with_flavor(&value, Compare(bytes)).ok()?;
    Some(value)
}

/// Writes one value. Vectors cannot fail to grow, and our types always encode.
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    struct Append<'a>(&'a mut Vec<u8>);
    impl Flavor for Append<'_> {
        type Output = ();
        fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(data);
            Ok(())
        }
        fn try_push(&mut self, data: u8) -> postcard::Result<()> {
            self.0.push(data);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    let written = postcard::serialize_with_flavor(value, Append(out));
    debug_assert!(written.is_ok(), "a message of ours does not encode: {written:?}");
}
