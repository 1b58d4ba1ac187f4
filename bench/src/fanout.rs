//! One webhook that releases 100,000 dependents.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::Settings;
use crate::api::Taskhook;
use crate::load::{Shared, with};
use crate::report::{Report, Row, mebibytes, millis, rate};
use crate::target::Target;
use crate::wire::{self, Client};

/// How long the webhook's answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// How much more memory than before the release is still bounded: far less than the dependents themselves.
const MEMORY_GROWTH_MAX: u64 = 64 << 20;
/// The pause between two webhooks about something else.
const OTHER_PAUSE: Duration = Duration::from_millis(10);

/// Measures and reports.
pub(crate) async fn measure(settings: &Settings) -> Result<Report> {
    let count = if settings.quick { 10_000 } else { 100_000 };
    let mut taskhook = Taskhook::start(&settings.cores, &settings.taskhook, &settings.folder)?;
    let target = Target::start(taskhook.address()).await?;
    taskhook.post("/v1/tasks", r#"{"id":"parent"}"#, 201).await?;
    let url = target.url("/done");
    let task = |number| format!(r#"{{"id":"child-{number}","url":"{url}","after":["parent"]}}"#);
    let created = Instant::now();
    taskhook.create((0..count).map(task)).await?;
    let created = created.elapsed();
    let before = taskhook.process.memory_peak_bytes()?;

    // Somebody else's webhooks, which a fan-out must not hold up.
    let latency = Arc::new(Mutex::new(Histogram::new_with_max(120_000_000_000, 3)?));
    let others = tokio::spawn(send_others(taskhook.address(), latency.clone()));
    let released = Instant::now();
    taskhook.post("/webhook", r#"{"event":"task_completed","task_id":"parent"}"#, 200).await?;
    let answered = released.elapsed();
    let last = target.wait_for(count).await?;
    let dispatched = last - released;
    ensure!(!others.is_finished(), "another webhook was not answered: {:?}", others.await);
    others.abort();
    taskhook.wait_for_success(target.last()).await?;
    let ended = released.elapsed();
    let after = taskhook.process.memory_peak_bytes()?;
    let succeeded = taskhook.count("succeeded").await?;
    let repeated = target.seen(|seen| seen.repeated);
    ensure!(succeeded == count + 1, "{succeeded} tasks have succeeded instead of {}", count + 1);
    ensure!(repeated == 0, "{repeated} dispatches were repeated, though nothing failed");

    let mut report = Report::default();
    let per_second = |time: Duration| rate(f64::from(u32::try_from(count).unwrap_or(0)) / time.as_secs_f64());
    report.explain(format!("{count} dependents created in batches of 1,000"), per_second(created));
    report.add(Row {
        what: "the webhook that releases them is answered".into(),
        figure: millis(answered),
        floor: format!("≤ {}", millis(ANSWER_MAX)),
        met: Some(answered <= ANSWER_MAX),
        ..Row::default()
    });
    report.add(Row {
        what: "all of them are dispatched".into(),
        figure: format!("{:.1} s", dispatched.as_secs_f64()),
        more: per_second(dispatched),
        ..Row::default()
    });
    report.explain("all of them have ended", format!("{:.1} s", ended.as_secs_f64()));
    let other =
        |part| millis(Duration::from_nanos(with(&latency, |latency| latency.value_at_quantile(part))));
    report.add(Row {
        what: "other webhooks meanwhile, one at a time, p99".into(),
        figure: other(0.99),
        more: format!("p50 {}, worst {}", other(0.5), other(1.0)),
        ..Row::default()
    });
    report.explain("peak memory before the release", mebibytes(before));
    report.add(Row {
        what: "how much more it was at the end".into(),
        figure: mebibytes(after - before),
        floor: format!("≤ {}", mebibytes(MEMORY_GROWTH_MAX)),
        met: Some(after - before <= MEMORY_GROWTH_MAX),
        ..Row::default()
    });
    Ok(report)
}

/// Sends webhooks that are about no task, and notes how long each takes. Ends with the first that fails.
async fn send_others(address: SocketAddr, latency: Shared<Histogram<u64>>) -> Result<()> {
    let mut client = Client::new(address);
    let mut request = Vec::new();
    wire::post(&mut request, "/webhook", None, br#"{"event":"ping"}"#);
    loop {
        let sent_at = Instant::now();
        let status = client.call(&request, |answer| answer.status()).await?;
        ensure!(status == 200, "answered {status}");
        let nanos = u64::try_from(sent_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        with(&latency, |latency| latency.saturating_record(nanos));
        tokio::time::sleep(OTHER_PAUSE).await;
    }
}
