//! Expressions that users give (CEL, <https://cel.dev>), behind a fence.
//!
//! The language has no loops but those over lists and maps that are there, and no way out. What is left to bound is its
//! parser, which needs a deep stack for hostile input, and expressions that go over long lists within long lists. So a
//! text is short, it is parsed on a deep stack when it is saved, what comes out is small and flat, and before it is evaluated it
//! is found how much work it can be on what it is given (`work.rs`), and how many items it goes over. Evaluated it is at the edge, before a webhook is an input: never in a transaction.

mod work;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, ExecutionError, Program};
use serde_json::Value;
use taskhook_core::limits::EXTERNAL_ID_BYTES_MAX;

/// Bytes of an expression.
pub const BYTES_MAX: usize = 4_096;

/// Parts of an expression, with what its macros become.
const NODES_MAX: usize = 500;

/// How deep its parts stand within each other: each level takes stack when it is evaluated.
const DEPTH_MAX: usize = 48;

/// Macros (`map`, `filter`, `exists` …) within each other.
const NESTING_MAX: usize = 2;

/// Items of the longest list or map that an expression may be evaluated on, by how deep its macros are nested.
const ITEMS_MAX: [u64; NESTING_MAX + 1] = [u64::MAX, 10_000, 300];

/// Bytes that an expression may touch until it is known, and in what it is worth: some hundredths of a second.
const WORK_MAX: u64 = 32 << 20;

/// Stack of the thread that parses: with 16 MiB every text of [`BYTES_MAX`] was parsed or refused.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// Bytes of what is told of an error: it may repeat what a stranger has sent.
const ERROR_BYTES_MAX: usize = 300;

/// Expressions of tasks that are kept once they were read.
const KNOWN_MAX: usize = 256;

static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Expression>>>> = LazyLock::new(Mutex::default);

static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// An expression, checked.
#[derive(Debug)]
pub struct Expression {
    program: Program,
    nesting: usize,
}

/// What an expression may ask for.
pub struct Scope {
    variables: Vec<(&'static str, cel::Value)>,
    works: work::Names,
}

impl Expression {
    /// Reads an expression that may ask for these variables.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Expression, String> {
        if text.trim().is_empty() {
            return Err("is empty; leave it out, or say what is to be found".into());
        }
        if text.len() > BYTES_MAX {
            return Err(format!("has {} bytes; it may have {BYTES_MAX}", text.len()));
        }
        let (text, known) = (text.to_string(), variables.iter().map(ToString::to_string).collect::<Vec<_>>());
        // What is too deep is dropped there too.
        let parse = move || compile(&text, &known);
        let thread = std::thread::Builder::new().name("expression".into()).stack_size(PARSER_STACK_BYTES);
        let parsed = thread.spawn(parse).map_err(|error| format!("cannot be read now: {error}"))?;
        parsed.join().unwrap_or_else(|_| Err("cannot be read by this version".into()))
    }

    /// Reads an expression that may ask for `response`, or finds it among those that were read lately: a task has such ones,
    /// and there are many tasks that say the same.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn known(text: &str) -> Result<Arc<Expression>, String> {
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expression) = known().get(text) {
            return Ok(expression.clone());
        }
        let expression = Arc::new(Expression::parse(text, &["response"])?);
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(text.into(), expression.clone());
        Ok(expression)
    }

    /// Whether it goes over lists, which may take long.
    #[must_use]
    pub fn has_loops(&self) -> bool {
        self.nesting > 0
    }

    /// What it is, where it is a plain value and asks for nothing.
    #[must_use]
    pub fn constant(&self) -> Option<Value> {
        let Expr::Literal(_) = self.program.expression().expr else { return None };
        let nothing = Scope { variables: Vec::new(), works: work::Names::new() };
        self.evaluate(&nothing).ok().flatten()
    }

    /// What it is worth; `None` where it is null, or asks for something that is not there.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub fn evaluate(&self, scope: &Scope) -> Result<Option<Value>, String> {
        let items_max = ITEMS_MAX[self.nesting.min(NESTING_MAX)];
        let longest = scope.works.values().map(|work| work.items).max().unwrap_or(0);
        if longest > items_max {
            return Err(format!("it would go over {longest} items, and may go over {items_max}"));
        }
        let work = work::of(self.program.expression(), &scope.works);
        if work.touched.saturating_add(work.bytes) > WORK_MAX {
            return Err("it could be too much work on a request of this size".into());
        }
        let mut context = Context::with_env(LANGUAGE.clone());
        for (name, value) in &scope.variables {
            context.add_variable_from_value(*name, value.clone());
        }
        match self.program.execute(&context) {
            Ok(value) => match value.json() {
                Ok(Value::Null) => Ok(None),
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(cut(&error.to_string())),
            },
            Err(ExecutionError::NoSuchKey(_)) => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }
}

