//! The targets of tasks: what they answer, what they call back, and how both go wrong on their way.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::Permit;
use taskhook::engine::commit::Dispatch;
use taskhook::engine::submission::Submission;
use taskhook::store::row::micros;
use taskhook_core::{
    EventKind, External, ExternalKey, Failure, HostKey, Location, PollAnswer, Polled, Reply, ReplyKind,
    Response, TaskKey, Timestamp,
};

use super::features::Feature;
use super::ground::Ground;
use super::node::{Ask, Settled};
use super::{Happening, World};
use crate::model::{Answer, Kind, Said, Time, Told, Verdict};

const MILLI: Time = 1_000;
const SECOND: Time = 1_000_000;

/// A webhook that somebody sends, until it is answered or they give up.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) said: Said,
    /// By the callback token of this task.
    pub(super) token: Option<TaskKey>,
    /// Which word a sign of life uses.
    pub(super) flavour: u64,
    /// How often it is sent again where no answer comes.
    pub(super) tries: u32,
}

/// What a remote does, and when it has done it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    ends_at: Time,
    end: Kind,
}

/// What came of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came {
    /// Of a dispatch.
    Answer(Answer),
    /// Of a poll.
    Told(Told),
}

/// The host of the status URLs that responses name.
pub(super) const LOCATED_HOST: &str = "s9";

/// An exchange that is open.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) id: String,
    pub(super) task: TaskKey,
    pub(super) attempt: u32,
    pub(super) permit: Option<Permit>,
    /// It asks how the attempt is.
    pub(super) is_poll: bool,
    is_external: bool,
    own_ids: bool,
    /// The task asks for the status URL in the answer, and is told it.
    is_located: Option<bool>,
    /// When the node gives up.
    gives_up_at: Time,
}

impl Exchange {
    pub(super) fn of(dispatch: &Dispatch, now: Time) -> Exchange {
        let plan = &dispatch.task.plan;
        let is_poll = dispatch.poll.is_some();
        let permit = dispatch.permit();
        let asks_for_url = plan.oversight.status.is_some_and(|status| status.host.is_none());
        let began = dispatch.task.attempt.map_or(now, |attempt| attempt.began_at.0);
        let limit = now + micros(plan.request_timeout);
        let over = plan.timeout.map_or(limit, |timeout| began + micros(timeout));
        Exchange {
            id: dispatch.id.clone(),
            task: dispatch.task.key,
            attempt: dispatch.attempt,
            permit,
            is_poll,
            is_external: plan.host.is_none(),
            own_ids: dispatch.correlate.is_some(),
            is_located: asks_for_url.then_some((dispatch.task.key.0 + i64::from(dispatch.attempt)) % 5 != 0),
            gives_up_at: if is_poll { now + 30 * SECOND } else { limit.min(over).max(now) },
        }
    }

    /// Whether this answer names the status URL.
    pub(super) fn names_url(&self, answer: Answer) -> bool {
        self.is_located == Some(true) && (200..300).contains(&answer.status)
    }

    pub(super) fn words(&self, what: &str) -> String {
        let kind = if self.is_poll { "the question about attempt" } else { "attempt" };
        format!("{kind} {} of {} {what}", self.attempt, self.id)
    }
}

