//! Reading `taskhook.toml`: every value with its place, and every key known.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::settings::{self, Given, SETTINGS, Setting, Value};
use crate::config::{Fault, Place, did_you_mean};

/// The settings in a text, and what is wrong with it. What can be read of a broken text is read.
pub(super) fn read(path: &str, text: &str) -> (Vec<(&'static Setting, Given)>, Vec<Fault>) {
    let mut reader = Reader { path, text, given: Vec::new(), faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = reader.place(error.span().unwrap_or(0..0));
        reader.faults.push(Fault::new(place, error.message().to_string()));
    }
    reader.table("", document.get_ref());
    (reader.given, reader.faults)
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    given: Vec<(&'static Setting, Given)>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            let inner = format!("{path}.");
            let is_table = SETTINGS.iter().any(|setting| setting.key.starts_with(&inner));
            match (settings::named(&path), value.get_ref()) {
                (Some(setting), _) => {
                    let given = self.value(value);
                    self.given.push((setting, given));
                }
                (None, DeValue::Table(table)) if is_table => self.table(&inner, table),
                (None, _) if is_table => {
                    self.fault(value.span(), format!("`{path}` must be a table, [{path}]"));
                }
                (None, _) => {
                    let text = unknown(prefix, &path);
                    self.fault(key.span(), text);
                }
            }
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Given {
        let read = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Number(number),
                Err(_) => Value::Other("a number beyond all bounds"),
            },
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Boolean(_) => Value::Other("true or false"),
            DeValue::Datetime(_) => Value::Other("a time"),
            DeValue::Table(_) => Value::Other("a table"),
        };
        Given { value: read, place: self.place(value.span()) }
    }

    fn fault(&mut self, span: Range<usize>, text: String) {
        let place = self.place(span);
        self.faults.push(Fault::new(place, text));
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Place::File(self.path.to_string(), line, column)
    }
}

/// A sentence about an unknown key, with the known one that is nearest to it: there, or in another table.
fn unknown(prefix: &str, path: &str) -> String {
    let tables = SETTINGS.iter().filter_map(|setting| setting.key.split_once('.').map(|(table, _)| table));
    let here = SETTINGS.iter().map(|setting| setting.key).filter(|key| key.starts_with(prefix));
    let elsewhere = SETTINGS.iter().find(|setting| {
        let name = path.rsplit('.').next().unwrap_or(path);
        setting.key.rsplit('.').next() == Some(name)
    });
    match elsewhere.map(|setting| setting.key).or_else(|| did_you_mean(path, here.chain(tables))) {
        Some(meant) => format!("`{path}` is not a setting; did you mean `{meant}`?"),
        None => format!("`{path}` is not a setting; `taskhook config default` prints all of them"),
    }
}
