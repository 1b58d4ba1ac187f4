//! How a task is watched over: when time ends an attempt, and when its remote is asked how it is.

use super::*;

/// Whoever may have been cut off gets so long from the start of a node on.
const GRACE: Time = 30 * SECOND;
/// What is not answered after this time is not answered any more.
const PATIENCE: Time = 60 * SECOND;
/// The longest pause between two questions.
const PAUSE_MAX: Time = 300 * SECOND;

impl Task {
    fn is_running(&self) -> bool {
        self.open && self.state == State::Running
    }

    pub(super) fn times_out_at(&self) -> Option<Time> {
        Some(self.began + self.timeout?).filter(|_| self.open)
    }

    /// By when it must give its next sign of life, and how long that is put off by a start.
    pub(super) fn beats_until(&self) -> Option<(Time, Time)> {
        let heartbeat = self.wish.watch.heartbeat.filter(|_| self.is_running())?;
        Some((self.alive_at + heartbeat, heartbeat.max(GRACE)))
    }

    /// How its remote can be asked how the attempt is.
    pub(super) fn can_be_asked(&self) -> Option<Status> {
        let status = self.wish.watch.status.filter(|_| self.is_running())?;
        Some(status).filter(|status| !status.is_located || self.asking.is_located)
    }

    /// From when on a callback is overdue.
    fn is_overdue_at(&self, status: Status) -> Time {
        let soon = self.timeout.map_or(60 * SECOND, |timeout| (timeout / 4).min(60 * SECOND));
        self.began + status.after.unwrap_or(soon)
    }

    /// When its remote is asked next, if nothing else happens.
    fn asks_at(&self, status: Status) -> Time {
        self.asking.next_at.unwrap_or(self.before_deadline(self.began, self.is_overdue_at(status)))
    }

    /// When a question comes that is planned for `at`: there is one half a minute before the deadline, or where the attempt has
    /// less than two minutes for a quarter of them, if that is not before `earliest`.
    pub(super) fn before_deadline(&self, earliest: Time, at: Time) -> Time {
        let before = |deadline: Time| ((deadline - self.began).max(0) / 4).min(30 * SECOND);
        let last_at = self.deadline.map(|deadline| deadline - before(deadline));
        last_at.filter(|last_at| *last_at >= earliest).map_or(at, |last_at| at.min(last_at))
    }

    /// Whether something should have been heard of it at `now`.
    fn is_overdue(&self, status: Status, now: Time) -> bool {
        self.is_overdue_at(status) <= now || self.is_over_at(now)
    }

    /// How long a deadline is put off that passed while no node was up: nobody is to be heard where nobody has the task.
    fn deadline_grace(&self) -> Time {
        if self.open { GRACE } else { 0 }
    }

    /// Whether its deadline is not after `now`.
    pub(super) fn is_over_at(&self, now: Time) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// From an answer to the next question: pauses double, up to five minutes.
    pub(super) fn pause(&self) -> Time {
        let first = self.wish.watch.status.map_or(0, |status| self.is_overdue_at(status) - self.began);
        let doublings = self.asking.count.saturating_sub(1).min(16);
        (first.clamp(SECOND, PAUSE_MAX) << doublings).min(PAUSE_MAX)
    }

    /// Whether an answer may still come to a process that has been up since `up_since`.
    fn is_awaited(&self, now: Time, up_since: Time) -> bool {
        let sent_at = self.asking.sent_at.filter(|_| self.asking.is_open);
        sent_at.is_some_and(|sent_at| sent_at >= up_since && now < sent_at + PATIENCE)
    }
}

impl Model {
    /// When each node judges what ran out at `at`. What ran out while it was down waits for so long from its start on.
    fn judged_at(&self, at: Time, grace: Time) -> impl Iterator<Item = Time> {
        let starts = self.up_since.values();
        starts.map(move |up_since| if at <= *up_since { up_since + grace } else { at })
    }

    /// What ends the open attempt by itself, and how long each is put off by a start.
    fn ends(task: &Task) -> impl Iterator<Item = (Time, Time)> {
        let times_out_at = task.times_out_at().map(|at| (at, GRACE));
        times_out_at.into_iter().chain(task.beats_until())
    }

    fn has_run_out(&self, (at, grace): (Time, Time), now: Time) -> bool {
        self.judged_at(at, grace).any(|judged_at| judged_at <= now)
    }

    /// Whether the time of the open attempt is over, and its remote has had its last word.
    pub(super) fn may_run_out(&self, task: &Task, now: Time) -> Verdict {
        let mut over = Model::ends(task).filter(|end| self.has_run_out(*end, now));
        let is_lost = task.state == State::Dispatching && task.sends >= 4;
        let ends = over.any(|end| self.has_last_word(task, end, now));
        must(is_lost || ends, || format!("G14: its time is not over: {task:?}"))
    }

    /// G14: nothing is declared lost before its remote was asked once more, after its time was over.
    fn has_last_word(&self, task: &Task, (at, grace): (Time, Time), now: Time) -> bool {
        let Some(status) = task.can_be_asked() else { return true };
        let of_host = self.silent.iter().filter(|((_, host), _)| host == status.host);
        let silences: Vec<Time> = of_host.map(|(_, since)| *since).collect();
        self.judged_at(at, grace).filter(|judged_at| *judged_at <= now).any(|judged_at| {
            let is_asked = task.asking.sent_at.is_some_and(|sent_at| sent_at >= judged_at);
            // Behind a host that answers no questions nobody waits for ever.
            let is_silent = |since: &Time| *since >= judged_at && now < since + PATIENCE;
            let is_left = judged_at + PATIENCE <= now && silences.iter().any(is_silent);
            (is_asked || is_left) && !task.is_awaited(now, Time::MIN)
        })
    }

