//! Inputs as the edge knows them, by outside names. Inside the transaction they get their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use taskhook_core::access::AccessCommand;
use taskhook_core::source::SourceCommand;
use taskhook_core::{
    Answered, Asked, BulkCommand, BulkKey, Callback, ClaimKey, Command, Create, Dependency, Event, EventKey,
    EventKind, External, ExternalKey, HoldCommand, HostKey, Input, Location, NewTask, On, Once,
    OversightAsked, PollAnswer, Polled, QueueCommand, QueueKey, Received, Reply, ReplyKind, ScheduleCommand,
    ScheduleKey, SourceKey, Spec, StatusAsked, TaskKey, bulk, schedule,
};

use crate::store::{Author, Name, StoreError, Transaction};

/// An input that still speaks of tasks by their ids.
#[derive(Debug, Clone)]
pub enum Submission {
    /// New tasks: all of them, or none.
    Create(Vec<Arc<Draft>>),
    /// A webhook, verified and mapped.
    Event(Box<Heard>),
    /// A user's command.
    Command(String, Command),
    /// A user's command to a queue.
    Queue(String, QueueCommand),
    /// What is asked of a schedule.
    Schedule(String, ScheduleAsk),
    /// A user's command to a source.
    Source(String, SourceCommand),
    /// What is asked of a bulk, by its id.
    Bulk(String, BulkAsk),
    /// A command about who may do what.
    Access(AccessCommand),
    /// A user's command to the server.
    Hold(HoldCommand),
    /// The end of an exchange.
    Reply(Box<Reply>),
    /// The end of a poll.
    Polled(Box<Polled>),
    /// One of these, which happens at most once under its key.
    Once(Once, Box<Submission>),
    /// One of these, which somebody asks for: what it changes is written down in the audit log.
    By(Arc<Author>, Box<Submission>),
    /// The answer that repeats of it are to get.
    Answered(Box<Answered>),
}

/// A new task, with names instead of keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its id.
    pub id: String,
    /// `host:port` of its URL; `None` for an external task.
    pub host: Option<String>,
    /// Those of its `status` and of its `cancel_url`.
    pub other_hosts: OtherHosts,
    /// The name of its queue.
    pub queue: String,
    /// The name of the source that may report on it.
    pub source: String,
    /// The id that its remote is known to give it.
    pub external: Option<String>,
    /// What is asked; its `host`, `queue` and `source` are filled in from the names.
    pub asked: Asked,
    /// What only people and the dispatcher need; `after` names the tasks it waits for.
    pub spec: Spec,
    /// A hash of the request's JSON value.
    pub content: [u8; 16],
}

/// The hosts, `host:port`, that a task may call beside that of its URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtherHosts {
    /// Of its status URL.
    pub status: Option<String>,
    /// Of the URL that is called when it is cancelled.
    pub cancel: Option<String>,
}

impl OtherHosts {
    fn names(&self) -> impl Iterator<Item = Name> {
        self.status.iter().chain(&self.cancel).map(|host| Name::host(host))
    }

    /// What is asked, with the keys of these hosts.
    fn in_keys(&self, asked: OversightAsked, host: impl Fn(&String) -> HostKey) -> OversightAsked {
        let status =
            asked.status.map(|status| StatusAsked { host: self.status.as_ref().map(&host), ..status });
        OversightAsked { status, cancel_host: self.cancel.as_ref().map(&host), ..asked }
    }
}

/// What is asked of a schedule.
#[derive(Debug, Clone)]
pub enum ScheduleAsk {
    /// That it be there, and say this.
    Define(Arc<ScheduleDraft>),
    /// Anything else.
    Command(ScheduleCommand),
}

/// What a schedule is to say, with names instead of keys.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleDraft {
    /// What it says; the `host` and `queue` of its tasks are filled in from the names.
    pub settings: schedule::Settings,
    /// `host:port` of the URL of its tasks; `None` for external ones.
    pub host: Option<String>,
    /// Those of their `status` and of their `cancel_url`.
    pub other_hosts: OtherHosts,
    /// The name of their queue.
    pub queue: String,
    /// The name of the source that may report on them.
    pub source: String,
    /// Whether it makes no tasks by itself.
    pub paused: bool,
}

