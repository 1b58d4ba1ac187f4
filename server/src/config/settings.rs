//! Each setting: its key, and how a value is checked and taken.

use std::net::SocketAddr;

use axum::http::Uri;

use crate::config::{Config, Place, StoreUrl};
use crate::dispatch::egress::Network;
use crate::dispatch::proxy::Proxy;
use crate::http::duration;

/// A setting that can be given in a file and in the environment.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its key in the file, with a dot after the table's name.
    pub(super) key: &'static str,
    /// Takes a value over, or tells what is wrong with it.
    pub(super) set: fn(&mut Config, &Given) -> Result<(), Refused>,
}

/// What is wrong with a value, and where: the ends of sentences that begin with the setting's key.
pub(super) type Refused = Vec<(Place, String)>;

/// A value and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value as it was given. Outside files everything is text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A list.
    List(Vec<Given>),
    /// Something that no setting takes; what it is called.
    Other(&'static str),
}

/// All settings, in the order of `config.default.toml`.
pub(super) const SETTINGS: [Setting; 18] = [
    Setting {
        key: "listen",
        set: |config, given| {
            config.listen = given.text().and_then(|text| given.refuse(address(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "listen_public",
        set: |config, given| {
            config.listen_public = Some(given.text().and_then(|text| given.refuse(address(text)))?);
            Ok(())
        },
    },
    Setting {
        key: "public_url",
        set: |config, given| {
            config.public_url = Some(given.text().and_then(|text| given.refuse(public_url(text)))?);
            Ok(())
        },
    },
    Setting {
        key: "store",
        set: |config, given| {
            config.store = given.text().and_then(|text| given.refuse(StoreUrl::parse(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "master_key_file",
        set: |config, given| {
            config.master_key_file = Some(given.text()?.into());
            Ok(())
        },
    },
    Setting {
        key: "tls.certificate",
        set: |config, given| {
            config.tls.certificate = Some(given.text()?.into());
            Ok(())
        },
    },
    Setting {
        key: "tls.key",
        set: |config, given| {
            config.tls.key = Some(given.text()?.into());
            Ok(())
        },
    },
    Setting {
        key: "dispatch.exchanges",
        set: |config, given| {
            config.dispatch.exchanges = given.number(EXCHANGES)?;
            Ok(())
        },
    },
    Setting {
        key: "dispatch.exchanges_per_host",
        set: |config, given| {
            config.dispatch.exchanges_per_host = given.number(EXCHANGES)?;
            Ok(())
        },
    },
    Setting {
        key: "dispatch.allow",
        set: |config, given| {
            config.dispatch.allow = given.list(range)?;
            Ok(())
        },
    },
    Setting {
        key: "dispatch.deny",
        set: |config, given| {
            config.dispatch.deny = given.list(range)?;
            Ok(())
        },
    },
    Setting {
        key: "dispatch.ports",
        set: |config, given| {
            config.dispatch.ports = given.numbers(PORTS)?;
            Ok(())
        },
    },
    Setting {
        key: "dispatch.proxy",
        set: |config, given| {
            config.dispatch.proxy = Some(given.text().and_then(|text| given.refuse(Proxy::parse(text)))?);
            Ok(())
        },
    },
    Setting {
        key: "retention.tasks",
        set: |config, given| {
            config.retention.tasks = given.text().and_then(|text| given.refuse(duration::age(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "retention.events",
        set: |config, given| {
            config.retention.events = given.text().and_then(|text| given.refuse(duration::age(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "retention.rejected",
        set: |config, given| {
            config.retention.rejected = given.text().and_then(|text| given.refuse(duration::age(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "retention.audit",
        set: |config, given| {
            config.retention.audit = given.text().and_then(|text| given.refuse(duration::age(text)))?;
            Ok(())
        },
    },
    Setting {
        key: "log.level",
        set: |config, given| {
            config.log.level = given.text().and_then(|text| given.refuse(level(text)))?;
            Ok(())
        },
    },
];

/// Each open exchange holds a socket, and a system gives out so many.
const EXCHANGES: std::ops::RangeInclusive<u32> = 1..=65_535;

/// Ports below those that anybody may listen on.
const PORTS: std::ops::RangeInclusive<u32> = 1..=1_023;

/// The setting with this key.
pub(super) fn named(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("TASKHOOK_{}", self.key.replace('.', "_").to_uppercase())
    }
}

impl Given {
    fn refuse<T>(&self, checked: Result<T, String>) -> Result<T, Refused> {
        checked.map_err(|why| vec![(self.place.clone(), why)])
    }

    fn text(&self) -> Result<&str, Refused> {
        match &self.value {
            Value::Text(text) => Ok(text.trim()),
            other => self.refuse(Err(format!("must be a text in quotes, not {}", other.called()))),
        }
    }

    fn number(&self, range: std::ops::RangeInclusive<u32>) -> Result<u32, Refused> {
        let (low, high) = (range.start(), range.end());
        let must = |it: String| Err(format!("must be a whole number from {low} to {high}; it is {it}"));
        let number = match &self.value {
            Value::Number(number) => *number,
            Value::Text(text) if !self.place.is_file() => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => return self.refuse(must(format!("{text:?}"))),
            },
            other => return self.refuse(must(other.called().into())),
        };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => self.refuse(must(number.to_string())),
        }
    }

    fn list<T>(&self, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Refused> {
        self.items("texts", |item| item.text().and_then(|text| item.refuse(check(text))))
    }

    fn numbers(&self, range: std::ops::RangeInclusive<u32>) -> Result<Vec<u16>, Refused> {
        let numbers = self.items("numbers", |item| item.number(range.clone()))?;
        Ok(numbers.into_iter().filter_map(|number| u16::try_from(number).ok()).collect())
    }

    fn items<T>(&self, called: &str, take: impl Fn(&Given) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
        let items = match &self.value {
            Value::List(items) => items.clone(),
            Value::Text(text) if !self.place.is_file() => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items
                    .map(|item| Given { value: Value::Text(item.into()), place: self.place.clone() })
                    .collect()
            }
            other => return self.refuse(Err(format!("must be a list of {called}, not {}", other.called()))),
        };
        let (mut taken, mut refused) = (Vec::with_capacity(items.len()), Refused::new());
        for item in &items {
            match take(item) {
                Ok(item) => taken.push(item),
                Err(why) => refused.extend(why),
            }
        }
        if refused.is_empty() { Ok(taken) } else { Err(refused) }
    }
}

impl Value {
    fn called(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::List(_) => "a list",
            Value::Other(called) => called,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("must be an IP address and a port, such as 127.0.0.1:8420 or [::1]:8420; it is {text:?}")
    })
}

fn public_url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("must be a URL such as https://hooks.example.com: {why}; it is {text:?}");
    let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it must begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.host().is_empty() {
        return Err(wrong("it names no host"));
    }
    if authority.as_str().contains('@') {
        return Err("must not hold a user name or a password: every worker is told it".into());
    }
    if text.contains(['?', '#']) {
        return Err(wrong("it ends with its path"));
    }
    Ok(text.trim_end_matches('/').to_string())
}

fn range(text: &str) -> Result<String, String> {
    let network: Result<Network, _> = text.parse();
    network.map_err(|error| format!("takes addresses and ranges: {error}"))?;
    Ok(text.to_string())
}

fn level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let is_part = |part: &str| match part.rsplit_once('=') {
        Some((module, word)) => !module.is_empty() && is_level(word),
        None => is_level(part),
    };
    if text.split(',').all(is_part) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "must be one of {}, also for one module, as in info,taskhook::dispatch=debug; it is {text:?}",
        LEVELS.join(", ")
    ))
}
