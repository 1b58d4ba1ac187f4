//! Users and strangers: what they ask for, and what they say.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::submission::{Draft, Heard, OtherHosts, ScheduleAsk, ScheduleDraft, Submission};
use taskhook_core::{
    Asked, ClaimKey, Command, Completion, ConcurrencyKey, Deadline, EventKind, Failure, HoldCommand, On,
    Once, OversightAsked, QueueCommand, QueueKey, Rate, Received, Request, RetryAsked, SourceKey, Spec,
    StatusAsked, StatusRequest, Timestamp, Unique, UniqueKey, queue, schedule, unique::Until,
};

use super::features::Feature;
use super::ground::Ground;
use super::node::{Ask, From};
use super::remote::{LOCATED_HOST, Post};
use super::seen::id_of;
use super::{Happening, World};
use crate::model::{self, Every, Kind, Limits, Missed, Said, Timetable, Watch, Wish};

const SECOND: i64 = 1_000_000;

impl<G: Ground> World<G> {
    /// The queues there are from the beginning.
    pub(super) fn define_queues(&mut self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for name in ["q1", "q2"] {
            let mut limits = Limits::default();
            let rate = model::Rate { limit: 2, per: 3 * SECOND, burst: 2 };
            if self.has(Feature::Limits) {
                limits.concurrency = self.chance(700).then(|| self.pick(&[1, 2, 3]));
                limits.rate = self.chance(300).then_some(rate);
            }
            if self.has(Feature::Keys) {
                limits.key_concurrency = self.chance(600).then(|| self.pick(&[1, 2]));
                limits.key_rate = self.chance(300).then_some(rate);
            }
            let rate = |rate: Option<model::Rate>| {
                rate.map(|rate| Rate {
                    limit: rate.limit,
                    per: Duration::from_micros(rate.per.unsigned_abs()),
                    burst: rate.burst,
                })
            };
            let settings = queue::Settings {
                concurrency: limits.concurrency,
                rate: rate(limits.rate),
                key_concurrency: limits.key_concurrency,
                key_rate: rate(limits.key_rate),
                ..queue::Settings::default()
            };
            let command = QueueCommand::Define {
                settings: Arc::new(settings),
                paused: false,
                secret: queue::SecretAsked::Keep,
            };
            self.model.queue(name, limits);
            asks.push(Ask { submission: Submission::Queue(name.into(), command), from: From::User });
        }
        asks
    }

    /// Somebody does something.
    pub(super) fn acts(&mut self) {
        match self.random.below(100) {
            0..45 => self.creates(),
            45..65 => self.commands(),
            65..72 if self.has(Feature::Pauses) => {
                let queue = self.pick(&["q1", "q2"]);
                let command = if self.chance(600) { QueueCommand::Resume } else { QueueCommand::Pause };
                self.asks(Submission::Queue(queue.into(), command));
            }
            90..93 if self.has(Feature::Holds) => {
                let command = if self.chance(600) { HoldCommand::Resume } else { HoldCommand::Hold };
                self.asks(Submission::Hold(command));
            }
            93..97 if self.has(Feature::OnceKeys) => self.creates_once(),
            85..90 if self.has(Feature::Schedules) && self.schedules < 2 => self.wants_schedule(),
            72..85 if self.has(Feature::Strangers) => {
                let number = self.random.below(u64::from(self.plan.tasks) + 2);
                self.speaks_of(format!("t{number}"));
            }
            _ => {
                let external: Vec<String> = self
                    .drafts
                    .values()
                    .filter(|draft| draft.host.is_none())
                    .map(|draft| draft.id.clone())
                    .collect();
                if !external.is_empty() {
                    let index = self.random.index(external.len());
                    self.speaks_of(external[index].clone());
                }
            }
        }
    }

    /// Gives an ask to some node that is there; without one, nobody hears it.
    pub(super) fn asks(&mut self, submission: Submission) {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect();
        if up.is_empty() {
            return;
        }
        let node = up[self.random.index(up.len())];
        if let Submission::Command(id, command) = &submission {
            let command = match command {
                Command::Cancel => model::Command::Cancel,
                Command::Trigger => model::Command::Trigger,
                Command::Retry { ignore_dependencies } => {
                    model::Command::Retry { ignore: *ignore_dependencies }
                }
            };
            self.model.commands(id, command);
        }
        self.say(|| format!("node {node} is asked: {}", words(&submission)));
        if let Some(node) = &mut self.nodes[node] {
            node.inbox.push_back(Ask { submission, from: From::User });
        }
    }

