//! Running the binary: as a command, and as a server that a test starts and stops.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// A command that has not run yet.
pub(super) struct Program {
    pub(super) command: Command,
}

/// Runs a command to its end.
pub(super) fn run(arguments: &[&str]) -> Ran {
    taskhook(arguments).run()
}

/// A command in an environment in which nothing is set.
pub(super) fn taskhook(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskhook"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKHOOK_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    Program { command }
}

impl Program {
    /// In this folder.
    pub(super) fn within(mut self, folder: &Path) -> Program {
        self.command.current_dir(folder);
        self
    }

    /// With a variable.
    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Ran {
        let output = self.command.output().expect("the binary runs");
        Ran {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs it to its end, with `input` at its standard input.
    pub(super) fn run_with(mut self, input: &str) -> Ran {
        let piped = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary runs");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        Ran {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// The real server, on a store of its own and a free port.
pub(super) struct Serving {
    pub(super) url: String,
    pub(super) folder: TempDir,
    /// The first line that it printed.
    pub(super) first_line: String,
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Serving {
    /// Starts it in a folder of its own.
    pub(super) fn start() -> Serving {
        Serving::start_in(tempfile::tempdir().expect("a folder"))
    }

    /// Starts it in a folder, and waits until it listens.
    pub(super) fn start_in(folder: TempDir) -> Serving {
        Serving::start_as(folder, &["serve", "--listen", "127.0.0.1:0"])
    }

    /// Starts it in a folder of its own, with `--hold`.
    pub(super) fn start_held() -> Serving {
        let folder = tempfile::tempdir().expect("a folder");
        Serving::start_as(folder, &["serve", "--listen", "127.0.0.1:0", "--hold"])
    }

    fn start_as(folder: TempDir, arguments: &[&str]) -> Serving {
        let mut command = taskhook(arguments).within(folder.path()).command;
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the server starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut first_line = String::new();
        log.read_line(&mut first_line).expect("it says something");
        let url = first_line.split_whitespace().last().unwrap_or_default().to_string();
        assert!(url.starts_with("http://127.0.0.1:"), "it does not listen: {first_line}");
        // Read to its end, so that the server never waits for a reader.
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            text
        });
        Serving { url, folder, first_line, child, log: Some(log) }
    }

    /// Runs a command against it.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.program(arguments).run()
    }

    /// A command against it.
    pub(super) fn program(&self, arguments: &[&str]) -> Program {
        taskhook(arguments).within(self.folder.path()).env("TASKHOOK_URL", &self.url)
    }

    /// Runs a command against it that must do what it should, and gives what it printed.
    #[track_caller]
    pub(super) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        ran.out
    }

    /// The body that its API answers to a GET.
    pub(super) fn api(&self, path: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer.split_once("\r\n\r\n").expect("a body").1.to_string()
    }

    /// Its store.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("taskhook.db")
    }

    /// Stops it by SIGTERM; gives its exit code, what it said after its first line, and its folder.
    pub(super) fn stop(mut self) -> (Option<i32>, String, TempDir) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        let code = self.child.wait().expect("it ends").code();
        let log = self.log.take().expect("a log").join().expect("a text");
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        (code, log, folder)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed leaves no server behind; one that has stopped cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of another kind, with the same answer to everybody.
pub(super) struct Answering {
    pub(super) url: String,
}

impl Answering {
    /// Answers one request.
    pub(super) fn once(status: &'static str, body: &'static str) -> Answering {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line).is_ok_and(|read| read > 2) {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let _ = request.take(length).read_to_end(&mut Vec::new());
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        });
        Answering { url }
    }
}
