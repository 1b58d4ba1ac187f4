//! A line of words becomes inputs: `new callback, 202, crash, task_completed`.
//!
//! Steps are separated by `, `, the inputs of one transaction by ` ; `. An input is a verb with its options,
//! perhaps about another task than `a` (`b.new after=a`) or about a numbered attempt (`#1.task_failed`,
//! `b#2.200`). `limits 2 1` allows so many exchanges in all and with one host; `wait` lets time pass, `pass`
//! also wakes what wants to be woken; `locks 01` lets the second follow-up from here on find its subject
//! locked, and `resume` goes on with it; `hold` holds the server, and `hold ends` resumes it; `answer 0 200` answers the first exchange that is open; `once k cancel`
//! does so at most once under the key `k`.

use std::sync::Arc;
use std::time::Duration;

use taskhook_core::SourceKey;
use taskhook_core::queue::Settings;
use taskhook_core::source::Source;
use taskhook_core::unique::Until;
use taskhook_core::{
    Asked, Callback, ClaimKey, Command, Completion, ConcurrencyKey, Create, Deadline, Dependency, Event,
    EventId, EventKey, EventKind, External, ExternalKey, Failure, FollowUp, HoldCommand, HostKey, Input,
    Location, NewTask, On, Once, OversightAsked, Permits, PollAnswer, Polled, QueueCommand, QueueKey, Rate,
    Received, Reply, ReplyKind, Response, RetryAsked, Spec, StatusAsked, Task, TaskKey, Unique, UniqueKey,
};

use super::{BEGINNING, Step, World};

impl World {
    /// A world in which this has happened.
    pub(crate) fn after(script: &str) -> World {
        let mut world = World::new(8, 4);
        world.play(script);
        world
    }

    /// Does one step after the other; answers what the last one did.
    pub(crate) fn play(&mut self, script: &str) -> Vec<Step> {
        let steps = script.split(", ").map(str::trim).filter(|step| !step.is_empty());
        steps.map(|step| self.step(step)).last().unwrap_or_default()
    }

