use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn faults(text: &str) -> Vec<String> {
    let faults = Config::parse("taskhook.toml", text).unwrap_err();
    faults.0.iter().map(ToString::to_string).collect()
}

fn load(flags: &Flags, environment: &[(&str, &str)]) -> Result<Config, Faults> {
    let environment: BTreeMap<&str, &str> = environment.iter().copied().collect();
    Config::load(flags, |name| environment.get(name).map(ToString::to_string))
}

/// A file of its own, so that a `taskhook.toml` where the tests run does not matter.
fn file(folder: &tempfile::TempDir, text: &str) -> Flags {
    let path = folder.path().join("taskhook.toml");
    std::fs::write(&path, text).unwrap();
    Flags { config: Some(path), ..Flags::default() }
}

#[test]
fn the_default_file_says_what_the_defaults_are() {
    assert_eq!(Config::parse("config.default.toml", DEFAULT_FILE), Ok(Config::default()));
    assert_eq!(Config::parse("empty", ""), Ok(Config::default()));
    let mut table = "";
    let mut written = Vec::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name;
        }
        let line = line.trim_start_matches("# ");
        if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            written.push(if table.is_empty() { key.to_string() } else { format!("{table}.{key}") });
        }
    }
    assert_eq!(written, SETTINGS.map(|setting| setting.key), "each setting is there once, in this order");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = file(
        &folder,
        "listen = '127.0.0.1:1'\nstore = 'sqlite:file.db'\npublic_url = 'http://file.example/'\n\
         dispatch = { exchanges = 5, allow = ['10.0.0.0/8'] }\n",
    );
    let environment = [
        ("TASKHOOK_LISTEN", "127.0.0.1:2"),
        ("TASKHOOK_STORE", "sqlite:environment.db"),
        ("TASKHOOK_DISPATCH_ALLOW", "192.168.1.20, fd00::/8,"),
        ("TASKHOOK_PUBLIC_URL", ""),
        ("TASKHOOK_URL", "http://127.0.0.1:9"),
        ("TASKHOOK_BIN", "taskhook"),
    ];
    flags.listen = Some("[::1]:3".into());

    let config = load(&flags, &environment).unwrap();
    assert_eq!(config.listen, "[::1]:3".parse().unwrap());
    assert_eq!(config.store, StoreUrl::Sqlite("environment.db".into()));
    assert_eq!(config.public_url.as_deref(), Some("http://file.example"), "an empty variable is none");
    assert_eq!(config.dispatch.allow, ["192.168.1.20", "fd00::/8"]);
    assert_eq!(config.dispatch.exchanges, 5);
    assert_eq!(config.dispatch.exchanges_per_host, 5, "one host never needs more than all");
    assert_eq!(config.log.level, "info");
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "log.level = 'debug,hyper=warn'").config.unwrap();
    let config = load(&Flags::default(), &[("TASKHOOK_CONFIG", path.to_str().unwrap())]).unwrap();
    assert_eq!(config.log.level, "debug,hyper=warn");

    let missing = folder.path().join("missing.toml");
    let faults = load(&Flags::default(), &[("TASKHOOK_CONFIG", missing.to_str().unwrap())]).unwrap_err();
    assert!(faults.to_string().starts_with(&format!("{}: cannot be read", missing.display())), "{faults}");
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text = r#"
listen = "localhost"
  lisetn = "127.0.0.1:1"
exchanges = 5
public_url = "ftp://é.example"
store = "postgres://user:secret@db/taskhook"
database = "x"
log = "debug"

