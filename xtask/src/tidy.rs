//! The project's own rules, which no compiler knows. Each has its reason, printed with every place that breaks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workspace::{Workspace, output};

pub(crate) mod planted;
mod proofs;
mod scan;
#[cfg(test)]
mod tests;

/// What the rules look at.
struct Repository {
    files: Vec<File>,
    /// What `cargo tree` says core is built from, one package per line.
    core_tree: String,
}

/// A file of the repository. Only sources and Markdown have their text read.
struct File {
    /// From the root, with `/` between the names.
    path: String,
    text: String,
}

struct Rule {
    name: &'static str,
    /// Why the rule is there, in one sentence.
    reason: &'static str,
    find: fn(&Repository) -> Vec<Finding>,
}

/// A place that breaks a rule.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

const RULES: &[Rule] = &[
    Rule {
        name: "length",
        reason: "A source file of more than 800 lines has more than one subject: split it by cause, not by layer.",
        find: too_long,
    },
    Rule {
        name: "purity",
        reason: "Core decides and does nothing else, so it is built without anything that waits, stores or draws lots.",
        find: impure_packages,
    },
    Rule {
        name: "sleep",
        reason: "A test that sleeps is slow or wrong or both: wait for the event, or end the line with `// real time:` \
                 and why only real time will do.",
        find: sleeps,
    },
    Rule {
        name: "unfinished",
        reason: "What is merged is finished: write it, or write an issue.",
        find: unfinished,
    },
    Rule {
        name: "siblings",
        reason: "The edges of the server do not know each other; only main.rs, cli/serve.rs and cli/demo.rs wire them \
                 together.",
        find: sibling_uses,
    },
    Rule {
        name: "inward",
        reason: "The store serves the engine and the engine serves the edges, so neither knows who calls it.",
        find: outward_uses,
    },
    Rule {
        name: "one-writer",
        reason: "Only the engine writes, so only the engine and the stores begin a transaction.",
        find: transactions,
    },
    Rule {
        name: "planted",
        reason: "A planted bug that the table does not name is a bug.",
        find: planted::unlisted,
    },
    Rule {
        name: "proofs",
        reason: "A promise whose proof is not there is an advertisement.",
        find: proofs::missing,
    },
    Rule { name: "links", reason: "A link to a file that is not there helps nobody.", find: broken_links },
];

const LINES_MAX: usize = 800;
const SOURCES: [&str; 5] = ["rs", "py", "js", "css", "sql"];
const NOT_OURS: [&str; 7] =
    [".git", "target", "node_modules", "__pycache__", ".venv", ".pytest_cache", ".hypothesis"];
const BANNED_IN_CORE: [&str; 7] = ["tokio", "hyper", "axum", "rusqlite", "mio", "rand", "getrandom"];
const UNFINISHED_WORDS: [&str; 2] = ["FIXME", "XXX"];
const UNFINISHED_CODE: [&str; 3] = ["todo!(", "unimplemented!(", "#[ignore"];
/// The modules of the server through which something comes in or goes out.
const EDGES: [&str; 5] = ["cli", "dispatch", "evaluate", "http", "poll"];
const WIRING: [&str; 2] = ["server/src/cli/serve", "server/src/cli/demo"];
/// Who may begin a transaction. Core has no store to begin one with, so what it calls `begin` is something else.
const MAY_BEGIN: [&str; 4] = ["server/src/engine", "server/src/store", "core", "sim"];
/// Here stand the words that the rules look for.
const TIDY: &str = "xtask/src/tidy";

/// Applies every rule to the checkout, prints what breaks it, and tells whether nothing does.
pub(crate) fn tidy(workspace: &Workspace) -> Result<bool> {
    println!("\n$ tidy");
    let tree = ["tree", "--package", "taskhook-core", "--edges", "normal", "--prefix", "none"];
    let core_tree = output(&mut workspace.cargo(&tree)).context("cargo tree failed; run it to see why")?;
    let mut files = Vec::new();
    read(&workspace.root, "", &mut files)?;
    ensure!(!files.is_empty(), "no files in {}", workspace.root.display());
    files.sort_by(|a, b| a.path.cmp(&b.path));

    let repository = Repository { files, core_tree };
    let mut tidy = true;
    for rule in RULES {
        let findings = (rule.find)(&repository);
        if !findings.is_empty() {
            tidy = false;
            println!("{}: {}", rule.name, rule.reason);
        }
        for Finding { path, line, what } in findings {
            println!("  {path}:{line}: {what}");
        }
    }
    Ok(tidy)
}

