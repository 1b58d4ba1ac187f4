//! What holds whatever happens: the laws, each checked after every step of random stories.
//!
//! A story is written in the words of `support/script.rs`, so a failing one can be read and copied into a row
//! of `transitions.rs`.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::script::{key_of, name_of};
use support::story::{bounded_story, story};
use support::{Step, World, words};
use taskhook_core::{
    Change, Command, Create, EdgeStatus, Effect, EventKind, ExternalKey, FollowUp, Input, NameKey, NewTask,
    Outcome, State, Task, TaskKey, limits,
};

proptest! {
    // A failing story is printed in full: what it teaches becomes a row of transitions.rs, not a seed in a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// G5. Succeeded is final; another end is left by an explicit retry, of the task itself or, where it was
    /// skipped, of what it was skipped for.
    #[test]
    fn an_end_is_left_by_a_retry_alone(story in story()) {
        play(&story, ends_stay)?;
    }

    /// The history is the whole truth: replaying it from birth gives the task.
    #[test]
    fn the_changes_are_the_task(story in story()) {
        let world = play(&story, |_, _, _| Ok(()))?;
        prop_assert_eq!(replayed(&world), world.tasks);
    }

    /// G6. A delivery that was seen before changes nothing, whatever it says now.
    #[test]
    fn a_repeated_delivery_changes_nothing(story in story()) {
        play(&story, repeats_do_nothing)?;
    }

    /// G6. A world in which every webhook arrives twice is the same as one in which each arrives once.
    #[test]
    fn a_doubled_story_ends_the_same(story in story()) {
        let (once, twice) = (heard(&story, 1)?, heard(&story, 2)?);
        prop_assert_eq!(once.tasks, twice.tasks);
        prop_assert_eq!(once.edges, twice.edges);
        prop_assert_eq!(once.exchanges, twice.exchanges);
    }

    /// G6, G7. Whatever the number and order of a worker's reports, one completion among them completes the
    /// task, once.
    #[test]
    fn one_completion_is_enough(
        external in any::<bool>(),
        reports in vec(report(), 0..12),
        completion in 0..12_usize,
        response in proptest::option::of((0..12_usize, select(vec!["202", "202", "200"]))),
    ) {
        let mut story = reports;
        story.insert(completion.min(story.len()), "task_completed");
        if let Some((place, status)) = response.filter(|_| !external) {
            story.insert(place.min(story.len()), status);
        }
        let new = if external { "new external" } else { "new" };
        let world = World::after(&format!("{new}, {}", story.join(", ")));
        prop_assert_eq!(words::states(&world), "a succeeded #1");
        let succeeded = world.history.iter().filter(|entry| matches!(entry.change, Change::Succeeded { .. }));
        prop_assert_eq!(succeeded.count(), 1);
    }

    /// G11. No task is on its way before every task that it waits for has ended as it asks, unless it was told
    /// to ignore them; and what it has counted is what its edges say.
    #[test]
    fn dependencies_come_first(story in story()) {
        let mut lives = Lives::default();
        play(&story, |_, world, steps| dependencies_first(&mut lives, world, steps))?;
    }

    /// Where no word is on its way any more, every task knows how those that it waits for have ended, and what
    /// was reported before it existed.
    #[test]
    fn every_word_arrives(story in story()) {
        play(&story, words_arrive)?;
    }

    /// G12. No more exchanges are open than there are permits for.
    #[test]
    fn exchanges_are_counted(story in story()) {
        play(&story, permits_add_up)?;
    }

    /// No task waits for capacity that is there, once its queue was looked at after a start.
    #[test]
    fn no_place_stays_empty(story in story()) {
        let mut looked_at = true;
        play(&story, |before, after, steps| {
            let looks = |step: &Step| matches!(step.input, Input::FollowUp(FollowUp::Look(_)));
            looked_at = (looked_at && before.up_since == after.up_since) || steps.iter().any(looks);
            if looked_at { places_are_taken(after) } else { Ok(()) }
        })?;
    }

    /// G10. An attempt is sent once, but for at most three times more, each after a crash.
    #[test]
    fn an_attempt_is_sent_again_after_crashes_alone(story in story()) {
        let mut sent = BTreeMap::new();
        play(&story, |_, world, steps| sent_once(&mut sent, world, steps))?;
    }

    /// G14. When workers answer and call back, every task ends.
    #[test]
    fn every_task_ends_when_workers_answer(story in story()) {
        let mut world = play(&story, |_, _, _| Ok(()))?;
        settle(&mut world, true);
        prop_assert!(world.tasks.values().all(|task| task.state.is_terminal()), "{}", words::states(&world));
    }

    /// G14. Before a time-out is declared, a remote that can be asked has had its last word.
    #[test]
    fn a_remote_that_can_be_asked_has_the_last_word(story in story()) {
        play(&story, last_word)?;
    }

    /// G14. Where every attempt has a time-out, every task ends though nobody ever answers.
    #[test]
    fn every_task_ends_when_nobody_answers(story in bounded_story()) {
        let mut world = play(&story, |_, _, _| Ok(()))?;
        settle(&mut world, false);
        prop_assert!(world.tasks.values().all(|task| task.state.is_terminal()), "{}", words::states(&world));
    }

    /// A task wants to be looked at no later than something can happen to it by itself.
    #[test]
    fn nobody_is_woken_too_late(story in story()) {
        play(&story, wakes_in_time)?;
    }

    /// G8. A webhook that is not applied moves nothing but notes and warnings. Of an older attempt, only a
    /// success is applied; of one before an explicit retry, nothing.
    #[test]
    fn what_is_not_applied_moves_nothing(story in story()) {
        play(&story, not_applied_is_no_change)?;
    }

    /// No life of a task uses up more attempts than its policy gives it.
    #[test]
    fn attempts_are_bounded(story in story()) {
        play(&story, within_policy)?;
    }

    /// The same inputs give the same decisions.
    #[test]
    fn deciding_is_repeatable(story in story()) {
        let run = || {
            let mut all = Vec::new();
            play(&story, |_, _, steps| {
                all.extend(steps.to_vec());
                Ok(())
            })?;
            Ok::<_, TestCaseError>(all)
        };
        prop_assert_eq!(run()?, run()?);
    }

    /// However many wait for one task, its end and its reopening reach each of them, in bounded decisions.
    #[test]
    fn a_wide_fan_out_takes_pages(
        width in 0..200_i64,
        locks in vec(any::<bool>(), 0..400),
        retried in any::<bool>(),
    ) {
        fan_out(width, locks, retried)?;
    }
}