    fn creates(&mut self) {
        let count = match self.has(Feature::Batches) {
            true if self.plan.is_large() => 1 + self.random.below(80),
            true => 1 + self.random.below(4),
            false => 1,
        };
        let mut drafts = Vec::new();
        for _ in 0..count {
            let again = self.chance(100) && !self.drafts.is_empty();
            let number = match again {
                true => self.random.below(self.drafts.len() as u64),
                false if self.drafts.len() as u64 >= u64::from(self.plan.tasks) => continue,
                false => self.drafts.len() as u64,
            };
            if !self.drafts.contains_key(&number) {
                let made = self.draft(number);
                self.drafts.insert(number, made);
            }
            let draft = &self.drafts[&number];
            if self.model.is_under_a_key(&draft.id) {
                continue;
            }
            if !drafts.iter().any(|other: &Arc<Draft>| other.id == draft.id) {
                drafts.push(Arc::new(draft.clone()));
            }
        }
        if self.chance(500) {
            drafts.reverse();
        }
        if !drafts.is_empty() {
            self.later_asks(Submission::Create(drafts));
        }
    }

    /// Asks for a task under a key, and again with the same key, as somebody does who hears nothing. The server gives ids: a
    /// new one each time.
    fn creates_once(&mut self) {
        let key = self.fresh();
        let once = Once { claim: ClaimKey(u128::from(key).to_be_bytes()), request: [0; 16] };
        let mut at = self.now();
        for _ in 0..1 + self.random.below(3) {
            let number = self.drafts.len() as u64;
            let draft = self.draft(number);
            self.model.asks_once(key, &draft.id);
            self.drafts.insert(number, draft.clone());
            let create = Submission::Create(vec![Arc::new(draft)]);
            self.later(at, Happening::Asks(Submission::Once(once, Box::new(create))));
            at += self.pick(&[0, SECOND, 30 * SECOND]);
        }
    }

    /// Asks for a schedule. It comes to an end, since a world with one that does not would never rest.
    fn wants_schedule(&mut self) {
        self.schedules += 1;
        let name = format!("s{}", self.schedules);
        let second = self.now().div_euclid(SECOND) * SECOND;
        let (every, step) = self.pick(&[
            (Every::Span(7 * SECOND), 7),
            (Every::Span(60 * SECOND), 60),
            (Every::Minutes(1), 60),
            (Every::Minutes(7), 420),
        ]);
        let from = second + self.pick(&[5 * SECOND, 60 * SECOND]);
        let until = from + step * SECOND * self.pick(&[3, 20]);
        let skips = self.chance(300);
        // What is made up for where instants may not overlap waits for its turn, and is not simulated.
        let missed = match skips {
            true => self.pick(&[Missed::Latest, Missed::None]),
            false => self.pick(&[Missed::Latest, Missed::All, Missed::None]),
        };
        let plain = Wish { unique: None, key: None, is_external: false, ..self.wish(0) };
        let wish = Wish {
            after: Vec::new(),
            queue: "default".into(),
            timeout: Some(Some(60 * SECOND)),
            watch: Watch::default(),
            ..plain
        };
        let timetable = Timetable { from, every, until, missed, skips, wish };
        let draft = ScheduleDraft {
            settings: settings_of(&timetable),
            host: Some("h0".into()),
            other_hosts: OtherHosts::default(),
            queue: "default".into(),
            source: "default".into(),
            paused: false,
        };
        self.model.asks_for_schedule(&name, timetable);
        self.asks(Submission::Schedule(name, ScheduleAsk::Define(Arc::new(draft))));
    }

    /// Asks now, and perhaps once more, as somebody does who hears nothing.
    fn later_asks(&mut self, submission: Submission) {
        self.asks(submission.clone());
        if self.chance(300) {
            let at = self.now() + self.pick(&[0, SECOND, 30 * SECOND]);
            self.later(at, Happening::Asks(submission));
        }
    }