/// Collects the files under `root/path`.
fn read(root: &Path, path: &str, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(root.join(path)).with_context(|| path.to_owned())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let kind = entry.file_type()?;
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        } else if kind.is_dir() {
            read(root, &path, files)?;
        } else if kind.is_file() {
            let is_read = is_source(&path) || extension(&path) == "md";
            let bytes = if is_read { fs::read(entry.path()).context(path.clone())? } else { Vec::new() };
            files.push(File { path, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
    }
    Ok(())
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_source(path: &str) -> bool {
    SOURCES.contains(&extension(path))
}

/// Whether the path is the module `module`: its file, or a file in its folder.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn is_test(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    name == "tests.rs" || folders.split('/').any(|folder| folder == "tests")
}

/// The findings in all lines of the sources that `applies` to.
fn in_lines(
    repository: &Repository,
    applies: impl Fn(&str) -> bool,
    finds: impl Fn(&str, &str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for File { path, text } in &repository.files {
        if !is_source(path) || within(path, TIDY) || !applies(path) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if let Some(what) = finds(path, line) {
                findings.push(Finding { path: path.clone(), line: index + 1, what });
            }
        }
    }
    findings
}

fn too_long(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for File { path, text } in &repository.files {
        let lines = text.lines().count();
        if is_source(path) && lines > LINES_MAX {
            findings.push(Finding {
                path: path.clone(),
                line: LINES_MAX + 1,
                what: format!("{lines} lines"),
            });
        }
    }
    findings
}

fn impure_packages(repository: &Repository) -> Vec<Finding> {
    let packages: BTreeSet<_> =
        repository.core_tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let banned = packages.into_iter().filter(|package| BANNED_IN_CORE.contains(package));
    banned
        .map(|package| Finding {
            path: "core/Cargo.toml".to_owned(),
            line: 1,
            what: format!("brings {package}; see cargo tree -p taskhook-core -e normal -i {package}"),
        })
        .collect()
}

fn sleeps(repository: &Repository) -> Vec<Finding> {
    let applies = |path: &str| is_test(path) || path.starts_with("sim/");
    in_lines(repository, applies, |path, line| {
        let (code, comment) = scan::code_and_comment(line, if extension(path) == "py" { "#" } else { "//" });
        let excused =
            comment.trim_start().strip_prefix("real time:").is_some_and(|why| !why.trim().is_empty());
        (!excused && scan::has_sleep(code)).then(|| line.trim().to_owned())
    })
}

fn unfinished(repository: &Repository) -> Vec<Finding> {
    in_lines(
        repository,
        |_| true,
        |_, line| {
            let code = UNFINISHED_CODE.iter().find(|code| line.contains(*code));
            let word = UNFINISHED_WORDS.iter().find(|word| scan::has_word(line, word));
            code.or(word).map(|found| (*found).to_owned())
        },
    )
}

/// Uses in the server's module `module`, for which `banned` names the modules it must not know.
fn uses(repository: &Repository, banned: impl Fn(&str) -> Vec<&'static str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for File { path, text } in &repository.files {
        let Some(inner) = path.strip_prefix("server/src/").and_then(|path| path.strip_suffix(".rs")) else {
            continue;
        };
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        let names: Vec<_> = inner.split('/').collect();
        let banned = banned(names[0]);
        for (line, used) in scan::root_modules_used(text, names.len()) {
            if banned.contains(&used) && !WIRING.iter().any(|wiring| within(path, wiring)) {
                let what = format!("{} uses crate::{used}", names[0]);
                findings.push(Finding { path: path.clone(), line, what });
            }
        }
    }
    findings
}

fn sibling_uses(repository: &Repository) -> Vec<Finding> {
    uses(repository, |module| {
        if !EDGES.contains(&module) {
            return Vec::new();
        }
        EDGES.into_iter().filter(|edge| *edge != module).collect()
    })
}

fn outward_uses(repository: &Repository) -> Vec<Finding> {
    uses(repository, |module| match module {
        "engine" => EDGES.to_vec(),
        "store" => [&EDGES[..], &["engine"]].concat(),
        _ => Vec::new(),
    })
}

fn transactions(repository: &Repository) -> Vec<Finding> {
    let applies = |path: &str| {
        let may_begin = MAY_BEGIN.iter().any(|module| within(path, module));
        extension(path) == "rs" && !may_begin && !is_test(path)
    };
    in_lines(repository, applies, |_, line| {
        let (code, _) = scan::code_and_comment(line, "//");
        code.contains(".begin(").then(|| line.trim().to_owned())
    })
}

fn broken_links(repository: &Repository) -> Vec<Finding> {
    let exists = |target: &str| {
        let inside = format!("{target}/");
        target.is_empty()
            || repository.files.iter().any(|file| file.path == target || file.path.starts_with(&inside))
    };
    let mut findings = Vec::new();
    for File { path, text } in repository.files.iter().filter(|file| extension(&file.path) == "md") {
        for (line, link) in scan::relative_links(text) {
            if !scan::resolve(path, link).is_some_and(|target| exists(&target)) {
                findings.push(Finding { path: path.clone(), line, what: format!("no such file: {link}") });
            }
        }
    }
    findings
}
