//! The guard of addresses: what is not of the public internet is not called, however it is wrapped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use taskhook::dispatch::egress::{Allow, judge};

/// Takes 4 or 16 bytes as an address, and two more as a port.
pub fn check(data: &[u8]) {
    let (ip, port) = match *data {
        [a, b, c, d, p, q] => (IpAddr::from([a, b, c, d]), u16::from_be_bytes([p, q])),
        [.., p, q] if data.len() == 18 => {
            let bytes: [u8; 16] = data[..16].try_into().expect("sixteen bytes");
            (IpAddr::from(bytes), u16::from_be_bytes([p, q]))
        }
        _ => return,
    };
    let allowed = judge(SocketAddr::new(ip, port), &Allow::default()).is_ok();
    if allowed {
        assert!(port >= 1024 || [80, 443].contains(&port), "{ip} port {port}");
    }
    match ip {
        IpAddr::V4(ip) => assert!(!(allowed && is_special(ip)), "{ip}"),
        IpAddr::V6(ip) => {
            assert!(!(allowed && is_special_v6(ip)), "{ip}");
            for inner in inside(ip) {
                assert!(!(allowed && is_special(inner)), "{ip} leads to {inner}");
            }
        }
    }
}

/// By the standard library, which has its own tables, and RFC 6598, 2544, 6890 and 1112 for what it keeps to itself.
fn is_special(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0 && c == 0 && !matches!(ip.octets()[3], 9 | 10))
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unicast_link_local()
        || ip.is_unique_local()
        || ip.segments()[0] & 0xffc0 == 0xfec0
        || ip.segments()[..2] == [0x2001, 0xdb8]
}

/// The IPv4 addresses that an IPv6 address stands for: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056) and both of
/// Teredo (RFC 4380).
fn inside(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => vec![v4(a, b)],
        [0x2002, a, b, ..] => vec![v4(a, b)],
        [0x2001, 0, a, b, _, _, c, d] => vec![v4(a, b), v4(!c, !d)],
        _ => Vec::new(),
    }
}
