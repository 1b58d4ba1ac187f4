//! `taskhook serve`: its settings, its first words and its end.

use crate::cli::program::{Serving, taskhook};

#[test]
fn it_says_where_it_listens_and_stops_in_order() {
    let server = Serving::start();
    assert!(server.first_line.starts_with("taskhook "), "{}", server.first_line);
    let url = server.url.clone();
    server.done(&["doctor"]);
    let (code, log, folder) = server.stop();
    assert_eq!(code, Some(0));
    for said in [
        format!("webhooks  POST {url}/webhook"),
        "store     sqlite:taskhook.db".into(),
        "open      no keys".into(),
        format!("next      taskhook tasks create --id 123 --url {url}"),
        "SIGTERM: stopping".into(),
    ] {
        assert!(log.contains(&said), "{said:?} is not in:\n{log}");
    }
    assert!(folder.path().join("taskhook.db").exists());
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let server = Serving::start();
    server.done(&["tasks", "create", "--id", "123"]);
    let (_, _, folder) = server.stop();
    let server = Serving::start_in(folder);
    assert!(server.done(&["tasks", "get", "123"]).contains("running"));
}

#[test]
fn a_wrong_setting_is_exit_code_2_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taskhook.toml"), "listen = '127.0.0.1:0'\n[dispatch]\nexchange = 5\n")
        .unwrap();
    let ran = taskhook(&["serve", "--public-url", "ftp://h.example"]).within(folder.path()).run();
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    insta::assert_snapshot!(ran.err, @r#"
    error: the settings cannot be used
      taskhook.toml:3:1: `dispatch.exchange` is not a setting; did you mean `dispatch.exchanges`?
      --public-url: `public_url` must be a URL such as https://hooks.example.com: it must begin with http:// or https://; it is "ftp://h.example"
    "#);

    let ran = taskhook(&["serve", "--config", "other.toml"]).within(folder.path()).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("other.toml: cannot be read"), "{}", ran.err);

    std::fs::write(folder.path().join("taskhook.toml"), "").unwrap();
    let program = taskhook(&["serve"]).within(folder.path()).env("TASKHOOK_LISTEN", "0.0.0.0:0");
    let ran = program.env("TASKHOOK_PUBLIC_URL", "https://hooks.example.com").run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("listen is 0.0.0.0:0, which others reach"), "{}", ran.err);
    assert!(ran.err.contains("taskhook keys create --role admin --store sqlite:taskhook.db"), "{}", ran.err);
}

#[test]
fn a_second_server_is_kept_off_the_store_and_off_the_port() {
    let server = Serving::start();
    let second = server.program(&["serve", "--listen", "127.0.0.1:0"]).run();
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another taskhook has the store"), "{}", second.err);

    let address = server.url.trim_start_matches("http://");
    let second = server.program(&["serve", "--listen", address, "--store", "sqlite:other.db"]).run();
    assert_eq!(second.code, 1);
    assert!(second.err.contains(&format!("cannot listen on {address}")), "{}", second.err);
}
