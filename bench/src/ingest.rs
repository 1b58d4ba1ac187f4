//! P1 and P2: durable webhooks, beside the reference and beside the tutorial's Flask server.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::api::Taskhook;
use crate::load::{self, Measured, Requests, Shared, with};
use crate::process::Process;
use crate::random::Random;
use crate::report::{Report, Rounds, Row, mebibytes, millis, note, rate};
use crate::{Settings, wire};

/// Connections of the closed loops.
const CONNECTIONS: [usize; 2] = [64, 256];
/// Requests per second of the first open loop.
const STEADY: f64 = 2_000.0;
/// The floors of the speed table: parts of the reference, times Flask, and latencies.
const OF_REFERENCE_MIN: f64 = 0.06;
const TIMES_FLASK_MIN: f64 = 5.0;
const STEADY_P99_MAX: Duration = Duration::from_millis(10);
const HALF_P99_MAX: Duration = Duration::from_millis(30);

/// Webhooks that complete stored tasks in a random order, each task once.
struct Webhooks {
    /// The numbers of the tasks, those before `next` are used up.
    tasks: Vec<u32>,
    next: usize,
    random: Random,
    body: Vec<u8>,
}

impl Webhooks {
    fn new(stored: u32) -> Webhooks {
        let mut random = Random::new(u64::from(stored));
        let mut tasks: Vec<u32> = (0..stored).collect();
        random.shuffle(&mut tasks);
        Webhooks { tasks, next: 0, random, body: Vec::new() }
    }

    fn left(&self) -> usize {
        self.tasks.len() - self.next
    }

    /// Takes in more stored tasks, mixed with those that are left.
    fn add(&mut self, tasks: impl Iterator<Item = u32>) {
        self.tasks.extend(tasks);
        self.random.shuffle(&mut self.tasks[self.next..]);
    }
}

impl Requests for Webhooks {
    fn next(&mut self, to: &mut Vec<u8>) {
        if self.next == self.tasks.len() {
            self.next = 0;
        }
        let task = id(self.tasks[self.next]);
        self.next += 1;
        self.body.clear();
        self.body.extend_from_slice(br#"{"event":"task_completed","task_id":""#);
        self.body.extend_from_slice(task.as_bytes());
        self.body.extend_from_slice(br#""}"#);
        let delivery = format!("msg_{:016x}{:016x}", self.random.next(), self.random.next());
        wire::post(to, "/webhook", Some(("webhook-id", &delivery)), &self.body);
    }
}

fn id(number: u32) -> String {
    format!("job-{number:07}")
}

/// Everything that takes part.
struct Contest<'a> {
    settings: &'a Settings,
    taskhook: Taskhook,
    reference: Process,
    flask: Option<Process>,
    webhooks: Shared<Webhooks>,
    /// What the others get: the same webhooks, over and over.
    others: Shared<Webhooks>,
    /// Answers of Taskhook per second, as far as is known.
    fastest: f64,
    not_applied: u64,
}

/// The figures of one competitor.
#[derive(Default)]
struct Figures {
    per_second: Rounds,
    p50: Rounds,
    p99: Rounds,
    /// Microseconds of the server's core for each answer.
    core: Rounds,
}

impl Figures {
    fn add(&mut self, measured: &Measured, cpu: Duration) {
        let answered = (measured.answered + measured.failed).max(1) as f64;
        self.per_second.add(measured.per_second());
        self.p50.add(measured.latency(0.5).as_secs_f64());
        self.p99.add(measured.latency(0.99).as_secs_f64());
        self.core.add(cpu.as_secs_f64() * 1e6 / answered);
    }

