//! The schemes that have a name, and what their senders' requests say where. Data only: a new sender is a new entry.
//!
//! Where each rule comes from is said beside it; the vectors that prove it are in `tests/it/source`.

use std::sync::LazyLock;
use std::time::Duration;

use crate::source::facts::Fact::{Body, Field, Header};
use crate::source::facts::Ways;
use crate::source::rule::{Algorithm, Encoding, Form, KeyForm, Part, Proof, Rule, Signed, Time, TimePlace};

/// A sender that is known by name.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// How its requests prove themselves.
    pub rules: Vec<Rule>,
    /// What its secrets look like: the first form that one has counts.
    pub keys: &'static [KeyForm],
    /// Where its delivery id is.
    pub delivery_id: Ways,
    /// A delivery without such an id is known by its body.
    pub known_by_body: bool,
    /// Where the kind of its event is.
    pub kind: Ways,
    /// Whether its bodies may say which task they are about, as those of workers do.
    pub is_worker: bool,
    /// The status that it wants to hear, without a body; `None`: any success will do.
    pub status: Option<u16>,
    /// How its address is proved to be ours.
    pub handshake: Option<Handshake>,
}

impl Preset {
    /// Whether some of its bodies are forms.
    #[must_use]
    pub fn sends_forms(&self) -> bool {
        self.delivery_id.iter().chain(self.kind).flat_map(|way| *way).any(|fact| matches!(fact, Field(_)))
    }
}

/// A question that a sender asks before it sends, or now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// `{"type": "url_verification", "challenge": …}` is answered with the challenge.
    Slack,
    /// `{"event": "endpoint.url_validation", …}` is answered with a code over its token.
    Zoom,
    /// `{"type": 1}` is answered `{"type": 1}`, `{"type": 0}` with 204.
    Discord,
    /// `GET ?hub.mode=subscribe…` is answered with the challenge, if it knows the token.
    Meta,
    /// An event of validation is answered with its code.
    EventGrid,
    /// `OPTIONS` with the sender's origin is answered with consent.
    CloudEvents,
}

/// A rule for the first of `headers` that is there.
fn rule<const N: usize>(headers: [&str; N], form: Form, proof: Proof) -> Rule {
    Rule { headers: headers.map(Into::into).into(), form, proof }
}

/// What stands behind `text`.
fn behind(text: &str) -> Form {
    Form::Behind(text.into())
}

fn whole() -> Form {
    behind("")
}

fn items(separator: char, equals: char, name: &'static str) -> Form {
    Form::Items { separator, equals, name }
}

/// This text.
fn text(text: &str) -> Part {
    Part::Text(text.into())
}

