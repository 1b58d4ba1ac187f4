//! Random submissions: what callers, workers and users might say, sense and nonsense alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::submission::{BulkAsk, Draft, Submission};
use taskhook::store::Author;
use taskhook_core::access::{AccessCommand, ApiKey, ApiKeyId, Role};
use taskhook_core::bulk::{Filter, Settings};
use taskhook_core::schedule::{Missed, Overlap};
use taskhook_core::{
    Answered, ClaimKey, Command, Completion, Deadline, EventKind, External, ExternalKey, HostKey, Location,
    On, Once, PollAnswer, Polled, Rate, Reply, ReplyKind, Request, Response, RetryAsked, ScheduleCommand,
    State, StatusAsked, StatusRequest, TaskKey, Timestamp, Unique, UniqueKey, unique::Until,
};
use taskhook_sim::Random;

use super::world::{
    START, command, create, define, delivered, event, every, external, failure, heard, hosted,
    schedule_command,
};

/// How many task ids there are: few enough that inputs meet.
const IDS: usize = 12;
const HOSTS: usize = 4;
const OVERLAPS: [Overlap; 4] = [Overlap::Skip, Overlap::Allow, Overlap::BufferOne, Overlap::CancelPrevious];

/// A source of submissions.
pub(super) struct Script {
    random: Random,
    events: u64,
    bulks: u64,
}

/// How a task is watched over, some of it or all.
fn oversee(random: &mut Random, draft: &mut Draft) {
    let seconds = |random: &mut Random| Duration::from_secs(1 + random.below(30));
    let oversight = &mut draft.asked.oversight;
    oversight.heartbeat = random.per_mille(400).then(|| seconds(random));
    oversight.deadline = random.per_mille(300).then(|| Deadline::After(seconds(random)));
    oversight.rejects_late_success = random.per_mille(300);
    if random.per_mille(700) {
        oversight.status =
            Some(StatusAsked { host: None, after: random.per_mille(700).then(|| seconds(random)) });
        let is_fixed = draft.host.is_none() || random.per_mille(600);
        draft.other_hosts.status = is_fixed.then(|| format!("h{}", random.index(HOSTS)));
        let url = is_fixed.then(|| "http://h/status".into());
        let request = url.map(|url| Request { method: "GET".into(), url, ..Request::default() });
        draft.spec.status = Some(Arc::new(StatusRequest { request, map: BTreeMap::new() }));
    }
    if draft.host.is_some() && random.per_mille(400) {
        draft.other_hosts.cancel = Some(format!("h{}", random.index(HOSTS)));
        draft.spec.cancel_url = Some("http://h/cancel".into());
    }
}

/// What a submission may refer to.
pub(super) struct Scene {
    /// The time.
    pub(super) now: Timestamp,
    /// What the machine's clock shows.
    pub(super) shown: Timestamp,
    /// The exchanges that are open, polls among them.
    pub(super) open: Vec<(TaskKey, u32, bool)>,
    /// Whether tasks may be created together.
    pub(super) batches: bool,
    /// Whether one input may cancel or reopen several tasks.
    pub(super) cancels: bool,
}

impl Script {
    /// The submissions that follow from `random`.
    pub(super) fn new(random: Random) -> Script {
        Script { random, events: 0, bulks: 0 }
    }

    /// The next submission. `scene.open` loses the exchange that it answers.
    pub(super) fn next(&mut self, scene: &mut Scene) -> Submission {
        let submission = self.said(scene);
        if matches!(submission, Submission::Reply(_)) {
            return submission;
        }
        let submission = self.perhaps_once(submission);
        // Nobody asks for webhooks, but for those that are replayed.
        if matches!(submission, Submission::Answered(_)) || self.random.per_mille(500) {
            return submission;
        }
        Submission::By(self.author(), Box::new(submission))
    }

    fn author(&mut self) -> Arc<Author> {
        let key = self.random.per_mille(500).then(|| (ApiKeyId([7; 16]), "billing".into()));
        let request = [u8::try_from(self.random.below(256)).unwrap_or(0); 16];
        Arc::new(Author { key, address: "10.1.2.3".into(), request })
    }