    pub(super) fn is_past_deadline(&self, task: &Task, now: Time) -> bool {
        task.deadline.is_some_and(|deadline| self.has_run_out((deadline, task.deadline_grace()), now))
    }

    /// For what an attempt ended that nobody has ended.
    pub(super) fn why_over(&self, task: &Task, now: Time) -> &'static str {
        let (times_out_at, beats_until) = (task.times_out_at(), task.beats_until());
        let is_over = |end: Option<Time>| end.is_some_and(|at| at <= now);
        match () {
            () if self.may_run_out(task, now).is_err() => "an attempt that ends by its deadline",
            () if is_over(times_out_at) && task.can_be_asked().is_some() => "a time-out after a last word",
            () if is_over(times_out_at) && times_out_at.is_some_and(|at| at + GRACE <= now) => {
                "a time-out that a start has put off"
            }
            () if is_over(times_out_at) => "a time-out",
            () if is_over(beats_until.map(|(at, _)| at)) => "a missed heartbeat",
            () => "a time-out",
        }
    }

    /// Questions to a remote, its answers, and the deadline.
    pub(super) fn may_be_watched(&self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let now = fact.at;
        match &fact.what {
            What::Asks(n) => {
                let status = task.can_be_asked().ok_or("nobody can be asked")?;
                must(!self.is_held, || "the server is held".into())?;
                must(*n == task.attempt && fact.why == Why::Time, || "G8: asked about another".into())?;
                let mut nodes = self.up_since.values();
                must(nodes.any(|up_since| self.may_ask(task, status, now, *up_since)), || {
                    format!("it is asked too early: {task:?}")
                })
            }
            What::Told(n, told) => {
                let came = self.told.get(&(fact.task.clone(), *n)).is_some_and(|all| all.contains(told));
                must(came && fact.why == Why::Asked, || "no remote has said so".into())?;
                let is_awaited = *n == task.attempt && task.asking.answers < task.asking.count;
                must(is_awaited, || format!("G8: nobody has asked: {task:?}"))
            }
            _ => {
                let is_new = task.state == State::New && task.is_over_at(now);
                let by_itself = matches!(fact.why, Why::Time | Why::Queue);
                let passed = is_new || (self.is_past_deadline(task, now) && by_itself);
                must(passed, || format!("its deadline has not passed: {task:?}"))
            }
        }
    }

    /// Whether a node that has been up since `up_since` may ask now.
    fn may_ask(&self, task: &Task, status: Status, now: Time, up_since: Time) -> bool {
        let is_first = task.asking.sent_at.unwrap_or(task.began) < up_since;
        let is_over = Model::ends(task).any(|end| self.has_run_out(end, now));
        let has_paused = task.asking.sent_at.is_none_or(|sent_at| sent_at + SECOND <= now);
        let is_time = (task.asks_at(status) <= now && (has_paused || is_first)) || (is_over && has_paused);
        (is_time || (is_first && task.is_overdue(status, now))) && !task.is_awaited(now, up_since)
    }

    /// An answer about an attempt that is no longer the newest: only its success counts, if any does.
    pub(super) fn is_told_of_an_older_attempt(&mut self, fact: &Fact) -> Verdict {
        let task = &self.tasks[&fact.task];
        let says_done = |n: &u32| {
            let told = self.told.get(&(fact.task.clone(), *n));
            told.is_some_and(|told| told.contains(&Told::Ended(Kind::Completed)))
        };
        let expect = match &fact.what {
            What::Succeeded(n) if *n < task.attempt && says_done(n) => {
                expected(task, Kind::Completed, Some(*n))
            }
            What::Ignored if (task.before + 1..task.attempt).any(|n| says_done(&n)) => Expect::Ignored,
            _ => return Err("G8: an answer about an older attempt".into()),
        };
        if let Some(task) = self.tasks.get_mut(&fact.task) {
            task.expect = Some((fact.why.clone(), expect));
        }
        Ok(())
    }

    /// By when something must have become of a task that waits for its end; `None` where that is up to others.
    /// `has_places`: exchanges never wait for one.
    pub(super) fn is_due(&self, task: &Task, has_places: bool) -> Option<Time> {
        let latest = |(at, grace)| self.judged_at(at, grace).max();
        let deadline = task.deadline.and_then(|at| latest((at, task.deadline_grace())));
        // Between two questions a second passes.
        let again_at =
            task.asking.sent_at.filter(|_| task.can_be_asked().is_some()).map(|at| (at, at + SECOND));
        let asked =
            |at: Time| again_at.filter(|(sent_at, _)| *sent_at < at).map_or(at, |(_, again)| at.max(again));
        let ends = Model::ends(task).filter_map(latest).map(asked).min();
        let of_attempt = match task.can_be_asked() {
            None => ends,
            Some(status) => {
                let asking = &task.asking;
                // After a time without a node, all that is overdue is asked for at once. Where one was up all the time,
                // callbacks had somebody to come to.
                let up = self.down_until;
                let is_first = task.is_overdue(status, up) && asking.sent_at.unwrap_or(task.began) < up;
                let first = is_first.then_some(up);
                let patience = asking.sent_at.filter(|_| asking.is_open).map(|sent_at| sent_at + PATIENCE);
                let asks_at = patience.max(Some(task.asks_at(status)));
                let next = first.into_iter().chain(ends).chain(asks_at).min();
                // Where the process lives that has asked, its answer is awaited.
                let is_awaited = self.up_since.values().any(|up| asking.sent_at >= Some(*up));
                let next = next.max(patience.filter(|_| is_awaited));
                next.filter(|_| has_places && !status.is_shared())
            }
        };
        deadline.into_iter().chain(of_attempt).min()
    }
}