    /// A task that is to be, and the same for the oracle.
    fn draft(&mut self, number: u64) -> Draft {
        let id = format!("t{number}");
        let wish = self.wish(number);
        let priority = if self.has(Feature::Priorities) { self.pick(&[-1, 0, 1]) } else { 0 };
        let host = (!wish.is_external).then(|| format!("h{}", self.random.below(3)));
        let correlate = !wish.is_external && self.has(Feature::OwnIds) && self.chance(600);
        let request = host.as_ref().map(|host| {
            Arc::new(Request { method: "POST".into(), url: format!("http://{host}/"), ..Request::default() })
        });
        let (oversight, other_hosts) = asked(&wish.watch);
        let asks_at = other_hosts.status.clone();
        self.model.asks(&id, wish.clone());
        Draft {
            id,
            host,
            queue: wish.queue.clone(),
            source: "default".into(),
            external: None,
            other_hosts,
            asked: Asked { priority, oversight, ..asked_of(&wish) },
            spec: Spec {
                request,
                correlate: correlate.then(|| "response.id".into()),
                status: wish.watch.status.map(|_| {
                    let url = asks_at.map(|host| format!("http://{host}/job"));
                    let request = url.map(|url| Request { method: "GET".into(), url, ..Request::default() });
                    Arc::new(StatusRequest { request, ..StatusRequest::default() })
                }),
                cancel_url: wish.watch.tells_cancel.then(|| "http://c0/".into()),
                after: wish.after.iter().map(|(parent, on)| (parent.clone(), on_of(*on))).collect(),
                ..Spec::default()
            },
            content: [0; 16],
        }
    }

    /// What is asked of a task.
    fn wish(&mut self, number: u64) -> Wish {
        let is_external = self.has(Feature::External) && self.chance(250);
        let after = self.parents(number);
        let queue = if self.has(Feature::Limits) || self.has(Feature::Keys) || self.has(Feature::Pauses) {
            self.pick(&["default", "q1", "q2"])
        } else {
            "default"
        };
        let key = self.has(Feature::Keys).then(|| self.pick(&[1_i64, 2, 0])).filter(|key| *key != 0);
        let unique = (self.has(Feature::Unique) && self.chance(250)).then(|| self.pick(&[1_u8, 2]));
        let delay =
            if self.has(Feature::Delays) { self.pick(&[0, 0, 1, 2 * SECOND, 45 * SECOND]) } else { 0 };
        let timeout = match self.has(Feature::Timeouts) {
            true => self.pick(&[None, Some(SECOND), Some(60 * SECOND), Some(3_600 * SECOND)]),
            false => None,
        };
        let timeout = timeout.filter(|_| !is_external);
        let says_nothing = self.has(Feature::Heartbeats) && self.chance(400);
        let (auto, callback) = (model::Completion::Auto, model::Completion::Callback);
        Wish {
            is_external,
            after,
            queue: queue.into(),
            key: key.map(|key| key.to_string()),
            unique,
            run_at: self.now() + delay,
            timeout: (!says_nothing).then_some(timeout),
            completion: self.pick(&[auto, auto, model::Completion::Response, callback]),
            attempts_max: if self.has(Feature::Retries) { self.pick(&[2, 3, 5]) } else { 1 },
            pause_max: self.pick(&[1, SECOND, 20 * SECOND]),
            watch: self.watch(number, is_external),
        }
    }

    /// How a task is to be watched over.
    fn watch(&mut self, number: u64, is_external: bool) -> Watch {
        let mut watch = Watch::default();
        if self.has(Feature::Heartbeats) {
            watch.heartbeat = self.pick(&[None, Some(5 * SECOND), Some(60 * SECOND), Some(600 * SECOND)]);
        }
        if self.has(Feature::Deadlines) && self.chance(400) {
            let now = self.now();
            let at = [10 * SECOND, 86_400 * SECOND].map(|span| model::Deadline::At(now + span));
            let after = [60 * SECOND, 3_600 * SECOND].map(model::Deadline::After);
            watch.deadline = Some(self.pick(&[at[0], at[1], after[0], after[1]]));
        }
        watch.rejects_late_success = self.has(Feature::LateRefused) && self.chance(600);
        if self.has(Feature::StatusUrls) && self.chance(700) {
            let after = self.pick(&[None, Some(SECOND), Some(20 * SECOND), Some(400 * SECOND)]);
            let is_located = !is_external && self.has(Feature::Locations) && self.chance(500);
            let hosts = if self.chance(300) { ["h0", "h1", "h2"] } else { ["s0", "s1", "s2"] };
            let host = if is_located { LOCATED_HOST } else { hosts[number as usize % 3] };
            watch.status = Some(model::Status { after, is_located, host });
        }
        watch.tells_cancel = !is_external && self.has(Feature::CancelUrls) && self.chance(600);
        watch
    }