    fn access(&mut self) -> Submission {
        let random = &mut self.random;
        let number = u8::try_from(random.below(6)).unwrap_or(0);
        let id = ApiKeyId([number; 16]);
        Submission::Access(match random.below(5) {
            0 => AccessCommand::KeepSecrets(vec![
                ("test".into(), [number].as_slice().into()),
                ("test_before".into(), [1, number].as_slice().into()),
            ]),
            1 | 2 => AccessCommand::RevokeKey { key: id, at_the_store: random.per_mille(200) },
            _ => AccessCommand::CreateKey {
                at_the_store: random.per_mille(500),
                key: ApiKey {
                    id,
                    name: format!("key {number}").into(),
                    role: *random.pick(&Role::ALL),
                    hash: [number; 32],
                    hint: "thk_abcd".into(),
                    created_at: Timestamp(0),
                    expires_at: random.per_mille(300).then_some(START + Duration::from_secs(30)),
                },
            },
        })
    }

    fn perhaps_once(&mut self, submission: Submission) -> Submission {
        if self.random.per_mille(900) {
            return submission;
        }
        let request = [u8::from(self.random.per_mille(200)); 16];
        let once = Once { claim: ClaimKey([u8::try_from(self.random.below(4)).unwrap_or(0); 16]), request };
        if self.random.per_mille(200) {
            let body = self.random.per_mille(800).then(|| b"{}".to_vec());
            return Submission::Answered(Box::new(Answered { once, status: 200, body }));
        }
        Submission::Once(once, Box::new(submission))
    }

    fn said(&mut self, scene: &mut Scene) -> Submission {
        let open = &mut scene.open;
        match self.random.below(100) {
            0..25 => self.creation(scene),
            25..50 => self.event(),
            50..60 => self.command(),
            60..62 => self.schedule(scene),
            62 => self.access(),
            63..65 if scene.cancels => self.bulk(scene),
            _ if !open.is_empty() => {
                let (task, attempt, is_poll) = open.swap_remove(self.random.index(open.len()));
                if is_poll { self.polled(task, attempt) } else { self.reply(task, attempt) }
            }
            65..67 => {
                // An answer that nobody waits for, perhaps of a task that never was.
                let task = TaskKey(1 + self.random.below(20).cast_signed());
                let attempt = 1 + self.number(3);
                self.reply(task, attempt)
            }
            _ => self.event(),
        }
    }

    fn number(&mut self, end: u64) -> u32 {
        u32::try_from(self.random.below(end)).unwrap_or(0)
    }

    fn id(&mut self) -> String {
        format!("t{}", self.random.index(IDS))
    }

    fn creation(&mut self, scene: &Scene) -> Submission {
        let count = if self.random.per_mille(700) || !scene.batches { 1 } else { 2 + self.random.index(4) };
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        for _ in 0..count {
            let id = self.id();
            let draft = self.draft(&id, scene.now);
            // One that was reported on by its id and by its remote's id hears of either first.
            let external = draft.external.clone().filter(|_| scene.batches);
            drafts.insert(id.clone(), Draft { external, ..draft });
        }
        // Those that wait for each other come in any order.
        let mut drafts: Vec<Draft> = drafts.into_values().collect();
        let first = self.random.index(drafts.len());
        drafts.rotate_left(first);
        create(drafts)
    }

    fn draft(&mut self, id: &str, now: Timestamp) -> Draft {
        let random = &mut self.random;
        let mut draft = if random.per_mille(350) {
            external(id)
        } else {
            hosted(id, &format!("h{}", random.index(HOSTS)))
        };
        let asked = &mut draft.asked;
        asked.priority = *random.pick(&[-1, 0, 0, 0, 1]);
        asked.run_at = now + Duration::from_micros(*random.pick(&[0, 0, 0, 0, 1, 2_000_000, 45_000_000]));
        let completions = [Completion::Auto, Completion::Response, Completion::Callback];
        asked.completion = Some(*random.pick(&completions));
        asked.timeout =
            Some(*random.pick(&[None, None, Some(Duration::from_secs(10)), Some(Duration::from_micros(1))]));
        asked.retry = RetryAsked {
            max_attempts: Some(1 + u32::try_from(random.below(4)).unwrap_or(0)),
            initial: Some(Duration::from_micros(1 + random.below(3_000_000))),
            factor: Some(*random.pick(&[1.0, 2.5])),
            max: Some(Duration::from_secs(20)),
        };
        if let Some(request) = &mut draft.spec.request {
            let payload: Vec<u8> = (0..random.below(4)).map(|_| b'x').collect();
            asked.payload_bytes = u32::try_from(payload.len()).unwrap_or(0);
            *request = Arc::new(Request { payload: Some(payload), ..(**request).clone() });
        }
        if random.per_mille(200) {
            draft.spec.name = Some("kind".into());
            draft.spec.labels = BTreeMap::from([("a".into(), "b".into())]);
        }
        if random.per_mille(300) {
            oversee(random, &mut draft);
        }
        if random.per_mille(150) {
            draft.external = Some(format!("x{}", random.index(4)));
        }
        if random.per_mille(150) {
            let span = Duration::from_secs(1 + random.below(20));
            let until = if random.per_mille(700) { Until::Finished } else { Until::For(span) };
            let key = UniqueKey([u8::try_from(random.below(3)).unwrap_or(0); 16]);
            draft.asked.unique = Some(Unique { key, until });
        }
        // The same id asks for something else now and then.
        draft.content = [u8::from(random.per_mille(100)); 16];
        if random.per_mille(500) {
            let mut after: BTreeMap<String, On> = BTreeMap::new();
            for _ in 0..=random.index(3) {
                let on =
                    *random.pick(&[On::Succeeded, On::Succeeded, On::Failed, On::NotFailed, On::Finished]);
                after.insert(format!("t{}", random.index(IDS)), on);
            }
            // Most of the time, nobody waits for a task with a later id, so that there are few circles.
            if random.per_mille(900) {
                after.retain(|other, _| other.as_str() < id);
            }
            draft.spec.after = after.into_iter().collect();
        }
        draft
    }

