use super::*;

fn allow(loopback: bool, networks: &[&str]) -> Allow {
    Allow {
        loopback: Arc::new(loopback.into()),
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..Allow::default()
    }
}

/// `yes`, or the kind of address and whether naming it would help.
fn judged(ip: &str, allow: &Allow) -> String {
    match verdict(ip.parse().unwrap(), allow) {
        Ok(()) => "yes".into(),
        Err(Forbidden::Never(what)) => format!("never: {what}"),
        Err(Forbidden::Unlisted(what)) => what.into(),
        Err(Forbidden::Port(_)) => unreachable!("an address has no port"),
    }
}

#[test]
fn only_the_public_internet_is_open() {
    let nothing_named = allow(false, &[]);
    for (ip, expected) in [
        ("1.1.1.1", "yes"),
        ("9.255.255.255", "yes"),
        ("10.0.0.0", "a private address"),
        ("10.255.255.255", "a private address"),
        ("11.0.0.0", "yes"),
        ("0.0.0.0", "an address of this machine"),
        ("0.255.255.255", "an address of this machine"),
        ("100.63.255.255", "yes"),
        ("100.64.0.1", "an address shared behind a carrier's NAT"),
        ("100.100.100.200", "never: a cloud's metadata service"),
        ("100.127.255.255", "an address shared behind a carrier's NAT"),
        ("100.128.0.0", "yes"),
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("168.63.129.15", "yes"),
        ("168.63.129.16", "never: a cloud's metadata service"),
        ("169.253.255.255", "yes"),
        ("169.254.0.0", "never: a link-local address"),
        ("169.254.169.254", "never: a link-local address"),
        ("169.254.170.2", "never: a link-local address"),
        ("169.255.0.0", "yes"),
        ("172.15.255.255", "yes"),
        ("172.16.0.0", "a private address"),
        ("172.31.255.255", "a private address"),
        ("172.32.0.0", "yes"),
        ("192.0.0.1", "an address reserved for protocols"),
        ("192.0.0.192", "never: a cloud's metadata service"),
        ("192.0.1.0", "yes"),
        ("192.0.2.1", "an address reserved for documentation"),
        ("192.88.99.1", "a 6to4 relay"),
        ("192.168.0.1", "a private address"),
        ("192.169.0.0", "yes"),
        ("198.17.255.255", "yes"),
        ("198.18.0.0", "an address reserved for benchmarks"),
        ("198.19.255.255", "an address reserved for benchmarks"),
        ("198.51.100.7", "an address reserved for documentation"),
        ("203.0.113.7", "an address reserved for documentation"),
        ("223.255.255.255", "yes"),
        ("224.0.0.1", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
        ("::", "an address of this machine"),
        ("::1", "a loopback address"),
        ("100::1", "an address that discards everything"),
        ("2001:db8::1", "an address reserved for documentation"),
        ("2001:2::1", "an address reserved for protocols"),
        ("2001:4860:4860::8888", "yes"),
        ("2606:4700:4700::1111", "yes"),
        ("3fff::1", "an address reserved for documentation"),
        ("4000::1", "not an address of the public internet"),
        ("5f00::1", "a segment identifier"),
        ("fc00::1", "a private address"),
        ("fd00:ec2::254", "never: a cloud's metadata service"),
        ("fd20:ce::254", "never: a cloud's metadata service"),
        ("fdff::1", "a private address"),
        ("fe80::1", "never: a link-local address"),
        ("febf::1", "never: a link-local address"),
        ("fec0::1", "a private address"),
        ("ff02::1", "a multicast address"),
    ] {
        assert_eq!(judged(ip, &nothing_named), expected, "{ip}");
    }
}

#[test]
fn a_wrapped_address_is_judged_too() {
    let nothing_named = allow(false, &[]);
    for (ip, expected) in [
        ("::ffff:1.1.1.1", "yes"),
        ("::ffff:10.0.0.1", "a private address"),
        ("::ffff:7f00:1", "a loopback address"),
        ("::ffff:169.254.169.254", "never: a link-local address"),
        ("::1.1.1.1", "an IPv4 address wrapped in IPv6"),
        ("::169.254.169.254", "never: a link-local address"),
        ("64:ff9b::1.1.1.1", "yes"),
        ("64:ff9b::10.0.0.1", "a private address"),
        ("64:ff9b::127.0.0.1", "a loopback address"),
        ("64:ff9b::169.254.169.254", "never: a link-local address"),
        ("64:ff9b:1::1.1.1.1", "an IPv4 address wrapped in IPv6"),
        ("64:ff9b:1::169.254.169.254", "never: a link-local address"),
        ("64:ff9b:1:a9fe:a9:fe00::", "never: a link-local address"),
        ("64:ff9b:1:ffa9:fe:a9fe::", "never: a link-local address"),
        ("64:ff9b:1:ffff:a9:fea9:fe00:0", "never: a link-local address"),
        ("2002:101:101::1", "an IPv4 address wrapped in IPv6"),
        ("2002:a9fe:a9fe::1", "never: a link-local address"),
        ("2001:0:101:101::fefe:fefe", "an IPv4 address wrapped in IPv6"),
        ("2001:0:a9fe:a9fe::fefe:fefe", "never: a link-local address"),
        ("2001:0:101:101::5601:5601", "never: a link-local address"),
    ] {
        assert_eq!(judged(ip, &nothing_named), expected, "{ip}");
    }
}

#[test]
fn what_is_named_may_be_called_and_nothing_else() {
    let private = allow(false, &["10.0.0.0/8", "192.168.1.20", "fd12::/16"]);
    let everything = allow(true, &["0.0.0.0/0", "::/0"]);
    let tunnels = allow(false, &["2002::/16", "64:ff9b:1::/48", "2001::/32", "::/96"]);
    let loopback = allow(true, &[]);
    for (ip, allow, expected) in [
        ("10.1.2.3", &private, "yes"),
        ("::ffff:10.1.2.3", &private, "yes"),
        ("64:ff9b::10.1.2.3", &private, "yes"),
        ("2002:a01:203::", &private, "an IPv4 address wrapped in IPv6"),
        ("192.168.1.20", &private, "yes"),
        ("192.168.1.21", &private, "a private address"),
        ("fd12::1", &private, "yes"),
        ("fd13::1", &private, "a private address"),
        ("127.0.0.1", &private, "a loopback address"),
        ("127.0.0.1", &loopback, "yes"),
        ("127.8.8.8", &loopback, "yes"),
        ("::1", &loopback, "yes"),
        ("::ffff:127.0.0.1", &loopback, "yes"),
        ("0.0.0.0", &loopback, "an address of this machine"),
        ("::", &loopback, "an address of this machine"),
        ("10.0.0.1", &loopback, "a private address"),
        ("2002:101:101::", &tunnels, "yes"),
        ("2002:7f00:1::", &tunnels, "a loopback address"),
        ("::10.0.0.1", &tunnels, "a private address"),
        ("64:ff9b:1::1.1.1.1", &tunnels, "yes"),
        ("64:ff9b:1:a9fe:a9:fe00::", &tunnels, "never: a link-local address"),
        ("2001:0:101:101::fefe:fefe", &tunnels, "yes"),
        ("10.0.0.1", &everything, "yes"),
        ("::1", &everything, "yes"),
        ("0.0.0.0", &everything, "yes"),
        ("ff02::1", &everything, "yes"),
        ("169.254.169.254", &everything, "never: a link-local address"),
        ("::ffff:169.254.169.254", &everything, "never: a link-local address"),
        ("64:ff9b::168.63.129.16", &everything, "never: a cloud's metadata service"),
        ("100.100.100.200", &everything, "never: a cloud's metadata service"),
        ("192.0.0.192", &everything, "never: a cloud's metadata service"),
        ("fe80::1", &everything, "never: a link-local address"),
        ("fd00:ec2::254", &everything, "never: a cloud's metadata service"),
    ] {
        assert_eq!(judged(ip, allow), expected, "{ip} with {allow:?}");
    }
}

#[test]
fn ranges_are_read_and_printed() {
    for (text, printed) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.5", "10.0.0.5/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ] {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), printed, "{text}");
    }
    for wrong in
        ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "::/129", "localhost", "10.0.0.0/8 "]
    {
        let error = wrong.parse::<Network>().unwrap_err().to_string();
        assert_eq!(error, format!("{wrong:?} is no address and no range such as 10.0.0.0/8"));
    }
    let beyond_its_prefix: Network = "10.1.2.3/8".parse().unwrap();
    assert!(beyond_its_prefix.contains("10.200.0.1".parse().unwrap()));
    assert!(!beyond_its_prefix.contains("11.0.0.1".parse().unwrap()));
    assert!(!beyond_its_prefix.contains("::10.1.2.3".parse().unwrap()));
}