    fn show(&self, report: &mut Report, who: &str) {
        let (lowest, highest) = self.per_second.range();
        let latency = |rounds: &Rounds| millis(Duration::from_secs_f64(rounds.median()));
        report.add(Row {
            what: who.into(),
            figure: rate(self.per_second.median()),
            more: format!(
                "{} to {}; p50 {}, p99 {}; {:.1} µs of its core each",
                rate(lowest),
                rate(highest),
                latency(&self.p50),
                latency(&self.p99),
                self.core.median()
            ),
            ..Row::default()
        });
    }
}

/// Measures and reports.
pub(crate) async fn measure(settings: &Settings) -> Result<Report> {
    let taskhook = Taskhook::start(&settings.cores, &settings.taskhook, &settings.folder)?;
    let own = std::env::current_exe()?;
    let reference = Process::start(&settings.cores, &own, &["reference"])?;
    let flask = settings.python.as_deref().map(|python| start_flask(settings, python)).transpose()?;
    let mut contest = Contest {
        settings,
        taskhook,
        reference,
        flask,
        webhooks: Arc::new(Mutex::new(Webhooks::new(0))),
        others: Arc::new(Mutex::new(Webhooks::new(1_000_000))),
        fastest: 30_000.0,
        not_applied: 0,
    };
    let mut report = Report::default();
    let stored = settings.stored;
    let created = contest.store_more(stored).await?;
    report.explain(format!("{stored} tasks created in batches of 1,000"), rate(created));
    note(&format!("{stored} tasks are stored, {}", rate(created)));
    let maximum = contest.closed_loops(&mut report).await?;
    contest.open_loops(&mut report, maximum).await?;
    if contest.not_applied > 0 {
        let what = "webhooks that changed no task (fewer tasks than webhooks)";
        report.explain(what, contest.not_applied.to_string());
    }
    let memory = contest.taskhook.process.memory_peak_bytes()?;
    report.explain("Taskhook's peak memory", mebibytes(memory));
    Ok(report)
}

fn start_flask(settings: &Settings, python: &Path) -> Result<Process> {
    let app = settings.folder.join("tutorial.py");
    fs::write(&app, include_str!("tutorial.py")).with_context(|| app.display().to_string())?;
    Process::start(&settings.cores, python, &[&app.display().to_string()])
}

impl Contest<'_> {
    /// Stores external tasks and tells how many per second.
    async fn store_more(&mut self, count: u32) -> Result<f64> {
        let first = u32::try_from(with(&self.webhooks, |webhooks| webhooks.tasks.len()))?;
        let numbers = first..first + count;
        let started = Instant::now();
        let tasks = numbers.clone().map(|number| format!(r#"{{"id":"{}"}}"#, id(number)));
        self.taskhook.create(tasks).await?;
        with(&self.webhooks, |webhooks| webhooks.add(numbers));
        Ok(f64::from(count) / started.elapsed().as_secs_f64())
    }

    /// Sees to it that a run of `seconds` at `per_second` finds a task for each webhook.
    async fn refill(&mut self, per_second: f64, seconds: f64) -> Result<()> {
        let wanted = (per_second * seconds * 1.2).clamp(0.0, 20e6) as u32;
        let left = u32::try_from(with(&self.webhooks, |webhooks| webhooks.left()))?;
        if left < wanted {
            note(&format!("{} more tasks are stored", wanted - left));
            self.store_more(wanted - left).await?;
        }
        Ok(())
    }

    async fn taskhook_round(&mut self, connections: usize, figures: &mut Figures) -> Result<f64> {
        let (warm_up, time) = self.times();
        self.refill(self.fastest, (warm_up + time).as_secs_f64()).await?;
        let before = self.taskhook.process.cpu_time()?;
        let measured =
            load::closed(self.taskhook.address(), connections, warm_up, time, &self.webhooks).await?;
        // The warm-up is part of both.
        let share = time.as_secs_f64() / (time + warm_up).as_secs_f64();
        figures.add(&measured, (self.taskhook.process.cpu_time()? - before).mul_f64(share));
        self.not_applied += measured.answered - measured.applied + measured.failed;
        self.fastest = self.fastest.max(measured.per_second());
        Ok(measured.per_second())
    }

    async fn other_round(&self, other: &Process, connections: usize, figures: &mut Figures) -> Result<f64> {
        let (warm_up, time) = self.times();
        let before = other.cpu_time()?;
        let measured = load::closed(other.address, connections, warm_up, time, &self.others).await?;
        let share = time.as_secs_f64() / (time + warm_up).as_secs_f64();
        figures.add(&measured, (other.cpu_time()? - before).mul_f64(share));
        Ok(measured.per_second())
    }

    fn times(&self) -> (Duration, Duration) {
        let time = Duration::from_secs_f64(self.settings.seconds);
        (time / 5, time)
    }

    /// Gives how many webhooks per second it took at most.
    async fn closed_loops(&mut self, report: &mut Report) -> Result<f64> {
        let mut taskhook = [Figures::default(), Figures::default()];
        let mut reference = [Figures::default(), Figures::default()];
        let mut flask = Figures::default();
        let mut ratios = [Rounds::default(), Rounds::default()];
        let mut times_flask = Rounds::default();
        let mut warm_up = Figures::default();
        self.taskhook_round(CONNECTIONS[0], &mut warm_up).await?;
        self.fastest = warm_up.per_second.median();
        for round in 1..=self.settings.rounds {
            for (which, connections) in CONNECTIONS.into_iter().enumerate() {
                let theirs = self.other_round(&self.reference, connections, &mut reference[which]).await?;
                let ours = self.taskhook_round(connections, &mut taskhook[which]).await?;
                ratios[which].add(ours / theirs);
                note(&format!(
                    "round {round}, {connections} connections: {} of {}",
                    rate(ours),
                    rate(theirs)
                ));
                if let Some(other) = self.flask.as_ref().filter(|_| which == 0) {
                    times_flask.add(ours / self.other_round(other, connections, &mut flask).await?);
                }
            }
        }
        for (which, connections) in CONNECTIONS.into_iter().enumerate() {
            reference[which].show(report, &format!("reference, {connections} connections"));
            taskhook[which].show(report, &format!("Taskhook, {connections} connections"));
            let (lowest, highest) = ratios[which].range();
            let ratio = ratios[which].median();
            report.add(Row {
                name: "P1",
                what: format!("Taskhook of the reference, {connections} connections"),
                figure: format!("{:.1} %", ratio * 100.0),
                floor: format!("≥ {:.0} %", OF_REFERENCE_MIN * 100.0),
                met: Some(ratio >= OF_REFERENCE_MIN),
                more: format!("{:.1} to {:.1} %", lowest * 100.0, highest * 100.0),
            });
        }
        flask.show(report, "Flask's development server, 64 connections");
        let (lowest, highest) = times_flask.range();
        let times = times_flask.median();
        report.add(Row {
            name: "P1b",
            what: "Taskhook against Flask, 64 connections".into(),
            figure: format!("{times:.1}×"),
            floor: format!("≥ {TIMES_FLASK_MIN:.0}×"),
            met: Some(times >= TIMES_FLASK_MIN),
            more: if self.flask.is_some() {
                format!("{lowest:.1} to {highest:.1}×")
            } else {
                "not measured: no --python was named".into()
            },
        });
        Ok(taskhook.iter().map(|figures| figures.per_second.median()).fold(0.0, f64::max))
    }

    async fn open_loops(&mut self, report: &mut Report, maximum: f64) -> Result<()> {
        let half = maximum / 2.0;
        for (per_second, what, p99_max) in [
            (STEADY, format!("p99 at {}, open loop", rate(STEADY)), STEADY_P99_MAX),
            (half, format!("p99 at half of its maximum, {}", rate(half)), HALF_P99_MAX),
        ] {
            let time = Duration::from_secs_f64(self.settings.seconds * 2.0);
            self.refill(per_second, time.as_secs_f64()).await?;
            let address = self.taskhook.address();
            let measured = load::open(address, CONNECTIONS[1], per_second, time, &self.webhooks).await?;
            self.not_applied += measured.answered - measured.applied + measured.failed;
            let p99 = measured.latency(0.99);
            let latency = |part| millis(measured.latency(part));
            report.add(Row {
                name: "P2",
                what,
                figure: millis(p99),
                floor: format!("≤ {}", millis(p99_max)),
                met: Some(p99 <= p99_max && measured.failed == 0),
                more: format!("p50 {}, p99.9 {}, worst {}", latency(0.5), latency(0.999), latency(1.0)),
            });
        }
        Ok(())
    }
}
