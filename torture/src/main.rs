//! The torture as a program.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal speaks by printing"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use taskhook_torture::disk::Disk;
use taskhook_torture::plan::Features;
use taskhook_torture::sabotage::{KINDS, Kind, Sabotage};
use taskhook_torture::server::Programs;
use taskhook_torture::tally::Tally;
use taskhook_torture::world::{self, Span, World};
use tokio::process::Command;

/// Where this variable is there, this process has mounts and processes of its own; it names the folder for its stores.
const INSIDE: &str = "TORTURE_INSIDE";
/// How long blows fall in one world.
const WORLD_TIME: Duration = Duration::from_secs(34);
/// The same, where damage is done that must be noticed.
const SABOTAGED_TIME: Duration = Duration::from_secs(20);
/// So much longer it goes on where something has not happened yet.
const EXTRA_TIME: Duration = Duration::from_secs(90);
/// After so many worlds a long run shows what it came to so far.
const TABLE_EVERY: u64 = 10;
/// A run of so many minutes must have seen everything.
const WHOLE_MINUTES: f64 = 3.0;

#[derive(Parser)]
#[command(about = "Kills, stops and starves the real Taskhook under load, and checks what it had promised")]
struct Arguments {
    /// For how long new worlds begin
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// The seed of the first world; the next ones have the next numbers [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// The binary under test [default: the one beside this program]
    #[arg(long)]
    taskhook: Option<PathBuf>,
    /// The library that stands between it and its files
    #[arg(long)]
    shim: PathBuf,
    /// Where stores are made: a disk, not memory
    #[arg(long)]
    folder: PathBuf,
    /// Do not show first that damage is noticed
    #[arg(long)]
    unproved: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                result = within_or_here(&arguments) => result,
                // What is dropped here stops the server, or the process that has it.
                stopped = stopped() => stopped.and_then(|()| bail!("stopped")),
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again, with mounts and processes of its own, which end with it; where that is not allowed, all happens
/// in this one.
async fn within_or_here(arguments: &Arguments) -> Result<()> {
    if is_inside() {
        return run(arguments).await;
    }
    let root = Command::new("id").arg("-u").output().await.is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let mut words = vec!["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !root {
        words.push("--map-root-user");
    }
    let tried = Command::new("unshare").args(&words).arg("true").output().await;
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        println!(
            "NO DISK OF ITS OWN: `unshare` may not make namespaces here ({tried:?}). In the place of a full disk every \
             write is made to fail with ENOSPC."
        );
        return run(arguments).await;
    }
    // It goes with this process, however the other one ends.
    std::fs::create_dir_all(&arguments.folder)?;
    let stores = tempfile::Builder::new().prefix("run-").tempdir_in(absolute(&arguments.folder)?)?;
    let mut again = Command::new("unshare");
    again.args(&words).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    let status = again.env(INSIDE, stores.path()).kill_on_drop(true).status().await?;
    ensure!(status.success(), "it ended so: {status}");
    Ok(())
}

