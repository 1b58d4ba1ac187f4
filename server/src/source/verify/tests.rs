//! The published vectors of each scheme, and what must not verify.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::http::{HeaderName, HeaderValue};

use super::*;
use crate::source::presets::{PRESETS, preset};
use crate::source::rule::Algorithm;
use crate::source::secret::SECRET_BYTES_MAX;

/// A request that verifies.
struct Vector {
    scheme: &'static str,
    secret: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    url: &'static str,
    /// Seconds since 1970.
    at: i64,
}

impl Vector {
    fn check(&self) -> Result<usize, Denied> {
        self.check_as(&self.headers, &self.body, self.url, self.at)
    }

    fn check_as(&self, headers: &[(&str, String)], body: &[u8], url: &str, at: i64) -> Result<usize, Denied> {
        let preset = preset(self.scheme).unwrap();
        let keys = [Key::parse(&self.secret, preset.keys).unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // What no HTTP server would hand on is not asked about.
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { return Err(Denied("".into())) };
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        let seen = Seen { headers: &map, body, url, at: Timestamp::from_secs(at) };
        verify(&preset.rules, &keys, None, &seen)
    }

    fn with(&self, name: &'static str, value: &str) -> Vec<(&'static str, String)> {
        let others = self.headers.iter().filter(|(other, _)| *other != name).cloned();
        others.chain([(name, value.to_string())]).collect()
    }
}

fn vector(
    scheme: &'static str,
    secret: &str,
    at: i64,
    headers: &[(&'static str, &str)],
    body: impl Into<Vec<u8>>,
) -> Vector {
    Vector {
        scheme,
        secret: secret.into(),
        headers: headers.iter().map(|(name, value)| (*name, value.to_string())).collect(),
        body: body.into(),
        url: "https://hooks.example/webhook/x",
        at,
    }
}

const STANDARD_ID: (&str, &str) = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
const STANDARD_AT: (&str, &str) = ("webhook-timestamp", "1614265330");
const STANDARD_BODY: &str = r#"{"test": 2432232314}"#;
const STANDARD_V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_V1A: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
const TWILIO_URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
const TWILIO_FORM: &str =
    "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";

/// Each with the place where it was published.
fn published() -> Vec<Vector> {
    vec![
        // docs.github.com, "Validating webhook deliveries".
        vector(
            "github",
            "It's a Secret to Everybody",
            0,
            &[(
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            "Hello, World!",
        ),
        // slackapi/python-slack-sdk, tests/slack_sdk/signature/test_signature_verifier.py.
        vector(
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            1_531_420_618,
            &[
                ("x-slack-request-timestamp", "1531420618"),
                ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ],
            include_str!("vectors/slack.form"),
        ),
        // standard-webhooks, libraries/javascript.
        vector(
            "standard-webhooks",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            1_614_265_330,
            &[STANDARD_ID, STANDARD_AT, ("webhook-signature", STANDARD_V1)],
            STANDARD_BODY,
        ),
        // svix-webhooks, worker.rs, test_asymmetric_key_signing.
        vector(
            "standard-webhooks",
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
            1_614_265_330,
            &[STANDARD_ID, STANDARD_AT, ("webhook-signature", STANDARD_V1A)],
            STANDARD_BODY,
        ),
        // The same, with the names that Svix gives its headers.
        vector(
            "standard-webhooks",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            1_614_265_330,
            &[("svix-id", STANDARD_ID.1), ("svix-timestamp", STANDARD_AT.1), ("svix-signature", STANDARD_V1)],
            STANDARD_BODY,
        ),
        // GitLab's signing tokens are the same.
        vector(
            "gitlab",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            1_614_265_330,
            &[STANDARD_ID, STANDARD_AT, ("webhook-signature", STANDARD_V1)],
            STANDARD_BODY,
        ),
        // square-python-sdk, tests/integration/test_webhooks_helper.py.
        Vector {
            url: "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9",
            ..vector(
                "square",
                "Ibxx_5AKakO-3qeNVR61Dw",
                0,
                &[("x-square-hmacsha256-signature", "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4=")],
                include_str!("vectors/square.json"),
            )
        },
        // paddle-go-sdk, webhook_verifier_test.go.
        vector(
            "paddle",
            "pdl_ntfset_01hsdn8d43dt7mezr1ef2jtbaw_hKkRiCGyyRhbFwIUuqiTBgI7gnWoV0Gr",
            1_710_929_255,
            &[(
                "paddle-signature",
                "ts=1710929255;h1=6c05ef8fa83c44d751be6d259ec955ce5638e2c54095bf128e408e2fce1589c8",
            )],
            include_str!("vectors/paddle.json"),
        ),
        // stripe-dotnet, EventUtilityTest.cs; its `v0` is left out, since nobody looks at it.
        vector(
            "stripe",
            "webhook_secret",
            1_533_204_620,
            &[(
                "stripe-signature",
                "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7",
            )],
            include_str!("vectors/stripe.json"),
        ),
        // go-pagerduty, webhookv3/webhookv3_test.go.
        vector(
            "pagerduty",
            "lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK",
            0,
            &[(
                "x-pagerduty-signature",
                "v1=0c0b9495b893a39e70d1fea2fe11fbe0a825f88b9f67846f6cc07dd2bc5476cd",
            )],
            include_str!("vectors/pagerduty.json"),
        ),
    ]
}

/// Made here, since their senders publish none: each by the words of its documentation.
fn made() -> Vec<Vector> {
    let secret = "a secret of some length";
    let key = Key::parse(secret, &[KeyForm::Text]).unwrap();
    let code = |parts: &[&[u8]]| key.code(Algorithm::Sha256, parts);
    let body =
        br#"{"type":"Issue","action":"create","event":"meeting.started","webhookTimestamp":1614265330000}"#;
    let at = 1_614_265_330;
    let zoom = format!("v0={}", hex::encode(code(&[b"v0:1614265330:", body])));
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signature = hex::encode(pair.sign(&[b"1614265330".as_slice(), body].concat()).as_ref());
    let hub = format!("sha256={}", hex::encode(code(&[body])));
    let basic = format!("Basic {}", STANDARD.encode("user:pass:word and more"));
    vec![
        vector("shopify", secret, at, &[("x-shopify-hmac-sha256", &STANDARD.encode(code(&[body])))], body),
        vector("shopify", secret, at, &[("shopify-hmac-sha256", &STANDARD.encode(code(&[body])))], body),
        vector("linear", secret, at, &[("linear-signature", &hex::encode(code(&[body])))], body),
        vector(
            "zoom",
            secret,
            at,
            &[("x-zm-request-timestamp", "1614265330"), ("x-zm-signature", &zoom)],
            body,
        ),
        vector(
            "discord",
            &hex::encode(pair.public_key().as_ref()),
            at,
            &[("x-signature-timestamp", "1614265330"), ("x-signature-ed25519", &signature)],
            body,
        ),
        vector("meta", secret, at, &[("x-hub-signature-256", &hub)], body),
        vector("bitbucket", secret, at, &[("x-hub-signature", &hub)], body),
        vector("gitlab", secret, at, &[("x-gitlab-token", secret)], body),
        vector("bearer", secret, at, &[("authorization", &format!("Bearer {secret}"))], body),
        vector("azure-event-grid", secret, at, &[("authorization", &format!("Bearer {secret}"))], body),
        vector("cloudevents", secret, at, &[("authorization", &format!("Bearer {secret}"))], body),
        vector("basic", "user:pass:word and more", at, &[("authorization", &basic)], body),
    ]
}

#[test]
fn every_published_vector_verifies() {
    for vector in published() {
        assert_eq!(vector.check(), Ok(0), "{}", vector.scheme);
    }
    for vector in made() {
        assert_eq!(vector.check(), Ok(0), "{}", vector.scheme);
    }
    let mut tested: Vec<&str> = published().iter().chain(&made()).map(|vector| vector.scheme).collect();
    tested.push("twilio");
    for preset in PRESETS.iter() {
        assert!(tested.contains(&preset.name), "{} has no vector", preset.name);
    }
}

/// Twilio's vectors have a secret of five bytes: shorter than one that a source may have.
#[test]
fn twilios_vectors_verify() {
    let rules = &preset("twilio").unwrap().rules;
    let check = |url: &str, signature: &str, kind: &str, body: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", HeaderValue::from_str(signature).unwrap());
        headers.insert("content-type", HeaderValue::from_str(kind).unwrap());
        let seen = Seen { headers: &headers, body, url, at: Timestamp::from_secs(0) };
        verify(rules, &[Key { form: KeyForm::Text, bytes: b"12345".to_vec() }], None, &seen).is_ok()
    };
    // twilio-python, tests/unit/test_request_validator.py.
    let form = |url: &str, signature: &str| {
        check(url, signature, "application/x-www-form-urlencoded; charset=utf-8", TWILIO_FORM.as_bytes())
    };
    let with_port = "https://mycompany.com:443/myapp.php?foo=1&bar=2";
    for url in [TWILIO_URL, with_port] {
        assert!(form(url, "RSOYDt4T1cUTdK1PDd93/VVr8B8="), "{url}");
        assert!(form(url, "kvajT1Ptam85bY51eRf/AJRuM3w="), "{url}");
        assert!(!form(url, "kvajT1Ptam85bY51eRf/AJRuM3v="), "{url}");
    }
    assert!(form("http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="));
    assert!(form("http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="));
    assert!(!form("http://mycompany.com:81/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="));
    let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let url = format!("{TWILIO_URL}&bodySHA256={hash}");
    let json = br#"{"property": "value", "boolean": true}"#;
    assert!(check(&url, "a9nBmqA0ju/hNViExpshrM61xv4=", "application/json", json));
    for bit in 0..json.len() * 8 {
        let bent = flipped(json, bit);
        assert!(!check(&url, "a9nBmqA0ju/hNViExpshrM61xv4=", "application/json", &bent), "bit {bit}");
    }
    for bit in 0..TWILIO_FORM.len() * 8 {
        let bent = flipped(TWILIO_FORM.as_bytes(), bit);
        let is_same = form_urlencoded::parse(&bent).eq(form_urlencoded::parse(TWILIO_FORM.as_bytes()));
        let kind = "application/x-www-form-urlencoded";
        // A form may be written in two ways: what is signed is what it says.
        assert_eq!(check(TWILIO_URL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", kind, &bent), is_same, "bit {bit}");
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bent = bytes.to_vec();
    bent[bit / 8] ^= 1 << (bit % 8);
    bent
}

/// G3: one bit that is not as it was signed, and nothing verifies.
#[test]
fn no_request_verifies_with_a_bit_flipped() {
    for vector in published().iter().chain(&made()) {
        let is_token =
            matches!(vector.scheme, "gitlab" | "bearer" | "basic" | "azure-event-grid" | "cloudevents")
                && vector.headers.len() == 1;
        for bit in 0..if is_token { 0 } else { vector.body.len() * 8 } {
            let body = flipped(&vector.body, bit);
            let denied = vector.check_as(&vector.headers, &body, vector.url, vector.at);
            assert!(denied.is_err(), "{}: bit {bit} of the body", vector.scheme);
        }
        for (name, value) in &vector.headers {
            for bit in 0..value.len() * 8 {
                let Ok(bent) = String::from_utf8(flipped(value.as_bytes(), bit)) else { continue };
                // Spaces around a value are not part of it (RFC 9110, 5.5).
                let denied = vector.check_as(&vector.with(name, &bent), &vector.body, vector.url, vector.at);
                assert!(denied.is_err(), "{}: bit {bit} of {name}: {bent}", vector.scheme);
            }
            let without: Vec<_> = vector.headers.iter().filter(|(other, _)| other != name).cloned().collect();
            let denied = vector.check_as(&without, &vector.body, vector.url, vector.at);
            assert!(denied.is_err(), "{} without {name}", vector.scheme);
            let twice: Vec<_> = vector.headers.iter().cloned().chain([(*name, value.clone())]).collect();
            let denied = vector.check_as(&twice, &vector.body, vector.url, vector.at);
            assert!(denied.is_err(), "{} with {name} twice", vector.scheme);
        }
        if vector.scheme == "square" {
            for bit in 0..vector.url.len() * 8 {
                let Ok(url) = String::from_utf8(flipped(vector.url.as_bytes(), bit)) else { continue };
                assert!(vector.check_as(&vector.headers, &vector.body, &url, vector.at).is_err(), "{url}");
            }
        }
    }
}

#[test]
fn what_is_signed_too_long_ago_or_too_far_ahead_is_denied() {
    for vector in published().iter().chain(&made()) {
        let tolerance = if vector.scheme == "linear" { 60 } else { 300 };
        let has_time = !matches!(
            vector.scheme,
            "github"
                | "square"
                | "pagerduty"
                | "shopify"
                | "meta"
                | "bitbucket"
                | "bearer"
                | "basic"
                | "azure-event-grid"
                | "cloudevents"
        ) && vector.headers[0].0 != "x-gitlab-token";
        for (apart, is_fine) in
            [(-tolerance - 1, false), (-tolerance, true), (tolerance, true), (tolerance + 1, false)]
        {
            let checked = vector.check_as(&vector.headers, &vector.body, vector.url, vector.at + apart);
            assert_eq!(checked.is_ok(), is_fine || !has_time, "{} {apart}: {checked:?}", vector.scheme);
        }
    }
}

/// Malformed headers, of which many have been taken for right somewhere.
#[test]
fn malformed_signatures_are_denied() {
    let all = published();
    let standard = all.iter().find(|vector| vector.scheme == "standard-webhooks").unwrap();
    let right = STANDARD_V1.strip_prefix("v1,").unwrap();
    let many = vec!["v1,AAAA"; 1_000].join(" ");
    let seventeen = format!("{} {STANDARD_V1}", ["v1,AAAA"; PROOFS_MAX].join(" "));
    for value in [
        "",
        "v1",
        "v1,",
        "v1,AAAA",
        ",",
        " ",
        "v1, ",
        right,
        "v2,x",
        "V1,x",
        &many,
        &seventeen,
        &format!("v1, {right}"),
        &format!("v1,{}", &right[..right.len() - 1]),
        &format!("v1,{}", right.trim_end_matches('=')),
        &format!("v1,{right}="),
        &format!("v1,{}", right.replace('+', "-").replace('/', "_")),
        &format!("v1,{right},x"),
        &format!("v1a,{right}"),
        &format!("v0,{right}"),
    ] {
        let denied =
            standard.check_as(&standard.with("webhook-signature", value), &standard.body, "", standard.at);
        assert!(denied.is_err(), "{value:?}");
    }
    let fine = format!("v1,AAAA {STANDARD_V1} {STANDARD_V1A} x");
    let checked =
        standard.check_as(&standard.with("webhook-signature", &fine), &standard.body, "", standard.at);
    assert_eq!(checked, Ok(0), "any of several signatures");
    for time in [
        "-1",
        "0",
        "+1614265330",
        " 1614265330",
        "1614265330.0",
        "1e10",
        "99999999999999999999",
        "x",
        "",
        "１６１４２６５３３０",
    ] {
        let headers = standard.with("webhook-timestamp", time);
        assert!(standard.check_as(&headers, &standard.body, "", standard.at).is_err(), "{time:?}");
        // Signed for real, and still no time.
        let key = Key::parse(&standard.secret, &[KeyForm::Standard]).unwrap();
        let parts = format!("{}.{time}.{STANDARD_BODY}", STANDARD_ID.1);
        let signature = format!("v1,{}", STANDARD.encode(key.code(Algorithm::Sha256, &[parts.as_bytes()])));
        let headers: Vec<_> = headers
            .into_iter()
            .map(
                |(name, value)| {
                    if name == "webhook-signature" { (name, signature.clone()) } else { (name, value) }
                },
            )
            .collect();
        assert!(standard.check_as(&headers, &standard.body, "", standard.at).is_err(), "{time:?}, signed");
    }
    let stripe = all.iter().find(|vector| vector.scheme == "stripe").unwrap();
    let right = &stripe.headers[0].1;
    for value in [
        "t=,v1=",
        "t=1533204620",
        "v1=2220",
        "t=1533204620,v1=",
        "t=1533204620;v1=2220",
        &right.replace("v1", "v0"),
        &right.to_uppercase(),
        &format!("{right},t=1533204621"),
        &right.replace("t=1533204620,", ""),
        &format!("t=1533204621,{right}"),
    ] {
        let denied = stripe.check_as(&stripe.with("stripe-signature", value), &stripe.body, "", stripe.at);
        assert!(denied.is_err(), "{value:?}");
    }
    // paddle-go-sdk, webhook_verifier_test.go.
    let paddle = all.iter().find(|vector| vector.scheme == "paddle").unwrap();
    assert!(
        paddle.check_as(&paddle.with("paddle-signature", "ts=x;h1=y"), &paddle.body, "", paddle.at).is_err()
    );
    // go-pagerduty, webhookv3/webhookv3_test.go.
    let pagerduty = all.iter().find(|vector| vector.scheme == "pagerduty").unwrap();
    let wrong = "v1=7020c8a7ec668a9b7012bc3dd82e483394b038f4230acc6785efbf2a7d8bcaf5";
    let rotated = format!("{wrong},{}", pagerduty.headers[0].1);
    let check = |value: &str| {
        pagerduty.check_as(&pagerduty.with("x-pagerduty-signature", value), &pagerduty.body, "", 0).is_ok()
    };
    assert!(!check(wrong) && check(&rotated));
}

/// GitLab's old token does not stand in for a signature that is wrong.
#[test]
fn a_wrong_proof_is_not_made_up_for_by_a_weaker_one() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let all = published();
    let gitlab = all.iter().find(|vector| vector.scheme == "gitlab").unwrap();
    let mut headers = gitlab.with("webhook-signature", "v1,AAAA");
    headers.push(("x-gitlab-token", secret.into()));
    assert!(gitlab.check_as(&headers, &gitlab.body, "", gitlab.at).is_err());
}

#[test]
fn the_key_that_proved_it_is_named_and_a_denial_gives_nothing_away() {
    let all = published();
    let standard = &all[2];
    let preset = preset("standard-webhooks").unwrap();
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let keys = [other, public, &standard.secret].map(|text| Key::parse(text, preset.keys).unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in &standard.headers {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let seen = |body| Seen { headers: &headers, body, url: "", at: Timestamp::from_secs(standard.at) };
    assert_eq!(verify(&preset.rules, &keys, None, &seen(&standard.body)), Ok(2));
    let denied = verify(&preset.rules, &keys[..2], None, &seen(&standard.body)).unwrap_err().0;
    assert_eq!(
        denied,
        "1 secret tried: what the header webhook-signature holds was made by none of them over this request \
         (body: 20 bytes, SHA-256 ae858931f67887e8150d6f96c9fe03062c1df36b4464c4ddc8e002c084d5d198)"
    );
    assert!(!denied.contains("g0hM9SsE"), "what would have been right is not said");
}

#[test]
fn secrets_that_cannot_be_meant_are_refused() {
    let check = |text: &str, forms: &[KeyForm]| Key::parse(text, forms).err();
    let text = [KeyForm::Text];
    assert!(check("", &text).unwrap().contains("empty"));
    assert!(check("secret\n", &text).unwrap().contains("copied with too much"));
    assert!(check(" secret and more", &text).unwrap().contains("copied with too much"));
    assert!(check("short", &text).unwrap().contains("guess"));
    assert!(check(&"x".repeat(SECRET_BYTES_MAX + 1), &text).unwrap().contains("longer"));
    assert_eq!(check("long enough", &text), None);
    for wrong in ["whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!", "whpk_AAAA"] {
        assert!(check(wrong, &[KeyForm::Standard]).unwrap().contains("whsec_"), "{wrong}");
    }
    assert_eq!(check("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &[KeyForm::Standard]), None);
    for wrong in ["nocolon", ":password", "user:short"] {
        assert!(check(wrong, &[KeyForm::Pair]).is_some(), "{wrong}");
    }
    for wrong in ["", "abc", "whpk_AAAA", &"zz".repeat(32), &"aa".repeat(31)] {
        assert!(check(wrong, &[KeyForm::Public]).is_some(), "{wrong}");
    }
    let key = Key::parse("long enough", &text).unwrap();
    assert_eq!(format!("{key:?}"), "Key { form: Text, .. }");
}

/// RFC 8032, 7.1, test 3.
#[test]
fn ed25519_follows_its_standard() {
    let public = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                     18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    let key = Key::parse(public, &[KeyForm::Public]).unwrap();
    let signature = hex::decode(signature).unwrap();
    assert!(key.has_signed(&[&[0xaf], &[0x82]], &signature));
    assert!(!key.has_signed(&[&[0xaf], &[0x83]], &signature));
    assert!(!key.has_signed(&[&[0xaf], &[0x82]], &signature[..63]));
}
