//! What is promised has a proof: each promise of the guide links to tests, and each of those is there.

use super::{Finding, Repository, scan};

/// Where the promises are.
const PROMISES: &str = "docs/guide/guarantees.md";

/// Promises without a link to a test, and links to tests that are not there.
pub(super) fn missing(repository: &Repository) -> Vec<Finding> {
    let Some(file) = repository.files.iter().find(|file| file.path == PROMISES) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| findings.push(Finding { path: PROMISES.into(), line, what });
    // The first line of the promise that is being read, and whether it has a proof by now.
    let mut promise: Option<(usize, bool)> = None;
    for (index, line) in file.text.lines().enumerate() {
        let starts = line.starts_with("**G");
        if starts || line.starts_with('#') {
            if let Some((line, false)) = promise {
                find(line, "a promise without a proof".into());
            }
            promise = starts.then_some((index + 1, false));
        }
        for (name, link) in named_links(line) {
            if let Some((_, proven)) = &mut promise {
                *proven = true;
            }
            let target = scan::resolve(PROMISES, link).unwrap_or_default();
            let source = repository.files.iter().find(|file| file.path == target);
            let is_target = target.starts_with("fuzz/fuzz_targets/");
            if !is_target && !source.is_some_and(|file| has_test(&file.text, name)) {
                find(index + 1, format!("no test {name} in {link}"));
            }
        }
    }
    if let Some((line, false)) = promise {
        find(line, "a promise without a proof".into());
    }
    findings
}

/// The links to sources whose text is a name in code: the name, and the file.
fn named_links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split("[`").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once("`](")?;
        let (link, _) = rest.split_once(')')?;
        link.ends_with(".rs").then_some((name, link))
    })
}

fn has_test(text: &str, name: &str) -> bool {
    let after = |rest: &str| rest.starts_with('(') || rest.starts_with('<');
    text.split("fn ").skip(1).any(|rest| rest.strip_prefix(name).is_some_and(after))
}
