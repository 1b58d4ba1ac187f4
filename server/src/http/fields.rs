//! Reading the fields of a request: every fault is found, and each says where it is.
//!
//! What may be read is what the OpenAPI document has: the fields of the struct in `asked.rs` that describes the object.

use std::time::Duration;

use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value};
use serde_json::value::RawValue;
use taskhook_core::Timestamp;

use crate::http::duration;
use crate::http::problem::{ERRORS_MAX, FieldError, hint};
use crate::json::Members;

/// Names of fields.
pub(super) type Names = &'static [&'static str];

/// The fields of one JSON object, taken one by one.
pub(super) struct Fields<'a> {
    members: Members<'a>,
    pointer: String,
    /// The names of the fields that there are.
    known: fn() -> Names,
    /// What is wrong so far.
    pub(super) errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The members of the object at `pointer`, which `T` describes.
    pub(super) fn of<T: DeserializeOwned>(members: Members<'a>, pointer: impl Into<String>) -> Fields<'a> {
        Fields { members, pointer: pointer.into(), known: names_of::<T>, errors: Vec::new() }
    }

    /// What is read and not documented is a defect, which every test of its reader finds.
    fn assert_documented(&self, name: &str) {
        debug_assert!((self.known)().contains(&name), "{name:?} is read, and asked.rs does not describe it");
    }

    /// The text of a field that is there and not null.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.assert_documented(name);
        self.members.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.assert_documented(name);
        self.members.get(name).is_some_and(|raw| raw.get() != "null")
    }

    /// The text of a field that is there, be it null.
    pub(super) fn raw_or_null(&mut self, name: &str) -> Option<&'a RawValue> {
        self.assert_documented(name);
        self.members.remove(name)
    }

    /// A field of this type.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let raw = self.raw(name)?;
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(_) => {
                self.wrong(name, "wrong_type", format!("must be {wanted}"));
                None
            }
        }
    }

    /// A duration.
    pub(super) fn duration(&mut self, name: &str) -> Option<Duration> {
        let text: String = self.take(name, "a duration such as \"30s\"")?;
        match duration::parse(&text) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                self.wrong(name, "not_a_duration", wrong);
                None
            }
        }
    }

    /// An instant.
    pub(super) fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text: String = self.take(name, "a time such as \"2026-11-24T01:30:00Z\"")?;
        match parse_instant(&text) {
            Ok(at) => Some(at),
            Err(wrong) => {
                self.wrong(name, "not_a_time", wrong);
                None
            }
        }
    }

    /// Notes that a field is wrong.
    pub(super) fn wrong(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = format!("{}/{}", self.pointer, escaped(name));
        self.errors.push(FieldError { pointer, code, detail: detail.into() });
    }

    /// Notes that what a field holds under `inner` is wrong.
    pub(super) fn wrong_within(
        &mut self,
        name: &str,
        inner: &str,
        code: &'static str,
        detail: impl Into<String>,
    ) {
        let pointer = format!("{}/{}/{}", self.pointer, escaped(name), escaped(inner));
        self.errors.push(FieldError { pointer, code, detail: detail.into() });
    }

    /// Refuses what was not taken: nobody knows it.
    pub(super) fn finish(mut self) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.members).into_keys() {
            if self.errors.len() >= ERRORS_MAX {
                break;
            }
            let hint = hint(&name, (self.known)());
            self.wrong(&name, "unknown_field", format!("is not known here{hint}"));
        }
        self.errors
    }
}

/// The names of the fields of a struct, as serde has them.
pub(super) fn names_of<T: DeserializeOwned>() -> Names {
    struct Ask<'a>(&'a mut Names);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            names: Names,
            _: V,
        ) -> Result<V::Value, value::Error> {
            *self.0 = names;
            Err(value::Error::custom(""))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
            Err(value::Error::custom(""))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names: Names = &[];
    // Nothing comes of it but the names, which are asked for first.
    let _ = T::deserialize(Ask(&mut names));
    names
}

/// A name as a part of a pointer (RFC 6901, 4).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// 0000-01-01T00:00:00Z
const YEAR_ZERO: Timestamp = Timestamp::from_secs(-62_167_219_200);

/// Reads an RFC 3339 time.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is no RFC 3339 time; write for instance \"2026-11-24T01:30:00Z\"");
    let too_far = || format!("{text:?} is too far away: the last time there is is 9999-12-30T22:00:00Z");
    let is_last = text.starts_with("9999-12-3");
    let at: jiff::Timestamp = text.parse().map_err(|_| if is_last { too_far() } else { wrong() })?;
    // Some calendars know offsets beyond a day; RFC 3339 does not.
    let offset = text.len().checked_sub(6).and_then(|start| text.get(start..));
    if offset.is_some_and(|offset| offset.starts_with(['+', '-']) && &offset[1..3] > "23") {
        return Err(wrong());
    }
    let at = Timestamp(at.as_microsecond());
    // RFC 3339 has four digits for a year.
    let is_near = (YEAR_ZERO..=Timestamp::MAX).contains(&at);
    if is_near { Ok(at) } else { Err(format!("{text:?} is too far away")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::asked::{RateRequest, TaskRequest};

    #[test]
    fn the_names_of_a_struct_are_those_of_its_fields() {
        assert_eq!(names_of::<RateRequest>(), ["limit", "per", "burst"]);
        assert!(names_of::<TaskRequest>().contains(&"cancel_url"));
        assert!(names_of::<Vec<String>>().is_empty());
    }

    #[test]
    #[should_panic(expected = "\"every\" is read, and asked.rs does not describe it")]
    fn no_field_is_read_that_is_not_documented() {
        let _ = Fields::of::<RateRequest>(Members::new(), "").has("every");
    }
}