    fn step(&mut self, step: &str) -> Vec<Step> {
        let (verb, options) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "limits" => {
                let (all, host) = options.split_once(' ').expect("two limits");
                self.exchanges_max = (number(all), number(host));
                self.permits = Permits::new(self.exchanges_max.0, self.exchanges_max.1);
                self.exchanges.iter().for_each(|open| self.permits.take(open.host, open.bytes, self.now));
                self.polls.iter().for_each(|open| self.permits.take_poll(open.host));
            }
            "wait" => self.now = self.now + span(options),
            "pass" => return self.pass(span(options)),
            "clock" => self.set_clock(options),
            "crash" => self.crash(),
            "source" => {
                let key = SourceKey(number(options));
                self.sources.insert(key, Source { key, ..Source::default_at(self.now) });
            }
            "restart" => {
                self.crash();
                return self.start();
            }
            "locks" => self.locks = options.chars().map(|lock| lock == '1').collect(),
            "resume" => return self.resume(),
            "prune" => {
                let pruned = key_of(options);
                self.tasks.remove(&pruned);
                self.edges.retain(|(parent, child), _| *parent != pruned && *child != pruned);
                self.held.retain(|_, held| held.task != pruned);
            }
            _ => {
                let batch = step.split(" ; ").filter_map(|words| self.input(words)).collect();
                return self.commit(batch);
            }
        }
        Vec::new()
    }

    /// `None` only where there is nothing to `answer`.
    fn input(&mut self, words: &str) -> Option<Input> {
        let (first, options) = words.split_once(' ').unwrap_or((words, ""));
        let (subject, verb) = first.split_once('.').unwrap_or(("a", first));
        let (name, attempt) = subject.split_once('#').unwrap_or((subject, ""));
        let task = key_of(if name.is_empty() { "a" } else { name });
        let attempt: Option<u32> = attempt.parse().ok();
        Some(match verb {
            "once" => {
                let (key, input) = options.split_once(' ').expect("a key, and what happens once");
                let once = Once { claim: ClaimKey(id_bytes(key)), request: [0; 16] };
                Input::Once(once, Box::new(self.input(input)?))
            }
            "new" => self.creation(&format!("{} {options}", name_of(task))),
            "batch" => self.creation(options),
            "look" => Input::FollowUp(FollowUp::Look(QueueKey::DEFAULT)),
            "queue" => queue_command(options),
            "schedule" => self.schedule_command(options),
            "bulk" => self.bulk_command(options),
            "hold" => Input::Hold(if options == "ends" { HoldCommand::Resume } else { HoldCommand::Hold }),
            "wake" => Input::Wake(task),
            "cancel" => Input::Command(task, Command::Cancel),
            "trigger" => Input::Command(task, Command::Trigger),
            "retry" => Input::Command(task, Command::Retry { ignore_dependencies: options == "ignoring" }),
            "asked" => Input::Polled(Box::new(Polled {
                task,
                attempt: attempt.unwrap_or_else(|| self.tasks.get(&task).map_or(1, Task::attempt_number)),
                host: self.tasks.get(&task).and_then(Task::status_host).unwrap_or(HostKey(0)),
                answer: poll_answer(options),
            })),
            "tell" => {
                let (position, said) = options.split_once(' ').expect("which question, and what is said");
                let position: usize = number(position);
                let open = self.polls.get(position % self.polls.len().max(1))?;
                let super::Exchange { task, attempt, host, .. } = *open;
                Input::Polled(Box::new(Polled { task, attempt, host, answer: poll_answer(said) }))
            }
            "answer" => {
                let (position, reply) = options.split_once(' ').expect("which exchange, and the answer");
                let position: usize = number(position);
                let open = self.exchanges.get(position % self.exchanges.len().max(1))?;
                let (task, attempt) = (open.task, open.attempt);
                let (verb, options) = reply.split_once(' ').unwrap_or((reply, ""));
                Input::Reply(Box::new(reply_to(task, attempt, verb, options)))
            }
            _ => match event_kind(verb, options) {
                Some(kind) => {
                    let claim = value_of(options, "id").map(|id| ClaimKey(id_bytes(id)));
                    let by_token = options.contains("by-token");
                    let callback =
                        by_token.then(|| Callback { names_another_task: options.contains("for-another") });
                    let mut input = self.webhook(Some(task), attempt, callback, kind, claim);
                    if let Input::Event(event) = &mut input {
                        event.source =
                            value_of(options, "from").map_or(event.source, |key| SourceKey(number(key)));
                        event.by_key = options.contains("by-key");
                        event.external = value_of(options, "remote").map(|id| remote_id(id).key);
                        event.task = event.task.filter(|_| event.external.is_none());
                    }
                    input
                }
                None => {
                    let newest = self.tasks.get(&task).map_or(1, Task::attempt_number);
                    let attempt = attempt.unwrap_or(newest);
                    Input::Reply(Box::new(reply_to(task, attempt, verb, options)))
                }
            },
        })
    }

    /// A webhook with the next key.
    pub(crate) fn webhook(
        &mut self,
        task: Option<TaskKey>,
        attempt: Option<u32>,
        callback: Option<Callback>,
        kind: EventKind,
        claim: Option<ClaimKey>,
    ) -> Input {
        self.events += 1;
        let received = Received::unread(event_id(self.events), &[]);
        let key = EventKey(self.events);
        Input::Event(Box::new(Event {
            key,
            source: SourceKey::DEFAULT,
            by_key: false,
            claim,
            task,
            external: None,
            attempt,
            callback,
            kind,
            received: Arc::new(received),
        }))
    }

    fn creation(&self, words: &str) -> Input {
        let tasks = words.split(" & ").map(|words| Arc::new(self.new_task(words))).collect();
        Input::Create(Create { tasks })
    }

    pub(crate) fn new_task(&self, words: &str) -> NewTask {
        let (name, options) = words.split_once(' ').unwrap_or((words, ""));
        let has = |word: &str| options.split(' ').any(|option| option == word);
        let value = |name: &str| value_of(options, name);
        let external = has("external");
        let timeout = value("timeout").map(|text| (text != "none").then(|| span(text)));
        let asked = Asked {
            host: (!external).then(|| HostKey(value("host").map_or(1, number))),
            queue: QueueKey(value("queue").map_or(1, number)),
            source: SourceKey(value("source").map_or(SourceKey::DEFAULT.0, number)),
            concurrency_key: ConcurrencyKey(value("key").map_or(0, number)),
            unique: value("unique").map(unique),
            priority: value("priority").map_or(0, number),
            run_at: value("at").map_or(self.now, |at| BEGINNING + span(at))
                + value("in").map(span).unwrap_or_default(),
            completion: match (has("response"), has("callback")) {
                (true, _) => Some(Completion::Response),
                (_, true) => Some(Completion::Callback),
                _ => None,
            },
            timeout,
            request_timeout: None,
            retry: RetryAsked { max_attempts: value("attempts").map(number), ..RetryAsked::default() },
            oversight: OversightAsked {
                heartbeat: value("heartbeat").map(span),
                deadline: value("deadline").map(|text| Deadline::After(span(text))),
                rejects_late_success: has("strict"),
                status: value("status").map(|host| StatusAsked {
                    host: (host != "location").then(|| HostKey(number(host))),
                    after: value("ask").map(span),
                }),
                cancel_host: value("cancel").map(|host| HostKey(number(host))),
            },
            payload_bytes: value("bytes").map_or(0, number),
            scheduled: None,
        };
        let after = value("after").into_iter().flat_map(|list| list.split(','));
        NewTask {
            key: key_of(name),
            asked,
            spec: Spec::default(),
            after: after.map(dependency).collect(),
            external: value("remote").map(remote_id),
            content: id_bytes(value("content").unwrap_or_default()),
        }
    }
}

