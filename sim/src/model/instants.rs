//! Schedules: which instants there are, counted second by second, and what has to become of each.

use super::*;

#[derive(Debug)]
pub(super) struct Schedule {
    timetable: Timetable,
    /// It was answered that it is there.
    known_at: Option<Time>,
    /// The newest instant that has made a task.
    last: Option<Time>,
    /// The first one behind that.
    next: Option<Time>,
}

impl Timetable {
    fn has(&self, at: Time) -> bool {
        let is_one = match self.every {
            // The first one comes an interval later.
            Every::Span(span) => at > self.from && (at - self.from) % span == 0,
            Every::Minutes(minutes) => at % (60 * SECOND) == 0 && (at / (60 * SECOND)) % 60 % minutes == 0,
        };
        is_one && self.from <= at && at <= self.until
    }

    /// The first instant behind `after`.
    fn next(&self, after: Time) -> Option<Time> {
        let mut at = after.div_euclid(SECOND) * SECOND;
        while at <= self.until {
            at += SECOND;
            if self.has(at) {
                return Some(at);
            }
        }
        None
    }
}

impl Model {
    /// A user asks for a schedule.
    pub fn asks_for_schedule(&mut self, name: &str, timetable: Timetable) {
        self.schedules.insert(name.into(), Schedule { timetable, known_at: None, last: None, next: None });
    }

    /// A user was told that the schedule is there.
    pub fn schedule_is_known(&mut self, name: &str, now: Time) {
        if let Some(schedule) = self.schedules.get_mut(name) {
            schedule.known_at = schedule.known_at.or(Some(now));
        }
    }

    /// G13: the task of an instant; what is asked of it.
    pub(super) fn of_instant(&mut self, fact: &Fact) -> Result<Option<Wish>, String> {
        let Some((name, at)) = fact.task.split_once('~').and_then(|(name, at)| Some((name, instant(at)?)))
        else {
            return Ok(None);
        };
        let schedule = self.schedules.get(name).ok_or("G13: nobody asked for this schedule")?;
        must(!self.is_held, || "the server is held".into())?;
        let Schedule { timetable, last, next, .. } = schedule;
        let behind = timetable.next(at);
        must(timetable.has(at) && at <= fact.at, || "G13: that is no instant that has come".into())?;
        must(last.is_none_or(|last| last < at), || format!("G13: decided again, behind {last:?}"))?;
        match timetable.missed {
            Missed::All => {
                must(last.is_none() || *next == Some(at), || format!("G13: {next:?} is left out"))?;
            }
            _ => must(behind.is_none_or(|behind| behind > fact.at), || "G13: there is a newer one".into())?,
        }
        let mut others = self.tasks.iter().filter(|(id, _)| id.starts_with(&format!("{name}~")));
        // One that is reopened in the same commit may as well have been reopened behind it.
        let runs = others.find(|(_, task)| !task.state.is_end() && task.reopened_step < self.step);
        must(!timetable.skips || runs.is_none(), || format!("G13: {runs:?} has not ended"))?;
        let wish = Wish { run_at: at, ..timetable.wish.clone() };
        let is_late = at + 60 * SECOND < fact.at;
        let what = if is_late { "an instant that is made up for" } else { "an instant of a schedule" };
        self.note(what);
        if let Some(schedule) = self.schedules.get_mut(name) {
            (schedule.last, schedule.next) = (Some(at), behind);
        }
        Ok(Some(wish))
    }

    /// Without faults, an instant that has come has made its task, if nothing may be in its way.
    pub(super) fn decides_instants(&self, now: Time) -> Verdict {
        for (name, schedule) in &self.schedules {
            let Schedule { timetable, known_at: Some(known_at), last, next } = schedule else { continue };
            let next = if last.is_some() { *next } else { timetable.next(*known_at) };
            let is_sure = !timetable.skips && timetable.missed != Missed::None;
            let waits = next.filter(|at| is_sure && *at < now);
            must(waits.is_none(), || format!("G13: {name} has not decided {waits:?}"))?;
        }
        Ok(())
    }
}

/// The instant that an id names, in microseconds: its days are counted month by month.
fn instant(text: &str) -> Option<Time> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<Time>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_leap = |year: Time| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: Time| match month {
        2 => 28 + Time::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: Time = (1970..year).map(|year| 365 + Time::from(is_leap(year))).sum();
    let days = years + (1..month).map(length).sum::<Time>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND)
}
