//! Strict JSON: what is ambiguous is refused, with line and column.
//!
//! `serde_json` takes one key twice in an object, of which two readers may see two different halves, and more
//! depth than an answer that wraps it could have.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use taskhook_core::limits;

/// Checks that `bytes` are one JSON text, in UTF-8, without a key twice in one object.
///
/// # Errors
/// One sentence with line and column.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("the body is empty; send a JSON object".into());
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| error.to_string())
}

/// The members of a JSON object, each as the text it was written as.
pub type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Checks `bytes` and splits the object that they are.
///
/// # Errors
/// One sentence that says what is wrong, and where.
pub fn object(bytes: &[u8]) -> Result<Members<'_>, String> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|_| "the body must be a JSON object".to_string())
}

/// The same for a body that may be empty: then it has no members.
///
/// # Errors
/// As [`object`].
pub fn object_or_nothing(bytes: &[u8]) -> Result<Members<'_>, String> {
    if bytes.is_empty() { Ok(Members::new()) } else { object(bytes) }
}

/// `text`, which was checked, with the keys of all objects sorted, every string spelt one way, and without
/// spaces: equal for equal JSON values. Numbers stay as they were written, since no machine number holds all.
#[must_use]
pub fn canonical(text: &str) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(text.len());
    let mut rest = text;
    match write_value(&mut rest, &mut canonical) {
        Some(()) => canonical,
        // Not reached for a text that was checked; any text is at least equal to itself.
        None => text.into(),
    }
}

/// Takes one value off the front of `rest`. Depth is bounded, since `rest` was checked.
fn write_value(rest: &mut &str, to: &mut Vec<u8>) -> Option<()> {
    *rest = rest.trim_start();
    match rest.as_bytes().first()? {
        b'{' => {
            let mut members: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            while next_item(rest, '}')? {
                let key = take_string(rest)?;
                *rest = rest.trim_start().strip_prefix(':')?;
                let mut value = Vec::new();
                write_value(rest, &mut value)?;
                members.insert(key, value);
            }
            to.push(b'{');
            for (key, value) in members {
                serde_json::to_writer(&mut *to, &key).ok()?;
                to.push(b':');
                to.extend(value);
                to.push(b',');
            }
            to.push(b'}');
        }
        b'[' => {
            to.push(b'[');
            while next_item(rest, ']')? {
                write_value(rest, to)?;
                to.push(b',');
            }
            to.push(b']');
        }
        b'"' => serde_json::to_writer(to, &take_string(rest)?).ok()?,
        _ => {
            let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
            to.extend(rest[..end].bytes());
            *rest = &rest[end..];
        }
    }
    Some(())
}

/// Steps over what comes before an item, and tells whether there is one: else the list has ended.
fn next_item(rest: &mut &str, close: char) -> Option<bool> {
    let at = rest.trim_start();
    let behind = match at.starts_with(close) {
        true => at,
        false => at.strip_prefix(['{', '[', ','])?.trim_start(),
    };
    let end = behind.strip_prefix(close);
    *rest = end.unwrap_or(behind);
    Some(end.is_none())
}

/// Takes a string off the front of `rest`, and gives it without its escapes.
fn take_string(rest: &mut &str) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let text = reader.next()?.ok()?;
    *rest = &rest[reader.byte_offset()..];
    Some(text)
}

/// Looks at a value within so many others.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn within<E: serde::de::Error>(self) -> Result<Strict, E> {
        if self.depth == limits::JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {} deep", limits::JSON_DEPTH_MAX)));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.within()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.within()?;
        let mut keys = HashSet::new();
        while let Some(Key(key)) = members.next_key()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            keys.insert(key);
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'de>(std::borrow::Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = std::borrow::Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(std::borrow::Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(std::borrow::Cow::Owned(text.to_owned()))
            }
        }
        reader.deserialize_str(Text).map(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ambiguous_is_refused_with_its_place() {
        for (text, wanted) in [
            ("", "the body is empty; send a JSON object"),
            (" \n", "the body is empty; send a JSON object"),
            ("{\"a\": 1", "EOF while parsing an object at line 1 column 7"),
            ("{\"a\": 1,\n \"a\": 2}", "the key \"a\" is there twice at line 2 column 4"),
            ("{\"x\": [{\"b\": 1, \"\\u0062\": 2}]}", "the key \"b\" is there twice at line 1 column 24"),
            ("{} {}", "trailing characters at line 1 column 4"),
            ("{'a': 1}", "key must be a string at line 1 column 2"),
        ] {
            assert_eq!(check(text.as_bytes()), Err(wanted.to_string()), "{text}");
        }
        assert!(
            check(b"{\"a\": \"\xff\"}").is_err_and(|error| error.contains("invalid unicode")),
            "not UTF-8"
        );
        let deep = "[".repeat(100_000);
        assert_eq!(check(deep.as_bytes()), Err("nested more than 100 deep at line 1 column 101".into()));
        assert_eq!(check(format!("{}1{}", "[".repeat(100), "]".repeat(100)).as_bytes()), Ok(()));
        assert_eq!(check(br#"{"a": {"a": [1, 2.5e300, null, true, "x"]}, "b": {}}"#), Ok(()));
    }

    #[test]
    fn equal_values_have_one_canonical_form() {
        let same = [r#"{"a": 1, "b": [1, {"x": "y"}]}"#, r#"{"b":[1,{"x":"\u0079"}],"a":1}"#];
        assert_eq!(canonical(same[0]), canonical(same[1]));
        assert_ne!(canonical(r#"{"a": [1, 2]}"#), canonical(r#"{"a": [2, 1]}"#));
        assert_ne!(canonical(r#"{"a": {}}"#), canonical(r#"{"a": []}"#));
        assert_ne!(canonical("[12345678901234567890123]"), canonical("[12345678901234567890124]"));
        for (text, wanted) in [
            (" { } ", "{}"),
            ("[ ]", "[]"),
            ("\"\\u00e4\\/\"", "\"ä/\""),
            (" -1.50E+2 ", "-1.50E+2"),
            (
                "{\"b\" : [ 1 , [ ] , {\"}\":\"]\"} ],\n\"a\" :null }",
                "{\"a\":null,\"b\":[1,[],{\"}\":\"]\",},],}",
            ),
        ] {
            assert_eq!(String::from_utf8(canonical(text)).unwrap(), wanted);
        }
    }
}