#[test]
fn what_is_denied_is_called_in_no_spelling_and_whatever_is_allowed() {
    let deny = ["1.2.3.0/24", "10.0.0.5", "2606:4700::/32"].map(|text| text.parse().unwrap());
    let allow = Allow { deny: deny.to_vec(), ..allow(true, &["10.0.0.0/8"]) };
    for ip in [
        "1.2.3.4",
        "10.0.0.5",
        "2606:4700::1",
        "::ffff:1.2.3.4",
        "64:ff9b::1.2.3.4",
        "2002:102:304::1",
        "2001:0:102:304::",
    ] {
        assert_eq!(judged(ip, &allow), "never: an address that the settings deny", "{ip}");
    }
    for ip in ["1.2.4.4", "10.0.0.6", "2606:4701::1", "127.0.0.1"] {
        assert_eq!(judged(ip, &allow), "yes", "{ip}");
    }
}

#[test]
fn only_ports_of_http_and_those_that_anybody_may_use() {
    let allow = Allow { ports: vec![81], ..Allow::default() };
    let judged = |text: &str| judge(text.parse().unwrap(), &allow);
    for fine in ["1.1.1.1:80", "1.1.1.1:443", "1.1.1.1:1024", "1.1.1.1:65535", "1.1.1.1:81"] {
        assert_eq!(judged(fine), Ok(()), "{fine}");
    }
    for (text, port) in
        [("1.1.1.1:22", 22), ("1.1.1.1:25", 25), ("[2606:4700::1]:1023", 1_023), ("1.1.1.1:0", 0)]
    {
        assert_eq!(judged(text), Err(Forbidden::Port(port)), "{text}");
    }
    // Where an address may not be called, its port does not matter.
    assert!(matches!(judged("169.254.169.254:22"), Err(Forbidden::Never(_))));
}

