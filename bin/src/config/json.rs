//! JSON for configuration files: a tree that keeps the order of keys and refuses a key that is
//! there twice, with line and column.

use std::{collections::BTreeSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// `[...]`
    List(Vec<Tree>),
    /// `{...}` in its order.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// What it is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Definitions that may stand in one file several times.
const REPEATABLE: [&str; 2] = ["service", "check"];

/// Parses a document.
///
/// # Errors
/// serde_json's, with line and column: syntax, nesting beyond 128, a key twice in one object.
pub(crate) fn parse(text: &str) -> Result<Tree, serde_json::Error> {
    let mut de = serde_json::Deserializer::from_str(text);
    let tree = Seed.deserialize(&mut de)?;
    de.end()?;
    Ok(tree)
}

struct Seed;

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Tree, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
        Ok(Tree::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
        Ok(i64::try_from(v).map_or(Tree::Float(v as f64), Tree::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
        Ok(Tree::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
        Ok(Tree::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(Self)? {
            out.push(v);
        }
        Ok(Tree::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) && !REPEATABLE.contains(&key.as_str()) {
                return Err(de::Error::custom(format!("the key \"{key}\" is there twice")));
            }
            out.push((key, map.next_value_seed(Self)?));
        }
        Ok(Tree::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_values() {
        let tree = parse(r#"{"a": [1, 1.5, true, null, "x"], "b": {}, "c": -1}"#).unwrap();
        let Tree::Object(o) = tree else { panic!() };
        assert_eq!(
            o[0].1,
            Tree::List(vec![
                Tree::Int(1),
                Tree::Float(1.5),
                Tree::Bool(true),
                Tree::Null,
                Tree::Text("x".into())
            ])
        );
        assert_eq!(o[2], ("c".into(), Tree::Int(-1)));
    }

    #[test]
    fn faults_have_a_line_and_a_column() {
        let at = |s| {
            let e = parse(s).unwrap_err();
            (e.line(), e.column())
        };
        assert_eq!(at("{\n  \"a\": 1,\n  \"b\" 2\n}"), (3, 7));
        assert_eq!(at("{}\n x").0, 2);
        assert_eq!(at("{\"a\":1,\n\"a\":2}").0, 2);
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn only_definitions_may_be_repeated() {
        assert!(parse(r#"{"service":{},"service":{}}"#).is_ok());
        let e = parse(r#"{"server":true,"server":false}"#).unwrap_err().to_string();
        assert!(e.starts_with("the key \"server\" is there twice"), "{e}");
    }
}