/// An HMAC with SHA-256.
fn hmac<const N: usize>(encoding: Encoding, parts: [Part; N], time: Option<Time>) -> Proof {
    Proof::Hmac(Algorithm::Sha256, encoding, Signed { parts: parts.into(), time })
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// The time is in this place, and may be five minutes away.
fn time(place: TimePlace) -> Option<Time> {
    Some(Time { place, tolerance: Some(FIVE_MINUTES) })
}

fn time_in(header: &str) -> Option<Time> {
    time(TimePlace::Header(header.into()))
}

/// Standard Webhooks 1.0.0, with the headers of this prefix: `v1` with a shared secret, `v1a` with a public key.
fn standard(prefix: &str) -> [Rule; 2] {
    let header = |name: &str| format!("{prefix}-{name}");
    let parts = [Part::Header(header("id")), text("."), Part::Time, text("."), Part::Body];
    let signed = Signed { parts: parts.into(), time: time_in(&header("timestamp")) };
    let signature = header("signature");
    [
        rule(
            [&signature],
            items(' ', ',', "v1"),
            Proof::Hmac(Algorithm::Sha256, Encoding::Base64, signed.clone()),
        ),
        rule([&signature], items(' ', ',', "v1a"), Proof::Ed25519(Encoding::Base64, signed)),
    ]
}

/// `sha256=` and the code of the body: GitHub's, which others have taken over.
fn hub(header: &str) -> Rule {
    rule([header], behind("sha256="), hmac(Encoding::Hex, [Part::Body], None))
}

/// The secret itself, as a bearer token (RFC 6750).
fn bearer() -> Rule {
    rule(["authorization"], behind("Bearer "), Proof::Token)
}

/// What workers send: the default mapping holds, and `webhook-id` or a CloudEvent's id is the delivery's.
fn worker(name: &'static str, rules: impl Into<Vec<Rule>>, keys: &'static [KeyForm]) -> Preset {
    Preset { is_worker: true, keys, ..sender(name, rules, &[], &[]) }
}

/// What a provider sends.
fn sender(name: &'static str, rules: impl Into<Vec<Rule>>, delivery_id: Ways, kind: Ways) -> Preset {
    Preset {
        name,
        rules: rules.into(),
        keys: &[KeyForm::Text],
        delivery_id,
        known_by_body: false,
        kind,
        is_worker: false,
        status: None,
        handshake: None,
    }
}

/// All of them, by name.
pub static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    vec![
        // Event Grid signs nothing: its subscriptions carry a secret, as a header or in the URL.
        Preset {
            handshake: Some(Handshake::EventGrid),
            ..sender(
                "azure-event-grid",
                [bearer()],
                &[&[Body(&["id"])]],
                &[&[Body(&["eventType"])], &[Body(&["type"])]],
            )
        },
        worker("basic", [rule(["authorization"], behind("Basic "), Proof::Basic)], &[KeyForm::Pair]),
        worker("bearer", [bearer()], &[KeyForm::Text]),
        // support.atlassian.com, "Manage webhooks": the header of GitHub's old scheme, with another hash.
        sender(
            "bitbucket",
            [hub("x-hub-signature")],
            &[&[Header("x-request-uuid")], &[Header("x-request-id")]],
            &[&[Header("x-event-key")]],
        ),
        Preset {
            handshake: Some(Handshake::CloudEvents),
            ..worker("cloudevents", [bearer()], &[KeyForm::Text])
        },
        // discord.com/developers, "Validating Security Request Headers".
        Preset {
            keys: &[KeyForm::Public],
            status: Some(204),
            handshake: Some(Handshake::Discord),
            ..sender(
                "discord",
                [rule(
                    ["x-signature-ed25519"],
                    whole(),
                    Proof::Ed25519(
                        Encoding::Hex,
                        Signed {
                            parts: vec![Part::Time, Part::Body],
                            time: time_in("x-signature-timestamp"),
                        },
                    ),
                )],
                &[&[Body(&["id"])]],
                &[&[Body(&["event", "type"])], &[Body(&["type"])]],
            )
        },
        // docs.github.com, "Validating webhook deliveries".
        sender(
            "github",
            [hub("x-hub-signature-256")],
            &[&[Header("x-github-delivery")]],
            &[&[Header("x-github-event"), Body(&["action"])], &[Header("x-github-event")]],
        ),
        // docs.gitlab.com, "Webhooks": the secret itself; with a signing token, Standard Webhooks.
        Preset {
            keys: &[KeyForm::Standard, KeyForm::Text],
            ..sender(
                "gitlab",
                [standard("webhook").into(), vec![rule(["x-gitlab-token"], whole(), Proof::Token)]].concat(),
                &[&[Header("webhook-id")], &[Header("idempotency-key")], &[Header("x-gitlab-event-uuid")]],
                &[&[Header("x-gitlab-event")], &[Body(&["object_kind"])]],
            )
        },
        // linear.app/developers/webhooks: the time is in the body, in milliseconds.
        sender(
            "linear",
            [rule(
                ["linear-signature"],
                whole(),
                hmac(
                    Encoding::Hex,
                    [Part::Body],
                    Some(Time {
                        place: TimePlace::Body(&["webhookTimestamp"]),
                        tolerance: Some(Duration::from_secs(60)),
                    }),
                ),
            )],
            &[&[Header("linear-delivery")]],
            &[&[Body(&["type"]), Body(&["action"])], &[Header("linear-event")]],
        ),
        // developers.facebook.com, "Webhooks from Meta": no id of a delivery.
        Preset {
            known_by_body: true,
            handshake: Some(Handshake::Meta),
            ..sender("meta", [hub("x-hub-signature-256")], &[], &[&[Body(&["object"])]])
        },
        // developer.paddle.com, "Verify webhook signatures". The SDKs tolerate 5 s or everything; this survives a queue.
        sender(
            "paddle",
            [rule(
                ["paddle-signature"],
                items(';', '=', "h1"),
                hmac(Encoding::Hex, [Part::Time, text(":"), Part::Body], time(TimePlace::Item("ts"))),
            )],
            &[&[Body(&["notification_id"])], &[Body(&["event_id"])]],
            &[&[Body(&["event_type"])]],
        ),
        // developer.pagerduty.com, "Verifying signatures".
        sender(
            "pagerduty",
            [rule(["x-pagerduty-signature"], items(',', '=', "v1"), hmac(Encoding::Hex, [Part::Body], None))],
            &[&[Body(&["event", "id"])], &[Header("x-webhook-id")]],
            &[&[Body(&["event", "event_type"])]],
        ),
        // shopify.dev, "Verify deliveries": an older and a newer product, with one rule.
        sender(
            "shopify",
            [rule(
                ["x-shopify-hmac-sha256", "shopify-hmac-sha256"],
                whole(),
                hmac(Encoding::Base64, [Part::Body], None),
            )],
            &[&[Header("x-shopify-webhook-id")], &[Header("shopify-webhook-id")]],
            &[&[Header("x-shopify-topic")], &[Header("shopify-topic")]],
        ),
        // api.slack.com, "Verifying requests from Slack".
        Preset {
            handshake: Some(Handshake::Slack),
            ..sender(
                "slack",
                [rule(["x-slack-signature"], behind("v0="), version_0("x-slack-request-timestamp"))],
                &[&[Body(&["event_id"])], &[Field("trigger_id")]],
                &[&[Body(&["event", "type"])], &[Body(&["type"])], &[Field("command")]],
            )
        },
        // developer.squareup.com, "Verify and validate an event notification".
        sender(
            "square",
            [rule(
                ["x-square-hmacsha256-signature"],
                whole(),
                hmac(Encoding::Base64, [Part::Url, Part::Body], None),
            )],
            &[&[Body(&["event_id"])]],
            &[&[Body(&["type"])]],
        ),
        worker(
            "standard-webhooks",
            [standard("webhook"), standard("svix")].concat(),
            &[KeyForm::Standard, KeyForm::Public],
        ),
        // docs.stripe.com, "Verify webhook signatures manually": the key is the whole text, `whsec_` with it.
        sender(
            "stripe",
            [rule(
                ["stripe-signature"],
                items(',', '=', "v1"),
                hmac(Encoding::Hex, [Part::Time, text("."), Part::Body], time(TimePlace::Item("t"))),
            )],
            &[&[Body(&["id"])]],
            &[&[Body(&["type"])]],
        ),
        // twilio.com/docs/usage/webhooks/webhooks-security.
        sender(
            "twilio",
            [rule(
                ["x-twilio-signature"],
                whole(),
                Proof::Hmac(
                    Algorithm::Sha1,
                    Encoding::Base64,
                    Signed { parts: vec![Part::Url, Part::SortedForm], time: None },
                ),
            )],
            &[
                &[Header("i-twilio-idempotency-token")],
                &[Field("MessageSid"), Field("MessageStatus")],
                &[Field("CallSid"), Field("CallStatus")],
                &[Field("MessageSid")],
            ],
            &[&[Field("MessageStatus")], &[Field("CallStatus")], &[Field("SmsStatus")]],
        ),
        // developers.zoom.us, "Using webhooks": no id of a delivery; its time is in the body.
        Preset {
            known_by_body: true,
            handshake: Some(Handshake::Zoom),
            ..sender(
                "zoom",
                [rule(["x-zm-signature"], behind("v0="), version_0("x-zm-request-timestamp"))],
                &[],
                &[&[Body(&["event"])]],
            )
        },
    ]
});

/// `v0:` and the time, `:` and the body: Slack's, which Zoom has taken over.
fn version_0(time: &str) -> Proof {
    hmac(Encoding::Hex, [text("v0:"), Part::Time, text(":"), Part::Body], time_in(time))
}

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
