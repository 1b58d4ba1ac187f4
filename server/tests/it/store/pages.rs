//! What is wider than a page is done page by page, and completely.

use taskhook_core::limits::FAN_OUT_PAGE;
use taskhook_core::{Command, EventKey, EventKind, FollowUp, Input, On, State, TaskKey};

use super::backend::Backend;
use super::world::{World, after, command, completed, create, event, external, failed, heard};

pub(super) fn everybody_behind_a_wide_task_hears_of_it<B: Backend>(world: &mut World<B>) {
    // One page, one more than a page, exactly two pages, and some.
    let widths = [FAN_OUT_PAGE, FAN_OUT_PAGE + 1, 2 * FAN_OUT_PAGE, 3 * FAN_OUT_PAGE + 5];
    for (number, width) in widths.into_iter().enumerate() {
        let parent = format!("parent{number}");
        let child = |at: usize| format!("{parent}-{at}");
        world.settle(&[create([external(&parent)])]);
        world
            .settle(&[create((0..width).map(|at| after(external(&child(at)), &[(&parent, On::Succeeded)])))]);
        let count = |world: &mut World<B>, state| {
            let children: Vec<_> = (0..width).map(child).collect();
            let names = world.backend.names();
            let is_child = |key| names.iter().any(|name| name.0 == key && children.contains(&name.2));
            let tasks = world.backend.tasks();
            tasks.iter().filter(|task| is_child(task.key.0) && task.state == state).count()
        };
        let mut event = 10 * number as u64;
        let mut next = || {
            event += 1;
            event
        };
        assert_eq!(count(world, State::Blocked), width);
        world.settle(&[failed(next(), &parent)]);
        assert_eq!(count(world, State::Skipped), width, "the end reaches all of {width}");
        world.settle(&[command(&parent, Command::Retry { ignore_dependencies: false })]);
        assert_eq!(count(world, State::Blocked), width, "so does the reopening");
        world.settle(&[completed(next(), &parent)]);
        assert_eq!(count(world, State::Running), width, "and the second end");
        for at in [0, width - 1] {
            let history = world.history(&child(at));
            let ends = history.iter().filter(|line| line.contains(": dependency_ended")).count();
            assert_eq!(ends, 2, "each of them once: {history:#?}");
        }
    }
    assert_eq!(world.backend.kept_count(), 0);
}

pub(super) fn more_parked_webhooks_than_a_page_apply_in_order<B: Backend>(world: &mut World<B>) {
    let number = |at: usize| at as u64 + 1;
    for at in 0..=FAN_OUT_PAGE {
        let progress = EventKind::Progress(Some(at as f64 / 100.0), Some(format!("step {at}")));
        world.settle(&[event(heard(number(at), "late", progress))]);
    }
    assert_eq!(world.backend.parked().len(), FAN_OUT_PAGE + 1);
    world.settle(&[create([external("late")])]);
    assert!(world.backend.parked().is_empty());
    let history = world.history("late");
    let steps: Vec<&String> = history.iter().filter(|line| line.contains(": alive")).collect();
    assert_eq!(steps.len(), FAN_OUT_PAGE + 1);
    for (at, line) in steps.iter().enumerate() {
        assert!(line.contains(&format!("\"step {at}\"")), "{line}");
    }
    assert!(world.backend.events().iter().all(|event| event.contains(" applied ")));
}

pub(super) fn a_page_begins_behind_its_cursor<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("parent"), external("alone")])]);
    let (parent, alone) = (world.key("parent"), world.key("alone"));
    let drafts = (0..=FAN_OUT_PAGE).map(|at| after(external(&format!("c{at}")), &[("parent", On::Finished)]));
    world.settle(&[create(drafts)]);
    let mut children: Vec<TaskKey> = (0..=FAN_OUT_PAGE).map(|at| world.key(&format!("c{at}"))).collect();
    children.sort_unstable();
    let cx = world.context();
    for (begin, rows, more) in [
        (TaskKey(i64::MIN), &children[..FAN_OUT_PAGE], true),
        (children[0], &children[1..], false),
        (children[FAN_OUT_PAGE - 1], &children[FAN_OUT_PAGE..], false),
        (children[FAN_OUT_PAGE], &[], false),
        (TaskKey(i64::MAX), &[], false),
    ] {
        let (generation, after) = (0, begin);
        for look in [
            FollowUp::EndDependents { parent, generation, after },
            FollowUp::ReopenDependents { parent, generation, after },
        ] {
            let subjects = world.load(&cx, &[Input::FollowUp(look)]);
            let page = subjects.dependents(parent, after);
            assert_eq!((page.rows.as_slice(), page.more), (rows, more), "behind {begin:?}");
            assert!(subjects.task(parent).is_some());
        }
    }
    let (generation, after) = (0, TaskKey(i64::MIN));
    let look = FollowUp::EndDependents { parent: alone, generation, after };
    let subjects = world.load(&cx, &[Input::FollowUp(look)]);
    assert_eq!(subjects.dependents(alone, after).rows, []);

    // Webhooks in the same way.
    for number in 1..=3 {
        world.settle(&[completed(number, "late")]);
    }
    let task = world.key("late");
    for (begin, rows, more) in [
        (0, vec![1], true),
        (1, vec![2], true),
        (2, vec![3], false),
        (3, vec![], false),
        (i64::MAX, vec![], false),
    ] {
        let after = EventKey(begin);
        let subjects = world.load(&cx, &[Input::FollowUp(FollowUp::Unpark { task, after })]);
        let page = subjects.parked(task.into(), after);
        let found: Vec<i64> = page.rows.iter().map(|parked| parked.event.key.0).collect();
        assert_eq!((found, page.more), (rows, more), "behind {begin}");
    }
}