[dispatch]
exchanges = "many"
exchanges_per_host = 0
allow = ["10.0.0.0/8", "10.0.0.0/33", "private", 5]
alow = []
"#;
    insta::assert_snapshot!(faults(text).join("\n"), @r#"
    taskhook.toml:2:10: `listen` must be an IP address and a port, such as 127.0.0.1:8420 or [::1]:8420; it is "localhost"
    taskhook.toml:3:3: `lisetn` is not a setting; did you mean `listen`?
    taskhook.toml:4:1: `exchanges` is not a setting; did you mean `dispatch.exchanges`?
    taskhook.toml:5:14: `public_url` must be a URL such as https://hooks.example.com: it is not a URL; it is "ftp://é.example"
    taskhook.toml:6:9: `store` names PostgreSQL, which this version does not support yet; use sqlite:taskhook.db
    taskhook.toml:7:1: `database` is not a setting; `taskhook config default` prints all of them
    taskhook.toml:8:7: `log` must be a table, [log]
    taskhook.toml:11:13: `dispatch.exchanges` must be a whole number from 1 to 65535; it is a text
    taskhook.toml:12:22: `dispatch.exchanges_per_host` must be a whole number from 1 to 65535; it is 0
    taskhook.toml:13:24: `dispatch.allow` takes addresses and ranges: "10.0.0.0/33" is no address and no range such as 10.0.0.0/8
    taskhook.toml:13:39: `dispatch.allow` takes addresses and ranges: "private" is no address and no range such as 10.0.0.0/8
    taskhook.toml:13:50: `dispatch.allow` must be a text in quotes, not a number
    taskhook.toml:14:1: `dispatch.alow` is not a setting; did you mean `dispatch.allow`?
    "#);
}

