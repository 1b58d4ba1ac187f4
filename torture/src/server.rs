//! The real Taskhook as a process: started, stopped, killed, and asked from outside.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::shim::Control;

/// How long a start may take. A machine that writes gigabytes back can take half a minute for one fsync.
const START_TIME_MAX: Duration = Duration::from_secs(90);
/// How long its last words may take to get here.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);
/// Lines of its words that are kept.
const LINES_KEPT: usize = 60;

/// The programs that take part.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The binary under test.
    pub taskhook: PathBuf,
    /// What stands between it and its files; without it none of them fails.
    pub shim: Option<PathBuf>,
}

/// A server on a store and a port of its own.
pub struct Server {
    programs: Programs,
    /// Where its store is.
    pub folder: PathBuf,
    /// What its files do to it.
    pub control: Control,
    /// Where it listens.
    port: Port,
    /// Where workers reach it: the proxy.
    public: SocketAddr,
    process: Option<Child>,
    log: Arc<Mutex<Log>>,
    /// Those who read what it says.
    readers: JoinSet<()>,
    listens: watch::Receiver<bool>,
    /// How often it has listened so far.
    lives: u64,
    /// Which of these lives there is; 0 while there is none, or its end has begun.
    life: watch::Sender<u64>,
}

/// What it has said in its present life.
#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    /// Warnings, errors and panics.
    odd: Vec<String>,
    full: u64,
}

/// How a start went.
#[derive(Debug)]
pub enum Started {
    /// It listens.
    Listens,
    /// It has ended before.
    Ended(ExitStatus),
}

/// A port that stays ours while no server listens on it: callback URLs outlive a server.
#[derive(Debug)]
pub struct Port {
    /// Where a server may listen.
    pub address: SocketAddr,
    /// On Linux a socket that is bound but does not listen keeps others off the port, and a server with the same option may
    /// listen on it all the same.
    _held: Option<TcpSocket>,
}

impl Port {
    /// A port that nobody has.
    ///
    /// # Errors
    /// If there is none.
    pub fn free() -> io::Result<Port> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Port { address, _held: cfg!(target_os = "linux").then_some(socket) })
    }
}

impl Server {
    /// A server that does not run yet, with its store in `folder`, and its faults told in `control`.
    #[must_use]
    pub fn new(
        programs: &Programs,
        folder: &Path,
        control: Control,
        port: Port,
        public: SocketAddr,
    ) -> Server {
        let (_, listens) = watch::channel(false);
        Server {
            programs: programs.clone(),
            folder: folder.into(),
            control,
            port,
            public,
            process: None,
            log: Arc::default(),
            readers: JoinSet::new(),
            listens,
            lives: 0,
            life: watch::Sender::new(0),
        }
    }

    /// Tells which of its lives there is; 0 while there is none, or its end has begun.
    #[must_use]
    pub fn life(&self) -> watch::Receiver<u64> {
        self.life.subscribe()
    }