/// What is asked of a bulk.
#[derive(Debug, Clone)]
pub enum BulkAsk {
    /// That it begin: what it does, and the name of the queue that its filter means.
    Begin(Box<bulk::Settings>, Option<String>),
    /// That it go no further.
    Cancel,
}

/// A webhook as it was mapped at the edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The source that has sent it.
    pub source: SourceKey,
    /// It came with a key that may report on any task.
    pub by_key: bool,
    /// The task that its body names, by id.
    pub task: Option<String>,
    /// The remote's own id of the task that it names in the place of a task's.
    pub external: Option<String>,
    /// The task that its callback token is bound to.
    pub token: Option<TaskKey>,
    /// The attempt it names.
    pub attempt: Option<u32>,
    /// What it says.
    pub kind: EventKind,
    /// Under which a repeat of it is recognised.
    pub claim: Option<ClaimKey>,
    /// The request as it came.
    pub received: Arc<Received>,
}

impl Submission {
    /// Whether it brings new work. What moves work that has begun goes first when the writer is behind, and is all that is
    /// taken when the disk is full.
    #[must_use]
    pub fn is_new_work(&self) -> bool {
        match self {
            Submission::Create(_) | Submission::Bulk(_, BulkAsk::Begin(..)) => true,
            Submission::Schedule(_, ScheduleAsk::Define(_)) => true,
            Submission::Schedule(_, ScheduleAsk::Command(command)) => command.brings_work(),
            Submission::Once(_, inner) | Submission::By(_, inner) => inner.is_new_work(),
            _ => false,
        }
    }

    /// How much it holds in memory, roughly, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Submission::Create(drafts) => {
                let bytes = |draft: &Arc<Draft>| {
                    512 + draft.asked.payload_bytes as usize + 64 * draft.spec.after.len()
                };
                drafts.iter().map(bytes).sum()
            }
            Submission::Event(heard) => heard.received.body.len() + 512,
            Submission::Command(..) | Submission::Queue(..) | Submission::Hold(_) => 256,
            Submission::Bulk(..) => 1_024,
            Submission::Source(_, SourceCommand::Define { definition, .. }) => 4_096 + definition.len(),
            Submission::Source(..) | Submission::Access(_) => 1_024,
            Submission::Schedule(_, ScheduleAsk::Command(_)) => 256,
            Submission::Schedule(_, ScheduleAsk::Define(draft)) => {
                512 + draft.settings.asked.payload_bytes as usize
            }
            Submission::Reply(reply) => 512 + reply_bytes(reply),
            Submission::Polled(polled) => 512 + polled_bytes(polled),
            Submission::Once(_, inner) => inner.bytes(),
            Submission::By(_, inner) => 256 + inner.bytes(),
            Submission::Answered(answered) => answered.body.as_ref().map_or(0, Vec::len) + 128,
        }
    }

    /// What it is, apart from happening once.
    #[must_use]
    pub fn inner(&self) -> &Submission {
        match self {
            Submission::Once(_, inner) | Submission::By(_, inner) => inner.inner(),
            other => other,
        }
    }

    fn names(&self, names: &mut BTreeMap<Name, i64>) {
        let mut name = |name: Name| {
            names.entry(name).or_insert(0);
        };
        match self {
            Submission::Create(drafts) => {
                for draft in drafts {
                    name(Name::task(&draft.id));
                    name(Name::queue(&draft.queue));
                    name(Name::source(&draft.source));
                    draft.host.iter().for_each(|host| name(Name::host(host)));
                    draft.other_hosts.names().for_each(&mut name);
                    draft.spec.after.iter().for_each(|(id, _)| name(Name::task(id)));
                    draft.external.iter().for_each(|id| name(Name::external(&draft.source, id)));
                }
            }
            Submission::Event(heard) => {
                heard.task.iter().for_each(|id| name(Name::task(id)));
                heard.external.iter().for_each(|id| name(Name::external(&heard.received.source, id)));
            }
            Submission::Command(id, _) => name(Name::task(id)),
            Submission::Queue(queue, _) => name(Name::queue(queue)),
            Submission::Schedule(schedule, ask) => {
                name(Name::schedule(schedule));
                if let ScheduleAsk::Define(draft) = ask {
                    name(Name::queue(&draft.queue));
                    name(Name::source(&draft.source));
                    draft.host.iter().for_each(|host| name(Name::host(host)));
                    draft.other_hosts.names().for_each(&mut name);
                }
            }
            Submission::Source(source, _) => name(Name::source(source)),
            Submission::Bulk(bulk, ask) => {
                name(Name::bulk(bulk));
                if let BulkAsk::Begin(_, queue) = ask {
                    queue.iter().for_each(|queue| name(Name::queue(queue)));
                }
            }
            Submission::Once(_, inner) | Submission::By(_, inner) => inner.names(names),
            Submission::Reply(reply) => {
                let found = reply.external.iter().flatten();
                found.for_each(|external| name(Name::external(&external.source, &external.id)));
                let located = reply.location.iter().flatten();
                located.for_each(|location| name(Name::host(&location.host_name)));
            }
            Submission::Polled(_) | Submission::Access(_) | Submission::Hold(_) | Submission::Answered(_) => {
            }
        }
    }
}

