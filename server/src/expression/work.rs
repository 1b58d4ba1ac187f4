//! How much work an expression can be on what it is given, at most: found before it is evaluated, since nothing stops it then.
//!
//! A walk over its parts that carries three bounds from the leaves up: the bytes that a part can be worth, the items of the
//! longest list in it, and the bytes that are touched on the way. A loop over a value of `s` bytes with `n` items costs at
//! most what its body costs on all of the value once, and on nothing for the other items: every bound grows at least in
//! proportion to what it is given, so the worst of all values is the one with everything in one item.

use std::collections::BTreeMap;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use serde_json::Value;

/// What a part can be worth, and what that costs, in bytes; at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Bytes of its value.
    pub(super) bytes: u64,
    /// Items of the longest list or map in its value.
    pub(super) items: u64,
    /// Bytes touched until it is known.
    pub(super) touched: u64,
}

/// Bytes of a number, a bool, a time.
const PLAIN: u64 = 8;

/// What it costs to read a pattern: one that repeats something may become large.
const PATTERN: (u64, u64) = (64 << 10, 4 << 20);

/// Values by name: those that are given, and those that loops give to their items.
pub(super) type Names = BTreeMap<String, Work>;

/// What a value is that is given, and costs nothing.
pub(super) fn given(value: &Value) -> Work {
    let holds = |parts: &mut dyn Iterator<Item = (u64, Work)>, count: usize| {
        let whole = Work { bytes: PLAIN, items: count as u64, touched: 0 };
        parts.fold(whole, |whole, (named, part)| Work {
            bytes: whole.bytes + named + part.bytes,
            items: whole.items.max(part.items),
            touched: 0,
        })
    };
    match value {
        Value::String(text) => Work { bytes: PLAIN + text.len() as u64, ..Work::default() },
        Value::Array(items) => holds(&mut items.iter().map(|item| (0, given(item))), items.len()),
        Value::Object(members) => {
            let parts = &mut members.iter().map(|(name, value)| (name.len() as u64, given(value)));
            holds(parts, members.len())
        }
        _ => Work { bytes: PLAIN, ..Work::default() },
    }
}

/// The bound of a part, where names are worth this.
pub(super) fn of(part: &IdedExpr, names: &Names) -> Work {
    match &part.expr {
        Expr::Unspecified => Work::default(),
        Expr::Literal(LiteralValue::String(text)) => plain(text.inner().len() as u64),
        Expr::Literal(_) => plain(PLAIN),
        Expr::Ident(name) => Work { touched: 1, ..names.get(name).copied().unwrap_or_default() },
        Expr::Select(select) => of(&select.operand, names).and_touched(1),
        Expr::List(list) => {
            list.elements.iter().map(|part| of(part, names)).fold(plain(0), Work::beside).in_list()
        }
        Expr::Map(map) => {
            map.entries.iter().fold(plain(0), |sum, entry| sum.beside(entry_of(&entry.expr, names))).in_list()
        }
        Expr::Struct(entries) => {
            entries.entries.iter().fold(plain(0), |sum, entry| sum.beside(entry_of(&entry.expr, names)))
        }
        Expr::Call(call) => {
            let parts = call.target.as_deref().into_iter().chain(&call.args);
            let works: Vec<Work> = parts.map(|part| of(part, names)).collect();
            let pattern = call.args.last();
            called(&call.func_name, &works, pattern)
        }
        Expr::Comprehension(over) => {
            let range = of(&over.iter_range, names);
            let init = of(&over.accu_init, names);
            let body = |item: Work| {
                let mut names = names.clone();
                names.insert(over.iter_var.clone(), item);
                names.extend(over.iter_var2.clone().map(|name| (name, item)));
                names.insert(over.accu_var.clone(), Work::default());
                (of(&over.loop_cond, &names), of(&over.loop_step, &names))
            };
            let whole = body(Work { touched: 0, ..range });
            let empty = body(Work { items: range.items, ..Work::default() });
            let others = range.items.saturating_sub(1);
            let sum = |of: fn(Work) -> u64| {
                let [whole, empty] = [whole, empty].map(|(cond, step)| of(cond).saturating_add(of(step)));
                whole.saturating_add(empty.saturating_mul(others))
            };
            let bytes =
                whole.1.bytes.saturating_add(empty.1.bytes.saturating_mul(others)).saturating_add(init.bytes);
            let items = range.items.max(whole.1.items).max(init.items);
            let touched = range.touched.saturating_add(init.touched).saturating_add(sum(|work| work.touched));
            let mut names = names.clone();
            names.insert(over.accu_var.clone(), Work { bytes, items, touched: 0 });
            of(&over.result, &names).and_touched(touched)
        }
    }
}

fn called(name: &str, works: &[Work], pattern: Option<&IdedExpr>) -> Work {
    let all = works.iter().copied().fold(plain(0), Work::beside);
    let touched = all.touched.saturating_add(all.bytes);
    let worth = |bytes| Work { bytes, items: 0, touched };
    match name {
        "_?_:_" | "_[_]" | "_?[_]" => {
            let most = |of: fn(&Work) -> u64| works.iter().map(of).max().unwrap_or(0);
            Work { bytes: most(|work| work.bytes), items: most(|work| work.items), touched: all.touched }
        }
        "_+_" => Work { touched, ..all },
        "matches" => {
            let is_plain = |part: &IdedExpr| match &part.expr {
                Expr::Literal(LiteralValue::String(text)) => !text.inner().contains('{'),
                _ => false,
            };
            let (plain, other) = PATTERN;
            worth(PLAIN).and_touched(if pattern.is_some_and(is_plain) { plain } else { other })
        }
        // They say something of what they are given, and are no part of it.
        "size"
        | "contains"
        | "startsWith"
        | "endsWith"
        | "_==_"
        | "_!=_"
        | "_<_"
        | "_<=_"
        | "_>_"
        | "_>=_"
        | "@in"
        | "_in_"
        | "_&&_"
        | "_||_"
        | "!_"
        | "@not_strictly_false"
        | "_-_"
        | "_*_"
        | "_/_"
        | "_%_"
        | "-_"
        | "int"
        | "uint"
        | "double"
        | "bool"
        | "duration"
        | "timestamp" => worth(PLAIN),
        _ => Work { bytes: all.bytes.saturating_add(PLAIN), items: all.items, touched },
    }
}

fn entry_of(entry: &EntryExpr, names: &Names) -> Work {
    match entry {
        EntryExpr::StructField(field) => of(&field.value, names),
        EntryExpr::MapEntry(entry) => of(&entry.key, names).beside(of(&entry.value, names)),
    }
}

fn plain(bytes: u64) -> Work {
    Work { bytes, items: 0, touched: PLAIN }
}

impl Work {
    /// Both of them.
    fn beside(self, other: Work) -> Work {
        Work {
            bytes: self.bytes.saturating_add(other.bytes),
            items: self.items.saturating_add(other.items),
            touched: self.touched.saturating_add(other.touched),
        }
    }

    fn in_list(self) -> Work {
        Work { items: self.items.saturating_add(super::NODES_MAX as u64), ..self }
    }

    fn and_touched(self, more: u64) -> Work {
        Work { touched: self.touched.saturating_add(more), ..self }
    }
}
