//! What time does to a task.

use crate::Context;
use crate::decision::{Change, Decision, Effect, Want};
use crate::draw;
use crate::id::{HostKey, TaskKey};
use crate::input::Failure;
use crate::limits;
use crate::subjects::Subjects;
use crate::task::ends::{End, Kind};
use crate::task::{Attempt, State, Task, steps};
use crate::time::Timestamp;

/// The task wanted to be looked at by now. A wake-up that comes early, late or twice finds nothing to do.
pub fn decide(cx: &Context, subjects: &Subjects, key: TaskKey) -> Decision {
    let Some(task) = subjects.task(key) else { return Decision::nothing() };
    if task.state.is_terminal() || task.quarantined {
        return Decision::nothing();
    }
    let over = task.ends(cx.up_since).find(|end| end.judged_at <= cx.now);
    if let Some(end) = over.filter(|end| end.kind == Kind::Deadline) {
        return deadline_passed(task, failure_by(task, end));
    }
    if let Some(end) = over {
        return match last_word(cx, task, end.judged_at) {
            LastWord::Said => steps::attempt_failed(cx, task, failure_by(task, end), true),
            LastWord::Ask(attempt, host) => poll(task, attempt, host),
            LastWord::Awaited(until) => sooner(cx, task, until),
            LastWord::NoPlace => asks_later(cx, task),
        };
    }
    match (task.state, task.open_attempt()) {
        (State::Scheduled, _) if task.due_at <= cx.now => {
            let mut changes = Vec::new();
            let follow_up = steps::start_due(task, &mut changes);
            let mut decision = Decision::applied(key, changes);
            decision.follow_ups.extend(follow_up);
            decision
        }
        // The exchange began before this process did: nobody waits for its response any more.
        (State::Dispatching, Some(attempt))
            if attempt.sent_at < cx.up_since
                && !task.is_behind_its_time(cx.now)
                && !cfg!(planted = "lost_exchange_is_not_resent") =>
        {
            lost(cx, task, attempt)
        }
        (State::Running, Some(attempt)) if wants_poll(cx, task, attempt) => {
            match task.status_host().filter(|host| is_free_to_ask(cx, *host)) {
                Some(host) => poll(task, attempt, host),
                None => asks_later(cx, task),
            }
        }
        (State::Dispatching, _) => looked_at(cx, task, Some(cx.now + limits::LOST_AFTER)),
        _ => looked_at(cx, task, None),
    }
}

/// Nothing to do: it is looked at again, if its time to wake has come, or is to come sooner: what had put it off may be gone
/// with a process, or with a hold.
fn looked_at(cx: &Context, task: &Task, again: Option<Timestamp>) -> Decision {
    let polls_at = task.polls_at().filter(|_| task.state == State::Running);
    // An answer that has not come is awaited no longer, and the next question may be a while off.
    let next_at = polls_at.and(task.open_attempt().and_then(|attempt| attempt.polling.next_at));
    let due_at = Some(task.due_at).filter(|_| task.state == State::Scheduled);
    let next = [again, polls_at, next_at, due_at].into_iter().flatten().filter(|at| *at > cx.now).min();
    sooner(cx, task, next.unwrap_or(Timestamp::MAX))
}

/// It is looked at again at this instant, unless it is before that anyway.
fn sooner(cx: &Context, task: &Task, wake_at: Timestamp) -> Decision {
    let decision = rearmed(cx, task, wake_at);
    let before = task.wake_at.unwrap_or(Timestamp::MAX);
    let is_sooner = |wake_at: &Timestamp| before <= cx.now || *wake_at < before;
    match decision.changes.first() {
        Some((_, Change::Rearmed { wake_at })) if !is_sooner(wake_at) => Decision::nothing(),
        _ => decision,
    }
}

/// It is looked at again at this instant, and not after what ends it is to be judged.
fn rearmed(cx: &Context, task: &Task, wake_at: Timestamp) -> Decision {
    let ends = task.ends(cx.up_since).map(|end| end.judged_at);
    let looks = ends.chain([wake_at]).filter(|at| *at > cx.now);
    let wake_at = looks.min().unwrap_or(cx.now + limits::LOST_AFTER);
    Decision::applied(task.key, [Change::Rearmed { wake_at }])
}