fn polled_bytes(polled: &Polled) -> usize {
    match &polled.answer {
        PollAnswer::Says(EventKind::Completed(Some(result))) => result.len(),
        _ => 0,
    }
}

fn reply_bytes(reply: &Reply) -> usize {
    match &reply.kind {
        ReplyKind::Response(response) => {
            response.body.len() + response.result.as_ref().map_or(0, |result| result.len())
        }
        ReplyKind::Lost(_) | ReplyKind::NotAllowed(_) => 0,
    }
}

/// Gives every submission its keys. All names of the batch are resolved in one sorted pass, so that two
/// transactions that meet lock them in the same order.
///
/// # Errors
/// What the store says.
pub async fn resolve(tx: &mut impl Transaction, batch: &[&Submission]) -> Result<Vec<Input>, StoreError> {
    let mut names = BTreeMap::new();
    batch.iter().for_each(|submission| submission.names(&mut names));
    let sorted: Vec<Name> = names.keys().cloned().collect();
    let keys = tx.resolve(&sorted).await?;
    names.values_mut().zip(keys).for_each(|(key, found)| *key = found);
    let events = batch.iter().filter(|submission| matches!(submission.inner(), Submission::Event(_))).count();
    let mut event_keys = tx.event_keys(events).await?.into_iter();
    Ok(batch.iter().map(|submission| keyed(submission, &names, &mut event_keys)).collect())
}

