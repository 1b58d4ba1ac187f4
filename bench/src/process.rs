//! The servers that are measured: each a process of its own on the first core, stopped when it is dropped.
//! The load has the second core.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long a server may take until it says where it listens.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Lines of a server's own words that are kept, to be shown if it fails.
const LINES_KEPT: usize = 20;

/// Which cores are used.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    /// For the server, and for the load. `None`: there is one core, or no `taskset` to choose with.
    split: Option<(String, String)>,
}

impl Cores {
    /// Moves this process to the second core it may use. Called before there is a second thread.
    pub(crate) fn split() -> Cores {
        let cores = allowed_cores().unwrap_or_default();
        let [server, load, ..] = &cores[..] else { return Cores { split: None } };
        let pid = std::process::id().to_string();
        let mut pin = Command::new("taskset");
        pin.args(["-p", "-c", load, &pid]).stdout(Stdio::null());
        match pin.status() {
            Ok(status) if status.success() => Cores { split: Some((server.clone(), load.clone())) },
            _ => Cores { split: None },
        }
    }

    /// One sentence about them.
    pub(crate) fn words(&self) -> String {
        match &self.split {
            Some((server, load)) => format!("server on core {server}, load on core {load}"),
            None => "server and load share their cores (one core, or no taskset): ratios only".into(),
        }
    }

    fn command(&self, program: &Path) -> Command {
        match &self.split {
            Some((server, _)) => {
                let mut command = Command::new("taskset");
                command.args(["-c", server]).arg(program);
                command
            }
            None => Command::new(program),
        }
    }
}

/// The numbers of the cores that this process may use.
fn allowed_cores() -> Option<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cores.extend((first..=last).map(|core| core.to_string()));
    }
    Some(cores)
}

/// How busy the machine has been since a moment, and how much of that was others.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Ticks of all cores, those of them that were idle, and our own.
    all: u64,
    idle: u64,
    own: u64,
}

impl Machine {
    /// From now on.
    pub(crate) fn watch() -> Result<Machine> {
        let path = "/proc/stat";
        let stat = fs::read_to_string(path).context(path)?;
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        // User, nice, system, idle, waiting for a disk, interrupts (two), taken by the host.
        let all = fields.iter().take(8).sum();
        let idle = fields.iter().skip(3).take(2).sum();
        // Our own, and that of the servers that have ended.
        Ok(Machine { all, idle, own: ticks("/proc/self/stat", 4)? })
    }

    /// The part of the machine that others used. Every server of ours must have ended.
    pub(crate) fn others(&self) -> Result<f64> {
        let now = Machine::watch()?;
        let (all, idle, own) = (now.all - self.all, now.idle - self.idle, now.own - self.own);
        Ok(all.saturating_sub(idle + own) as f64 / all.max(1) as f64)
    }
}

/// The sum of the first `count` processor times in the file `stat` of a process, in ticks of 10 ms: its user
/// and system time, then those of its children that have ended.
fn ticks(path: &str, count: usize) -> Result<u64> {
    let stat = fs::read_to_string(path).with_context(|| path.to_owned())?;
    // The name before them may hold anything.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    Ok(fields.split_whitespace().skip(11).take(count).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts `program` on the server's core and waits until a line that it prints names a loopback address.
    /// What it complains of afterwards is shown, up to a bound.
    pub(crate) fn start(cores: &Cores, program: &Path, arguments: &[&str]) -> Result<Process> {
        let name = program.display();
        let mut command = cores.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (say, said) = channel();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        listen(out, say.clone());
        listen(err, say);
        // From here on an early return stops it.
        let mut process = Process { address: SocketAddr::from(([127, 0, 0, 1], 0)), child };
        process.address = wait_for_address(&said).with_context(|| format!("{name} did not start"))?;
        // Reads on, so that the server never stands at a full pipe.
        std::thread::spawn(move || {
            let complains = |line: &String| ["WARN", "ERROR", "error"].iter().any(|word| line.contains(word));
            let mut shown = said.iter().filter(complains).take(LINES_KEPT);
            shown.by_ref().for_each(|line| crate::report::note(&line));
            drop(shown);
            said.into_iter().for_each(drop);
        });
        Ok(process)
    }

    /// The most memory it ever had resident, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib << 10).with_context(|| format!("{path} has no VmHWM"))
    }

    /// The processor time it has used.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        Ok(Duration::from_millis(10 * ticks(&format!("/proc/{}/stat", self.child.id()), 2)?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of what it holds is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(pipe: Option<impl Read + Send + 'static>, say: Sender<String>) {
    let Some(pipe) = pipe else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                return;
            }
        }
    });
}

fn wait_for_address(said: &Receiver<String>) -> Result<SocketAddr> {
    let mut lines = VecDeque::new();
    loop {
        let Ok(line) = said.recv_timeout(START_TIME_MAX) else {
            let lines: Vec<String> = lines.into();
            bail!("it named no address; it said:\n{}", lines.join("\n"));
        };
        if let Some(address) = address_in(&line) {
            return Ok(address);
        }
        lines.push_back(line);
        if lines.len() > LINES_KEPT {
            lines.pop_front();
        }
    }
}

/// The first loopback address with a port in `line`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let port: u16 = digits.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_where_a_server_names_it() {
        for (line, port) in [
            ("listening on http://127.0.0.1:8420, open", Some(8420)),
            (" * Running on http://127.0.0.1:5000", Some(5000)),
            ("127.0.0.1:0", None),
            ("ready", None),
        ] {
            assert_eq!(address_in(line).map(|address| address.port()), port, "{line}");
        }
    }
}
