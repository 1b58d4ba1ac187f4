//! Each rule can fail, and does not where it should not.

use super::*;

/// The places where the rule is broken, as `path:line`.
#[track_caller]
fn broken(rule: &str, files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| File { path: path.to_string(), text: text.to_string() });
    places(rule, &Repository { files: files.collect(), core_tree: String::new() })
}

#[track_caller]
fn places(rule: &str, repository: &Repository) -> Vec<String> {
    let rule = RULES.iter().find(|known| known.name == rule).expect("the rule exists");
    let findings = (rule.find)(repository);
    findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

#[test]
fn rules_have_names_of_their_own_and_one_sentence() {
    let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
    for rule in RULES {
        assert!(rule.reason.ends_with('.') && !rule.reason.contains(". "), "{}", rule.name);
    }
}

#[test]
fn length() {
    let (good, bad) = ("x\n".repeat(800), "x\n".repeat(801));
    let files = [("core/src/a.rs", &*good), ("server/migrations/b.sql", &*bad), ("docs/c.md", &*bad)];
    assert_eq!(broken("length", &files), ["server/migrations/b.sql:801"]);
}

#[test]
fn purity() {
    let tree = "taskhook-core v0.1.0 (/taskhook/core)\njiff v0.2.46\nrand_core v0.9.3\n";
    let repository = |more: &str| Repository { files: Vec::new(), core_tree: format!("{tree}{more}") };
    assert_eq!(places("purity", &repository("")), [""; 0]);
    assert_eq!(places("purity", &repository("rand v0.9.2\nrand v0.9.2 (*)\n")), ["core/Cargo.toml:1"]);
}

#[test]
fn sleep() {
    let text = "\
std::thread::sleep(pause);
tokio::time::sleep_until(then).await;
sleep(pause).await;
sleep(pause).await; // real time:
sleep(pause).await; // real time: the kernel decides when the socket is gone
clock.sleep(pause);
fn sleep(pause: Duration) {}
// never sleep() here
let sleepy = asleep(1);
";
    let at = |path: &str| broken("sleep", &[(path, text)]).len();
    assert_eq!(
        broken("sleep", &[("sim/src/lib.rs", text)]),
        ["sim/src/lib.rs:1", "sim/src/lib.rs:2", "sim/src/lib.rs:3", "sim/src/lib.rs:4"]
    );
    assert_eq!(
        (at("server/tests/it/http.rs"), at("core/src/task/tests.rs"), at("server/src/poll.rs")),
        (4, 4, 0)
    );

    let python = "time.sleep(1)\nawait asyncio.sleep(1)\ntime.sleep(1)  # real time: the server must notice by itself\n";
    let found = broken("sleep", &[("sdk/python/tests/test_client.py", python)]);
    assert_eq!(found, ["sdk/python/tests/test_client.py:1", "sdk/python/tests/test_client.py:2"]);
}

#[test]
fn unfinished() {
    let text = "todo!()\nunimplemented!(\"later\")\n#[ignore = \"slow\"]\n// FIXME\n-- XXX: why\nlet id = \"XXXX\";\n";
    let found = broken("unfinished", &[("core/src/task.rs", text), ("README.md", text)]);
    assert_eq!(found.len(), 5);
    assert_eq!(found.last().map(String::as_str), Some("core/src/task.rs:5"));
}

#[test]
fn siblings() {
    let text = "\
//! Unlike [`crate::dispatch`], this answers.
use crate::engine::Lane;
use crate::dispatch::Sender;
use crate::{
    config::Config,
    cli,
    source::{poll, verify},
};
fn f() { crate::evaluate::run(super::super::dispatch::send) }
";
    assert_eq!(
        broken("siblings", &[("server/src/http/webhook.rs", text)]),
        [3, 6, 9, 9].map(|line| format!("server/src/http/webhook.rs:{line}"))
    );
    // From the module itself, one step up is the root.
    assert_eq!(broken("siblings", &[("server/src/http.rs", "use super::cli;")]), ["server/src/http.rs:1"]);
    assert_eq!(
        broken("siblings", &[("server/src/http/mod.rs", "use super::cli;")]),
        ["server/src/http/mod.rs:1"]
    );
    assert_eq!(broken("siblings", &[("server/src/http/wire.rs", "use super::cli;")]), [""; 0]);
    // Each may name itself, and those who wire them together may name all.
    assert_eq!(broken("siblings", &[("server/src/dispatch/send.rs", "use crate::dispatch::sign;")]), [""; 0]);
    for free in
        ["server/src/cli/serve.rs", "server/src/cli/demo/worker.rs", "server/src/main.rs", "sim/src/lib.rs"]
    {
        assert_eq!(broken("siblings", &[(free, text)]), [""; 0]);
    }
    assert_eq!(broken("siblings", &[("server/src/cli/serve_all.rs", "use crate::http;")]).len(), 1);
}

#[test]
fn inward() {
    let text = "use crate::engine;\nuse crate::http;\nuse crate::store;\n";
    assert_eq!(broken("inward", &[("server/src/engine/commit.rs", text)]), ["server/src/engine/commit.rs:2"]);
    assert_eq!(broken("inward", &[("server/src/store/sqlite/due.rs", text)]).len(), 2);
    assert_eq!(broken("inward", &[("server/src/http/task.rs", text)]), [""; 0]);
}

#[test]
fn one_writer() {
    let text = "// .begin() is the engine's\nlet tx = store.begin().await?;\n";
    assert_eq!(broken("one-writer", &[("server/src/http/task.rs", text)]), ["server/src/http/task.rs:2"]);
    for free in [
        "server/src/engine/commit.rs",
        "server/src/store.rs",
        "server/tests/it/store.rs",
        "sim/src/lib.rs",
        "core/src/task.rs",
    ] {
        assert_eq!(broken("one-writer", &[(free, text)]), [""; 0]);
    }
}

#[test]
fn planted() {
    let code = "if cfg!(planted = \"known\") {}\nif cfg!(planted = \"unknown\") {}\n";
    let table = "| planted bug | what it breaks |\n| --- | --- |\n| `known` | all |\n| `gone` | nothing |\n";
    let list = "bugs![\"known\", \"unknown\"]";
    let files = |list: &'static str| {
        [("core/src/a.rs", code), ("core/src/planted.rs", list), ("docs/guide/guarantees.md", table)]
    };
    let unlisted = ["core/src/a.rs:2", "docs/guide/guarantees.md:1"];
    assert_eq!(broken("planted", &files(list)), unlisted);
    let missing = [&unlisted[..], &["core/src/planted.rs:1"]].concat();
    assert_eq!(broken("planted", &files("bugs![\"known\"]")), missing);
}

