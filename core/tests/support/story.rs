//! Random stories in the words of `script.rs`: five tasks that wait for each other, or one with many attempts;
//! workers that answer or do not, webhooks that are doubled, late or about the wrong attempt, processes that
//! die, follow-ups that find their subject locked.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

static NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Any story.
pub(crate) fn story() -> impl Strategy<Value = Vec<String>> {
    with_timeouts(&["", " timeout=none", " timeout=20s"])
}

/// A story in which every attempt times out at last.
pub(crate) fn bounded_story() -> impl Strategy<Value = Vec<String>> {
    with_timeouts(&[" timeout=20m"])
}

fn with_timeouts(timeouts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => of_many(timeouts), 1 => of_one(timeouts)]
}

/// One task that is tried again and again.
fn of_one(timeouts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let act = prop_oneof![
        4 => event(&["a"]),
        4 => select(vec!["answer 0 503", "answer 0 lost", "answer 0 202"]).prop_map(String::from),
        4 => Just("pass 90s".to_string()),
        1 => Just("pass 1h".to_string()),
        4 => Just("restart".to_string()),
        1 => Just("retry".to_string()),
    ];
    (select(timeouts), vec(act, 0..60)).prop_map(|(timeout, mut acts)| {
        acts.insert(0, format!("new{timeout}"));
        acts
    })
}

fn of_many(timeouts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    (creations(timeouts), vec(act(), 0..60), vec(0..16_usize, 7)).prop_map(
        |(mut creations, mut acts, places)| {
            // Some are asked for twice.
            creations.extend_from_within(..creations.len().min(2));
            let mut places: Vec<usize> = places.into_iter().take(creations.len()).collect();
            places.sort_unstable();
            for (creation, place) in creations.into_iter().zip(places).rev() {
                acts.insert(place.min(acts.len()), creation);
            }
            acts
        },
    )
}

/// The tasks come one by one, or in one batch that names them backwards.
fn creations(timeouts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let task = |position| options(position, timeouts);
    let tasks = (task(0), task(1), task(2), task(3), task(4));
    (tasks, any::<bool>()).prop_map(|((a, b, c, d, e), together)| match together {
        true => vec![format!("batch {e} & {d} & {c} & {b} & {a}")],
        false => [a, b, c, d, e].map(|options| format!("batch {options}")).into(),
    })
}

/// One task, waiting for some of those before it.
fn options(position: usize, timeouts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let ons = select(vec!["succeeded", "failed", "not_failed", "finished"]);
    let after = vec(option::weighted(0.4, ons), position).prop_map(|ons| {
        let edges = NAMES.iter().zip(ons).filter_map(|(name, on)| Some(format!("{name}:{}", on?)));
        let edges = edges.collect::<Vec<_>>().join(",");
        if edges.is_empty() { edges } else { format!(" after={edges}") }
    });
    let words = (
        select(vec!["", "", " external"]),
        select(vec!["", " callback", " response"]),
        select(vec![" attempts=1", " attempts=2", " attempts=3", ""]),
        select(timeouts),
        select(vec!["", "", " in=30s"]),
        select(vec![
            "",
            " host=2",
            " priority=5",
            " bytes=40000000",
            " remote=x",
            " heartbeat=20s",
            " deadline=90s",
            " strict",
            " status=1 ask=5s",
            " status=3 ask=20s heartbeat=40s cancel=3",
            " status=location",
        ]),
    );
    (after, words).prop_map(move |(after, (external, completion, attempts, timeout, due, other))| {
        format!("{}{after}{external}{completion}{attempts}{timeout}{due}{other}", NAMES[position])
    })
}

fn act() -> impl Strategy<Value = String> {
    let event = || event(&NAMES);
    let several = (event(), prop_oneof![event(), command()], prop_oneof![event(), answer()]);
    let lock = any::<bool>().prop_map(|locked| if locked { '1' } else { '0' });
    prop_oneof![
        5 => event(),
        6 => answer(),
        2 => tell(),
        3 => command(),
        2 => several.prop_map(|(first, second, third)| format!("{first} ; {second} ; {third}")),
        4 => (1..90_u32).prop_map(|seconds| format!("pass {seconds}s")),
        1 => (1..40_u32).prop_map(|seconds| format!("wait {seconds}s")),
        1 => select(vec!["crash", "restart", "restart", "look"]).prop_map(String::from),
        2 => vec(lock, 1..12).prop_map(|locks| format!("locks {}", String::from_iter(locks))),
        2 => Just("resume".to_string()),
    ]
}

fn event(tasks: &'static [&'static str]) -> impl Strategy<Value = String> {
    let kinds = vec![
        "task_started",
        "task_progress",
        "task_heartbeat",
        "task_completed",
        "task_completed",
        "task_failed",
        "task_failed retryable=false",
        "task_cancelled",
        "other",
    ];
    let attempt = option::weighted(0.4, select(vec![1_u32, 1, 1, 2, 2, 3, 0]));
    let id = option::weighted(0.7, 0..20_u32);
    let remote = select(vec!["", "", "", " remote=x", " remote=y"]);
    (select(tasks), attempt, select(kinds), remote, id).prop_map(|(task, attempt, kind, remote, id)| {
        let attempt = attempt.map(|number| format!("#{number}")).unwrap_or_default();
        let id = id.map(|id| format!(" id={id}")).unwrap_or_default();
        format!("{task}{attempt}.{kind}{remote}{id}")
    })
}

fn answer() -> impl Strategy<Value = String> {
    let replies = vec![
        "200",
        "202",
        "202",
        "202 location=3",
        "202 remote=x",
        "202 remote=y",
        "200 remote=x",
        "202 remote=none",
        "404",
        "500",
        "503",
        "503 retry-after=2s",
        "503 no-retry",
        "lost",
        "lost",
        "not_allowed",
    ];
    (0..3_usize, select(replies)).prop_map(|(position, reply)| format!("answer {position} {reply}"))
}

fn tell() -> impl Strategy<Value = String> {
    let said = vec![
        "runs",
        "runs at=0.5",
        "404",
        "unclear",
        "lost",
        "task_completed",
        "task_failed",
        "task_cancelled",
    ];
    (0..3_usize, select(said)).prop_map(|(position, said)| format!("tell {position} {said}"))
}

fn command() -> impl Strategy<Value = String> {
    let commands = select(vec!["cancel", "retry", "retry", "retry ignoring", "trigger", "wake"]);
    (select(&NAMES[..]), commands).prop_map(|(task, command)| format!("{task}.{command}"))
}