#[test]
fn a_text_that_is_no_toml_is_refused_where_it_breaks() {
    insta::assert_snapshot!(faults("listen = \n[dispatch]\nexchanges = 0\nexchanges = 1\n").join("\n"), @r"
    taskhook.toml:1:10: string values must be quoted, expected literal string
    taskhook.toml:3:13: `dispatch.exchanges` must be a whole number from 1 to 65535; it is 0
    taskhook.toml:4:1: duplicate key
    ");
}

#[test]
fn faults_outside_files_name_the_flag_and_the_variable() {
    let flags = Flags {
        config: None,
        listen: Some("8420".into()),
        listen_public: None,
        store: Some("taskhook.db".into()),
        hold: true,
        public_url: Some("https://me:secret@h.example".into()),
    };
    let environment = [("TASKHOOK_DISPATCH_EXCHANGES", "-1"), ("TASKHOOK_LOG_LEVEL", "loud")];
    insta::assert_snapshot!(load(&flags, &environment).unwrap_err().to_string(), @r#"
    TASKHOOK_DISPATCH_EXCHANGES: `dispatch.exchanges` must be a whole number from 1 to 65535; it is -1
    TASKHOOK_LOG_LEVEL: `log.level` must be one of off, error, warn, info, debug, trace, also for one module, as in info,taskhook::dispatch=debug; it is "loud"
    --listen: `listen` must be an IP address and a port, such as 127.0.0.1:8420 or [::1]:8420; it is "8420"
    --public-url: `public_url` must not hold a user name or a password: every worker is told it
    --store: `store` must be sqlite:PATH, such as sqlite:taskhook.db; it is "taskhook.db"
    "#);
}

#[test]
fn workers_must_know_where_to_call_back() {
    insta::assert_snapshot!(faults("\nlisten = '0.0.0.0:80'").join("\n"), @r"taskhook.toml:2:10: `public_url` is required where `listen` is 0.0.0.0:80: workers call it back");
    insta::assert_snapshot!(faults("listen_public = '[::]:80'").join("\n"), @r"taskhook.toml:1:17: `public_url` is required where `listen_public` is [::]:80: workers call it back");
    for fine in [
        "listen = '127.1.2.3:0'",
        "listen = '192.168.1.20:80'",
        "listen = '0.0.0.0:80'\npublic_url = 'https://h.example'",
        "listen = '0.0.0.0:80'\nlisten_public = '192.168.1.20:81'",
    ] {
        assert!(Config::parse("", fine).is_ok(), "{fine}");
    }
}

#[test]
fn a_certificate_comes_with_its_key() {
    insta::assert_snapshot!(faults("[tls]\ncertificate = 'a.crt'").join("\n"), @r"taskhook.toml:2:15: `tls.certificate` needs `tls.key`: a certificate is of use with its key only");
    insta::assert_snapshot!(faults("[tls]\nkey = 'a.key'").join("\n"), @r"taskhook.toml:2:7: `tls.key` needs `tls.certificate`: a certificate is of use with its key only");
    let both = Config::parse("", "tls = { key = 'a.key', certificate = 'a.crt' }").unwrap();
    assert_eq!(both.tls.files().unwrap().key, PathBuf::from("a.key"));
    assert_eq!(Config::default().tls.files(), None);
}

#[test]
fn a_proxy_is_named_and_its_password_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let flags = file(&folder, "dispatch.proxy = 'http://file.example:1'");
    let variables = [("TASKHOOK_DISPATCH_PROXY", "http://me:hunter2@proxy.internal:3128")];
    let config = load(&flags, &variables).unwrap();
    assert_eq!(config.dispatch.proxy.as_ref().unwrap().to_string(), "proxy.internal:3128");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    let others = [("HTTP_PROXY", "http://a:1"), ("https_proxy", "http://a:1"), ("ALL_PROXY", "http://a:1")];
    assert_eq!(load(&file(&folder, ""), &others).unwrap().dispatch.proxy, None);
    insta::assert_snapshot!(
        faults("dispatch.proxy = 'https://me:hunter2@proxy.internal:3128'").join("\n"),
        @"taskhook.toml:1:18: `dispatch.proxy` must be a URL such as http://proxy.internal:3128: it must begin with http://"
    );
    for text in
        ["dispatch.proxy = 'http://me:hunter2@'", "dispatch.proxy = ['hunter2']", "dispatch.proxy = hunter2"]
    {
        assert!(!faults(text).join("\n").contains("hunter2"), "{:?}", faults(text));
    }
}

#[test]
fn a_store_is_a_file() {
    for (text, path) in [
        ("sqlite:taskhook.db", "taskhook.db"),
        ("sqlite:/var/lib/taskhook/a.db", "/var/lib/taskhook/a.db"),
        ("sqlite:///var/lib/taskhook/a.db", "/var/lib/taskhook/a.db"),
    ] {
        let store = StoreUrl::parse(text).unwrap();
        assert_eq!(store, StoreUrl::Sqlite(path.into()), "{text}");
        assert_eq!(StoreUrl::parse(&store.to_string()), Ok(store), "{text}");
    }
    for text in ["", "taskhook.db", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "sqlite:folder/"] {
        assert!(StoreUrl::parse(text).is_err(), "{text}");
    }
    let refused = StoreUrl::parse("postgresql://user:secret@db/taskhook").unwrap_err();
    assert!(!refused.contains("secret"), "{refused}");
}

#[test]
fn things_are_kept_for_a_duration_or_for_ever() {
    let ages = |text: &str| Config::parse("taskhook.toml", text).map(|config| config.retention);
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let defaults =
        Ages { tasks: hours(30 * 24), events: hours(14 * 24), rejected: hours(24), audit: hours(90 * 24) };
    assert_eq!(ages(""), Ok(defaults.clone()));
    let given = ages("[retention]\ntasks = 'never'\nevents = '12h'");
    assert_eq!(given, Ok(Ages { tasks: None, events: hours(12), ..defaults }));
    let variables = [("TASKHOOK_RETENTION_REJECTED", "P1DT1H")];
    let folder = tempfile::tempdir().unwrap();
    let config = load(&file(&folder, "retention.rejected = '2h'"), &variables).unwrap();
    assert_eq!(config.retention.rejected, hours(25));
    insta::assert_snapshot!(
        faults("[retention]\ntasks = 30\nevents = '0s'\nrejected = '-1d'\nanswers = '1d'").join("\n"),
        @r#"
    taskhook.toml:2:9: `retention.tasks` must be a text in quotes, not a number
    taskhook.toml:3:10: `retention.events` must be longer than nothing; write "never" to keep everything
    taskhook.toml:4:12: `retention.rejected` must be a duration of at most ten years, such as "30d" or "12h", or "never"; it is "-1d"
    taskhook.toml:5:1: `retention.answers` is not a setting; did you mean `retention.tasks`?
    "#
    );
}