/// How a task has failed whose deadline passed.
#[must_use]
pub fn past_deadline() -> Failure {
    Failure { code: "deadline".into(), message: "the deadline of the task passed before it had ended".into() }
}

/// Past its deadline a task fails, from any state that is no end, without retry, and its open attempt with this failure.
pub(crate) fn deadline_passed(task: &Task, failure: Failure) -> Decision {
    let attempt = task.open_attempt().map(|attempt| Change::AttemptFailed {
        attempt: attempt.number,
        failure,
        counted: true,
    });
    steps::end(task, attempt.into_iter().chain([Change::DeadlinePassed, Change::Failed]))
}

/// How the open attempt has failed by what ran out, and why that was judged later than it did.
fn failure_by(task: &Task, end: End) -> Failure {
    let Failure { code, message } = match end.kind {
        Kind::Deadline => past_deadline(),
        Kind::Heartbeat => {
            let heartbeat = task.plan.oversight.heartbeat.unwrap_or_default();
            let message = format!("the worker gave no sign of life for {heartbeat:?}");
            Failure { code: "heartbeat".into(), message }
        }
        Kind::Timeout => {
            let timeout = task.plan.timeout.unwrap_or_default();
            let began = if task.is_external() { "begin" } else { "dispatch" };
            let message = format!("no end of the attempt was reported within {timeout:?} of its {began}");
            Failure { code: "timeout".into(), message }
        }
    };
    if !end.is_put_off() {
        return Failure { code, message };
    }
    let (at, judged_at) = (end.at, end.judged_at);
    let late =
        format!("this ran out at {at}, before the server's last start, and was judged from {judged_at} on");
    Failure { code, message: format!("{message}; {late}") }
}

/// Whether the remote has had its last word on an attempt that is overdue.
enum LastWord {
    /// It has, or there is nobody to ask.
    Said,
    /// It is asked about this attempt, at this host.
    Ask(Attempt, HostKey),
    /// It was asked, or is not to be asked yet.
    Awaited(Timestamp),
    /// It cannot be asked now.
    NoPlace,
}

/// G14: before a time-out that is judged at `judged_at` is declared, the remote is asked once more: what it said before that is
/// too old.
fn last_word(cx: &Context, task: &Task, judged_at: Timestamp) -> LastWord {
    let Some(attempt) = task.open_attempt().filter(|_| task.state == State::Running) else {
        return LastWord::Said;
    };
    let Some(host) = task.status_host().filter(|_| !cfg!(planted = "no_last_word")) else {
        return LastWord::Said;
    };
    if let Some(until) = awaited_until(cx, attempt) {
        return LastWord::Awaited(until);
    }
    let sent_at = attempt.polling.sent_at;
    let again_at = sent_at.map_or(cx.now, |sent_at| sent_at + limits::POLL_PAUSE_MIN);
    let since = if cfg!(planted = "early_word_is_the_last") { cx.up_since } else { judged_at };
    match sent_at.filter(|sent_at| *sent_at >= since) {
        Some(_) => LastWord::Said,
        // Time between signs of life may be shorter than any pause between two questions.
        None if again_at > cx.now => LastWord::Awaited(again_at),
        None if is_free_to_ask(cx, host) => LastWord::Ask(attempt, host),
        // It leaves what it is asked without an answer: nobody waits for ever behind the others that ask it.
        None if !cx.rests()
            && cx.permits.is_silent_since(host, judged_at, cx.now)
            && judged_at + limits::LAST_POLL_WITHIN <= cx.now =>
        {
            LastWord::Said
        }
        None => LastWord::NoPlace,
    }
}

/// Whether the remote is to be asked now how this attempt is: its callback is overdue, and it is time, or no poll of this
/// process has asked yet.
fn wants_poll(cx: &Context, task: &Task, attempt: Attempt) -> bool {
    let Some(status) = task.plan.oversight.status.filter(|_| task.status_host().is_some()) else {
        return false;
    };
    let polling = attempt.polling;
    let is_overdue = attempt.began_at + status.after <= cx.now || task.is_behind_its_deadline(cx.now);
    let is_time = polling.next_at.is_some_and(|at| at <= cx.now);
    let is_first_since_start = polling.sent_at.unwrap_or(attempt.began_at) < cx.up_since
        && !cfg!(planted = "poll_is_forgotten_after_downtime");
    awaited_until(cx, attempt).is_none() && (is_time || (is_overdue && is_first_since_start))
}