/// What is told of an expression that has failed. JSON has one kind of number and the language three, so whoever meets that
/// is told what to do.
fn told(error: &ExecutionError) -> String {
    let is_number =
        |value: &cel::Value| matches!(value, cel::Value::Int(_) | cel::Value::UInt(_) | cel::Value::Float(_));
    let hint = match error {
        ExecutionError::UnsupportedBinaryOperator(_, left, right) if is_number(left) && is_number(right) => {
            "; numbers of different kinds do not mix: write double(…) around those that are whole"
        }
        _ => "",
    };
    cut(&error.to_string()) + hint
}

impl Scope {
    /// With these variables.
    ///
    /// # Errors
    /// If one of them cannot be said in the language.
    pub fn new(variables: Vec<(&'static str, Value)>) -> Result<Scope, String> {
        let given = |(name, value): &(&'static str, Value)| ((*name).to_string(), work::given(value));
        let works = variables.iter().map(given).collect();
        let said = |(name, value): (&'static str, Value)| {
            cel::to_value(&value).map(|value| (name, value)).map_err(|error| cut(&error.to_string()))
        };
        Ok(Scope { variables: variables.into_iter().map(said).collect::<Result<_, _>>()?, works })
    }
}

fn compile(text: &str, known: &[String]) -> Result<Expression, String> {
    let program = Program::compile(text).map_err(|errors| {
        let told = errors.to_string();
        let first = told.lines().next().unwrap_or_default().trim_start_matches("ERROR: <input>:");
        format!("is no expression: {}", cut(first))
    })?;
    let mut walk = Walk { known, bound: Vec::new(), nodes: 0, nesting: 0 };
    walk.over(program.expression(), 1, 0)?;
    let nesting = walk.nesting;
    let references = program.references();
    // Those of operators are named by signs.
    let functions = references.functions().into_iter().filter(|name| name.starts_with(char::is_alphabetic));
    if let Some(unknown) = functions.into_iter().find(|name| !is_function(name)) {
        return Err(format!("asks for {}(), which is not known here", cut(unknown)));
    }
    Ok(Expression { program, nesting })
}

/// Whether the language has this function: found by calling it with nothing.
fn is_function(name: &str) -> bool {
    let context = Context::with_env(LANGUAGE.clone());
    [format!("{name}()"), format!("''.{name}()")].iter().any(|call| {
        let called = Program::compile(call).map(|program| program.execute(&context).err());
        !matches!(called, Err(_) | Ok(Some(ExecutionError::UndeclaredReference(_))))
    })
}

/// A walk over all that an expression is.
struct Walk<'a> {
    known: &'a [String],
    /// The names that macros give to items.
    bound: Vec<String>,
    nodes: usize,
    nesting: usize,
}

impl Walk<'_> {
    fn over(&mut self, part: &IdedExpr, depth: usize, nesting: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("has more than {NODES_MAX} parts"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("has parts that stand more than {DEPTH_MAX} deep within each other"));
        }
        let below = depth + 1;
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !self.known.contains(name) && !self.bound.contains(name) {
                    let known = self.known.join(", ");
                    return Err(format!(
                        "asks for {}, which is not known here; what is known: {known}",
                        cut(name)
                    ));
                }
            }
            Expr::Select(select) => self.over(&select.operand, below, nesting)?,
            Expr::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.over(part, below, nesting)?;
                }
            }
            Expr::List(list) => {
                for part in &list.elements {
                    self.over(part, below, nesting)?;
                }
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr), below, nesting)?,
            Expr::Struct(_) => return Err("makes a message of a type, and there are none".into()),
            Expr::Comprehension(loops) => {
                let inner = nesting + 1;
                if inner > NESTING_MAX {
                    return Err(format!("goes over lists more than {NESTING_MAX} deep within each other"));
                }
                self.nesting = self.nesting.max(inner);
                self.over(&loops.iter_range, below, nesting)?;
                let before = self.bound.len();
                self.bound.extend([loops.iter_var.clone(), loops.accu_var.clone()]);
                self.bound.extend(loops.iter_var2.clone());
                for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.over(part, below, inner)?;
                }
                self.bound.truncate(before);
            }
        }
        Ok(())
    }

    fn entries<'b>(
        &mut self,
        entries: impl Iterator<Item = &'b EntryExpr>,
        depth: usize,
        nesting: usize,
    ) -> Result<(), String> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.over(&field.value, depth, nesting)?,
                EntryExpr::MapEntry(entry) => {
                    self.over(&entry.key, depth, nesting)?;
                    self.over(&entry.value, depth, nesting)?;
                }
            }
        }
        Ok(())
    }
}