#[test]
fn links() {
    let text = "\
[a](guide/start.md#first) [b](/README.md) [`c`](../README.md \"the title\") ![d](<../deploy>)
[e](https://example.com/x.md) [f](#here) [g](mailto:a@b.c) `[h](code.md)`
[i](guide/gone.md)
[j](../../outside.md)
```
[k](fenced.md)
```
[l]: gone.md
[^m]: a note
";
    let files = [
        ("docs/index.md", text),
        ("docs/guide/start.md", ""),
        ("README.md", "[docs](docs) [run](.ci/run)"),
        ("deploy/taskhook.service", ""),
        (".ci/run", ""),
    ];
    assert_eq!(broken("links", &files), ["docs/index.md:3", "docs/index.md:4", "docs/index.md:8"]);
}

#[test]
fn proofs() {
    let guide = "\
# Guarantees
**G1. One.** [`holds`](../../core/tests/laws.rs)
**G2. Two.**
worlds
**G3. Three.** [`is_gone`](../../core/tests/laws.rs), [`holds`](../../core/tests/none.rs)
[`target`](../../fuzz/fuzz_targets/target.rs)
**G4. Four.** [the guide](tasks.md), [`retry`](tasks.md)
";
    let files = [
        ("docs/guide/guarantees.md", guide),
        ("core/tests/laws.rs", "#[test]\nfn holds() {}\nfn is_gone_too() {}\n"),
    ];
    let page = |line: u32| format!("docs/guide/guarantees.md:{line}");
    assert_eq!(broken("proofs", &files), [page(3), page(5), page(5), page(7)]);
}
