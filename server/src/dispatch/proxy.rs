//! An outgoing proxy, where the operator names one: every connection is then a tunnel through it.
//!
//! The tunnel is asked for to an address that was judged here, never to a name: what a name means at the proxy
//! decides nothing. The proxy's own address is not judged: naming it is the permission.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use crate::target;

/// A proxy for HTTP CONNECT. What is printed of it are its host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Marked as sensitive, so that `Debug` does not print it.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `http://user:password@proxy.internal:3128`. User and password may be left out, and are percent-encoded.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that holds nothing of the text: there may be a password in it.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let wrong = |why: &str| format!("must be a URL such as http://proxy.internal:3128: {why}");
        let uri: Uri = text.parse().map_err(|_| {
            wrong("it is not a URL (in a user name or a password, write @, :, / and % as %40, %3A, %2F and %25)")
        })?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it must begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let host = target::bare(authority.host());
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let userinfo = authority.as_str().rsplit_once('@').map(|(userinfo, _)| userinfo);
        if target::has_bad_port(authority) || authority.port_u16() == Some(0) {
            return Err(wrong("its port is none"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") || text.contains('#') {
            return Err(wrong("it ends with its port"));
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Proxy { host: host.into(), port, authorization: userinfo.map(basic) })
    }

    /// Asks the proxy at the other end of `stream` for a tunnel to `address`. What is given back is the tunnel.
    ///
    /// # Errors
    /// What it answered.
    pub(super) async fn tunnel(&self, stream: TcpStream, address: SocketAddr) -> Result<TcpStream, NoTunnel> {
        let mut asking = Request::builder()
            .method(Method::CONNECT)
            .uri(address.to_string())
            .header(HOST, address.to_string());
        if let Some(authorization) = &self.authorization {
            asking = asking.header(PROXY_AUTHORIZATION, authorization);
        }
        let request = asking.body(Empty::<Bytes>::new()).expect("an address is a URI and a header");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(NoTunnel::Broken)?;
        let mut asked = pin!(async {
            let response = sender.send_request(request).await.map_err(NoTunnel::Broken)?;
            match response.status() {
                status if status.is_success() => hyper::upgrade::on(response).await.map_err(NoTunnel::Broken),
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(NoTunnel::Credentials),
                status => Err(NoTunnel::Refused(status)),
            }
        });
        let opened = tokio::select! {
            biased;
            opened = &mut asked => opened,
            // It ends as it gives the tunnel away, or with an error that `asked` meets too.
            _ = connection.with_upgrades() => asked.await,
        }?;
        let parts = opened.downcast::<TokioIo<TcpStream>>().expect("it is what was given to the handshake");
        // Neither HTTP nor TLS lets a server speak first: what it has said was not said by the target.
        if parts.read_buf.is_empty() { Ok(parts.io.into_inner()) } else { Err(NoTunnel::Chatter) }
    }

    /// Whether credentials were given for it.
    fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// What became of a tunnel to `address`, as a sentence. Nothing of the proxy's own words is in it.
    pub(super) fn told(&self, address: SocketAddr, error: &NoTunnel) -> String {
        match error {
            NoTunnel::Refused(status) => format!("the proxy {self} refused a tunnel to {address}: {status}"),
            NoTunnel::Credentials if self.has_credentials() => {
                format!(
                    "the proxy {self} did not take the user name and the password that it was given (407)"
                )
            }
            NoTunnel::Credentials => format!(
                "the proxy {self} asks for a user name and a password (407): write them into `proxy` under [dispatch], \
                 as in http://user:password@{self}"
            ),
            NoTunnel::Broken(error) => {
                format!("the proxy {self} broke off before it had opened a tunnel to {address}: {error}")
            }
            NoTunnel::Chatter => {
                format!(
                    "the proxy {self} sent more than an answer when it was asked for a tunnel to {address}"
                )
            }
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug)]
pub(super) enum NoTunnel {
    /// It answered with this status.
    Refused(StatusCode),
    /// It asks for credentials, or for others.
    Credentials,
    /// The connection to it ended, or it does not speak HTTP.
    Broken(hyper::Error),
    /// Bytes came behind its answer.
    Chatter,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The header for these credentials (RFC 7617).
fn basic(userinfo: &str) -> HeaderValue {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut both = percent_decode_str(user).collect::<Vec<u8>>();
    both.push(b':');
    both.extend(percent_decode_str(password));
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(both))).expect("base64 is text");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