impl<G: Ground> World<G> {
    /// A request arrives: the target decides what to do, to answer and to say later.
    pub(super) fn arrives(&mut self, number: u64, node: usize, life: u64, exchange: &Exchange) {
        let now = self.now();
        if self.has(Feature::Unreachable) && self.chance(150) {
            let at = now + self.pick(&[MILLI, SECOND, 40 * SECOND]);
            return self.ends(number, node, life, exchange, (at, Answer::default()));
        }
        let delay = self.pick(&[MILLI, 20 * MILLI, 300 * MILLI, 5 * SECOND]);
        if self.is_dead(exchange) {
            let answer = Answer { status: self.pick(&[0, 500, 502]), retry_after: None };
            return self.ends(number, node, life, exchange, (now + delay, answer));
        }
        let accepted = self.chance(600);
        let mut status = if accepted { 202 } else { self.pick(&[200, 200, 204]) };
        let mut calls_back = accepted || self.chance(100);
        let mut fails = false;
        if !self.calm {
            if self.has(Feature::Failures) && self.chance(250) {
                fails = true;
                if self.chance(500) {
                    status = self.pick(&[500, 503, 502, 429, 408, 400, 404, 301]);
                    calls_back = false;
                }
            }
            if self.has(Feature::Lies) && self.chance(300) {
                status = self.pick(&[200, 202, 500, 503, 404]);
                calls_back = self.chance(600);
            }
        }
        let mut answer = Answer { status, retry_after: None };
        if self.has(Feature::Postponements) && matches!(status, 429 | 503) && self.chance(600) {
            answer.retry_after = Some(self.pick(&[0, SECOND, 90 * SECOND]));
        }
        let mut at = now + delay;
        if self.has(Feature::HungUp) && self.chance(150) {
            answer = Answer::default();
            if self.chance(500) {
                at = exchange.gives_up_at;
            }
        }
        let knows = exchange.own_ids && (200..300).contains(&answer.status);
        if calls_back || (self.calm && answer.status == 202) {
            self.works(exchange, (now, delay), fails, knows);
        } else if (200..300).contains(&answer.status) && self.chance(500) {
            // It does what was asked, and tells nobody.
            let end = if fails { Kind::Failed { retryable: true } } else { Kind::Completed };
            let ends_at = now + self.pick(&[MILLI, 30 * SECOND, 600 * SECOND]);
            self.jobs.entry((exchange.id.clone(), exchange.attempt)).or_insert(Job { ends_at, end });
        }
        self.ends(number, node, life, exchange, (at, answer));
    }

    fn ends(
        &mut self,
        number: u64,
        node: usize,
        life: u64,
        exchange: &Exchange,
        (at, answer): (Time, Answer),
    ) {
        let (at, answer) =
            if at >= exchange.gives_up_at { (exchange.gives_up_at, Answer::default()) } else { (at, answer) };
        self.later(at, Happening::Ends { number, node, life, came: Came::Answer(answer) });
    }

    /// What a node counts for one host is one host in the URLs that it asks.
    pub(super) fn learns_host(&mut self, dispatch: &Dispatch) -> Verdict {
        let url = &dispatch.request.url;
        let asked = url.split('/').nth(2).unwrap_or_default();
        let Some(permit) = dispatch.permit() else {
            return Err(format!("G12: {url} is asked without a place"));
        };
        let known = self.asked_hosts.entry(permit.host).or_insert_with(|| asked.into());
        if known == asked { Ok(()) } else { Err(format!("G12: {url} takes the place of {known}")) }
    }

    /// The oracle hears which hosts a node knows to answer, and which not, by what it was to decide.
    pub(super) fn is_heard(&mut self, node: usize, asks: &[Ask], settled: &Settled, now: Timestamp) {
        for ask in asks {
            let Submission::Polled(polled) = &ask.submission else { continue };
            let is_answered = !matches!(polled.answer, PollAnswer::Lost(_));
            let host = self.asked_hosts[&polled.host].clone();
            match settled {
                // What a process has heard that died, the next one does not know. What it decided may stand.
                Settled::Died if is_answered => {}
                Settled::Done(..) | Settled::Died => {
                    self.model.host_is_heard((node, host), is_answered, now.0);
                }
                Settled::Refused(_) => {}
            }
        }
    }