type Checked = Result<(), TestCaseError>;

/// Plays a story, and looks at the world before (without its history) and after every step of it.
fn play(
    story: &[String],
    mut check: impl FnMut(&World, &World, &[Step]) -> Checked,
) -> Result<World, TestCaseError> {
    let mut world = World::new(3, 2);
    for step in story {
        let history = std::mem::take(&mut world.history);
        let before = world.clone();
        world.history = history;
        let steps = world.play(step);
        check(&before, &world, &steps)?;
    }
    Ok(world)
}

fn ends_stay(before: &World, after: &World, steps: &[Step]) -> Checked {
    let mut tasks = before.tasks.clone();
    for step in steps {
        for (key, change) in &step.decided.decision.changes {
            let was = tasks.remove(key);
            let state = was.as_ref().map(|task| task.state);
            let task = match was {
                Some(task) => task.evolve(after.now, change),
                None => Task::born(after.now, change),
            };
            let left = state.filter(|state| state.is_terminal() && *state != task.state);
            if let Some(state) = left {
                let retried = matches!(step.input, Input::Command(of, Command::Retry { .. }) if of == *key);
                let parent_retried = matches!(
                    step.input,
                    Input::FollowUp(FollowUp::ParentReopened { .. } | FollowUp::ParentEnded { .. })
                );
                prop_assert!(matches!(change, Change::Reopened { .. }), "{state:?} left by {change:?}");
                prop_assert!(retried || parent_retried && state == State::Skipped, "{:?}", step.input);
                prop_assert!(state != State::Succeeded);
            }
            tasks.insert(*key, task);
        }
    }
    for (key, task) in before.tasks.iter().filter(|(_, task)| task.state == State::Succeeded) {
        prop_assert_eq!(after.tasks[key].state, State::Succeeded);
        prop_assert_eq!(after.tasks[key].ended_at, task.ended_at);
    }
    Ok(())
}

fn replayed(world: &World) -> BTreeMap<TaskKey, Task> {
    let mut tasks: BTreeMap<TaskKey, Task> = BTreeMap::new();
    for entry in &world.history {
        let task = match tasks.remove(&entry.task) {
            Some(task) => task.evolve(entry.at, &entry.change),
            None => Task::born(entry.at, &entry.change),
        };
        tasks.insert(entry.task, task);
    }
    tasks
}

