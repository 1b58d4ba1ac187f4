use super::*;

fn credentials(text: &str) -> Option<String> {
    let value = Proxy::parse(text).unwrap().authorization?;
    let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
    Some(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap())
}

#[test]
fn a_proxy_is_a_host_a_port_and_credentials() {
    for (text, shown, expected) in [
        ("http://proxy.internal:3128", "proxy.internal:3128", None),
        ("http://proxy.internal/", "proxy.internal:80", None),
        ("http://[fd00::1]:3128", "[fd00::1]:3128", None),
        ("http://user:password@10.0.0.1:3128", "10.0.0.1:3128", Some("user:password")),
        ("http://user@proxy:1", "proxy:1", Some("user:")),
        ("http://us%3Aer:p%40ss:w%25rd@proxy:1/", "proxy:1", Some("us:er:p@ss:w%rd")),
        ("http://user:p@ss@proxy:1", "proxy:1", Some("user:p@ss")),
        ("http://user:password@[::1]:1", "[::1]:1", Some("user:password")),
    ] {
        assert_eq!(Proxy::parse(text).unwrap().to_string(), shown, "{text}");
        assert_eq!(credentials(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn what_is_none_is_refused_without_being_repeated() {
    for text in [
        "hunter2",
        "hunter2:3128",
        "https://user:hunter2@proxy:3128",
        "socks5://user:hunter2@proxy:1080",
        "http://user:hunter2@",
        "http://user:hunter2@:3128",
        "http://user:hunter2@proxy:",
        "http://user:hunter2@proxy:0",
        "http://user:hunter2@proxy:65536",
        "http://user:hunter2@proxy:3128/path",
        "http://user:hunter2@proxy:3128?query",
        "http://user:hunter2@proxy:3128#part",
        "http://user:hun ter2@proxy:3128",
        "http://user:hunter2/@proxy:3128",
        "",
    ] {
        let why = Proxy::parse(text).unwrap_err();
        assert!(why.starts_with("must be a URL such as http://proxy.internal:3128: it"), "{text}: {why}");
        assert!(!why.contains("hunter2"), "{text}: {why}");
    }
}

#[test]
fn its_password_is_not_printed() {
    let proxy = Proxy::parse("http://user:hunter2@proxy:3128").unwrap();
    let encoded = STANDARD.encode("user:hunter2");
    let told = proxy.told("1.1.1.1:443".parse().unwrap(), &NoTunnel::Credentials);
    for printed in [format!("{proxy:?} {proxy:#?}"), proxy.to_string(), told] {
        assert!(printed.contains("proxy"), "{printed}");
        assert!(!printed.contains("hunter2") && !printed.contains(&encoded), "{printed}");
    }
}
