//! The fence around expressions: any text is refused, or is evaluated soon, on the stack of a server's thread.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskhook::expression::{BYTES_MAX, Expression, Scope};

/// The stack of the threads of the runtime (`std::thread` has the same).
const STACK_BYTES: usize = 2 << 20;

/// What no evaluation may take, with room for builds that look at themselves.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Takes what stands before a zero byte as an expression, and what follows, if it is JSON, as the body it is asked about.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let body = parts.next().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_else(typical);
    let expression = match Expression::parse(text, &["body", "headers", "query"]) {
        Ok(expression) => expression,
        Err(why) => {
            assert!(!why.is_empty() && why.len() < 1_000 && !why.contains('\n'), "{why:?}");
            return;
        }
    };
    assert!(text.len() <= BYTES_MAX);
    let evaluate = move || {
        let headers = json!({"x-kind": "done", "content-type": "application/json"});
        let Ok(scope) = Scope::new(vec![("body", body), ("headers", headers), ("query", json!({}))]) else {
            return;
        };
        let began = Instant::now();
        let _ = expression.evaluate(&scope);
        assert!(began.elapsed() < TIME_MAX, "it took {:?}", began.elapsed());
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(evaluate).expect("a thread");
    thread.join().expect("it comes to an end");
}

fn typical() -> Value {
    json!({"id": "a", "n": 3, "u": u64::MAX, "f": 1.5, "ok": true, "none": null, "list": [1, "two", {"three": 3}],
        "data": {"object": {"id": "cs_1", "metadata": {"task": "123"}}}})
}
