//! Every command in the documents is run, as it stands, against the real binary.
//!
//! A block of shell commands that needs something else is marked by a comment above it that says what.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The server's address in the documents; the test's own is put in its place.
const ADDRESS: &str = "127.0.0.1:8420";

/// The mark of a block that is not run.
const MARK: &str = "<!-- not run by the tests: needs ";

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf();
    let guide = std::fs::read_dir(root.join("docs/guide")).expect("the guide");
    let mut documents: Vec<PathBuf> = guide.map(|entry| entry.expect("an entry").path()).collect();
    documents.push(root.join("README.md"));
    documents.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    documents.sort();
    documents
}

/// The shell commands of a document, in order, and the Python in it where it is complete.
fn script(text: &str) -> String {
    let mut script = String::new();
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let language = line.strip_prefix("```").filter(|language| !language.is_empty());
        if let Some(language) = language {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if before.starts_with(MARK) {
                assert!(
                    before.len() > MARK.len() + 8,
                    "a block that is not run says what it needs: {before}"
                );
            } else {
                add(&mut script, language, &block);
            }
        }
        if !line.trim().is_empty() {
            before = line;
        }
    }
    script
}

fn add(script: &mut String, language: &str, block: &[&str]) {
    match language {
        "sh" => {
            for line in block {
                script.push_str(line);
                script.push('\n');
                if line.starts_with("taskhook serve") {
                    // A person reads on for a moment; a script asks until it is answered.
                    script.push_str("SERVER=$!\nuntil curl -sf http://127.0.0.1:8420/readyz >answer; do kill -0 $SERVER; done\n");
                }
            }
        }
        // A program that only reports can be run; one that serves is for a test of its own.
        "python" if !block.iter().any(|line| line.contains("Flask(")) => {
            script.push_str("\"$PYTHON\" - <<'END'\n");
            script.push_str(&block.join("\n"));
            script.push_str("\nEND\n");
        }
        _ => {}
    }
}

fn python() -> String {
    std::env::var("TASKHOOK_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[test]
fn the_commands_of_every_document_work_as_they_stand() {
    let binary = PathBuf::from(
        std::env::var("TASKHOOK_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_taskhook").to_string()),
    );
    let path = format!(
        "{}:{}",
        binary.parent().expect("a folder").display(),
        std::env::var("PATH").expect("a path")
    );
    let mut run = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document");
        let commands = script(&text);
        if commands.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
        let address = format!("127.0.0.1:{port}");
        let whole = format!(
            "set -eu\nSERVER=\ntrap 'test -z \"$SERVER\" || kill $SERVER 2>kill.log; wait' EXIT\n{}",
            commands.replace(ADDRESS, &address)
        );
        let output = Command::new("bash")
            .args(["-c", &whole])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("PYTHON", python())
            .env("TASKHOOK_LISTEN", &address)
            .env("TASKHOOK_URL", format!("http://{address}"))
            .output()
            .expect("bash runs");
        assert!(
            output.status.success(),
            "{}:\n{whole}\n--- out\n{}\n--- err\n{}",
            document.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        run += 1;
    }
    assert!(run >= 6, "the documents have commands: {run}");
}

#[test]
fn a_block_is_run_unless_it_says_what_it_needs() {
    let text = "```sh\none\n```\n<!-- not run by the tests: needs a printer -->\n```sh\ntwo\n```\n```python\nthree\n```\n";
    assert_eq!(script(text), "one\n\"$PYTHON\" - <<'END'\nthree\nEND\n");
}