    /// Whom a task waits for: in large worlds many for one.
    fn parents(&mut self, number: u64) -> Vec<(String, model::On)> {
        use model::On;
        let mut after: Vec<(String, On)> = Vec::new();
        if self.has(Feature::Dependencies) && number > 0 {
            let wide = self.plan.is_large() && self.chance(700);
            let count = if wide { 1 } else { self.random.below(3) };
            for _ in 0..count {
                let parent = if wide { 0 } else { self.random.below(number) };
                let on = self.pick(&[On::Succeeded, On::Succeeded, On::Failed, On::NotFailed, On::Finished]);
                let parent = format!("t{parent}");
                if !after.iter().any(|(other, _)| *other == parent) {
                    after.push((parent, on));
                }
            }
        }
        after
    }

    fn commands(&mut self) {
        let mut all = Vec::new();
        if self.has(Feature::Cancels) {
            all.push(Command::Cancel);
        }
        if self.has(Feature::Triggers) {
            all.push(Command::Trigger);
        }
        if self.has(Feature::Reopens) {
            let retry = |ignore_dependencies| Command::Retry { ignore_dependencies };
            all.extend([retry(false), retry(false), retry(true)]);
        }
        if all.is_empty() || self.drafts.is_empty() {
            return;
        }
        let command = self.pick(&all);
        let number = self.random.below(self.drafts.len() as u64);
        self.asks(Submission::Command(format!("t{number}"), command));
    }

    /// Somebody reports on a task, whether or not it is there and theirs.
    fn speaks_of(&mut self, id: String) {
        let mut kinds = vec![Kind::Completed, Kind::Completed, Kind::Alive];
        if self.has(Feature::Failures) {
            kinds.push(Kind::Failed { retryable: true });
        }
        if self.has(Feature::Cancels) {
            kinds.push(Kind::Cancelled);
        }
        let kind = self.pick(&kinds);
        let attempt =
            if self.chance(300) { Some(u32::try_from(self.random.below(4)).unwrap_or(0)) } else { None };
        let claim = self.chance(500).then(|| self.fresh());
        let said = Said { task: Some(id), external: None, attempt, kind, claim };
        let post = Post { said, token: None, flavour: self.random.below(4), tries: 2 };
        let copies = if self.has(Feature::DoubledCallbacks) && self.chance(300) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now();
            self.later(at, Happening::Posts(post.clone()));
        }
    }
}

/// The key of a request that happens once, as the oracle knows it.
pub(super) fn number_of(claim: ClaimKey) -> u64 {
    u64::try_from(u128::from_be_bytes(claim.0)).unwrap_or(u64::MAX)
}

/// A webhook as it was mapped at the edge.
pub(super) fn heard(post: &Post, number: u64) -> Submission {
    let said = &post.said;
    let kind = match said.kind {
        Kind::Alive => match post.flavour {
            0 => EventKind::Started,
            1 => EventKind::Heartbeat,
            2 => EventKind::Progress(Some(0.5), None),
            _ => EventKind::Progress(None, Some("on the way".into())),
        },
        Kind::Completed => EventKind::Completed(None),
        Kind::Failed { retryable } => {
            EventKind::Failed(Failure { code: "worker".into(), message: "it broke".into() }, retryable)
        }
        Kind::Cancelled => EventKind::Cancelled,
    };
    let claim = said.claim.map(|claim| ClaimKey(u128::from(claim).to_be_bytes()));
    Submission::Event(Box::new(Heard {
        source: SourceKey::DEFAULT,
        by_key: false,
        task: said.task.clone().filter(|_| post.token.is_none()),
        external: said.external.clone(),
        token: post.token,
        attempt: said.attempt,
        kind,
        claim,
        received: Arc::new(Received {
            external_id: said.external.clone(),
            ..Received::unread(id_of(number), b"{}")
        }),
    }))
}

fn on_of(on: model::On) -> On {
    match on {
        model::On::Succeeded => On::Succeeded,
        model::On::Failed => On::Failed,
        model::On::NotFailed => On::NotFailed,
        model::On::Finished => On::Finished,
    }
}

