//! What is counted: the metrics of `/metrics`.
//!
//! Labels are names of queues, states and outcomes only, never ids or URLs: their number is bounded.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use taskhook_core::{QueueKey, Timestamp};
use tokio::sync::Mutex;

use crate::engine::commit::Tally;
use crate::store::read::{QueueView, ReadError, Reader};
use crate::store::row;
use crate::store::sqlite::SqlitePath;

/// The store is asked no more often than this, however often somebody asks.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// Queues that are shown, the first by name: each has labels of its own.
const QUEUES_SHOWN_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    queue: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    source: &'static str,
    outcome: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    tasks: Family<TaskLabels, Gauge>,
    oldest_due: Family<QueueLabels, Gauge<f64, AtomicU64>>,
    callbacks_overdue: Family<QueueLabels, Gauge>,
    attempts: Family<AttemptLabels, Counter>,
    /// Attempts that ended since they were last counted: a queue's name is looked up by whoever asks.
    ended: std::sync::Mutex<BTreeMap<QueueKey, [u64; 3]>>,
    events: Family<EventLabels, Counter>,
    schedule_missed: Counter,
    commits: Histogram,
    lateness: Histogram,
    held: Gauge,
    disk_full: Gauge,
    store_bytes: Gauge,
    path: Option<SqlitePath>,
    counted_at: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::over(None)
    }
}

impl Metrics {
    /// For the store at `path`.
    #[must_use]
    pub fn new(path: SqlitePath) -> Metrics {
        Metrics::over(Some(path))
    }

    fn over(path: Option<SqlitePath>) -> Metrics {
        let mut registry = Registry::with_prefix("taskhook");
        // From 0.1 ms to 3 s: a commit is an fsync, and lateness is a commit and a wake-up.
        let buckets = || (0..16).map(|power| 0.000_1 * f64::from(1_u32 << power));
        let metrics = Metrics {
            tasks: Family::default(),
            oldest_due: Family::default(),
            callbacks_overdue: Family::default(),
            attempts: Family::default(),
            ended: std::sync::Mutex::default(),
            events: Family::default(),
            schedule_missed: Counter::default(),
            commits: Histogram::new(buckets()),
            lateness: Histogram::new(buckets()),
            held: Gauge::default(),
            disk_full: Gauge::default(),
            store_bytes: Gauge::default(),
            path,
            counted_at: Mutex::new(None),
            registry: Registry::default(),
        };
        registry.register("tasks", "Tasks by state", metrics.tasks.clone());
        let text = "How long the oldest task that could run has been due";
        registry.register_with_unit("oldest_due", text, Unit::Seconds, metrics.oldest_due.clone());
        let text = "Running tasks whose remote was asked, as their callback is overdue";
        registry.register("callbacks_overdue", text, metrics.callbacks_overdue.clone());
        registry.register("held", "1 while the server is held, and sends nothing", metrics.held.clone());
        let text = "1 while the disk is full, and nothing is taken but what moves begun work";
        registry.register("disk_full", text, metrics.disk_full.clone());
        registry.register("attempts", "Attempts by how they ended", metrics.attempts.clone());
        registry.register("events", "Webhooks by what became of them", metrics.events.clone());
        let text = "Instants of schedules that were not decided in time and made no task";
        registry.register("schedule_missed", text, metrics.schedule_missed.clone());
        registry.register_with_unit(
            "commit",
            "Time of a transaction",
            Unit::Seconds,
            metrics.commits.clone(),
        );
        let text = "From the time at which a task was due to its dispatch";
        registry.register_with_unit("dispatch_lateness", text, Unit::Seconds, metrics.lateness.clone());
        registry.register_with_unit("store", "Size of the store", Unit::Bytes, metrics.store_bytes.clone());
        Metrics { registry, ..metrics }
    }

    /// Counts a transaction.
    pub fn committed(&self, took: Duration, tally: &Tally) {
        self.commits.observe(took.as_secs_f64());
        if !tally.attempts.is_empty() {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            for (queue, counts) in &tally.attempts {
                let sums = ended.entry(*queue).or_default();
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        self.schedule_missed.inc_by(tally.missed);
        for (outcome, count) in &tally.events {
            let labels = EventLabels { source: "default", outcome: row::outcome_name(*outcome) };
            self.events.get_or_create(&labels).inc_by(*count);
        }
    }

    /// Counts a dispatch, so long after it was due.
    pub fn dispatched(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn render(&self, reader: &Reader, now: Timestamp) -> Result<String, ReadError> {
        self.count(reader, now).await?;
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        Ok(text)
    }

    async fn count(&self, reader: &Reader, now: Timestamp) -> Result<(), ReadError> {
        // One scrape counts, those beside it wait for its figures.
        let mut counted_at = self.counted_at.lock().await;
        if counted_at.is_some_and(|at| at.elapsed() < COUNTED_FOR) {
            return Ok(());
        }
        self.held.set(i64::from(reader.held().await?.is_some()));
        self.disk_full.set(i64::from(reader.node().full_since().is_some()));
        let queues = reader.queues(None, QUEUES_SHOWN_MAX).await?;
        let mut overdue = reader.callbacks_overdue().await?;
        let mut ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        for QueueView { name, queue, counts, oldest_due, .. } in queues {
            for (state, count) in counts {
                let labels = TaskLabels { queue: name.clone(), state: state.name() };
                self.tasks.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let oldest = oldest_due.map_or(0.0, |due| now.since(due).as_secs_f64());
            let labels = QueueLabels { queue: name.clone() };
            self.oldest_due.get_or_create(&labels).set(oldest);
            let count = overdue.remove(&queue.key).unwrap_or(0);
            self.callbacks_overdue.get_or_create(&labels).set(count);
            for (result, count) in ["succeeded", "failed", "postponed"]
                .into_iter()
                .zip(ended.remove(&queue.key).unwrap_or_default())
            {
                if count > 0 {
                    let labels = AttemptLabels { queue: name.clone(), result };
                    self.attempts.get_or_create(&labels).inc_by(count);
                }
            }
        }
        if let Some(path) = &self.path {
            let bytes: u64 =
                path.files().iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
            self.store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        *counted_at = Some(Instant::now());
        Ok(())
    }
}
