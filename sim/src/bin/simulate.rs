//! Simulates seeds, and shows the first that does not hold. Started by `cargo xtask sim`.

#![expect(clippy::print_stdout, reason = "a program for the terminal speaks by printing")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use taskhook_sim::world::features::{Plan, StoreKind};
use taskhook_sim::world::run::{Report, run, sometimes};
use taskhook_sim::world::shrink::shrink;

#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// What the worlds stand on: memory, contended (the memory store on its unlucky days) or sqlite (on a disk that
    /// crashes); without it the memory store, plain or contended as the seed says
    #[arg(long, value_parser = store_kind)]
    store: Option<StoreKind>,
    /// Show everything that happens in the first seed, whether or not it holds
    #[arg(long)]
    trace: bool,
    /// Print the seed that fails and what does not hold, and nothing else
    #[arg(long)]
    brief: bool,
}

fn store_kind(word: &str) -> Result<StoreKind, String> {
    match word {
        "memory" => Ok(StoreKind::Memory),
        "contended" => Ok(StoreKind::Contended),
        "sqlite" => Ok(StoreKind::Sqlite),
        _ => Err("there are memory, contended and sqlite".into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let store = arguments.store.unwrap_or(StoreKind::Mixed);
    // What panics is caught and told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if arguments.trace {
        return show(Plan::on(store, arguments.from));
    }
    let totals = simulate(store, arguments.from, arguments.seeds);
    if let Some((seed, error)) = totals.failed {
        if arguments.brief {
            println!("{seed}\t{}", error.lines().next().unwrap_or_default());
            return ExitCode::FAILURE;
        }
        println!("seed {seed} does not hold: {error}\nshrinking it ...");
        let smallest = shrink(Plan::on(store, seed));
        let code = show(smallest);
        println!("once it is mended, keep it in sim/kept.txt: {}", smallest.line());
        return code;
    }
    if arguments.brief {
        return ExitCode::SUCCESS;
    }
    let seconds = totals.seconds;
    let hours = totals.passed as f64 / 3_600e6;
    for (what, count) in &totals.happened {
        println!("{count:>10} {what}");
    }
    println!(
        "{} seeds over {store} from {} hold: {:.0} seeds and {:.0} simulated hours per second, in {seconds:.1} s",
        arguments.seeds,
        arguments.from,
        arguments.seeds as f64 / seconds,
        hours / seconds
    );
    let never: Vec<&str> = sometimes(store).filter(|what| !totals.happened.contains_key(what)).collect();
    if arguments.seeds >= 1_000 && !never.is_empty() {
        println!("what should happen sometimes never did: {}", never.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What came of many seeds.
#[derive(Default)]
struct Totals {
    failed: Option<(u64, String)>,
    passed: i64,
    happened: BTreeMap<&'static str, u64>,
    seconds: f64,
}

/// Simulates seeds on all cores, up to the first that fails.
fn simulate(store: StoreKind, from: u64, seeds: u64) -> Totals {
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from.saturating_add(seeds));
    let totals = Mutex::new(Totals::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = run(Plan::on(store, seed), false);
                    let Ok(mut totals) = totals.lock() else { return };
                    add(&mut totals, seed, report, &end);
                }
            });
        }
    });
    let mut totals = totals.into_inner().unwrap_or_default();
    totals.seconds = began.elapsed().as_secs_f64();
    totals
}

fn add(totals: &mut Totals, seed: u64, report: Report, end: &AtomicU64) {
    totals.passed += report.passed;
    for (what, count) in report.happened {
        *totals.happened.entry(what).or_default() += count;
    }
    if let Err(error) = report.verdict
        && totals.failed.as_ref().is_none_or(|(first, _)| seed < *first)
    {
        // Those behind it need not be looked at, those before it still are.
        end.fetch_min(seed, Ordering::Relaxed);
        totals.failed = Some((seed, error));
    }
}

fn show(plan: Plan) -> ExitCode {
    let report = run(plan, true);
    for line in &report.trace {
        println!("{line}");
    }
    println!("\n{plan}");
    match report.verdict {
        Ok(()) => {
            println!("it holds; its trace is {:016x}", report.hash);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("it does not hold: {error}");
            ExitCode::FAILURE
        }
    }
}