fn repeats_do_nothing(before: &World, after: &World, steps: &[Step]) -> Checked {
    let [Step { input: Input::Event(event), decided }] = steps else { return Ok(()) };
    let Some(first) = event.claim.and_then(|claim| before.claims.get(&claim)) else { return Ok(()) };
    prop_assert_eq!(&decided.decision.outcome, &Outcome::Duplicate(*first));
    prop_assert_eq!(&after.tasks, &before.tasks);
    prop_assert_eq!(&after.parked, &before.parked);
    prop_assert_eq!(&after.exchanges, &before.exchanges);
    prop_assert!(decided.decision.changes.is_empty() && decided.decision.follow_ups.is_empty());
    Ok(())
}

/// The same story, with a delivery id on every webhook that comes alone, and each of these heard so many times.
fn heard(story: &[String], times: usize) -> Result<World, TestCaseError> {
    let alone = |step: &str| {
        !step.contains(" ; ") && [".task_", ".other"].iter().any(|webhook| step.contains(webhook))
    };
    let steps = story.iter().enumerate().flat_map(|(position, step)| match alone(step) {
        true => vec![format!("{} id=n{position}", step.split(" id=").next().unwrap_or(step)); times],
        false => vec![step.clone()],
    });
    play(&steps.collect::<Vec<_>>(), |_, _, _| Ok(()))
}

fn report() -> impl Strategy<Value = &'static str> {
    select(vec![
        "task_started",
        "task_progress",
        "task_heartbeat",
        "task_completed",
        "#1.task_completed",
        "#1.task_progress",
    ])
}

/// What has happened so far: who was created, and how each task has ever ended.
#[derive(Default)]
struct Lives {
    born: Vec<Arc<NewTask>>,
    ends: BTreeSet<(TaskKey, State)>,
}

fn dependencies_first(lives: &mut Lives, world: &World, steps: &[Step]) -> Checked {
    for (task, change) in steps.iter().flat_map(|step| &step.decided.decision.changes) {
        match change {
            Change::Created { new, .. } => lives.born.push(new.clone()),
            Change::Succeeded { .. } => _ = lives.ends.insert((*task, State::Succeeded)),
            Change::Failed => _ = lives.ends.insert((*task, State::Failed)),
            Change::Cancelled => _ = lives.ends.insert((*task, State::Cancelled)),
            Change::Skipped { .. } => _ = lives.ends.insert((*task, State::Skipped)),
            _ => {}
        }
    }
    for new in &lives.born {
        let task = &world.tasks[&new.key];
        let edges = new.after.iter().filter_map(|edge| world.edges.get(&(edge.parent, new.key)));
        let count = |status| edges.clone().filter(|edge| edge.status == status).count();
        prop_assert_eq!(count(EdgeStatus::Pending), task.dependencies_pending as usize);
        prop_assert_eq!(count(EdgeStatus::Broken), task.dependencies_broken as usize);
        prop_assert!(task.state != State::Skipped || task.dependencies_broken > 0, "skipped for nothing");
        if task.state == State::Blocked || task.state.is_terminal() || task.dependencies_ignored {
            continue;
        }
        for edge in &new.after {
            let mut allowed = State::ALL.iter().filter(|end| edge.on.allows(**end));
            let met = allowed.any(|end| lives.ends.contains(&(edge.parent, *end)));
            prop_assert!(met, "{} started before {}", name_of(new.key), name_of(edge.parent));
        }
    }
    Ok(())
}

fn words_arrive(_: &World, world: &World, _: &[Step]) -> Checked {
    if !world.kept.is_empty() {
        return Ok(());
    }
    let waits = world.parked.keys().find(|(name, _)| {
        let task = |key: &TaskKey| NameKey::from(*key) == *name;
        let external = |key: &ExternalKey| NameKey::from(*key) == *name;
        world.tasks.keys().any(task) || world.externals.keys().any(external)
    });
    prop_assert!(waits.is_none(), "a webhook still waits for its task: {waits:?}");
    for ((parent, child), edge) in &world.edges {
        let (parent, child) = (&world.tasks[parent], &world.tasks[child]);
        let ended = parent.state.is_terminal();
        let knows = match edge.status {
            EdgeStatus::Pending => !ended,
            EdgeStatus::Broken => ended && !edge.on.allows(parent.state) && child.state != State::Blocked,
            EdgeStatus::Met => true,
        };
        prop_assert!(knows, "{}; {} to {}: {edge:?}", words::states(world), parent.key.0, child.key.0);
    }
    Ok(())
}

