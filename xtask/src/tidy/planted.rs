//! Planted bugs: each that stands in the code is in the table of the guide, in core's list and among the lints' values.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::{File, Finding, Repository, extension};
use crate::workspace::Workspace;

/// The one table.
pub(super) const TABLE: &str = "docs/guide/guarantees.md";
/// Core's list of those that a build has, and the values that the lints know.
const LISTS: [&str; 2] = ["core/src/planted.rs", "Cargo.toml"];

/// What the last column says of a bug that only worlds over SQLite can notice.
const ON_SQLITE: &str = "over SQLite |";

/// A bug of the table.
#[derive(Debug)]
pub(crate) struct Bug {
    /// Its name.
    pub(crate) name: String,
    /// It is to be looked for in worlds over SQLite.
    pub(crate) is_on_sqlite: bool,
}

/// The bugs of the table, in its order.
pub(crate) fn bugs(workspace: &Workspace) -> Result<Vec<Bug>> {
    let text = fs::read_to_string(workspace.root.join(TABLE)).context(TABLE)?;
    let bugs = text.lines().flat_map(|line| {
        let is_on_sqlite = line.ends_with(ON_SQLITE);
        rows(line).map(move |name| Bug { name: name.into(), is_on_sqlite })
    });
    Ok(bugs.collect())
}

/// The names in the first column of the rows.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
}

/// The names in `planted = "name"`, with their lines.
fn planted(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split("planted = \"").skip(1).filter_map(move |rest| Some((index + 1, rest.split_once('"')?.0)))
    })
}

/// Bugs in the code that are not in the table, and rows without one.
pub(super) fn unlisted(repository: &Repository) -> Vec<Finding> {
    let text_of =
        |path: &str| repository.files.iter().find(|file| file.path == path).map_or("", |file| &file.text);
    let table: BTreeSet<&str> = rows(text_of(TABLE)).collect();
    let mut in_code = BTreeSet::new();
    let mut findings = Vec::new();
    let is_product = |file: &&File| {
        let own = file.path.starts_with("core/src/") || file.path.starts_with("server/src/");
        own && extension(&file.path) == "rs" && !LISTS.contains(&file.path.as_str())
    };
    for File { path, text } in repository.files.iter().filter(is_product) {
        for (line, name) in planted(text) {
            in_code.insert(name);
            if !table.contains(name) {
                let what = format!("{name} is not in the table of {TABLE}");
                findings.push(Finding { path: path.clone(), line, what });
            }
        }
    }
    for name in table.iter().filter(|name| !in_code.contains(*name)) {
        findings.push(Finding { path: TABLE.into(), line: 1, what: format!("{name} is planted nowhere") });
    }
    let list = text_of(LISTS[0]);
    for name in in_code.iter().filter(|name| !list.contains(&format!("\"{name}\""))) {
        findings.push(Finding { path: LISTS[0].into(), line: 1, what: format!("{name} is missing") });
    }
    findings
}
