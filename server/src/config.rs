//! The settings of `taskhook serve`: flags over environment over file over `config.default.toml`.
//!
//! Everything is read and checked before anything starts, and every fault is reported at once, with the place
//! where it stands.

mod document;
mod fault;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use taskhook_core::limits;
use taskhook_core::retention::Ages;

use crate::dispatch::proxy::Proxy;
use crate::http::tls::TlsFiles;
use crate::vault::{self, KeyPlace, MasterKey};

pub use fault::{Fault, Faults, Place, did_you_mean};
use settings::{Given, SETTINGS, Setting, Value};

/// Every setting with its default, and what it means.
pub const DEFAULT_FILE: &str = include_str!("config.default.toml");

/// The file that is read where no other is named, if it is there.
pub const FILE: &str = "taskhook.toml";

/// The settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Where else it listens, for strangers: webhooks, callbacks and `/healthz` only.
    pub listen_public: Option<SocketAddr>,
    /// The URL under which workers reach the server, without a slash at its end; `None`: the
    /// address that it listens on, that for strangers before the other.
    pub public_url: Option<String>,
    /// Where everything is kept.
    pub store: StoreUrl,
    /// The file of the master key; `None`: beside the store.
    pub master_key_file: Option<PathBuf>,
    /// The master key itself, which only the environment gives.
    pub master_key: Option<MasterKey>,
    /// The certificate for those who connect; `None`: they speak plain HTTP.
    pub tls: TlsConfig,
    /// How tasks are sent.
    pub dispatch: DispatchConfig,
    /// How long things are kept.
    pub retention: Ages,
    /// What is logged.
    pub log: LogConfig,
    /// Hold the server at its start. Only a flag says so: as a setting, each start would undo what was resumed.
    pub hold: bool,
}

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The path of a SQLite file.
    Sqlite(PathBuf),
}

/// The certificate for those who connect: both files, or neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// The certificate of the server, and those between it and a root, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Both files; `None`: plain HTTP.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles { certificate: self.certificate.clone()?, key: self.key.clone()? })
    }
}

/// How tasks are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchConfig {
    /// Open exchanges in all.
    pub exchanges: u32,
    /// Open exchanges with one target host; never more than `exchanges`.
    pub exchanges_per_host: u32,
    /// Private and loopback addresses that tasks may be sent to: addresses, or ranges such as `10.0.0.0/8`.
    pub allow: Vec<String>,
    /// Addresses that tasks are never sent to, written the same way.
    pub deny: Vec<String>,
    /// Ports below 1024 that tasks may be sent to, beside 80 and 443.
    pub ports: Vec<u16>,
    /// The proxy through which every task is sent; `None`: straight.
    pub proxy: Option<Proxy>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; also for one module, `info,taskhook::dispatch=debug`.
    pub level: String,
}

