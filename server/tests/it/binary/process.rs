//! Processes: started, watched, stopped, and never left behind.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use taskhook_torture::server::Port;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::support::{Api, PATIENCE};

/// The binary under test: the release binary where `cargo xtask test` has built it, else the one that cargo
/// has built for these tests.
pub(crate) fn taskhook() -> Command {
    let built = || env!("CARGO_BIN_EXE_taskhook").into();
    let mut command = Command::new(std::env::var_os("TASKHOOK_BIN").unwrap_or_else(built));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TASKHOOK_")) {
        command.env_remove(name);
    }
    command
}

/// A process of another program. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    first_line: Option<oneshot::Receiver<String>>,
    closed: oneshot::Receiver<()>,
}

impl Process {
    /// Starts a program whose output is read as it comes.
    pub(crate) fn spawn(mut command: Command) -> Process {
        let (output, input) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(input.try_clone().expect("a pipe")).stderr(input);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // It holds an end of the pipe, which would stay open after the program's own.
        drop(command);
        let said = Arc::new(Mutex::new(String::new()));
        let (tell, first_line) = oneshot::channel();
        let (over, closed) = oneshot::channel();
        let log = said.clone();
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if let Some(tell) = tell.take() {
                    let _ = tell.send(line);
                }
            }
            let _ = over.send(());
        });
        Process { child, said, first_line: Some(first_line), closed }
    }

    /// Waits for the first line that it prints.
    pub(crate) async fn first_line(&mut self) -> String {
        let line = self.first_line.take().expect("it is awaited once");
        match tokio::time::timeout(PATIENCE, line).await {
            Ok(Ok(line)) => line,
            Ok(Err(_)) => panic!("it has ended and said nothing: {:?}", self.child.wait()),
            Err(_) => panic!("it lives and says nothing"),
        }
    }

    /// Its number in the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it: it does nothing more, not even an orderly end.
    pub(crate) fn kill(mut self) {
        self.end_at_once();
    }

    /// Asks it to stop: SIGTERM.
    pub(crate) fn tell_to_stop(&self) {
        let pid = self.child.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().expect("a shell");
        assert!(sent.success(), "the process {pid} cannot be told to stop");
    }

    /// Waits until it has ended. Gives how, and all that it has printed.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let closed = tokio::time::timeout(PATIENCE, &mut self.closed).await;
        assert!(closed.is_ok(), "it does not end:\n{}", self.said());
        (self.child.wait().expect("it has ended"), self.said())
    }

    fn end_at_once(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_at_once();
        if std::thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "the process {} had said:\n{}", self.child.id(), self.said());
        }
    }
}

/// The server as users run it, on a store and a port of its own. It can be killed and started again; answers
/// come from [`Api`].
pub(crate) struct RealServer {
    api: Api,
    port: Port,
    folder: TempDir,
    /// As many files it may have open.
    files_max: Option<u32>,
    process: Option<Process>,
}

impl RealServer {
    /// Starts it on a new store.
    pub(crate) async fn start() -> RealServer {
        RealServer::start_with("").await
    }

    /// Starts it on a new store, with at most so many open files.
    pub(crate) async fn start_with_files(files_max: u32) -> RealServer {
        RealServer::start_as("", Some(files_max)).await
    }

    /// Starts it on a new store, with these settings in its `taskhook.toml`.
    pub(crate) async fn start_with(settings: &str) -> RealServer {
        RealServer::start_as(settings, None).await
    }

    async fn start_as(settings: &str, files_max: Option<u32>) -> RealServer {
        let port = Port::free().expect("a free port");
        let api = Api::new(format!("http://{}", port.address));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("taskhook.toml"), settings).expect("a file");
        let mut server = RealServer { api, port, folder, files_max, process: None };
        server.start_again().await;
        server
    }

    /// Starts it again on the same store and port, and waits until it listens.
    pub(crate) async fn start_again(&mut self) {
        let mut process = self.spawn();
        let line = process.first_line().await;
        assert!(line.ends_with(&format!(" listens on {}", self.api.url)), "it does not listen: {line}");
        self.process = Some(process);
        // The connections of the client died with the process before.
        self.api = self.api.anew();
    }

    /// The same, of which each request has an API key.
    pub(crate) fn with_key(mut self, key: &str) -> RealServer {
        self.api = self.api.with_key(key);
        self
    }

    /// A process that may not even listen yet.
    pub(crate) fn spawn(&self) -> Process {
        assert!(self.process.is_none(), "one at a time");
        let mut command = match self.files_max {
            Some(files_max) => with_files(&taskhook(), files_max),
            None => taskhook(),
        };
        let listen = self.port.address.to_string();
        command.args(["serve", "--listen", &listen, "--store", &self.store_url()]);
        Process::spawn(within(command, self.folder.path()))
    }

    /// What another command prints that works on the same store.
    pub(crate) fn taskhook(&self, arguments: &[&str]) -> String {
        let mut command = within(taskhook(), self.folder.path());
        let output = command.args(arguments).args(["--store", &self.store_url()]).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// `kill -9`, and a new start.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Stops it by SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.tell_to_stop();
        self.stopped().await;
    }

    /// Stops it by SIGTERM, and starts it again on the same store.
    pub(crate) async fn restart(self) -> RealServer {
        self.restart_after(|_| {}).await
    }

    /// Stops it by SIGTERM, changes its store, and starts it again.
    pub(crate) async fn restart_after(mut self, change: impl FnOnce(&rusqlite::Connection)) -> RealServer {
        self.tell_to_stop();
        self.stopped().await;
        let store = rusqlite::Connection::open(self.store()).expect("the store");
        change(&store);
        drop(store);
        self.start_again().await;
        self
    }

    /// Stops it by SIGTERM, and gives its folder.
    pub(crate) async fn into_folder(mut self) -> TempDir {
        self.tell_to_stop();
        self.stopped().await;
        self.folder
    }

    /// SIGTERM.
    pub(crate) fn tell_to_stop(&self) {
        self.process.as_ref().expect("it runs").tell_to_stop();
    }

    /// Waits until it has ended. Gives how, after which time, and what it has printed.
    pub(crate) async fn stopped(&mut self) -> (ExitStatus, Duration, String) {
        let began = Instant::now();
        let (status, said) = self.process.take().expect("it runs").end().await;
        (status, began.elapsed(), said)
    }

    /// Waits until it has printed `words`.
    pub(crate) async fn until_it_says(&self, words: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            assert!(tokio::time::Instant::now() < deadline, "it never says {words:?}: {}", self.said());
            tokio::task::yield_now().await;
        }
    }

    /// Where all of its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `taskhook doctor` says of its store, which no process may have open.
    pub(crate) fn doctor(&self) -> Output {
        let mut command = taskhook();
        command.args(["doctor", "--store", &self.store_url()]);
        within(command, self.folder.path()).output().expect("the binary runs")
    }

    /// What the running process has printed.
    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    fn store_url(&self) -> String {
        format!("sqlite:{}", self.store().display())
    }

    /// The file of its store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }
}

impl Deref for RealServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// The same program, which may have so many files open and no more.
fn with_files(command: &Command, files_max: u32) -> Command {
    let mut within = Command::new("sh");
    within.args(["-c", &format!("ulimit -n {files_max}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    for (name, _) in command.get_envs() {
        within.env_remove(name);
    }
    within
}

/// Away from whatever settings lie around.
fn within(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder);
    command
}