fn keyed(
    submission: &Submission,
    names: &BTreeMap<Name, i64>,
    event_keys: &mut impl Iterator<Item = EventKey>,
) -> Input {
    let task = |id: &str| TaskKey(names.get(&Name::task(id)).copied().unwrap_or_default());
    let queue = |name: &str| QueueKey(names.get(&Name::queue(name)).copied().unwrap_or_default());
    let source = |name: &str| SourceKey(names.get(&Name::source(name)).copied().unwrap_or_default());
    let external = |source: &str, id: &str| {
        let key = names.get(&Name::external(source, id)).copied().unwrap_or_default();
        External { key: ExternalKey(key), source: source.into(), id: id.into() }
    };
    let host = |host: &String| HostKey(names.get(&Name::host(host)).copied().unwrap_or_default());
    match submission {
        Submission::Create(drafts) => {
            let tasks = drafts
                .iter()
                .map(|draft| Arc::new(new_task(draft, task, queue, source, host, external)))
                .collect();
            Input::Create(Create { tasks })
        }
        Submission::Event(heard) => {
            let named = heard.task.as_deref().map(task);
            let callback = heard
                .token
                .map(|bound| Callback { names_another_task: named.is_some_and(|named| named != bound) });
            Input::Event(Box::new(Event {
                key: event_keys.next().unwrap_or_default(),
                source: heard.source,
                by_key: heard.by_key,
                claim: heard.claim,
                task: heard.token.or(named),
                external: heard.external.as_deref().map(|id| external(&heard.received.source, id).key),
                attempt: heard.attempt,
                callback,
                kind: heard.kind.clone(),
                received: heard.received.clone(),
            }))
        }
        Submission::Command(id, command) => Input::Command(task(id), *command),
        Submission::Queue(name, command) => Input::Queue(queue(name), command.clone()),
        Submission::Schedule(name, ask) => {
            let key = ScheduleKey(names.get(&Name::schedule(name)).copied().unwrap_or_default());
            let command = match ask {
                ScheduleAsk::Command(command) => command.clone(),
                ScheduleAsk::Define(draft) => {
                    let mut settings = draft.settings.clone();
                    settings.asked.queue = queue(&draft.queue);
                    settings.asked.source = source(&draft.source);
                    settings.asked.host = draft.host.as_ref().map(host);
                    settings.asked.oversight = draft.other_hosts.in_keys(settings.asked.oversight, host);
                    let name = name.as_str().into();
                    ScheduleCommand::Define { name, settings: Arc::new(settings), paused: draft.paused }
                }
            };
            Input::Schedule(key, command)
        }
        Submission::Source(name, command) => {
            let key = names.get(&Name::source(name)).copied().unwrap_or_default();
            Input::Source(SourceKey(key), command.clone())
        }
        Submission::Bulk(id, ask) => {
            let key = BulkKey(names.get(&Name::bulk(id)).copied().unwrap_or_default());
            let command = match ask {
                BulkAsk::Cancel => BulkCommand::Cancel,
                BulkAsk::Begin(settings, of_queue) => {
                    let mut settings = (**settings).clone();
                    settings.filter.queue = of_queue.as_deref().map(queue);
                    BulkCommand::Begin(Arc::new(settings))
                }
            };
            Input::Bulk(key, command)
        }
        Submission::Access(command) => Input::Access(command.clone()),
        Submission::Hold(command) => Input::Hold(*command),
        Submission::Reply(reply) => {
            let found = reply.external.clone();
            let found = found.map(|found| found.map(|found| external(&found.source, &found.id)));
            let located = reply.location.clone();
            let located = located.map(|located| {
                located.map(|location| Location { host: host(&location.host_name.to_string()), ..location })
            });
            Input::Reply(Box::new(Reply { external: found, location: located, ..(**reply).clone() }))
        }
        Submission::Polled(polled) => Input::Polled(polled.clone()),
        Submission::Once(once, inner) => Input::Once(*once, Box::new(keyed(inner, names, event_keys))),
        Submission::By(_, inner) => keyed(inner, names, event_keys),
        Submission::Answered(answered) => Input::Answered(answered.clone()),
    }
}

fn new_task(
    draft: &Draft,
    task: impl Fn(&str) -> TaskKey,
    queue: impl Fn(&str) -> QueueKey,
    source: impl Fn(&str) -> SourceKey,
    host: impl Fn(&String) -> HostKey,
    external: impl Fn(&str, &str) -> External,
) -> NewTask {
    let dependency = |(id, on): &(String, On)| Dependency { parent: task(id), on: *on };
    NewTask {
        key: task(&draft.id),
        asked: Asked {
            host: draft.host.as_ref().map(&host),
            oversight: draft.other_hosts.in_keys(draft.asked.oversight, &host),
            queue: queue(&draft.queue),
            source: source(&draft.source),
            ..draft.asked.clone()
        },
        after: draft.spec.after.iter().map(dependency).collect(),
        external: draft.external.as_deref().map(|id| external(&draft.source, id)),
        spec: draft.spec.clone(),
        content: draft.content,
    }
}