fn permits_add_up(_: &World, world: &World, _: &[Step]) -> Checked {
    let permits = &world.permits;
    let (most, per_host) = world.exchanges_max;
    prop_assert_eq!(permits.open() as usize, world.exchanges.len() + world.polls.len());
    prop_assert_eq!(permits.free + permits.open(), most);
    for open in world.exchanges.iter().chain(&world.polls) {
        let all = world.exchanges.iter().chain(&world.polls);
        let same_host = all.filter(|other| other.host == open.host).count();
        prop_assert!(same_host <= per_host as usize);
    }
    let bytes: u64 = world.exchanges.iter().map(|open| u64::from(open.bytes)).sum();
    prop_assert_eq!(permits.free_bytes + bytes, limits::EXCHANGE_BYTES_MAX);
    Ok(())
}

fn places_are_taken(world: &World) -> Checked {
    // A body that is too large for now holds up what is behind it.
    let any_body = world.tasks.values().any(|task| task.plan.payload_bytes > 0);
    if !world.kept.is_empty() || any_body {
        return Ok(());
    }
    for task in world.tasks.values().filter(|task| task.state == State::Queued) {
        let free = task.plan.host.is_some_and(|host| world.permits.allow(host, 0, world.now));
        prop_assert!(!free, "{} waits for nothing", name_of(task.key));
    }
    Ok(())
}

/// `sent` remembers how often each attempt was sent, and when last.
fn sent_once(sent: &mut BTreeMap<(TaskKey, u32), (u8, i64)>, world: &World, steps: &[Step]) -> Checked {
    let effects = steps.iter().flat_map(|step| &step.decided.decision.effects);
    for effect in effects {
        let Effect::Dispatch { task, attempt, send } = *effect else { continue };
        let (last, at) = sent.insert((task, attempt), (send, world.now.0)).unwrap_or_default();
        prop_assert_eq!(send, last + 1, "{}#{}", name_of(task), attempt);
        prop_assert!(send <= limits::RESENDS_MAX + 1);
        prop_assert!(send == 1 || at < world.up_since.0, "sent again without a crash");
    }
    Ok(())
}

fn last_word(_: &World, world: &World, _: &[Step]) -> Checked {
    for (position, failed) in world.history.iter().enumerate() {
        let Change::AttemptFailed { attempt, failure, .. } = &failed.change else { continue };
        let plan = &world.tasks[&failed.task].plan;
        let can_be_asked = plan.oversight.status.is_some_and(|status| status.host.is_some());
        let Some(timeout) = plan.timeout.filter(|_| can_be_asked && failure.code == "timeout") else {
            continue;
        };
        let of_it = world.history[..position].iter().filter(|entry| entry.task == failed.task);
        let at = |is: &dyn Fn(&Change) -> bool| {
            of_it.clone().rfind(|entry| is(&entry.change)).map(|entry| entry.at)
        };
        let began_at = at(
            &|change| matches!(change, Change::Dispatched { attempt: of } | Change::Begun { attempt: of } if of == attempt),
        );
        let ran = at(
            &|change| matches!(change, Change::Started { attempt: of } | Change::Begun { attempt: of } if of == attempt),
        );
        let Some(ran_out) = began_at.filter(|_| ran.is_some()).map(|at| at + timeout) else { continue };
        let asked = at(&|change| *change == Change::PollSent { attempt: *attempt });
        // Behind others who ask a host that answers nobody: what that takes is told by `sync.rs`.
        let is_left_out = failed.at >= ran_out + limits::LAST_POLL_WITHIN;
        prop_assert!(asked >= Some(ran_out) || is_left_out, "{} had no last word", name_of(failed.task));
    }
    Ok(())
}

/// Lets everything that is under way come to its end: workers answer 202 and call back, or nobody ever answers.
fn settle(world: &mut World, answering: bool) {
    world.locks.clear();
    for _ in 0..2_000 {
        let running = world.tasks.values().find(|task| task.state == State::Running).map(|task| task.key);
        if !world.kept.is_empty() {
            world.resume();
        } else if !world.exchanges.is_empty() {
            world.play(if answering { "answer 0 202" } else { "answer 0 lost" });
        } else if !world.polls.is_empty() {
            world.play(if answering { "tell 0 runs" } else { "tell 0 lost" });
        } else if let Some(task) = running.filter(|_| answering) {
            world.play(&format!("{}.task_completed", name_of(task)));
        } else if let Some((at, task)) = world.next_wake() {
            world.now = world.now.max(at);
            world.commit(vec![Input::Wake(task)]);
        } else if world.tasks.values().any(|task| task.state == State::Queued) && world.permits.broken() > 0 {
            // A host that is out of order is asked now and then.
            world.pass(limits::BREAKER_PROBE);
        } else if world.play("look").iter().all(|step| step.decided.decision.changes.is_empty()) {
            return;
        }
    }
    panic!("it never comes to rest: {}", words::states(world));
}

