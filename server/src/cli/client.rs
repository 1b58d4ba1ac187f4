//! A thin HTTP client for the API of a running server.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::{Code, Failed, Output, Remote, input, out};

/// The variable with the API key.
pub(super) const KEY_VARIABLE: &str = "TASKHOOK_API_KEY";

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long an answer may take beyond what it was asked to wait for.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Speaks to one server.
#[derive(Debug)]
pub(super) struct Client {
    base: String,
    /// What proves who asks.
    authorization: Option<HeaderValue>,
    output: Output,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What a server answered: a success.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// What is asked of a server.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    /// The names in the path.
    pub(super) path: &'a [&'a str],
    /// The query.
    pub(super) query: Vec<(&'a str, String)>,
    /// Headers beside those that every request has.
    pub(super) headers: Vec<(&'a str, String)>,
    /// A JSON body.
    pub(super) body: Option<Vec<u8>>,
    /// How long the server may wait before it answers.
    pub(super) wait: Duration,
}

impl Client {
    /// For the server that the flags name.
    ///
    /// # Errors
    /// A usage error if its URL is none.
    pub(super) fn new(remote: &Remote) -> anyhow::Result<Client> {
        let base = if remote.url.is_empty() { super::DEFAULT_URL } else { remote.url.trim_end_matches('/') };
        let uri = base.parse::<Uri>().ok().filter(|uri| uri.authority().is_some() && uri.query().is_none());
        let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            let text = format!("--url must be a URL such as {}; it is {base:?}", super::DEFAULT_URL);
            return Err(Failed::new(Code::Usage, text).into());
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIME));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(scheme == "https")?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).build(https);
        let authorization = authorization(remote)?;
        Ok(Client { base: base.to_string(), authorization, output: remote.printed.output, http })
    }

    /// The URL of the server.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Reads something.
    ///
    /// # Errors
    /// If no server answers, or not with a success.
    pub(super) async fn get(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        self.send(Method::GET, ask).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// If no server answers, or not with a success.
    pub(super) async fn post(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        self.send(Method::POST, ask).await
    }

    /// Makes something, or replaces it.
    ///
    /// # Errors
    /// If no server answers, or not with a success.
    pub(super) async fn put(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        self.send(Method::PUT, ask).await
    }

    /// Takes something away.
    ///
    /// # Errors
    /// If no server answers, or not with a success.
    pub(super) async fn delete(&self, ask: Ask<'_>) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, ask).await
    }

    /// Prints an answer: its body as it is, or what `table` makes of it.
    ///
    /// # Errors
    /// If it cannot be read or printed.
    pub(super) fn print<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        table: impl FnOnce(T) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        match self.output {
            Output::Json => out::data(&answer.body)?,
            Output::Table => table(answer.read()?)?,
        }
        Ok(())
    }

    /// Whether the API's JSON is wanted.
    pub(super) fn prints_json(&self) -> bool {
        self.output == Output::Json
    }

    async fn send(&self, method: Method, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let time = ask.wait + ANSWER_TIME;
        let request = self.request(method, ask)?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = response.into_body().collect().await;
            let body = body.map_err(|error| self.broke_off(&error))?.to_bytes();
            anyhow::Ok(Answer { status, body })
        };
        let answer = tokio::time::timeout(time, exchange).await;
        let answer = answer.map_err(|_| {
            let text = format!("{} has not answered within {} s", self.base, time.as_secs());
            Failed::new(Code::Unreachable, text)
        })??;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.problem().into()) }
    }

    fn request(&self, method: Method, ask: Ask<'_>) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut url = self.base.clone();
        for name in ask.path {
            url.push('/');
            url.push_str(&encode(name));
        }
        for (index, (name, value)) in ask.query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", encode(value)));
        }
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header("user-agent", concat!("taskhook-cli/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if ask.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = Full::new(Bytes::from(ask.body.unwrap_or_default()));
        request.body(body).map_err(|error| Failed::new(Code::Usage, error.to_string()).into())
    }

    fn unreachable(&self, error: &legacy::Error) -> Failed {
        if !error.is_connect() {
            return self.broke_off(error);
        }
        let cause = root(error);
        let text = format!(
            "no server answers at {}: {cause}; start one with `taskhook serve`, or name another with --url",
            self.base
        );
        Failed::new(Code::Unreachable, text)
    }

    fn broke_off(&self, error: &dyn std::error::Error) -> Failed {
        let text = format!("{} broke off before its answer was complete: {}", self.base, root(error));
        Failed::new(Code::Unreachable, text)
    }
}

