//! Why a fixed-time schedule is due when it is, where the clocks are changed: in words, for people.

use jiff::civil::Date;

use super::expression::Expression;
use super::zone::{DAY, Zone, day_of};

/// What there is to say about a fixed-time schedule that is due at `at`.
pub(super) fn note(cron: &Expression, zone: &Zone, at: i64) -> Option<String> {
    at_the_end_of_a_gap(cron, zone, at).or_else(|| the_first_of_two(zone, at))
}

fn at_the_end_of_a_gap(cron: &Expression, zone: &Zone, at: i64) -> Option<String> {
    let stretch = zone.stretch(at);
    if stretch.start != at {
        return None;
    }
    let (from, to) = (at + zone.offset(at - 1), at + stretch.offset);
    // Empty unless the clocks went forward.
    let first = cron.first_from(from).filter(|first| *first < to)?;
    let last = cron.last_until(to - 1)?;
    let day = day_of(first)?;
    let subject = if first == last {
        format!("{} does not exist", clock(first, None))
    } else {
        format!("{} to {} do not exist", clock(first, None), clock(last, Some(day)))
    };
    let consequence = if first == last { "it runs" } else { "they run once," };
    let together = if cron.first_from(to) == Some(to) { ", together with what is due then" } else { "" };
    Some(format!(
        "{subject} on {day} in {}: clocks go from {} to {}, so {consequence} at {}{together}",
        zone.name(),
        clock(from, Some(day)),
        clock(to, Some(day)),
        clock(to, Some(day)),
    ))
}

fn the_first_of_two(zone: &Zone, at: i64) -> Option<String> {
    let stretch = zone.stretch(at);
    // A stretch without an end is not followed by a change.
    let change = Some(stretch.end).filter(|end| *end < i64::MAX)?;
    let (from, to) = (change + stretch.offset, change + zone.offset(change));
    let local = at + stretch.offset;
    if !(to..from).contains(&local) {
        return None;
    }
    let day = day_of(local)?;
    Some(format!(
        "{} happens twice on {day} in {}: clocks go back from {} to {}, so it runs the first time only",
        clock(local, None),
        zone.name(),
        clock(from, Some(day)),
        clock(to, Some(day)),
    ))
}

/// A local time as a clock shows it, with its day where that is not the day spoken of.
fn clock(local: i64, day_spoken_of: Option<Date>) -> String {
    let time = local.rem_euclid(DAY);
    let mut text = format!("{:02}:{:02}", time / 3_600, time / 60 % 60);
    if time % 60 != 0 {
        text.push_str(&format!(":{:02}", time % 60));
    }
    match (day_spoken_of, day_of(local)) {
        (Some(spoken_of), Some(day)) if day != spoken_of => format!("{day} {text}"),
        _ => text,
    }
}
