//! What it costs to let one task start while many others wait in its queue.
//!
//! A thousand, a hundred thousand and a million tasks wait: first for a place of their concurrency key, then, each with
//! a key of its own, for a place of their queue. The cost of one start must not grow with them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Settings;
use crate::api::{BATCH, Taskhook};
use crate::report::{Report, Rounds, Row, note, rate};
use crate::target::Target;

/// Attempts that are open all the time: one for each key, or as many as the queue has places.
const OPEN: usize = 10;
/// Starts in one measured slice. Half of the fewest that wait, so that none of their keys runs dry.
const SLICE: usize = 500;
/// Slices that are not measured: the log of what was just created is still being copied into the database file.
const WARM_UP_SLICES: usize = 2;
/// How much more a start may cost with the most that wait than with the fewest.
const GROWTH_MAX: f64 = 2.0;

/// What the waiting tasks wait for, and what starts meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The end of an attempt of their key, of which there are a few: one ends, and the next of its key starts.
    Key,
    /// The same, while tasks of other keys come that may start.
    PassedBy,
    /// A place of the queue, each with a key of its own: one ends, and the next in turn starts.
    Place,
}

/// What one start costs.
struct Cost {
    /// Starts per second, of each slice.
    per_second: Rounds,
    /// The server's processor time for each, in microseconds.
    processor_micros: f64,
}

/// A server with waiting tasks.
struct Waiting {
    taskhook: Taskhook,
    target: Target,
    /// What they wait for.
    kind: Kind,
    /// How many were created.
    created: usize,
}

/// Measures and reports.
pub(crate) async fn measure(settings: &Settings) -> Result<Report> {
    let counts: &[usize] = if settings.quick { &[1_000, 10_000] } else { &[1_000, 100_000, 1_000_000] };
    let slices = if settings.quick { 4 } else { 20 };
    let mut costs = Vec::new();
    for &count in counts {
        let mut waiting = Waiting::create(settings, Kind::Key, count).await?;
        costs.push((Kind::Key, count, waiting.promote(slices).await?));
        costs.push((Kind::PassedBy, count, waiting.pass_by(slices).await?));
        drop(waiting);
        let mut waiting = Waiting::create(settings, Kind::Place, count).await?;
        costs.push((Kind::Place, count, waiting.promote(slices).await?));
        note(&format!("{count} waiting tasks done"));
    }

    let mut report = Report::default();
    for kind in [Kind::Key, Kind::PassedBy, Kind::Place] {
        let of_kind = || costs.iter().filter(|(other, _, _)| *other == kind);
        for (_, count, cost) in of_kind() {
            let (lowest, highest) = cost.per_second.range();
            report.add(Row {
                what: format!("{}, {count} wait", kind.words()),
                figure: rate(cost.per_second.median()),
                more: format!(
                    "{} to {}; {:.0} µs of the server's core each",
                    rate(lowest),
                    rate(highest),
                    cost.processor_micros
                ),
                ..Row::default()
            });
        }
        let (Some((_, _, few)), Some((_, _, many))) = (of_kind().next(), of_kind().next_back()) else {
            continue;
        };
        let time = few.per_second.median() / many.per_second.median();
        let processor = many.processor_micros / few.processor_micros;
        for (what, growth) in [("time", time), ("processor time", processor)] {
            report.add(Row {
                what: format!("… {what} of a start, the most against the fewest"),
                figure: format!("{growth:.2}×"),
                floor: format!("≤ {GROWTH_MAX:.0}×"),
                met: Some(growth <= GROWTH_MAX),
                ..Row::default()
            });
        }
    }
    Ok(report)
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Key => "a webhook frees the key, its next task starts",
            Kind::PassedBy => "tasks of other keys are created and start",
            Kind::Place => "a webhook frees a place, the next key's task starts",
        }
    }

    /// The queue's limit that makes them wait.
    fn limit(self) -> String {
        match self {
            Kind::Key | Kind::PassedBy => r#"{"per_key":{"concurrency":1}}"#.into(),
            Kind::Place => format!(r#"{{"concurrency":{OPEN}}}"#),
        }
    }
}