impl Answer {
    /// Whether something new was made.
    pub(super) fn is_created(&self) -> bool {
        self.status == StatusCode::CREATED
    }

    /// The body, read.
    ///
    /// # Errors
    /// If it is not what the API answers.
    pub(super) fn read<T: DeserializeOwned>(&self) -> std::io::Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            std::io::Error::other(format!(
                "the server's answer is not Taskhook's ({error}); is the URL right?"
            ))
        })
    }

    /// What the server says was wrong (RFC 9457), and how the command ends by it.
    fn problem(&self) -> Failed {
        let code = match self.status.as_u16() {
            401 | 403 => Code::Refused,
            404 | 410 => Code::NotFound,
            _ => Code::Failed,
        };
        let text = match self.read::<Problem>() {
            Ok(problem) => problem.text(),
            Err(_) => {
                format!("the server answered {}, and not as Taskhook does; is its URL right?", self.status)
            }
        };
        Failed::new(code, text)
    }
}

/// What a server says was wrong.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl Problem {
    fn text(&self) -> String {
        let mut text = out::visible(&format!("{}: {}", self.title, self.detail));
        let fields = self.errors.iter().map(|FieldError { pointer, detail }| format!("{pointer}: {detail}"));
        // Where only one field is wrong, the detail says it already.
        for field in fields.filter(|field| *field != self.detail) {
            text.push_str("\n  ");
            text.push_str(&out::visible(&field));
        }
        text
    }
}

/// The API key, where there is one: from its file, or else from the environment.
fn authorization(remote: &Remote) -> Result<Option<HeaderValue>, Failed> {
    let (origin, text) = match &remote.key_file {
        Some(path) => ("--key-file", input::file("--key-file", path)?),
        None => (KEY_VARIABLE, std::env::var(KEY_VARIABLE).unwrap_or_default()),
    };
    let text = text.trim();
    if text.is_empty() && remote.key_file.is_none() {
        return Ok(None);
    }
    // Nothing of it is shown: it may be another secret, given by mistake.
    let wrong = || Failed::new(Code::Usage, format!("{origin}: this is no API key; one begins with thk_"));
    let value = Some(text).filter(|text| text.starts_with("thk_"));
    let value = value.and_then(|text| HeaderValue::from_str(&format!("Bearer {text}")).ok());
    let mut value = value.ok_or_else(wrong)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The settings of TLS; the system's certificates are read only where they are needed.
fn tls(needed: bool) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The first cause of an error: what the system said.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A name or a value as it stands in a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_stay_in_their_place() {
        assert_eq!(encode("a/b?c=d&e f"), "a%2Fb%3Fc%3Dd%26e%20f");
        assert_eq!(encode("job:7@ö"), "job%3A7%40%C3%B6");
    }

    #[test]
    fn a_problem_is_told_with_every_wrong_field() {
        let json = r#"{"type": "about:blank", "title": "Unprocessable Content", "status": 422, "code": "invalid",
            "detail": "2 fields are wrong", "errors": [{"pointer": "/url", "code": "not_a_url", "detail": "names no host"},
            {"pointer": "/delay", "code": "conflict", "detail": "give either run_at or delay"}]}"#;
        let answer =
            Answer { status: StatusCode::UNPROCESSABLE_ENTITY, body: Bytes::from_static(json.as_bytes()) };
        let failed = answer.problem();
        assert_eq!(failed.code, Code::Failed);
        insta::assert_snapshot!(failed.text, @r"
        Unprocessable Content: 2 fields are wrong
          /url: names no host
          /delay: give either run_at or delay
        ");
        let proxy = Answer { status: StatusCode::BAD_GATEWAY, body: Bytes::from_static(b"<html>") };
        let text = "the server answered 502 Bad Gateway, and not as Taskhook does; is its URL right?";
        assert_eq!(proxy.problem().text, text);
    }
}