/// `queue concurrency=2 rate=3/1s+2 key_concurrency=1 paused`, perhaps of queue `2`; `queue pause`, `queue resume`.
fn queue_command(options: &str) -> Input {
    let value = |name: &str| value_of(options, name);
    let has = |word: &str| options.split(' ').any(|option| option == word);
    let key = QueueKey(options.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(1));
    let command = if has("pause") {
        QueueCommand::Pause
    } else if has("resume") {
        QueueCommand::Resume
    } else {
        let settings = Settings {
            secret: None,
            concurrency: value("concurrency").map(number),
            rate: value("rate").map(rate),
            key_concurrency: value("key_concurrency").map(number),
            key_rate: value("key_rate").map(rate),
            retry: RetryAsked { max_attempts: value("attempts").map(number), ..RetryAsked::default() },
            timeout: value("timeout").map(span),
            completion: has("callback").then_some(Completion::Callback),
            retention: None,
        };
        QueueCommand::Define {
            settings: Arc::new(settings),
            paused: has("paused"),
            secret: Default::default(),
        }
    };
    Input::Queue(key, command)
}

/// `k`, held until its task has ended, or `k/1h`.
fn unique(text: &str) -> Unique {
    let (key, until) = text.split_once('/').unwrap_or((text, ""));
    let until = if until.is_empty() { Until::Finished } else { Until::For(span(until)) };
    Unique { key: UniqueKey(id_bytes(key)), until }
}

/// `3/1s`, or with a burst `3/1s+2`.
pub(crate) fn rate(text: &str) -> Rate {
    let (limit, rest) = text.split_once('/').expect("a limit and a span");
    let (per, burst) = rest.split_once('+').unwrap_or((rest, "1"));
    Rate { limit: number(limit), per: span(per), burst: number(burst) }
}

/// What a webhook of this name says; `None` if it is no webhook's name.
fn event_kind(verb: &str, options: &str) -> Option<EventKind> {
    Some(match verb {
        "task_started" => EventKind::Started,
        "task_progress" => EventKind::Progress(Some(value_of(options, "at").map_or(0.5, number)), None),
        "task_heartbeat" => EventKind::Heartbeat,
        "task_completed" => {
            EventKind::Completed(value_of(options, "result").map(|text| text.as_bytes().into()))
        }
        "task_failed" => EventKind::Failed(failure("worker"), !options.contains("retryable=false")),
        "task_cancelled" => EventKind::Cancelled,
        "other" => EventKind::Other(None),
        "rejected" => EventKind::Rejected("bad signature".into()),
        _ => return None,
    })
}