    /// Whether a host fails whatever it is asked. It begins to now and then, and goes on for a while.
    fn is_dead(&mut self, exchange: &Exchange) -> bool {
        let now = self.now();
        let Some(host) = exchange.permit.map(|permit| permit.host).filter(|_| self.has(Feature::DeadHosts))
        else {
            return false;
        };
        if self.dead_until.get(&host).is_some_and(|until| now < *until) {
            return true;
        }
        let begins = self.chance(100);
        if begins {
            let until = now + self.pick(&[10, 60, 600]) * SECOND;
            self.dead_until.insert(host, until);
        }
        begins
    }

    /// A remote is asked how an attempt is. Once everything is mended it says what is so.
    pub(super) fn is_asked(&mut self, number: u64, node: usize, life: u64, exchange: &Exchange) {
        let now = self.now();
        let key = (exchange.id.clone(), exchange.attempt);
        if exchange.is_external && !self.jobs.contains_key(&key) {
            let ends_at = now + self.pick(&[0, 30 * SECOND, 600 * SECOND]);
            let end = self.pick(&[Kind::Completed, Kind::Completed, Kind::Cancelled]);
            self.jobs.insert(key.clone(), Job { ends_at, end });
        }
        let mut told = match self.jobs.get(&key) {
            None => Told::NotFound,
            Some(job) if job.ends_at <= now => Told::Ended(job.end),
            Some(_) => Told::Running { shows_progress: self.chance(300) },
        };
        if self.has(Feature::StatusLies) && self.chance(200) {
            let failed = Kind::Failed { retryable: true };
            let running = Told::Running { shows_progress: true };
            told = self.pick(&[running, Told::Ended(Kind::Completed), Told::Ended(failed), Told::NotFound]);
        }
        if self.has(Feature::StatusFlaps) && self.chance(300) {
            told = Told::NotFound;
        }
        if (self.has(Feature::StatusErrors) && self.chance(250)) || self.is_dead(exchange) {
            told = Told::Nothing;
        }
        let slow = self.has(Feature::StatusSlow) && self.chance(300);
        let at =
            now + if slow { self.pick(&[10, 29, 60]) * SECOND } else { self.pick(&[MILLI, 300 * MILLI]) };
        let (at, told) =
            if at >= exchange.gives_up_at { (exchange.gives_up_at, Told::Nothing) } else { (at, told) };
        self.later(at, Happening::Ends { number, node, life, came: Came::Told(told) });
    }

    /// The target works, and calls back.
    fn works(&mut self, exchange: &Exchange, (now, delay): (Time, Time), fails: bool, knows: bool) {
        let early = self.has(Feature::EarlyCallbacks) && self.chance(400);
        let long = self.pick(&[MILLI, 2 * SECOND, 30 * SECOND, 600 * SECOND]);
        let mut at = if early { now + delay / 2 } else { now + delay + long };
        let ends_at = at;
        if self.has(Feature::LateCallbacks) && self.chance(250) {
            at += self.pick(&[60 * SECOND, 3_600 * SECOND, 90_000 * SECOND]);
        }
        let mut kinds = Vec::new();
        if self.has(Feature::SignsOfLife) {
            kinds.extend((0..self.random.below(3)).map(|_| Kind::Alive));
        }
        let fails = fails || (!self.calm && self.has(Feature::Failures) && self.chance(150));
        let failed = Kind::Failed { retryable: self.chance(800) };
        let end = match fails {
            true => failed,
            false if !self.calm && self.has(Feature::Cancels) && self.chance(40) => Kind::Cancelled,
            false => Kind::Completed,
        };
        self.jobs.entry((exchange.id.clone(), exchange.attempt)).or_insert(Job { ends_at, end });
        kinds.push(end);
        if self.has(Feature::Contradictions) && self.chance(250) {
            kinds.push(if fails { Kind::Completed } else { failed });
        }
        for kind in kinds {
            let (post, copies) = self.callback(exchange, kind, knows);
            for copy in 0..copies {
                self.later(at + copy * SECOND, Happening::Posts(post.clone()));
            }
            at += self.pick(&[0, MILLI, 3 * SECOND]);
            if self.has(Feature::LateCallbacks) && self.chance(200) {
                // Those behind it come first.
                at = (at - 10 * SECOND).max(now);
            }
        }
    }

