//! P3: how late a task starts that is due at a known instant.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::api::Taskhook;
use crate::load::{self, Requests};
use crate::report::{Report, Row, millis};
use crate::target::{Target, id_due_at};
use crate::{Settings, wire};

/// Tasks that are due in each second.
const PER_SECOND: u64 = 500;
/// How long before it is due a task is created.
const DELAY: Duration = Duration::from_secs(5);
/// Connections over which they are created.
const CONNECTIONS: usize = 64;
/// The floors of the speed table.
const P50_MAX: Duration = Duration::from_millis(5);
const P99_MAX: Duration = Duration::from_millis(25);

/// Creates tasks, each due a little later than the one before.
struct DueTasks {
    first_millis: u64,
    number: u64,
    url: String,
}

impl Requests for DueTasks {
    fn next(&mut self, to: &mut Vec<u8>) {
        let due = self.first_millis + self.number * 1_000 / PER_SECOND;
        let id = id_due_at(due, self.number);
        self.number += 1;
        let instant = i64::try_from(due).ok().and_then(|due| jiff::Timestamp::from_millisecond(due).ok());
        let run_at = instant.unwrap_or_default();
        let body = format!(r#"{{"id":"{id}","url":"{}","run_at":"{run_at}"}}"#, self.url);
        wire::post(to, "/v1/tasks", None, body.as_bytes());
    }
}

/// Measures and reports.
pub(crate) async fn measure(settings: &Settings) -> Result<Report> {
    let mut taskhook = Taskhook::start(&settings.cores, &settings.taskhook, &settings.folder)?;
    let target = Target::start(taskhook.address()).await?;
    let time = Duration::from_secs_f64(settings.seconds * 2.0);

    // What a first use costs is no lateness: connections are open on both sides afterwards.
    let url = target.url("/done");
    let warm_up = (0..256).map(|number| format!(r#"{{"id":"warm-{number}","url":"{url}"}}"#));
    taskhook.create(warm_up).await?;
    target.wait_for(256).await?;
    taskhook.wait_for_success(target.last()).await?;
    target.forget();

    let first = SystemTime::now() + DELAY;
    let first_millis = u64::try_from(first.duration_since(UNIX_EPOCH)?.as_millis())?;
    let requests = Arc::new(Mutex::new(DueTasks { first_millis, number: 0, url }));
    let per_second = PER_SECOND as f64;
    let created = load::open(taskhook.address(), CONNECTIONS, per_second, time, &requests).await?;
    ensure!(created.failed == 0, "{} tasks could not be created", created.failed);
    target.wait_for(usize::try_from(created.answered)?).await?;
    taskhook.wait_for_success(target.last()).await?;

    let mut report = Report::default();
    let (late, early) = target.seen(|seen| (seen.lateness.clone(), seen.early));
    let at = |part| Duration::from_nanos(late.value_at_quantile(part));
    report.explain(
        format!("{} tasks, {PER_SECOND} due per second", created.answered),
        format!("{early} early"),
    );
    report.explain(
        "creating one meanwhile, open loop",
        format!("p50 {}, p99 {}", millis(created.latency(0.5)), millis(created.latency(0.99))),
    );
    for (what, part, max) in
        [("due time to first byte, p50", 0.5, P50_MAX), ("due time to first byte, p99", 0.99, P99_MAX)]
    {
        let met = at(part) <= max && early == 0;
        report.add(Row {
            name: "P3",
            what: what.into(),
            figure: millis(at(part)),
            floor: format!("≤ {}", millis(max)),
            met: Some(met),
            ..Row::default()
        });
    }
    report.explain("due time to first byte, p99.9", millis(at(0.999)));
    report.explain("due time to first byte, worst", millis(at(1.0)));
    Ok(report)
}