fn wakes_in_time(_: &World, world: &World, _: &[Step]) -> Checked {
    for task in world.tasks.values().filter(|task| !task.quarantined) {
        let own = match task.state {
            State::Scheduled => Some(task.due_at),
            State::Dispatching => Some(world.now + limits::LOST_AFTER),
            _ => None,
        };
        let ends = [task.times_out_at(), task.beats_until(), task.deadline()].into_iter().flatten();
        // What has run out waits for the grace of a start, or for the remote's last word.
        let ends = ends.map(|at| if at > world.now { at } else { world.now + limits::POLL_PAUSE_MAX });
        let latest = if task.state.is_terminal() { None } else { own.into_iter().chain(ends).min() };
        let in_time = latest.is_none_or(|latest| task.wake_at.is_some_and(|at| at <= latest.max(world.now)));
        prop_assert!(in_time, "{} at {:?}, not {latest:?}", task.state.name(), task.wake_at);
        let is_asked = task.state == State::Running && task.status_host().is_some();
        let wants_to = latest.is_some() || is_asked;
        prop_assert!(wants_to || task.wake_at.is_none(), "{} is woken", task.state.name());
    }
    Ok(())
}

fn not_applied_is_no_change(before: &World, after: &World, steps: &[Step]) -> Checked {
    let [Step { input, decided }] = steps else { return Ok(()) };
    let outcome = &decided.decision.outcome;
    match input {
        // Which attempt a remote's id means is not for this law to know.
        Input::Event(event) if event.external.is_some() && *outcome == Outcome::Applied => return Ok(()),
        Input::Event(event) => {
            if *outcome == Outcome::Applied {
                let task = event.task.map(|key| &before.tasks[&key]);
                let (newest, retried_after) =
                    task.map_or((0, 0), |task| (task.attempt_number(), task.attempts_before));
                let completes = matches!(event.kind, EventKind::Completed(_));
                let counts = |number| number > retried_after && (number == newest || completes);
                prop_assert!(event.attempt.is_none_or(counts), "an older attempt is heard");
                return Ok(());
            }
        }
        Input::Create(_) if matches!(outcome, Outcome::Created(keys) if keys.iter().any(|(_, new)| *new)) => {
            return Ok(());
        }
        Input::Create(_) => {}
        _ => return Ok(()),
    }
    prop_assert_eq!(after.tasks.len(), before.tasks.len());
    for (key, was) in &before.tasks {
        let mut is = after.tasks[key].clone();
        is.notes = was.notes;
        is.answered_too_early = was.answered_too_early;
        is.contradicted = was.contradicted;
        prop_assert_eq!(&is, was);
    }
    Ok(())
}

fn within_policy(_: &World, world: &World, _: &[Step]) -> Checked {
    for task in world.tasks.values() {
        let (used, most) = (task.attempts_used, task.plan.retry.max_attempts);
        prop_assert!(used <= most && used <= task.attempt_number() - task.attempts_before);
        let goes_on = matches!(task.state, State::Scheduled | State::Queued | State::Dispatching);
        prop_assert!(!goes_on || used < most, "tried once too often");
    }
    Ok(())
}

fn fan_out(width: i64, locks: Vec<bool>, retried: bool) -> Checked {
    let mut world = World::after("new");
    let template = world.new_task("b after=a:failed external timeout=20m");
    let dependents = (100..100 + width).map(|key| NewTask { key: TaskKey(key), ..template.clone() });
    world.commit(vec![Input::Create(Create { tasks: dependents.map(Arc::new).collect() })]);
    world.locks = locks.into();
    let mut steps = world.play(if retried { "cancel" } else { "404" });
    if retried {
        steps.extend(["retry", "look", "404"].into_iter().flat_map(|step| world.play(step)));
    }
    while !world.kept.is_empty() {
        steps.extend(world.resume());
    }
    let most = steps.iter().map(|step| step.decided.decision.follow_ups.len()).max().unwrap_or(0);
    prop_assert!(most <= limits::FOLLOW_UPS_MAX);
    for dependent in world.tasks.values().filter(|task| task.key != key_of("a")) {
        prop_assert_eq!((dependent.state, dependent.attempt_number()), (State::Running, 1));
    }
    Ok(())
}