impl Waiting {
    /// Starts a server and creates `count` tasks of which all but a few wait.
    async fn create(settings: &Settings, kind: Kind, count: usize) -> Result<Waiting> {
        let mut taskhook = Taskhook::start(&settings.cores, &settings.taskhook, &settings.folder)?;
        taskhook.put("/v1/queues/work", &kind.limit(), 201).await?;
        let target = Target::start(taskhook.address()).await?;
        let mut waiting = Waiting { taskhook, target, kind, created: 0 };
        waiting.add(count + OPEN).await?;
        waiting.target.wait_for(OPEN).await?;
        Ok(waiting)
    }

    /// Creates more tasks that wait.
    async fn add(&mut self, count: usize) -> Result<()> {
        let url = self.target.url("/hold");
        let kind = self.kind;
        let task = |number: usize| {
            let key = if kind == Kind::Place { number } else { number % OPEN };
            task(&format!("task-{number}"), &url, &format!("key-{key}"))
        };
        let from = self.created;
        self.created += count;
        self.taskhook.create((from..self.created).map(task)).await
    }

    fn started(&self) -> usize {
        self.target.seen(crate::target::Seen::count)
    }

    /// Lets open attempts end one after the other: each makes room for exactly one of those that wait.
    async fn promote(&mut self, slices: usize) -> Result<Cost> {
        let mut meter = Meter::default();
        for slice in 0..WARM_UP_SLICES + slices {
            let wanted = self.started() + SLICE;
            let (began, processor) = (Instant::now(), self.taskhook.process.cpu_time()?);
            self.target.release(SLICE);
            let last = self.target.wait_for(wanted).await?;
            if slice >= WARM_UP_SLICES {
                meter.add(SLICE, last - began, self.taskhook.process.cpu_time()? - processor);
            }
            let started = self.started();
            ensure!(started == wanted, "{started} tasks have started instead of {wanted}");
            // As many wait as before.
            self.add(SLICE).await?;
        }
        Ok(meter.cost())
    }

    /// Creates tasks of other keys, which start at once.
    async fn pass_by(&mut self, slices: usize) -> Result<Cost> {
        let url = self.target.url("/done");
        let mut meter = Meter::default();
        for slice in 0..WARM_UP_SLICES + slices {
            let wanted = self.started() + BATCH;
            let (began, processor) = (Instant::now(), self.taskhook.process.cpu_time()?);
            let task = |number| {
                let id = format!("other-{slice}-{number}");
                task(&id, &url, &id)
            };
            self.taskhook.create((0..BATCH).map(task)).await?;
            let last = self.target.wait_for(wanted).await?;
            self.taskhook.wait_for_success(self.target.last()).await?;
            if slice >= WARM_UP_SLICES {
                meter.add(BATCH, last - began, self.taskhook.process.cpu_time()? - processor);
            }
        }
        Ok(meter.cost())
    }
}

/// Adds up slices.
#[derive(Default)]
struct Meter {
    per_second: Rounds,
    starts: f64,
    processor: Duration,
}

impl Meter {
    fn add(&mut self, starts: usize, time: Duration, processor: Duration) {
        let starts = starts as f64;
        self.per_second.add(starts / time.as_secs_f64());
        self.starts += starts;
        self.processor += processor;
    }

    fn cost(self) -> Cost {
        let processor_micros = self.processor.as_secs_f64() * 1e6 / self.starts;
        Cost { per_second: self.per_second, processor_micros }
    }
}

fn task(id: &str, url: &str, key: &str) -> String {
    format!(r#"{{"id":"{id}","url":"{url}","queue":"work","concurrency_key":"{key}"}}"#)
}