    /// How a target speaks of its task, and how often one hears it.
    fn callback(&mut self, exchange: &Exchange, kind: Kind, knows: bool) -> (Post, Time) {
        let by_token = self.chance(500);
        let mut attempt = Some(exchange.attempt);
        if !by_token && self.has(Feature::Nameless) && self.chance(400) {
            attempt = None;
        }
        if self.has(Feature::OldAttempts) && exchange.attempt > 1 && self.chance(300) {
            attempt = Some(exchange.attempt - 1);
        }
        let own = knows && self.chance(600);
        let claim = self.chance(700).then(|| self.fresh());
        let name = format!("r-{}-{}", exchange.id, exchange.attempt);
        let said = Said {
            task: (!own).then(|| exchange.id.clone()),
            external: own.then_some(name),
            attempt: attempt.filter(|_| !own),
            kind,
            claim,
        };
        let token = (by_token && !own).then_some(exchange.task);
        let post = Post { said, token, flavour: self.random.below(4), tries: 3 };
        let lost = self.has(Feature::NoCallbacks) || (self.has(Feature::LostCallbacks) && self.chance(250));
        let doubled = self.has(Feature::DoubledCallbacks) && self.chance(300);
        let copies = if lost { 0 } else { 1 + i64::from(doubled) * self.pick(&[1, 2, 5]) };
        (post, copies)
    }
}

/// The header that asks for a pause.
fn retry_after(pause: Time) -> (String, String) {
    ("retry-after".into(), (pause / SECOND).to_string())
}

/// The end of an exchange, as its node hears of it.
pub(super) fn reply(exchange: &Exchange, answer: Answer) -> Reply {
    let kind = match answer.status {
        0 => ReplyKind::Lost(Failure { code: "broken".into(), message: "the connection broke".into() }),
        status => ReplyKind::Response(Arc::new(Response {
            status,
            headers: answer.retry_after.map(retry_after).into_iter().collect(),
            retry_after: answer.retry_after.map(|pause| Duration::from_micros(pause.unsigned_abs())),
            ..Response::default()
        })),
    };
    let knows = exchange.own_ids && (200..300).contains(&answer.status);
    let id = format!("r-{}-{}", exchange.id, exchange.attempt).into();
    let external = knows.then(|| Ok(External { key: ExternalKey::default(), source: "default".into(), id }));
    let location = exchange.is_located.filter(|_| (200..300).contains(&answer.status)).map(|_| {
        let (url, host_name) = (format!("http://{LOCATED_HOST}/job").into(), LOCATED_HOST.into());
        let location = Location { url, host_name, host: HostKey(0) };
        if exchange.names_url(answer) { Ok(location) } else { Err("it names no Location".into()) }
    });
    Reply { task: exchange.task, attempt: exchange.attempt, kind, external, location }
}

/// What came of a poll, as its node hears of it.
pub(super) fn polled(exchange: &Exchange, told: Told) -> Polled {
    let failure = || Failure { code: "remote".into(), message: "it broke".into() };
    let answer = match told {
        Told::Running { shows_progress } => {
            PollAnswer::Says(EventKind::Progress(shows_progress.then_some(0.5), None))
        }
        Told::Ended(Kind::Failed { retryable }) => PollAnswer::Says(EventKind::Failed(failure(), retryable)),
        Told::Ended(Kind::Cancelled) => PollAnswer::Says(EventKind::Cancelled),
        Told::Ended(Kind::Completed | Kind::Alive) => PollAnswer::Says(EventKind::Completed(None)),
        Told::NotFound => PollAnswer::NotFound,
        Told::Nothing => PollAnswer::Lost(failure()),
    };
    let host = exchange.permit.map_or(HostKey(0), |permit| permit.host);
    Polled { task: exchange.task, attempt: exchange.attempt, host, answer }
}
