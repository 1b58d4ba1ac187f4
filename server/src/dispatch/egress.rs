//! Where a dispatch may go: a judgement on addresses, never on names.
//!
//! Link-local addresses and the metadata services of clouds are never called. Private, loopback and all other
//! special ranges are called only where the operator has named them. How an address was written does not
//! matter: what is judged is what would be connected to, and whatever is wrapped in it.

use std::fmt;
use std::iter::once;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no range such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl Network {
    /// Whether `ip` lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let differing = match (self.address, ip) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => u128::from(ours.to_bits() ^ ip.to_bits()) << 96,
            (IpAddr::V6(ours), IpAddr::V6(ip)) => ours.to_bits() ^ ip.to_bits(),
            _ => return false,
        };
        differing.leading_zeros() >= self.prefix_bits
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let wrong = || NotANetwork(text.into());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or_else(wrong)?,
        };
        // IPv4 written as IPv6 is called as IPv4, so it is named as IPv4 too.
        let mapped = address.is_ipv6() && address.to_canonical().is_ipv4() && prefix_bits >= 96;
        Ok(match mapped {
            true => Network { address: address.to_canonical(), prefix_bits: prefix_bits - 96 },
            false => Network { address, prefix_bits },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// What the operator has allowed beyond the public internet, and denied of it.
#[derive(Debug, Clone, Default)]
pub struct Allow {
    /// Loopback, without being named, at each moment.
    pub loopback: Arc<AtomicBool>,
    /// The ranges named.
    pub networks: Vec<Network>,
    /// The ranges that are never called, whatever else is said.
    pub deny: Vec<Network>,
    /// Ports below 1024 that may be called beside 80 and 443.
    pub ports: Vec<u16>,
    /// The addresses that this server listens on: a task that called it could make the next one, for ever.
    pub own: Vec<SocketAddr>,
}

/// Why an address may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// Whatever the operator allows.
    Never(&'static str),
    /// The operator has not named it.
    Unlisted(&'static str),
    /// Nor this port, below which other services than HTTP listen.
    Port(u16),
}

/// The port from which on anybody may listen.
const FIRST_FREE_PORT: u16 = 1_024;

/// Whether this address may be called.
///
/// # Errors
/// If not, why.
pub fn judge(address: SocketAddr, allow: &Allow) -> Result<(), Forbidden> {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    verdict(ip, allow)?;
    let is_own = |own: &SocketAddr| {
        // Who listens everywhere listens on loopback too.
        own.port() == port && (own.ip().to_canonical() == ip || own.ip().is_unspecified() && ip.is_loopback())
    };
    if allow.own.iter().any(is_own) {
        return Err(Forbidden::Never("where this server itself listens"));
    }
    let is_free = port >= FIRST_FREE_PORT || [80, 443].contains(&port) || allow.ports.contains(&port);
    if is_free { Ok(()) } else { Err(Forbidden::Port(port)) }
}

/// Whether a connection to `peer` has come back to this server, which listens everywhere.
#[must_use]
pub fn is_own(peer: SocketAddr, local: SocketAddr, allow: &Allow) -> bool {
    let everywhere = allow.own.iter().any(|own| own.ip().is_unspecified() && own.port() == peer.port());
    everywhere && peer.ip().to_canonical() == local.ip().to_canonical()
}

/// Whether `ip` may be called.
///
/// # Errors
/// If not, what kind of address it is.
pub fn verdict(ip: IpAddr, allow: &Allow) -> Result<(), Forbidden> {
    // ::ffff:10.0.0.1 is only another way to write 10.0.0.1: the system connects to that over IPv4.
    let ip = ip.to_canonical();
    let wrapped = wrapped(ip);
    for ip in once(ip).chain(wrapped.iter().map(|inner| IpAddr::V4(*inner))) {
        if let Some(what) = find(NEVER, ip) {
            return Err(Forbidden::Never(what));
        }
        if allow.deny.iter().any(|network| network.contains(ip)) {
            return Err(Forbidden::Never("an address that the settings deny"));
        }
    }
    // Where in a NAT64 prefix of one's own the address lies is known to its operator only, who has named it.
    let certain = if NAT64_LOCAL.contains(ip) { &[] } else { wrapped.as_slice() };
    for ip in once(ip).chain(certain.iter().map(|inner| IpAddr::V4(*inner))) {
        let named = allow.networks.iter().any(|network| network.contains(ip));
        if named || (allow.loopback.load(Ordering::Acquire) && ip.is_loopback()) {
            continue;
        }
        if let Some(what) = find(SPECIAL, ip) {
            return Err(Forbidden::Unlisted(what));
        }
        let public = ip.is_ipv4() || PUBLIC_V6.iter().any(|network| network.contains(ip));
        if !public {
            return Err(Forbidden::Unlisted("not an address of the public internet"));
        }
    }
    Ok(())
}

fn find(table: &[(Network, &'static str)], ip: IpAddr) -> Option<&'static str> {
    table.iter().find(|(network, _)| network.contains(ip)).map(|(_, what)| *what)
}

/// The IPv4 addresses that a gateway on the way may make of an IPv6 address. More than one where it is not
/// known which.
fn wrapped(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    let octets = ip.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    let address = IpAddr::V6(ip);
    if NAT64.contains(address) {
        return vec![last];
    }
    if NAT64_LOCAL.contains(address) {
        // The four prefix lengths of RFC 6052 that fit; octet 8 is always zero.
        return vec![at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last];
    }
    if TEREDO.contains(address) {
        // The server, and the client with every bit turned over (RFC 4380).
        return vec![at([4, 5, 6, 7]), Ipv4Addr::from_bits(!last.to_bits())];
    }
    if SIX_TO_FOUR.contains(address) {
        return vec![at([2, 3, 4, 5])];
    }
    let is_itself = ip.is_unspecified() || ip.is_loopback();
    if COMPATIBLE.contains(address) && !is_itself { vec![last] } else { Vec::new() }
}

const fn v4(octets: [u8; 4], prefix_bits: u32) -> Network {
    let [a, b, c, d] = octets;
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_bits }
}

const fn v6(first: [u16; 4], prefix_bits: u32) -> Network {
    let [a, b, c, d] = first;
    Network { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), prefix_bits }
}

const COMPATIBLE: Network = v6([0, 0, 0, 0], 96);
const NAT64: Network = v6([0x64, 0xff9b, 0, 0], 96);
const NAT64_LOCAL: Network = v6([0x64, 0xff9b, 1, 0], 48);
const TEREDO: Network = v6([0x2001, 0, 0, 0], 32);
const SIX_TO_FOUR: Network = v6([0x2002, 0, 0, 0], 16);

/// What of IPv6 is given out for use on the internet, and the way from there into IPv4.
const PUBLIC_V6: &[Network] = &[v6([0x2000, 0, 0, 0], 3), NAT64];

/// These give a caller the keys of the machine it runs on.
const NEVER: &[(Network, &str)] = &[
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v6([0xfe80, 0, 0, 0], 10), "a link-local address"),
    (v6([0xfd00, 0xec2, 0, 0], 32), "a cloud's metadata service"),
    (v6([0xfd20, 0xce, 0, 0], 32), "a cloud's metadata service"),
    (v4([100, 100, 100, 200], 32), "a cloud's metadata service"),
    (v4([192, 0, 0, 192], 32), "a cloud's metadata service"),
    (v4([168, 63, 129, 16], 32), "a cloud's metadata service"),
];

/// The special-purpose address registries of the IANA, without what is public all the same.
const SPECIAL: &[(Network, &str)] = &[
    (v4([0, 0, 0, 0], 8), "an address of this machine"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "an address shared behind a carrier's NAT"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "an address reserved for protocols"),
    (v4([192, 0, 2, 0], 24), "an address reserved for documentation"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "an address reserved for benchmarks"),
    (v4([198, 51, 100, 0], 24), "an address reserved for documentation"),
    (v4([203, 0, 113, 0], 24), "an address reserved for documentation"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
    (v6([0, 0, 0, 0], 128), "an address of this machine"),
    (Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix_bits: 128 }, "a loopback address"),
    (COMPATIBLE, "an IPv4 address wrapped in IPv6"),
    (NAT64_LOCAL, "an IPv4 address wrapped in IPv6"),
    (v6([0x100, 0, 0, 0], 64), "an address that discards everything"),
    (TEREDO, "an IPv4 address wrapped in IPv6"),
    (v6([0x2001, 0, 0, 0], 23), "an address reserved for protocols"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "an address reserved for documentation"),
    (SIX_TO_FOUR, "an IPv4 address wrapped in IPv6"),
    (v6([0x3fff, 0, 0, 0], 20), "an address reserved for documentation"),
    (v6([0x5f00, 0, 0, 0], 16), "a segment identifier"),
    (v6([0xfc00, 0, 0, 0], 7), "a private address"),
    (v6([0xfec0, 0, 0, 0], 10), "a private address"),
    (v6([0xff00, 0, 0, 0], 8), "a multicast address"),
];

#[cfg(test)]
mod tests;
