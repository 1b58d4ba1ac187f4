//! Reading just enough of Rust, Python and Markdown to apply the rules. Strings are not told from code: a rule that
//! trips over one is answered by writing it differently.

/// Splits a line at its comment, which starts with `mark`.
pub(super) fn code_and_comment<'a>(line: &'a str, mark: &str) -> (&'a str, &'a str) {
    line.split_once(mark).unwrap_or((line, ""))
}

/// Whether the word occurs with no letter, digit or underscore next to it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    tokens(line).any(|token| token == word)
}

/// Whether the code sleeps. A method is none of our business (a virtual clock may have it), nor is a definition.
pub(super) fn has_sleep(code: &str) -> bool {
    let tokens: Vec<_> = tokens(code).collect();
    tokens.windows(2).enumerate().any(|(at, pair)| {
        let before = |back: usize| at.checked_sub(back).map_or("", |index| tokens[index]);
        let is_method = before(1) == "." && !["time", "asyncio"].contains(&before(2));
        let is_definition = ["fn", "def"].contains(&before(1));
        let is_sleep = ["sleep", "sleep_ms", "sleep_until"].contains(&pair[0]) && pair[1] == "(";
        is_sleep && !is_method && !is_definition
    })
}

/// The modules named from the root of the crate, each with its line: by `crate::` and by enough `super::` for a
/// module that lies `depth` deep. Comments do not count.
pub(super) fn root_modules_used(text: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        all.extend(tokens(code_and_comment(line, "//").0).map(|token| (index + 1, token)));
    }
    let token = |at: usize| all.get(at).map_or("", |(_, token)| *token);

    let mut used = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let mut supers = 0;
        let is_crate = token(at) == "crate" && token(at + 1) == "::";
        while token(at) == "super" && token(at + 1) == "::" {
            supers += 1;
            at += 2;
        }
        if is_crate {
            at += 2;
        }
        if is_crate || (supers >= depth && supers > 0) {
            used.extend(named_at(&all, at));
        } else if supers == 0 {
            at += 1;
        }
    }
    used
}

/// The name at `at`, or the first name of each path if a group `{a::b, c}` stands there.
fn named_at<'a>(all: &[(usize, &'a str)], at: usize) -> Vec<(usize, &'a str)> {
    let Some((line, token)) = all.get(at) else { return Vec::new() };
    if *token != "{" {
        return vec![(*line, *token)];
    }
    let mut named = Vec::new();
    let mut open = 0;
    for (index, (line, token)) in all.iter().enumerate().skip(at) {
        match *token {
            "{" => open += 1,
            "}" => open -= 1,
            name if open == 1 && ["{", ","].contains(&all[index - 1].1) => named.push((*line, name)),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    named
}

/// Words, `::`, and every other visible character by itself.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let length = match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            word => word,
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// The links of a Markdown text that lead to files, each with its line. What is shown as code is no link.
pub(super) fn relative_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        let definition = start.strip_prefix('[').filter(|rest| !rest.starts_with('^'));
        let defined = definition.and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        let inline = line.split('`').step_by(2).flat_map(|prose| prose.split("](").skip(1));
        for target in inline.chain(defined) {
            let target = target.trim_start().trim_start_matches('<');
            let end = target.find([')', '>', ' ', '#']).unwrap_or(target.len());
            let target = &target[..end];
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((index + 1, target));
            }
        }
    }
    links
}

/// The path from the root that `link` in the file `from` leads to, or nothing if it leads out of the repository.
pub(super) fn resolve(from: &str, link: &str) -> Option<String> {
    let mut names: Vec<&str> = from.split('/').collect();
    names.pop();
    if link.starts_with('/') {
        names.clear();
    }
    for name in link.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}
