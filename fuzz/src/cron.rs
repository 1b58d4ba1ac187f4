//! Schedules: whatever is read as a recurrence goes forward, in whole seconds, and agrees with itself.

use taskhook_core::Timestamp;
use taskhook_core::cron::{BadRecurrence, Recurrence};

const ZONES: [&str; 6] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
];

/// Takes the first byte as a zone, the next four as a moment, and the rest as a cron expression.
pub fn check(data: &[u8]) {
    let Some((&[zone, a, b, c, d], text)) = data.split_first_chunk::<5>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let zone = ZONES[usize::from(zone) % ZONES.len()];
    let recurrence = match Recurrence::cron(text, zone) {
        Ok(recurrence) => recurrence,
        Err(BadRecurrence::Cron(why)) => {
            return assert!(!why.is_empty(), "{text:?} is refused without a reason");
        }
        Err(other) => panic!("{other:?} of {text:?} in {zone}"),
    };
    let start = Timestamp::from_secs(i64::from(u32::from_be_bytes([a, b, c, d])));
    let mut after = start;
    for _ in 0..4 {
        let Some(next) = recurrence.next_after(after) else { return };
        assert!(next > after, "{text:?} in {zone}: {next} after {after}");
        assert_eq!(next.0 % 1_000_000, 0, "{text:?}: {next}");
        assert_eq!(recurrence.latest_between(after, next), Some(next), "{text:?} in {zone} after {after}");
        assert_eq!(recurrence.count_between(after, next, 10), 1, "{text:?} in {zone} after {after}");
        after = next;
    }
    assert_eq!(recurrence.latest_between(start, after), Some(after), "{text:?} in {zone}");
}