    /// Starts a process, which does not listen yet.
    ///
    /// # Errors
    /// If there is no process.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = self.taskhook();
        command.args(["serve", "--listen", &self.port.address.to_string()]);
        command.args(["--public-url", &format!("http://{}", self.public), "--store", &self.store()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(shim) = &self.programs.shim {
            self.control.attach(command.as_std_mut(), shim);
        }
        let mut child = command.spawn().context("the binary under test does not start")?;
        // Of the life before, what may be wrong is still to be told.
        self.log = Arc::new(Mutex::new(Log { odd: self.odd(), ..Log::default() }));
        let (tell, listens) = watch::channel(false);
        let tell = Arc::new(tell);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        if let Some(pipe) = out {
            self.readers.spawn(listen(pipe, self.log.clone(), tell.clone()));
        }
        if let Some(pipe) = err {
            self.readers.spawn(listen(pipe, self.log.clone(), tell));
        }
        self.listens = listens;
        self.process = Some(child);
        Ok(())
    }

    /// Waits until it listens, or has ended.
    ///
    /// # Errors
    /// If it does neither.
    pub async fn started(&mut self) -> Result<Started> {
        let child = self.process.as_mut().context("there is no process")?;
        let mut listens = self.listens.clone();
        let started = async {
            tokio::select! {
                biased;
                Ok(_) = listens.wait_for(|listens| *listens) => Ok(Started::Listens),
                status = child.wait() => status.map(Started::Ended),
            }
        };
        let started = tokio::time::timeout(START_TIME_MAX, started).await;
        let Ok(started) = started else { bail!("it neither listens nor ends:\n{}", self.said()) };
        let started = started?;
        match started {
            Started::Listens => {
                self.lives += 1;
                self.life.send_replace(self.lives);
            }
            Started::Ended(_) => {
                self.process = None;
                self.hear_out().await;
            }
        }
        Ok(started)
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// If it does not.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        match self.started().await? {
            Started::Listens => Ok(()),
            Started::Ended(status) => bail!("it does not start ({status}):\n{}", self.said()),
        }
    }

    /// Whether there is a process.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn kill(&mut self) -> Result<()> {
        // Who is cut off by it finds that it was about to end.
        self.life.send_replace(0);
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
            self.hear_out().await;
        }
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What the system says.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if signal == Signal::TERM {
            self.life.send_replace(0);
        }
        let id = self.process.as_ref().and_then(Child::id).context("it has ended")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("no process has this number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end for so long; `None` if it lives on.
    ///
    /// # Errors
    /// What the system says.
    pub async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { bail!("there is no process") };
        let Ok(status) = tokio::time::timeout(within, process.wait()).await else { return Ok(None) };
        self.process = None;
        self.life.send_replace(0);
        self.hear_out().await;
        Ok(Some(status?))
    }

    /// Waits until the last that it has said is read.
    async fn hear_out(&mut self) {
        let last = async { while self.readers.join_next().await.is_some() {} };
        // Nobody else has its pipes, and if somebody had, what it says would not matter.
        let _ = tokio::time::timeout(LAST_WORDS_TIME, last).await;
    }

    /// What it has said last in its present life.
    #[must_use]
    pub fn said(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// How often it has said that the disk is full, in its present life.
    #[must_use]
    pub fn said_full(&self) -> u64 {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).full
    }

    /// What it has said since this was asked last that may be wrong: warnings, errors and panics.
    #[must_use]
    pub fn odd(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner).odd)
    }

    /// What `taskhook doctor` says of its store, which no process may have open.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn doctor(&self) -> Result<Output> {
        self.doctor_of(&self.store()).await
    }

    /// What `taskhook doctor` says of another store.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn doctor_of(&self, store: &str) -> Result<Output> {
        Ok(self.taskhook().args(["doctor", "--store", store]).output().await?)
    }

    /// The whole story of a task, as `taskhook tasks explain` tells it.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn explain(&self, task: &str) -> Result<String> {
        let url = format!("http://{}", self.port.address);
        let output = self.taskhook().args(["tasks", "explain", task, "--url", &url]).output().await?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// The URL of its store.
    #[must_use]
    pub fn store(&self) -> String {
        format!("sqlite:{}", self.folder.join("store.db").display())
    }

    /// Away from whatever settings lie around.
    fn taskhook(&self) -> Command {
        let mut command = Command::new(&self.programs.taskhook);
        let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("TASKHOOK_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

async fn listen(pipe: impl AsyncRead + Unpin, log: Arc<Mutex<Log>>, tell: Arc<watch::Sender<bool>>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(" listens on ") {
            tell.send_replace(true);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.full += u64::from(line.contains("the disk is full"));
        if ["ERROR", "WARN", "panicked"].iter().any(|word| line.contains(word)) {
            log.odd.push(line.clone());
        }
        if log.lines.len() == LINES_KEPT {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
    }
}