/// Whether this process has mounts of its own.
fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Resolves when somebody wants this to end.
async fn stopped() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let own = std::env::current_exe()?;
    let taskhook = arguments.taskhook.clone().unwrap_or_else(|| own.with_file_name("taskhook"));
    let programs = Programs { taskhook: absolute(&taskhook)?, shim: Some(absolute(&arguments.shim)?) };
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = absolute(&arguments.folder)?;
    if !arguments.unproved {
        for (kind, words) in KINDS {
            prove(&programs, &folder, kind, words).await?;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    // Short enough to be typed.
    let first = arguments.seed.unwrap_or(now.as_secs() % 100_000_000 / 5 * 5);
    println!(
        "seed {first}, {} minutes; to repeat a world: --minutes 0.1 --seed of that world",
        arguments.minutes
    );
    let (began, time) = (Instant::now(), Duration::from_secs_f64(60.0 * arguments.minutes.clamp(0.0, 1e4)));
    let mut tally = Tally::default();
    let mut seed = first;
    let missing = |tally: &Tally| match arguments.minutes < WHOLE_MINUTES {
        true => Vec::new(),
        false => tally.missing(is_inside()),
    };
    // What is seldom may need a little more than its time on a slow machine.
    let more = |tally: &Tally| began.elapsed() < time + EXTRA_TIME && !missing(tally).is_empty();
    while seed == first || began.elapsed() < time || more(&tally) {
        let passed = one_world(&programs, &folder, seed, &mut tally).await?;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let (kills, faults) = (tally.sum("kills: "), tally.sum("faults: "));
        println!("{minutes:>6.1} min  seed {seed}: {passed}; {kills} kills, {faults} faults so far");
        if tally.get("worlds") % TABLE_EVERY == 0 {
            println!("\nso far:\n{}", tally.table());
        }
        seed += 1;
    }
    println!("\n{}\nAll of {} worlds hold, from seed {first} on.", tally.table(), tally.get("worlds"));
    let missing = missing(&tally);
    ensure!(
        missing.is_empty(),
        "not enough happened for this to prove anything:\n  {}",
        missing.join("\n  ")
    );
    Ok(())
}

/// Lets one world happen. Gives a few words; fails with the whole story where it does not hold.
async fn one_world(programs: &Programs, folder: &Path, seed: u64, tally: &mut Tally) -> Result<String> {
    let place = Place::make(folder)?;
    let disk = place.disk(seed);
    let on = if disk.is_some() { "a disk of its own" } else { "the machine's disk" };
    let store = place.store.clone();
    let mut world = World::begin(programs, &store, disk, seed, Features::of(seed), None).await?;
    let lived = world.live(Span::Time(WORLD_TIME)).await;
    tally.merge(&world.tally);
    let wrong = match lived {
        Ok(wrong) => wrong,
        Err(error) => {
            println!("{}", world.diary.join("\n"));
            return Err(error.context(format!("seed {seed}; the server said last:\n{}", world.said())));
        }
    };
    if wrong.is_empty() {
        let ended_after = world.ended_after.as_secs_f64();
        let blows = world.diary.len() - 3;
        return Ok(format!("holds, {blows} blows on {on}, all ended {ended_after:.1} s after the last"));
    }
    let told = world::tell(&mut world, &wrong).await?;
    println!("{}\n{told}", tally.table());
    // What is copied is at rest.
    world.kill().await?;
    let kept = folder.join(format!("seed-{seed}"));
    std::fs::create_dir_all(&kept)?;
    for file in std::fs::read_dir(&store)? {
        let file = file?;
        std::fs::copy(file.path(), kept.join(file.file_name()))?;
    }
    let (count, kept) = (wrong.len(), kept.display());
    bail!("{count} promises are broken with --seed {seed}: see above; its store is kept in {kept}")
}

/// Shows that damage of this kind is noticed.
async fn prove(programs: &Programs, folder: &Path, kind: Kind, words: &[&str]) -> Result<()> {
    let place = Place::make(folder)?;
    let sabotage = Sabotage::new(kind);
    let store = place.store.clone();
    let mut world = World::begin(programs, &store, None, 1, Features::SOUND, Some(sabotage)).await?;
    let wrong = world.live(Span::Time(SABOTAGED_TIME)).await?;
    ensure!(sabotage.is_done(), "no damage of the kind {kind:?} was done");
    let noticed = wrong.iter().find(|wrong| words.iter().any(|word| wrong.what.contains(word)));
    let noticed =
        noticed.with_context(|| format!("damage of the kind {kind:?} is not noticed: {wrong:?}"))?;
    let told: String = noticed.what.chars().take(100).collect();
    println!("damage of the kind {kind:?} is noticed: {} sentences, of which one is: {told} …", wrong.len());
    Ok(())
}

/// A folder for a world, with one in it for the store.
struct Place {
    store: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    fn make(folder: &Path) -> Result<Place> {
        let folder = std::env::var_os(INSIDE).map_or_else(|| folder.to_owned(), PathBuf::from);
        let folder = tempfile::Builder::new().prefix("world-").tempdir_in(folder)?;
        let store = folder.path().join("store");
        std::fs::create_dir(&store)?;
        Ok(Place { store, _folder: folder })
    }

    /// A small disk for two of three worlds, and for those that have everything, where it can be had: the others have the
    /// machine's, whose fsync takes its time.
    fn disk(&self, seed: u64) -> Option<Disk> {
        let wanted = seed % 3 != 2 || Features::of(seed) == Features::ALL;
        (is_inside() && wanted).then(|| Disk::mount(&self.store)).transpose().unwrap_or_else(|error| {
            println!("NO DISK OF ITS OWN: {error:#}");
            None
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}
