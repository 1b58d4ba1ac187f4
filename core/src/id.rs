//! Keys inside, TypeIDs outside.
//!
//! A *key* is a small integer under which a row is found; only the engine and the stores see it. An *id* is
//! what a user sees. Ids that Taskhook makes are TypeIDs (<https://github.com/jetify-com/typeid>, version
//! 0.3): a prefix, an underscore and 16 bytes in Crockford's base 32.

/// Internal key of a task. It belongs to the task's name too, before the task exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey(pub i64);

/// Internal key of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(pub i64);

impl QueueKey {
    /// The queue `default`, which always exists.
    pub const DEFAULT: QueueKey = QueueKey(1);

    /// The system queue `@cancel`, which always exists: its tasks call the `cancel_url` of others. Keys that are given out
    /// are positive.
    pub const CANCEL: QueueKey = QueueKey(-2);
}

/// What is remembered of a task's `concurrency_key`: a hash of it. Two keys with one hash would share their limits,
/// which are kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConcurrencyKey(pub i64);

impl ConcurrencyKey {
    /// That of every task without one. It has no limits of its own.
    pub const NONE: ConcurrencyKey = ConcurrencyKey(0);
}

/// Internal key of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey(pub i64);

/// Internal key of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub i64);

impl SourceKey {
    /// The source `default`, which always exists. Keys that are given out are positive.
    pub const DEFAULT: SourceKey = SourceKey(-1);
}

/// Internal key of a bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkKey(pub i64);

/// Internal key of a target host (`host:port` of a task's URL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(pub i64);

/// Internal key of a remote's own id of a task, within the source that speaks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ExternalKey(pub i64);

/// The key of a name under which webhooks wait until it is known what it stands for: a task's id, or a remote's own id of
/// one. All names have their keys from one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub i64);

impl From<TaskKey> for NameKey {
    fn from(task: TaskKey) -> NameKey {
        NameKey(task.0)
    }
}

impl From<ExternalKey> for NameKey {
    fn from(external: ExternalKey) -> NameKey {
        NameKey(external.0)
    }
}

/// Internal key of a received webhook, in the order of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventKey(pub i64);

/// Public id of a received webhook: the 16 bytes of a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&type_id("evt", &self.0))
    }
}

/// What is remembered of a delivery id: a hash of its scope (the source, or the callback token) and the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey(pub [u8; 16]);

/// What is remembered of a task's `unique` key: a hash of its namespace and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey(pub [u8; 16]);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `prefix_` and the 26 base-32 digits of `bytes`, most significant first.
#[must_use]
pub fn type_id(prefix: &str, bytes: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*bytes);
    let mut text = String::with_capacity(prefix.len() + 27);
    text.push_str(prefix);
    text.push('_');
    for position in (0..26).rev() {
        let digit = (number >> (position * 5)) & 31;
        text.push(ALPHABET[usize::try_from(digit).unwrap_or(0)] as char);
    }
    text
}

/// The 16 bytes of a TypeID with this prefix; `None` if `text` is not one.
#[must_use]
pub fn parse_type_id(prefix: &str, text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('_')?;
    // The first of the 26 digits holds 3 bits only.
    if digits.len() != 26 || digits.as_bytes()[0] > b'7' {
        return None;
    }
    let mut number: u128 = 0;
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit)?;
        number = number << 5 | u128::try_from(value).ok()?;
    }
    Some(number.to_be_bytes())
}

/// Whether `text` may be an id chosen by a caller: `[A-Za-z0-9][A-Za-z0-9._:@-]*`, at most `bytes_max` long.
#[must_use]
pub fn is_callers_id(text: &str, bytes_max: usize) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    !text.is_empty()
        && text.len() <= bytes_max
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own vectors, `spec/valid.yml` of jetify-com/typeid.
    #[test]
    fn type_ids_follow_the_published_vectors() {
        let uuid = |text: &str| u128::from_str_radix(&text.replace('-', ""), 16).unwrap().to_be_bytes();
        for (id, bytes) in [
            ("prefix_00000000000000000000000000", uuid("00000000-0000-0000-0000-000000000000")),
            ("prefix_00000000000000000000000001", uuid("00000000-0000-0000-0000-000000000001")),
            ("prefix_0000000000000000000000000a", uuid("00000000-0000-0000-0000-00000000000a")),
            ("prefix_0000000000000000000000000g", uuid("00000000-0000-0000-0000-000000000010")),
            ("prefix_00000000000000000000000010", uuid("00000000-0000-0000-0000-000000000020")),
            ("prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz", uuid("ffffffff-ffff-ffff-ffff-ffffffffffff")),
            ("prefix_0123456789abcdefghjkmnpqrs", uuid("0110c853-1d09-52d8-d73e-1194e95b5f19")),
            ("prefix_01h455vb4pex5vsknk084sn02q", uuid("01890a5d-ac96-774b-bcce-b302099a8057")),
        ] {
            assert_eq!(type_id("prefix", &bytes), id);
            assert_eq!(parse_type_id("prefix", id), Some(bytes));
        }
        for wrong in [
            "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "prefix_0000",
            "other_00000000000000000000000000",
            "prefix_u0000000000000000000000000",
        ] {
            assert_eq!(parse_type_id("prefix", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn callers_cannot_choose_derived_ids() {
        for good in ["1", "order-991:charge", "a@b.c", "A_".trim_end_matches('_')] {
            assert!(is_callers_id(good, 128), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a~b", "a/b", "ä", "a\n"] {
            assert!(!is_callers_id(bad, 128), "{bad}");
        }
        assert!(!is_callers_id(&"a".repeat(129), 128));
    }
}