    fn event(&mut self) -> Submission {
        self.events += 1;
        let result = || Some(br#"{"ok":true}"#[..].into());
        let kind = match self.random.below(12) {
            0 => EventKind::Started,
            1 => EventKind::Progress(Some(self.random.below(101) as f64 / 100.0), Some("on the way".into())),
            2 => EventKind::Progress(None, None),
            3 => EventKind::Heartbeat,
            4..8 => EventKind::Completed(if self.random.per_mille(500) { result() } else { None }),
            8..10 => EventKind::Failed(failure("worker"), self.random.per_mille(700)),
            10 => EventKind::Cancelled,
            _ if self.random.per_mille(300) => EventKind::Rejected("the signature is wrong".into()),
            _ => EventKind::Other(*self.random.pick(&[None, Some("it has no event name")])),
        };
        let id = self.id();
        let mut heard = heard(self.events, &id, kind);
        if self.random.per_mille(100) {
            // By a callback token, which may be that of a task that never was.
            heard.token = Some(TaskKey(2 + self.random.below(20).cast_signed()));
            if self.random.per_mille(800) {
                heard.task = None;
            }
        }
        if heard.token.is_none() && self.random.per_mille(200) {
            // By what its remote calls it.
            let id = format!("x{}", self.random.index(4));
            let received = Arc::make_mut(&mut heard.received);
            (received.task_name, received.external_id) = (None, Some(id.clone()));
            (heard.task, heard.external) = (None, Some(id));
        }
        if self.random.per_mille(300) {
            heard.attempt = Some(self.number(4));
        }
        if self.random.per_mille(200) {
            heard = delivered(heard, &format!("delivery{}", self.random.index(6)));
        }
        event(heard)
    }

    fn command(&mut self) -> Submission {
        let all = [
            Command::Cancel,
            Command::Trigger,
            Command::Retry { ignore_dependencies: false },
            Command::Retry { ignore_dependencies: false },
            Command::Retry { ignore_dependencies: true },
        ];
        let what = *self.random.pick(&all);
        command(&self.id(), what)
    }

    fn schedule(&mut self, scene: &Scene) -> Submission {
        let random = &mut self.random;
        let name = format!("s{}", random.index(2));
        let overlaps = if scene.cancels { &OVERLAPS[..] } else { &OVERLAPS[..3] };
        let command = match random.below(12) {
            0 => ScheduleCommand::Pause,
            1 => ScheduleCommand::Resume,
            2 => ScheduleCommand::Delete,
            3 | 4 => ScheduleCommand::Trigger {
                at: Timestamp(scene.shown.0 + 1_000),
                overlap: random.per_mille(500).then(|| *random.pick(overlaps)),
            },
            5 => ScheduleCommand::Backfill {
                after: Timestamp(scene.shown.0 - 100_000_000),
                until: scene.shown,
                overlapping: *random.pick(&[None, Some(true), Some(false)]),
            },
            6 => ScheduleCommand::ClockSetBack,
            _ => {
                let host = format!("h{}", random.index(HOSTS));
                let template = if random.per_mille(200) { external("") } else { hosted("", &host) };
                let mut draft = every(1 + random.below(30), template);
                draft.paused = random.per_mille(100);
                draft.settings.asked.scheduled = None;
                draft.settings.overlap = *random.pick(overlaps);
                draft.settings.missed = *random.pick(&[Missed::Latest, Missed::All, Missed::Skip]);
                draft.settings.catch_up = Duration::from_secs(*random.pick(&[0, 20, 3_600]));
                draft.settings.jitter = Duration::from_secs(*random.pick(&[0, 0, 5]));
                draft.settings.start_at = random.per_mille(300).then_some(START);
                draft.settings.end_at = random.per_mille(100).then(|| START + Duration::from_secs(60));
                return define(&name, draft);
            }
        };
        schedule_command(&name, command)
    }

    fn bulk(&mut self, scene: &Scene) -> Submission {
        let random = &mut self.random;
        if random.per_mille(200) {
            return Submission::Bulk(format!("bulk{}", random.below(self.bulks + 1)), BulkAsk::Cancel);
        }
        self.bulks += 1;
        let retry = |ignore_dependencies| Command::Retry { ignore_dependencies };
        let burst = 1 + u32::try_from(random.below(3)).unwrap_or(0);
        let settings = Settings {
            command: *random.pick(&[
                Command::Cancel,
                Command::Trigger,
                retry(false),
                retry(false),
                retry(true),
            ]),
            filter: Filter {
                states: if random.per_mille(200) { State::ALL[..6].to_vec() } else { Vec::new() },
                queue: None,
                name: random.per_mille(200).then(|| "kind".into()),
                labels: if random.per_mille(200) { vec![("a".into(), "b".into())] } else { Vec::new() },
                created_after: random.per_mille(200).then(|| scene.now - Duration::from_secs(20)),
            },
            rate: random.per_mille(500).then_some(Rate { limit: 1, per: Duration::from_secs(1), burst }),
        };
        let queue = random.per_mille(200).then(|| (*random.pick(&["default", "nowhere"])).to_string());
        Submission::Bulk(format!("bulk{}", self.bulks), BulkAsk::Begin(Box::new(settings), queue))
    }

    /// The end of an exchange, perhaps with what the remote calls the task.
    fn reply(&mut self, task: TaskKey, attempt: u32) -> Submission {
        let kind = self.answer();
        let external = self.random.per_mille(300).then(|| match self.random.index(5) {
            4 => Err("it is not there".into()),
            index => {
                let id = format!("x{index}").into();
                Ok(External { key: ExternalKey::default(), source: "default".into(), id })
            }
        });
        let location = self.random.per_mille(500).then(|| match self.random.index(4) {
            3 => Err("it names none".into()),
            index => {
                let host_name = format!("h{index}").into();
                Ok(Location { url: "http://h/status".into(), host_name, host: HostKey(0) })
            }
        });
        Submission::Reply(Box::new(Reply { task, attempt, kind, external, location }))
    }

    /// The end of a poll.
    fn polled(&mut self, task: TaskKey, attempt: u32) -> Submission {
        let answer = match self.random.below(10) {
            0..3 => PollAnswer::Says(EventKind::Progress(None, None)),
            3 => PollAnswer::Says(EventKind::Progress(Some(0.5), None)),
            4 => PollAnswer::Says(EventKind::Completed(Some(br#"{"ok":true}"#[..].into()))),
            5 => PollAnswer::Says(EventKind::Failed(failure("remote"), true)),
            6 => PollAnswer::Says(EventKind::Cancelled),
            7 => PollAnswer::NotFound,
            8 => PollAnswer::Unclear("it answered 500".into()),
            _ => PollAnswer::Lost(failure("connect")),
        };
        Submission::Polled(Box::new(Polled { task, attempt, host: HostKey(0), answer }))
    }

    fn answer(&mut self) -> ReplyKind {
        match self.random.below(20) {
            0 => return ReplyKind::Lost(failure("connect")),
            1 => return ReplyKind::NotAllowed(failure("egress_not_allowed")),
            _ => {}
        }
        let status = *self.random.pick(&[200, 200, 202, 202, 202, 204, 302, 404, 408, 429, 500, 503]);
        let pause = Duration::from_secs(self.random.below(8));
        let json = status == 200 && self.random.per_mille(500);
        ReplyKind::Response(Arc::new(Response {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: if json { b"{}".to_vec() } else { Vec::new() },
            truncated: self.random.per_mille(50),
            result: json.then(|| b"{}"[..].into()),
            no_retry: self.random.per_mille(50),
            retry_after: (status == 429 || self.random.per_mille(50)).then_some(pause),
        }))
    }
}