fn reply_to(task: TaskKey, attempt: u32, verb: &str, options: &str) -> Reply {
    let found = value_of(options, "remote").map(|id| match id {
        "none" => Err("there is none".into()),
        id => Ok(remote_id(id)),
    });
    let location = value_of(options, "location").map(|host| match host {
        "none" => Err("it names none".into()),
        host => Ok(Location {
            url: "http://h/status".into(),
            host_name: "h:80".into(),
            host: HostKey(number(host)),
        }),
    });
    Reply { task, attempt, kind: reply_kind(verb, options), external: found, location }
}

/// What a remote says when it is asked: `runs`, `404`, `unclear`, `lost`, or what a webhook of this name would say.
fn poll_answer(words: &str) -> PollAnswer {
    let (verb, options) = words.split_once(' ').unwrap_or((words, ""));
    match verb {
        "runs" => PollAnswer::Says(EventKind::Progress(value_of(options, "at").map(number), None)),
        "404" => PollAnswer::NotFound,
        "unclear" => PollAnswer::Unclear("it answered 500".into()),
        "lost" => PollAnswer::Lost(failure("connect")),
        verb => {
            PollAnswer::Says(event_kind(verb, options).unwrap_or_else(|| panic!("no such answer: {verb}")))
        }
    }
}

/// The id `x` that a remote gives a task; its keys are none of tasks.
fn remote_id(id: &str) -> External {
    External { key: ExternalKey(1_000 + key_of(id).0), source: "default".into(), id: id.into() }
}

fn reply_kind(verb: &str, options: &str) -> ReplyKind {
    match verb {
        "lost" => ReplyKind::Lost(failure("connect")),
        "not_allowed" => ReplyKind::NotAllowed(failure("egress_not_allowed")),
        status => ReplyKind::Response(Arc::new(Response {
            status: status.parse().unwrap_or_else(|_| panic!("no such step: {status}")),
            no_retry: options.contains("no-retry"),
            retry_after: value_of(options, "retry-after").map(span),
            result: value_of(options, "result").map(|text| text.as_bytes().into()),
            ..Response::default()
        })),
    }
}

fn dependency(text: &str) -> Dependency {
    let (name, on) = text.split_once(':').unwrap_or((text, "succeeded"));
    let on = match on {
        "succeeded" => On::Succeeded,
        "failed" => On::Failed,
        "not_failed" => On::NotFailed,
        "finished" => On::Finished,
        _ => panic!("no such end: {on}"),
    };
    Dependency { parent: key_of(name), on }
}

pub(crate) fn failure(code: &str) -> Failure {
    Failure { code: code.into(), message: "for a reason".into() }
}

/// The public id of the webhook with this key.
pub(crate) fn event_id(key: i64) -> EventId {
    EventId(i128::from(key).to_be_bytes())
}

/// Tasks have letters for names.
pub(crate) fn key_of(name: &str) -> TaskKey {
    let [letter @ b'a'..=b'z'] = name.as_bytes() else { panic!("no such task: {name}") };
    TaskKey(i64::from(letter - b'a') + 1)
}

pub(crate) fn name_of(key: TaskKey) -> String {
    let letter = u8::try_from(key.0 - 1).ok().filter(|letter| *letter < 26);
    letter.map_or_else(|| format!("task {}", key.0), |letter| char::from(b'a' + letter).to_string())
}

pub(crate) fn value_of<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    options.split(' ').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("no number: {text}"))
}

/// `250ms`, `30s`, `5m`, `1h`.
pub(crate) fn span(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let count: u64 = number(digits);
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "m" => Duration::from_secs(count * 60),
        "h" => Duration::from_secs(count * 3_600),
        unit => panic!("no such unit: {unit}"),
    }
}

fn id_bytes(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}