/// What the command line says; it wins over everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--listen-public`
    pub listen_public: Option<String>,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--store`
    pub store: Option<String>,
    /// `--hold`
    pub hold: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8420)),
            listen_public: None,
            public_url: None,
            store: StoreUrl::Sqlite("taskhook.db".into()),
            master_key_file: None,
            master_key: None,
            tls: TlsConfig::default(),
            dispatch: DispatchConfig {
                exchanges: limits::EXCHANGES_MAX,
                exchanges_per_host: limits::EXCHANGES_PER_HOST_MAX,
                allow: Vec::new(),
                deny: Vec::new(),
                ports: Vec::new(),
                proxy: None,
            },
            retention: Ages::default(),
            log: LogConfig { level: "info".into() },
            hold: false,
        }
    }
}

impl Config {
    /// Reads the settings. `environment` looks up a variable; an empty one counts as absent.
    ///
    /// # Errors
    /// Every fault there is, not only the first one.
    pub fn load(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Faults> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut draft = Draft::default();

        let named = flags.config.clone().or_else(|| variable("TASKHOOK_CONFIG").map(PathBuf::from));
        match (read(named.as_deref().unwrap_or(Path::new(FILE))), &named) {
            (Ok((path, text)), _) => draft.document(&path, &text),
            // Without a file, the defaults are what is wanted.
            (Err((_, error)), None) if error.kind() == std::io::ErrorKind::NotFound => {}
            (Err((path, error)), _) => {
                draft.faults.push(Fault::new(Place::Whole(path), format!("cannot be read: {error}")));
            }
        }
        for setting in &SETTINGS {
            let name = setting.variable();
            if let Some(value) = variable(&name) {
                draft.apply(setting, Given { value: Value::Text(value), place: Place::Variable(name) });
            }
        }
        for (key, flag, value) in [
            ("listen", "--listen", &flags.listen),
            ("listen_public", "--listen-public", &flags.listen_public),
            ("public_url", "--public-url", &flags.public_url),
            ("store", "--store", &flags.store),
        ] {
            if let (Some(setting), Some(value)) = (settings::named(key), value) {
                draft.apply(setting, Given { value: Value::Text(value.clone()), place: Place::Flag(flag) });
            }
        }
        if let Some(text) = variable(vault::VARIABLE) {
            draft.config.master_key = MasterKey::parse(&text);
            if draft.config.master_key.is_none() {
                let place = Place::Variable(vault::VARIABLE.into());
                draft
                    .faults
                    .push(Fault::new(place, "holds no master key: it must be 32 bytes in base64".into()));
            }
        }
        draft.finish().map(|config| Config { hold: flags.hold, ..config })
    }

    /// Where the master key of the store comes from.
    #[must_use]
    pub fn key_place(&self) -> KeyPlace {
        if let Some(key) = &self.master_key {
            return KeyPlace::Given(key.clone());
        }
        let StoreUrl::Sqlite(store) = &self.store;
        let beside = || {
            let mut path = store.clone().into_os_string();
            path.push("-key");
            PathBuf::from(path)
        };
        KeyPlace::File(self.master_key_file.clone().unwrap_or_else(beside))
    }

    /// Reads the settings from one text alone.
    ///
    /// # Errors
    /// Every fault there is. `path` is what they call the text.
    pub fn parse(path: &str, text: &str) -> Result<Config, Faults> {
        let mut draft = Draft::default();
        draft.document(path, text);
        draft.finish()
    }
}

/// Settings as far as they are read.
#[derive(Debug, Default)]
struct Draft {
    config: Config,
    /// Where each setting that is not a default was set last.
    places: BTreeMap<&'static str, Place>,
    faults: Vec<Fault>,
}

impl Draft {
    fn document(&mut self, path: &str, text: &str) {
        let (given, faults) = document::read(path, text);
        for (setting, given) in given {
            // What stands in for a value that could not be read is not worth a second complaint.
            if faults.iter().all(|fault| fault.place != given.place) {
                self.apply(setting, given);
            }
        }
        self.faults.extend(faults);
    }

    fn apply(&mut self, setting: &'static Setting, given: Given) {
        let place = given.place.clone();
        match (setting.set)(&mut self.config, &given) {
            Ok(()) => drop(self.places.insert(setting.key, place)),
            Err(faults) => self.faults.extend(
                faults
                    .into_iter()
                    .map(|(place, text)| Fault::new(place, format!("`{}` {text}", setting.key))),
            ),
        }
    }

    /// Checks what no setting can check by itself.
    fn finish(mut self) -> Result<Config, Faults> {
        let (key, address) = match self.config.listen_public {
            Some(public) => ("listen_public", public),
            None => ("listen", self.config.listen),
        };
        if address.ip().is_unspecified() && self.config.public_url.is_none() {
            let text = format!("`public_url` is required where `{key}` is {address}: workers call it back");
            self.faults.push(Fault::new(self.place(key), text));
        }
        let tls = &self.config.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            let (given, other) = if tls.key.is_some() {
                ("tls.key", "tls.certificate")
            } else {
                ("tls.certificate", "tls.key")
            };
            let text = format!("`{given}` needs `{other}`: a certificate is of use with its key only");
            self.faults.push(Fault::new(self.place(given), text));
        }
        let dispatch = &mut self.config.dispatch;
        dispatch.exchanges_per_host = dispatch.exchanges_per_host.min(dispatch.exchanges);
        self.faults.sort_by_key(|fault| fault.place.position());
        if self.faults.is_empty() { Ok(self.config) } else { Err(Faults(self.faults)) }
    }

    fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or(Place::Default)
    }
}

fn read(path: &Path) -> Result<(String, String), (String, std::io::Error)> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((shown, text)),
        Err(error) => Err((shown, error)),
    }
}

impl StoreUrl {
    /// Reads a store's address, such as `sqlite:taskhook.db`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<StoreUrl, String> {
        let refused = |why: &str| Err(why.to_string());
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return refused(
                "names PostgreSQL, which this version does not support yet; use sqlite:taskhook.db",
            );
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(format!("must be sqlite:PATH, such as sqlite:taskhook.db; it is {text:?}"));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        match path {
            "" => refused("must name a file, such as sqlite:taskhook.db"),
            ":memory:" => refused("must be a file: what is kept in memory is not durable"),
            _ if path.contains(['?', '#']) => refused("takes no parameters, only a path"),
            _ if path.ends_with('/') => Err(format!("must name a file; {path:?} is a folder")),
            _ => Ok(StoreUrl::Sqlite(path.into())),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
