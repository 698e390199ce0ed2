//! Who a member is: a 128-bit id made once, a name, and a version only the member raises.

use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::bounded::BoundedString;

/// The identity of a member: a UUID, made once and kept in the data directory.
///
/// Everything else about a member (name, address, tags) may change; this does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId([u8; 16]);

/// The text is not a UUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID (expected 8-4-4-4-12 hexadecimal digits)")]
pub struct NodeIdError;

impl NodeId {
    /// The id with these bytes, as they are (used for ids that come from text or from disk).
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A random (version 4) UUID from 16 random bytes: sets version and variant, RFC 9562 §5.4.
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The 16 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(s: &str) -> Result<Self, NodeIdError> {
        let mut out = [0; 16];
        let b = s.as_bytes();
        if b.len() != 36 {
            return Err(NodeIdError);
        }
        let mut n = 0;
        for (i, &c) in b.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return Err(NodeIdError);
                }
                continue;
            }
            let d = char::from(c).to_digit(16).ok_or(NodeIdError)?;
            out[n / 2] = out[n / 2] << 4 | u8::try_from(d).map_err(|_| NodeIdError)?;
            n += 1;
        }
        Ok(Self(out))
    }
}

/// How new a statement about a member is. Ordered by generation, then incarnation.
///
/// Only the member itself raises either. Neither wraps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Raised at every start of the process and on disk before the first packet leaves.
    pub generation: u64,
    /// Raised to refute an accusation or to publish a change; starts at 0 in each generation.
    pub incarnation: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.incarnation)
    }
}

/// Why a text cannot be a member's name or a cluster's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("it is empty")]
    Empty,
    /// More bytes than the wire format carries.
    #[error("it has {0} bytes, at most {max} are allowed", max = Name::MAX)]
    TooLong(usize),
    /// A blank, control or other character that would break tables, logs or the wire.
    #[error("it has the character {0:?}")]
    Character(char),
}

fn check(s: &str, max: usize) -> Result<(), NameError> {
    if s.is_empty() {
        return Err(NameError::Empty);
    }
    if s.len() > max {
        return Err(NameError::TooLong(s.len()));
    }
    match s.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(BoundedString<{ $max }>);

        impl $name {
            /// Bytes allowed.
            pub const MAX: usize = $max;

            /// Parses a text.
            ///
            /// # Errors
            /// [`NameError`]: empty, too long, or a blank or control character in it.
            pub fn new(s: impl Into<String>) -> Result<Self, NameError> {
                let s = s.into();
                check(&s, $max)?;
                let len = s.len();
                BoundedString::new(s).map(Self).map_err(|_| NameError::TooLong(len))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(s: &str) -> Result<Self, NameError> {
                Self::new(s)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = BoundedString::<{ $max }>::deserialize(d)?;
                check(&s, $max).map_err(de::Error::custom)?;
                Ok(Self(s))
            }
        }
    };
}

text_type! {
    /// A member's name: 1 to 128 bytes, no blanks, no control characters; unique among the live.
    Name, 128
}
text_type! {
    /// What keeps clusters apart on the wire: the datacenter's name, 1 to 64 bytes.
    Label, 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn node_id_round_trips_and_refuses_other_forms() {
        let id = NodeId::from_random([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "ffffffff-ffff-4fff-bfff-fffffffffff", "ffffffffffff-4fff-bfff-ffffffffffffff-ff"]
        {
            assert_eq!(bad.parse::<NodeId>(), Err(NodeIdError), "{bad}");
        }
        assert_eq!("gfffffff-ffff-4fff-bfff-ffffffffffff".parse::<NodeId>(), Err(NodeIdError));
    }

    #[test]
    fn names_refuse_what_breaks_a_table() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new("a b"), Err(NameError::Character(' ')));
        assert_eq!(Name::new("a\u{7}"), Err(NameError::Character('\u{7}')));
        assert_eq!(Name::new("x".repeat(129)), Err(NameError::TooLong(129)));
        assert_eq!(Name::new("x".repeat(128)).unwrap().as_str().len(), 128);
    }

    #[test]
    fn versions_order_by_generation_first() {
        let v = |generation, incarnation| Version { generation, incarnation };
        assert!(v(2, 0) > v(1, u32::MAX));
        assert!(v(1, 2) > v(1, 1));
    }
}