/// The same as the product is asked for it.
fn asked_of(wish: &Wish) -> Asked {
    let key = wish.key.as_ref().and_then(|key| key.parse().ok());
    let pause = span(wish.pause_max);
    let retry = RetryAsked {
        max_attempts: Some(wish.attempts_max),
        initial: Some(pause),
        factor: Some(1.0),
        max: Some(pause),
    };
    Asked {
        host: None,
        queue: QueueKey::DEFAULT,
        source: SourceKey::DEFAULT,
        concurrency_key: key.map_or(ConcurrencyKey::NONE, ConcurrencyKey),
        unique: wish.unique.map(|key| Unique { key: UniqueKey([key; 16]), until: Until::Finished }),
        priority: 0,
        run_at: Timestamp(wish.run_at),
        completion: Some(match wish.completion {
            model::Completion::Auto => Completion::Auto,
            model::Completion::Response => Completion::Response,
            model::Completion::Callback => Completion::Callback,
        }),
        timeout: wish.timeout.map(|timeout| timeout.map(span)),
        request_timeout: Some(Duration::from_secs(30)),
        retry,
        payload_bytes: 0,
        scheduled: None,
        oversight: OversightAsked::default(),
    }
}

fn settings_of(timetable: &Timetable) -> schedule::Settings {
    let request = Request { method: "POST".into(), url: "http://h0/".into(), ..Request::default() };
    schedule::Settings {
        rule: match timetable.every {
            Every::Span(every) => schedule::Rule::Every(span(every)),
            Every::Minutes(minutes) => schedule::Rule::Cron(format!("*/{minutes} * * * *")),
        },
        timezone: "UTC".into(),
        asked: asked_of(&timetable.wish),
        spec: Spec { request: Some(Arc::new(request)), ..Spec::default() },
        overlap: if timetable.skips { schedule::Overlap::Skip } else { schedule::Overlap::Allow },
        catch_up: Duration::from_secs(30 * 86_400),
        missed: match timetable.missed {
            Missed::Latest => schedule::Missed::Latest,
            Missed::All => schedule::Missed::All,
            Missed::None => schedule::Missed::Skip,
        },
        jitter: Duration::ZERO,
        start_at: Some(Timestamp(timetable.from)),
        end_at: Some(Timestamp(timetable.until)),
    }
}

fn span(time: i64) -> Duration {
    Duration::from_micros(time.unsigned_abs())
}

/// How a task is watched over, as it is asked for, and whom that may call.
fn asked(watch: &Watch) -> (OversightAsked, OtherHosts) {
    let host = |status: model::Status| (!status.is_located).then(|| status.host.to_owned());
    let asked = OversightAsked {
        heartbeat: watch.heartbeat.map(span),
        deadline: watch.deadline.map(|deadline| match deadline {
            model::Deadline::At(at) => Deadline::At(Timestamp(at)),
            model::Deadline::After(after) => Deadline::After(span(after)),
        }),
        rejects_late_success: watch.rejects_late_success,
        status: watch.status.map(|status| StatusAsked { host: None, after: status.after.map(span) }),
        cancel_host: None,
    };
    let cancel = watch.tells_cancel.then(|| "c0".to_owned());
    (asked, OtherHosts { status: watch.status.and_then(host), cancel })
}

fn words(submission: &Submission) -> String {
    match submission {
        Submission::Create(drafts) => {
            let of = |draft: &Arc<Draft>| {
                let after: Vec<String> =
                    draft.spec.after.iter().map(|(id, on)| format!("{id} {on:?}")).collect();
                let asked = &draft.asked;
                format!(
                    "{} (host {:?}, queue {}, after [{}], {:?}, timeout {:?}, attempts {:?}, {:?})",
                    draft.id,
                    draft.host,
                    draft.queue,
                    after.join(", "),
                    asked.completion,
                    asked.timeout,
                    asked.retry.max_attempts,
                    asked.oversight
                )
            };
            format!("create {}", drafts.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        Submission::Once(once, inner) => format!("once for {}: {}", number_of(once.claim), words(inner)),
        Submission::Command(id, command) => format!("{command:?} {id}"),
        Submission::Queue(queue, command) => format!("{queue}: {command:?}"),
        other => format!("{other:?}"),
    }
}