/// A string, or the decimal text of an integer.
#[must_use]
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// A remote's own id of a task, if it can be one.
///
/// # Errors
/// Why it cannot, as the end of a sentence.
pub fn checked_id(id: String) -> Result<String, String> {
    match id.len() {
        0 => Err("it is empty".into()),
        bytes if bytes > EXTERNAL_ID_BYTES_MAX => {
            Err(format!("it has {bytes} bytes, and may have {EXTERNAL_ID_BYTES_MAX}"))
        }
        _ if id.contains(char::is_control) => Err("it has control characters".into()),
        _ => Ok(id),
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(ERROR_BYTES_MAX)].replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Expression, String> {
        Expression::parse(text, &["body", "headers"])
    }

    fn worth(text: &str, body: Value) -> Result<Option<Value>, String> {
        let scope = Scope::new(vec![("body", body), ("headers", json!({"x-kind": "done"}))]).unwrap();
        parse(text).unwrap().evaluate(&scope)
    }

    #[test]
    fn what_is_asked_for_is_found() {
        let body = || json!({"a": {"b": [1, {"c": "x"}]}, "n": null, "big": 9_007_199_254_740_993_u64, "u": u64::MAX});
        for (text, wanted) in [
            ("body.a.b[1].c", json!("x")),
            ("headers['x-kind'] == 'done' ? 'task_completed' : 'other'", json!("task_completed")),
            ("body.big", json!(9_007_199_254_740_993_u64)),
            ("body.u", json!(u64::MAX)),
            ("'id-' + string(body.a.b[0])", json!("id-1")),
            ("body.a.b.filter(x, x == 1).size()", json!(1)),
            ("has(body.a.z) ? body.a.z : 'none'", json!("none")),
            ("{'message': body.a.b[1].c}", json!({"message": "x"})),
            ("body.a.b[1].c.startsWith('x') && 'xyz'.matches('^x') && 'xyz'.contains('y')", json!(true)),
            ("int('7') + size(body.a.b)", json!(9)),
        ] {
            assert_eq!(worth(text, body()), Ok(Some(wanted)), "{text}");
        }
        for text in ["body.n", "body.missing", "body.a.missing.deeper", "null", "headers['x-other']"] {
            assert_eq!(worth(text, body()), Ok(None), "{text}");
        }
        for text in ["body.a + 1", "body.a.b[9]", "1 / 0", "body.n.deeper.still"] {
            assert!(worth(text, body()).is_err(), "{text}: {:?}", worth(text, body()));
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_reason() {
        let check = |text: &str, why: &str| {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
            assert!(refused.len() < 500 && !refused.contains('\n'), "{refused}");
        };
        check("", "is empty");
        check("  ", "is empty");
        check("body.", "is no expression");
        check("body.a body.b", "is no expression");
        check("boddy.a", "asks for boddy, which is not known here; what is known: body, headers");
        check("x.map(y, y)", "asks for x");
        check("nothing(body)", "asks for nothing()");
        check("body.a.b.split('/')", "asks for split()");
        check("false ? nothing(body) : 1", "asks for nothing()");
        check("my.Type{a: 1}", "makes a message");
        check(&format!("'{}'", "a".repeat(BYTES_MAX)), "it may have 4096");
        check(&["1"; 400].join("+"), "deep within each other");
        check(&format!("[{}]", ["1"; 600].join(",")), "more than 500 parts");
        check("body.map(a, body.map(b, body.map(c, c)))", "more than 2 deep");
        check(&format!("{}1", "true ? 1 : ".repeat(60)), "deep within each other");
        check("\u{0}", "is no expression");
    }

    /// What is read or refused harms nobody, however deep it is.
    #[test]
    fn no_text_is_too_much() {
        for text in [
            format!("{}1{}", "(".repeat(1_500), ")".repeat(1_500)),
            "true ? 1 : ".repeat(300),
            format!("{}1", "true ? 1 : ".repeat(300)),
            format!("{}body{}", "[".repeat(1_000), "]".repeat(1_000)),
            format!("{}true", "!".repeat(4_000)),
            format!("{}1", "-".repeat(4_000)),
            format!("body{}", "[0]".repeat(1_000)),
        ] {
            let _ = parse(&text);
        }
    }

    /// The deepest that passes is evaluated on the stack of a thread as servers have them.
    #[test]
    fn the_deepest_expression_fits_the_stack() {
        let wraps: [(&str, &str); 6] = [
            ("true ? (", ") : 0"),
            ("[", "][0]"),
            ("-(", ")"),
            ("{'a': ", "}.a"),
            ("1 + (", ")"),
            ("size([", "])"),
        ];
        for (before, after) in wraps {
            let text = |depth: usize| format!("{}1{}", before.repeat(depth), after.repeat(depth));
            let deepest = (1..DEPTH_MAX).rev().find_map(|depth| parse(&text(depth)).ok()).expect("some pass");
            let run = move || {
                let scope = Scope::new(vec![("body", json!({})), ("headers", json!({}))]).unwrap();
                let _ = deepest.evaluate(&scope);
            };
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
            thread.join().expect("it comes to an end");
        }
    }

    #[test]
    fn no_list_is_gone_over_that_takes_long() {
        let items = |count: usize| json!({"list": vec![1; count]});
        let once = "body.list.exists(a, a == 2)";
        let twice = "body.list.exists(a, body.list.exists(b, a + b == 5))";
        assert_eq!(worth(once, items(10_000)), Ok(Some(json!(false))));
        assert!(worth(once, items(10_001)).unwrap_err().contains("may go over 10000"));
        let began = Instant::now();
        assert_eq!(worth(twice, items(300)), Ok(Some(json!(false))));
        // Some 100,000 steps, in a build that is not optimised.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(worth(twice, items(301)).unwrap_err().contains("may go over 300"));
        assert_eq!(worth("body.list.size()", items(50_000)), Ok(Some(json!(50_000))));
    }

    /// What a stranger sends makes no expression take the memory or the time of the server.
    #[test]
    fn no_expression_becomes_too_much_work() {
        let hostile =
            |items: usize, text: usize| json!({"items": vec!["a"; items], "text": "x".repeat(text)});
        for (text, body) in [
            ("body.items.map(x, body.text + x)", hostile(1_000, 100_000)),
            ("body.items.map(x, body.text)", hostile(9_000, 200_000)),
            ("body.items.filter(x, body.text.contains(x)).size()", hostile(9_000, 600_000)),
            ("body.items.filter(x, body.items.exists(y, body.text.contains(x + y)))", hostile(290, 600_000)),
            ("body.items.map(x, body.items.map(y, body.items))", hostile(290, 1)),
            ("body.items.map(x, x.matches(body.text))", hostile(1_000, 100)),
            ("body.items.map(x, 'a'.matches('(a{999}){999}'))", hostile(1_000, 1)),
        ] {
            let began = Instant::now();
            let refused = worth(text, body).expect_err(text);
            assert!(refused.contains("too much work"), "{text}: {refused}");
            assert!(began.elapsed() < Duration::from_secs(5), "{text}: {:?}", began.elapsed());
        }
        let doubled = format!("[body.text]{}", ".map(x, x + x)".repeat(20));
        assert!(worth(&doubled, hostile(1, 1_000)).unwrap_err().contains("too much work"));
    }

    /// A large request is no reason to refuse what goes over it once.
    #[test]
    fn what_goes_over_everything_once_is_no_trouble() {
        let item = |number: usize| json!({"id": number, "kind": "a", "more": "x".repeat(80)});
        let body = || json!({"items": (0..9_000).map(item).collect::<Vec<_>>(), "text": "x".repeat(100_000)});
        for text in [
            "body.items.map(x, x.id)",
            "body.items.filter(x, x.kind == 'a' && x.id > 17)[0].id",
            "body.items.exists(x, x.more.contains('y'))",
            "body.items.all(x, x.kind.startsWith('a'))",
            "body.text + body.text",
            "{'items': body.items, 'n': size(body.items)}",
        ] {
            assert!(matches!(worth(text, body()), Ok(Some(_))), "{text}: {:?}", worth(text, body()).err());
        }
        let few = json!({"items": ["a", "b"], "patterns": ["^a", "b$"]});
        assert_eq!(
            worth("body.items.all(x, body.patterns.exists(p, x.matches(p)))", few),
            Ok(Some(json!(true)))
        );
    }

    #[test]
    fn what_a_stranger_has_sent_is_not_repeated_at_length() {
        let refused = worth("body.a + 1", json!({"a": "x".repeat(100_000)})).unwrap_err();
        assert!(refused.len() <= ERROR_BYTES_MAX, "{}", refused.len());
    }
}