/// Until when an answer is awaited that is still to come. The exchange of one that was asked by an earlier process died with it.
fn awaited_until(cx: &Context, attempt: Attempt) -> Option<Timestamp> {
    let sent_at = attempt.polling.sent_at.filter(|at| attempt.polling.open && *at >= cx.up_since);
    sent_at.map(|at| at + limits::LAST_POLL_WITHIN).filter(|until| cx.now < *until)
}

/// Whether a question may be put to this host now.
fn is_free_to_ask(cx: &Context, host: HostKey) -> bool {
    !cx.rests() && cx.permits.allow_poll(host)
}

/// A poll that cannot be sent waits for a place; should nobody offer it one, it is tried again.
fn asks_later(cx: &Context, task: &Task) -> Decision {
    let mut decision = sooner(cx, task, poll_again(cx, task));
    let host = task.status_host().filter(|_| !cx.rests());
    decision.wants.extend(host.map(|host| Want::Poll(host, task.key)));
    decision
}

/// When a poll is tried again that could not be sent: drawn, so that ten thousand do not come at one moment, and a few times
/// before a deadline, which waits for no answer. Whoever resumes a held server looks at them before this time.
fn poll_again(cx: &Context, task: &Task) -> Timestamp {
    if cx.rests() {
        return cx.now + limits::POLL_PAUSE_MAX;
    }
    let seed = task.key.0.cast_unsigned() ^ cx.now.0.cast_unsigned().rotate_left(20);
    let left =
        task.deadline().filter(|deadline| *deadline > cx.now).map(|deadline| deadline.since(cx.now) / 4);
    let within = left.map_or(limits::POLL_AGAIN, |left| left.min(limits::POLL_AGAIN));
    let more = within.saturating_sub(limits::POLL_PAUSE_MIN);
    cx.now + limits::POLL_PAUSE_MIN + more.mul_f64(draw::fraction(seed))
}

fn poll(task: &Task, attempt: Attempt, host: HostKey) -> Decision {
    let number = attempt.number;
    let lost = attempt.polling.open.then_some(Change::PollLost { attempt: number });
    let changes = lost.into_iter().chain([Change::PollSent { attempt: number }]);
    let mut decision = Decision::applied(task.key, changes);
    let location = task.location.clone();
    decision.effects.push(Effect::Poll { task: task.key, attempt: number, host, location });
    decision
}

/// An exchange whose process died: the same attempt is sent again, with the same id, a bounded number of
/// times. G10: the target may see it twice.
fn lost(cx: &Context, task: &Task, attempt: Attempt) -> Decision {
    if attempt.sends > limits::RESENDS_MAX + u8::from(cfg!(planted = "one_resend_more")) {
        let message =
            format!("sent {} times, and each time Taskhook stopped before the response", attempt.sends);
        return steps::attempt_failed(cx, task, Failure { code: "dispatch_lost".into(), message }, true);
    }
    let allowed = task.plan.host.is_some_and(|host| cx.permits.allow(host, task.plan.payload_bytes, cx.now));
    if cx.rests() || !allowed {
        // Whoever resumes looks at what is lost before this time.
        let pause = if cx.rests() { limits::LOST_AFTER } else { limits::RESEND_PAUSE };
        let mut decision = rearmed(cx, task, cx.now + pause);
        let host = task.plan.host.filter(|_| !cx.rests());
        decision.wants.extend(host.map(|host| Want::Resend(host, task.key)));
        return decision;
    }
    let send = attempt.sends + 1;
    let mut decision = Decision::applied(task.key, [Change::Resent { attempt: attempt.number, send }]);
    decision.effects.push(Effect::Dispatch {
        task: task.key,
        attempt: attempt.number + u32::from(cfg!(planted = "resend_with_a_new_number")),
        send,
    });
    decision
}