#[test]
fn no_task_calls_the_server_that_sends_it() {
    let own = |texts: &[&str]| Allow {
        own: texts.iter().map(|text| text.parse().unwrap()).collect(),
        loopback: Arc::new(true.into()),
        ..Allow::default()
    };
    let judged = |text: &str, allow: &Allow| judge(text.parse().unwrap(), allow);
    let one = own(&["127.0.0.1:8420", "1.1.1.1:8421"]);
    for text in ["127.0.0.1:8420", "[::ffff:127.0.0.1]:8420", "1.1.1.1:8421"] {
        assert_eq!(judged(text, &one), Err(Forbidden::Never("where this server itself listens")), "{text}");
    }
    for text in ["127.0.0.1:8421", "127.0.0.2:8420", "[::1]:8420", "1.1.1.1:8420"] {
        assert_eq!(judged(text, &one), Ok(()), "{text}");
    }
    let everywhere = own(&["0.0.0.0:8420"]);
    for text in ["127.0.0.1:8420", "127.9.9.9:8420", "[::1]:8420"] {
        assert!(judged(text, &everywhere).is_err(), "{text}");
    }
    // By an address of its own that nobody has named: it is found by the connection.
    let socket = |text: &str| text.parse().unwrap();
    assert!(is_own(socket("8.8.8.8:8420"), socket("8.8.8.8:50000"), &everywhere));
    assert!(!is_own(socket("8.8.8.8:8420"), socket("9.9.9.9:50000"), &everywhere));
    assert!(!is_own(socket("8.8.8.8:80"), socket("8.8.8.8:50000"), &everywhere));
}
