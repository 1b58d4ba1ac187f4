//! Proofs that others have been taken in by, at the webhooks of four schemes: a row for each, with what the answer is
//! and what the stored event says. The sender is told one and the same thing, whatever is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::binary::process::{RealServer, taskhook};
use crate::support::Answer;

/// How far a signature's time may be away.
const TOLERANCE: i64 = 300;
/// Seconds that a busy machine may take for a request.
const LATE: i64 = 10;

/// A scheme, with what of it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Standard,
    GitHub,
    Stripe,
    Slack,
}

use Scheme::{GitHub, Slack, Standard, Stripe};

/// A request with a proof.
#[derive(Debug, Clone)]
struct Made {
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Made {
    /// With another value of a header.
    fn with(&self, name: &'static str, value: &str) -> Made {
        let mut made = self.without(name);
        made.headers.push((name, value.into()));
        made
    }

    /// With one more header.
    fn and(&self, name: &'static str, value: &str) -> Made {
        let mut made = self.clone();
        made.headers.push((name, value.into()));
        made
    }

    fn without(&self, name: &str) -> Made {
        let headers = self.headers.iter().filter(|(other, _)| *other != name).cloned().collect();
        Made { headers, body: self.body.clone() }
    }

    fn says(&self, body: &str) -> Made {
        Made { headers: self.headers.clone(), body: body.into() }
    }

    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(other, _)| *other == name);
        found.expect("the header").1.clone()
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Standard => "standard-webhooks",
            GitHub => "github",
            Stripe => "stripe",
            Slack => "slack",
        }
    }

    fn secret(self) -> &'static str {
        if self == Standard { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" } else { "a secret of some length" }
    }

    fn other_secret(self) -> &'static str {
        if self == Standard {
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
        } else {
            "another secret of some length"
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Standard => "webhook-signature",
            GitHub => "x-hub-signature-256",
            Stripe => "stripe-signature",
            Slack => "x-slack-signature",
        }
    }

    /// What an event with this id says, in as few bytes as it can be said.
    fn body(self, id: &str) -> String {
        match self {
            Standard => json!({"event": "x", "n": [1, 2]}),
            GitHub => json!({"action": "opened", "n": [1, 2]}),
            Stripe => json!({"id": id, "type": "invoice.paid"}),
            Slack => json!({"event_id": id, "type": "event_callback", "event": {"type": "message"}}),
        }
        .to_string()
    }

    /// The code over a body, by a secret's text.
    fn code(self, secret: &str, time: &str, id: &str, body: &str) -> String {
        let key = match self {
            Standard => STANDARD.decode(secret.strip_prefix("whsec_").expect("whsec_")).expect("base64"),
            _ => secret.as_bytes().to_vec(),
        };
        let signed = match self {
            Standard => format!("{id}.{time}.{body}"),
            GitHub => body.to_string(),
            Stripe => format!("{time}.{body}"),
            Slack => format!("v0:{time}:{body}"),
        };
        let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
        if self == Standard { STANDARD.encode(code) } else { hex::encode(code) }
    }

    /// The value of the header that holds this code.
    fn value(self, time: &str, code: &str) -> String {
        match self {
            Standard => format!("v1,{code}"),
            GitHub => format!("sha256={code}"),
            Stripe => format!("t={time},v1={code}"),
            Slack => format!("v0={code}"),
        }
    }

    fn signed_by(self, secret: &str, time: &str, id: &str, body: &str) -> Made {
        let value = self.value(time, &self.code(secret, time, id, body));
        let mut headers = vec![(self.signature(), value)];
        match self {
            Standard => headers.extend([("webhook-id", id.into()), ("webhook-timestamp", time.into())]),
            GitHub => headers.extend([("x-github-delivery", id.into()), ("x-github-event", "issues".into())]),
            Stripe => {}
            Slack => headers.push(("x-slack-request-timestamp", time.into())),
        }
        Made { headers, body: body.into() }
    }

    /// What this scheme's sender sends, signed at this time.
    fn signed(self, time: &str, id: &str) -> Made {
        self.signed_by(self.secret(), time, id, &self.body(id))
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Becomes {
    Taken,
    /// Refused, for a reason with these words.
    Refused(&'static str),
}

use Becomes::{Refused, Taken};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_secs()).expect("it is before the end of time")
}

/// A source of this scheme at a server of its own: a server keeps fifty refused requests at once.
struct Door {
    server: RealServer,
    scheme: Scheme,
}

impl Door {
    async fn open(scheme: Scheme) -> Door {
        let door = Door { server: RealServer::start().await, scheme };
        door.put(&[scheme.secret()]).await.expect(201);
        door
    }

    async fn put(&self, secrets: &[&str]) -> Answer {
        let source = json!({"verify": {"scheme": self.scheme.name(), "secrets": secrets}});
        self.server.send("PUT", "/v1/sources/s", &[], source.to_string()).await
    }

    async fn send(&self, made: &Made) -> Answer {
        let headers: Vec<(&str, &str)> =
            made.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.server.send("POST", "/webhook/s", &headers, made.body.clone()).await
    }

    async fn events(&self, filter: &str) -> Vec<Value> {
        let events = self.server.get(&format!("/v1/events?source=s&limit=1000{filter}")).await.expect(200);
        events["data"].as_array().expect("a list").clone()
    }

    async fn check(&self, name: &str, made: &Made, becomes: Becomes) {
        let row = format!("{}, {name}", self.scheme.name());
        let before = self.events("&outcome=rejected").await.len();
        let answer = self.send(made).await;
        let kept = self.events("&outcome=rejected").await;
        match becomes {
            Taken => {
                assert_eq!(answer.status, 200, "{row}: {} {kept:?}", answer.text());
                assert_eq!(answer.json()["outcome"], "recorded", "{row}");
                assert_eq!(kept.len(), before, "{row}");
            }
            Refused(words) => {
                assert_eq!(answer.status, 401, "{row}: {}", answer.text());
                let problem = answer.problem(401, "unauthorized");
                assert_eq!(problem["detail"], "signature does not verify", "{row}");
                assert_eq!(problem["errors"], Value::Null, "{row}: {problem}");
                assert_eq!(kept.len(), before + 1, "{row}");
                let reason = kept[0]["reason"].as_str().expect("a reason");
                assert!(reason.contains(words), "{row}: {reason}");
                assert!(!answer.text().contains(reason), "{row}: {}", answer.text());
                assert!(!reason.contains(self.scheme.secret()), "{row}: {reason}");
            }
        }
    }
}

/// A request with a name, and what becomes of it.
type Row = (&'static str, Made, Becomes);

const NONE_OF_THEM: Becomes = Refused("was made by none of them");

/// Proofs that are none, by how they are written.
fn malformed(scheme: Scheme) -> Vec<Row> {
    let time = now().to_string();
    let right = scheme.signed(&time, "id-1");
    let name = scheme.signature();
    let code = scheme.code(scheme.secret(), &time, "id-1", &right.body);
    let with = |value: &str| right.with(name, value);
    let coded = |code: &str| right.with(name, &scheme.value(&time, code));
    let wrong = scheme.value(&time, "AAAA");
    let mut other_spelling = code.to_uppercase();
    if scheme == Standard {
        other_spelling = code.replace('+', "-").replace('/', "_").trim_end_matches('=').to_string();
    }
    let not_its_form = not_its_form(scheme);
    let (half, more) = (&code[..code.len() / 2], &code[code.len() / 2..]);
    let version = |of: [&str; 4]| match scheme {
        Standard => format!("{},{code}", of[0]),
        GitHub => format!("{}={code}", of[1]),
        Stripe => format!("t={time},{}={code}", of[2]),
        Slack => format!("{}={code}", of[3]),
    };
    let mut rows = vec![
        ("no signature", right.without(name), Refused("it has no header")),
        ("an empty header", with(""), Refused("is empty, is there twice")),
        ("the right and a wrong header", right.and(name, &wrong), Refused("is there twice")),
        (
            "a wrong and the right header",
            with(&wrong).and(name, &right.header(name)),
            Refused("is there twice"),
        ),
        ("the right header twice", right.and(name, &right.header(name)), Refused("is there twice")),
        ("no code", coded(""), NONE_OF_THEM),
        ("a short code", coded("AAAA"), NONE_OF_THEM),
        ("half a code", coded(half), NONE_OF_THEM),
        ("a code and more", coded(&format!("{code}A")), NONE_OF_THEM),
        ("the code twice", coded(&format!("{code}{code}")), NONE_OF_THEM),
        ("another alphabet", coded(&other_spelling), NONE_OF_THEM),
        ("a space in the code", coded(&format!("{half} {more}")), NONE_OF_THEM),
        ("a tab in the code", coded(&format!("{half}\t{more}")), NONE_OF_THEM),
        ("a space before the code", coded(&format!(" {code}")), NONE_OF_THEM),
        ("the code alone", with(&code), not_its_form),
        ("another version", with(&version(["v2", "sha1", "v0", "v1"])), not_its_form),
        ("the version in capitals", with(&version(["V1", "SHA256", "V1", "V0"])), not_its_form),
        (
            "quotes around it",
            with(&format!("\"{}\"", right.header(name))),
            if scheme == Stripe { Refused("does not say once when it was made") } else { not_its_form },
        ),
        ("another secret", scheme.signed_by(scheme.other_secret(), &time, "id-1", &right.body), NONE_OF_THEM),
        match scheme {
            // It is not in what GitHub signs.
            GitHub => ("the code of another id", right.with("x-github-delivery", "id-other"), Taken),
            Standard => ("the code of another id", right.with("webhook-id", "id-other"), NONE_OF_THEM),
            Stripe | Slack => ("the code of another id", right.says(&scheme.body("id-other")), NONE_OF_THEM),
        },
        ("the code of JSON written anew", right.says(&right.body.replace(':', ": ")), NONE_OF_THEM),
        ("a byte behind the body", right.says(&format!("{}\n", right.body)), NONE_OF_THEM),
        ("no body", right.says(""), NONE_OF_THEM),
    ];
    rows.extend(secret_with_a_break(scheme, &time, &right));
    rows
}

fn not_its_form(scheme: Scheme) -> Becomes {
    Refused(match scheme {
        Standard => "holds no v1,",
        Stripe => "holds no v1=",
        GitHub => "does not begin with \"sha256=\"",
        Slack => "does not begin with \"v0=\"",
    })
}

/// The secret of Standard Webhooks is base64, which has no line breaks.
fn secret_with_a_break(scheme: Scheme, time: &str, right: &Made) -> Option<Row> {
    (scheme != Standard).then(|| {
        let with_break = format!("{}\n", scheme.secret());
        let made = scheme.signed_by(&with_break, time, "id-1", &right.body);
        ("the secret with a line break", made, NONE_OF_THEM)
    })
}

/// Several proofs in one header. Where it may hold more than one, some are fine.
fn several(scheme: Scheme) -> Vec<Row> {
    let time = now().to_string();
    let right = scheme.signed(&time, "id-1");
    let name = scheme.signature();
    let wrong = scheme.value(&time, "AAAA");
    let with = |value: &str| right.with(name, value);
    let thousand = match scheme {
        Standard => format!("{}{}", "v1,AAAA ".repeat(1_000), right.header(name)),
        Stripe => format!("{}{}", "v1=AAAA,".repeat(1_000), right.header(name)),
        GitHub | Slack => format!("{wrong},").repeat(1_000) + &right.header(name),
    };
    let one = right.header(name);
    let (refused, few) = match scheme {
        Standard | Stripe => (Refused("holds more than 16 signatures"), Taken),
        GitHub | Slack => (NONE_OF_THEM, NONE_OF_THEM),
    };
    let some = match scheme {
        Standard => format!("v1,AAAA v1a,x v1, {one}"),
        Stripe => format!("{one},v1=AAAA,v0=x"),
        GitHub | Slack => format!("{wrong},{one}"),
    };
    vec![
        ("a thousand wrong ones and the right one", with(&thousand), refused),
        ("wrong ones beside the right one", with(&some), few),
    ]
}

/// Proofs of another time, all of them signed for real.
fn timed(scheme: Scheme) -> Vec<Row> {
    const NO_TIME: Becomes = Refused("is no time in seconds since 1970");
    let now = now();
    let at = |time: String| scheme.signed(&time, &format!("id-{time}"));
    let edge = TOLERANCE - LATE;
    let beyond = TOLERANCE + LATE;
    let time_header = if scheme == Slack { "x-slack-request-timestamp" } else { "webhook-timestamp" };
    let right = at(now.to_string());
    let mut rows = vec![
        ("-1", at("-1".into()), NO_TIME),
        ("0", at("0".into()), Refused("s ago, and 300 s are tolerated")),
        ("+5", at("+5".into()), NO_TIME),
        ("now with a sign", at(format!("+{now}")), NO_TIME),
        ("1e10", at("1e10".into()), NO_TIME),
        ("now with a fraction", at(format!("{now}.0")), NO_TIME),
        ("beyond every number", at("99999999999999999999".into()), NO_TIME),
        ("the year 2286", at("9999999999".into()), Refused("s from now, and 300 s are tolerated")),
        ("no number", at("now".into()), NO_TIME),
        ("almost too old", at((now - edge).to_string()), Taken),
        ("too old", at((now - beyond).to_string()), Refused("s ago, and 300 s are tolerated")),
        ("almost too far ahead", at((now + edge).to_string()), Taken),
        ("too far ahead", at((now + beyond).to_string()), Refused("s from now, and 300 s are tolerated")),
    ];
    match scheme {
        Stripe => {
            let value = right.header("stripe-signature");
            let later = format!("t={}", now - 1);
            let moved = value.replace(&format!("t={now}"), &later);
            rows.push((
                "another time than was signed",
                right.with("stripe-signature", &moved),
                Refused("was made by none"),
            ));
            rows.push((
                "two times",
                right.with("stripe-signature", &format!("{later},{value}")),
                Refused("does not say once when"),
            ));
            let without = value.replace(&format!("t={now},"), "");
            rows.push((
                "no time",
                right.with("stripe-signature", &without),
                Refused("does not say once when"),
            ));
        }
        _ => {
            let moved = right.with(time_header, &(now - 1).to_string());
            rows.push(("another time than was signed", moved, Refused("was made by none")));
            rows.push((
                "two times",
                right.and(time_header, &now.to_string()),
                Refused("says when it was signed"),
            ));
            rows.push(("no time", right.without(time_header), Refused("says when it was signed")));
        }
    }
    rows
}

async fn is_proof_against_list_a(scheme: Scheme) {
    let door = Door::open(scheme).await;
    door.check("as it should be", &scheme.signed(&now().to_string(), "id-0"), Taken).await;
    for (name, made, becomes) in malformed(scheme).into_iter().chain(several(scheme)) {
        door.check(name, &made, becomes).await;
    }
    // None of them has claimed the delivery id that it named: the rightful one is no duplicate.
    let (time, id) = (now().to_string(), "id-3");
    let right = scheme.signed(&time, id);
    door.check(
        "a wrong one first",
        &right.with(scheme.signature(), &scheme.value(&time, "AAAA")),
        Refused("none of them"),
    )
    .await;
    door.check("then the right one", &right, Taken).await;
    is_unharmed(door).await;
}

async fn knows_what_time_it_is(scheme: Scheme) {
    let door = Door::open(scheme).await;
    for (name, made, becomes) in timed(scheme) {
        door.check(name, &made, becomes).await;
    }
    is_unharmed(door).await;
}

async fn is_unharmed(door: Door) {
    let said = door.server.said();
    assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
    super::is_unharmed(door.server).await;
}

#[tokio::test]
async fn standard_webhooks_are_proof_against_list_a() {
    is_proof_against_list_a(Standard).await;
}

#[tokio::test]
async fn github_is_proof_against_list_a() {
    is_proof_against_list_a(GitHub).await;
}

#[tokio::test]
async fn stripe_is_proof_against_list_a() {
    is_proof_against_list_a(Stripe).await;
}

#[tokio::test]
async fn slack_is_proof_against_list_a() {
    is_proof_against_list_a(Slack).await;
}

#[tokio::test]
async fn what_is_signed_at_another_time_is_refused() {
    // GitHub signs no time.
    for scheme in [Standard, Stripe, Slack] {
        knows_what_time_it_is(scheme).await;
    }
}

#[tokio::test]
async fn while_secrets_rotate_both_prove_and_afterwards_one() {
    for scheme in [Standard, GitHub, Stripe, Slack] {
        let door = Door::open(scheme).await;
        let signed = |secret: &str, id: &str| {
            let time = now().to_string();
            scheme.signed_by(secret, &time, id, &scheme.body(id))
        };
        let (old, new) = (scheme.secret(), scheme.other_secret());
        door.check("the new one too early", &signed(new, "id-1"), Refused("1 secret tried")).await;
        door.put(&[new, old]).await.expect(200);
        door.check("the old one, meanwhile", &signed(old, "id-2"), Taken).await;
        door.check("the new one, meanwhile", &signed(new, "id-3"), Taken).await;
        door.put(&[new]).await.expect(200);
        door.check("the old one too late", &signed(old, "id-4"), Refused("1 secret tried")).await;
        door.check("the new one", &signed(new, "id-5"), Taken).await;
        is_unharmed(door).await;
    }
}

#[tokio::test]
async fn a_secret_with_a_line_break_is_refused_where_it_is_set_and_cut_where_it_is_a_file() {
    for scheme in [Standard, GitHub, Stripe, Slack] {
        let door = Door::open(scheme).await;
        for wrong in [format!("{}\n", scheme.other_secret()), format!("{}\r\n", scheme.other_secret())] {
            let faults = door.put(&[&wrong]).await.faults();
            assert_eq!(faults[0].0, "/verify/secrets/0", "{wrong:?}");
        }
        // Nothing of it was taken: the old one is still the one.
        door.check("the old one", &scheme.signed(&now().to_string(), "id-1"), Taken).await;
        // Editors end the last line.
        let path = door.server.folder().join("secret");
        std::fs::write(&path, format!("{}\r\n", scheme.other_secret())).expect("a file");
        let mut command = taskhook();
        command.args(["sources", "set", "s", "--url", &door.server.url, "--secret-file"]).arg(&path);
        let output = command.current_dir(door.server.folder()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let time = now().to_string();
        let made = scheme.signed_by(scheme.other_secret(), &time, "id-2", &scheme.body("id-2"));
        door.check("the one from the file", &made, Taken).await;
        is_unharmed(door).await;
    }
}

/// The delivery id decides, once it is proved: a repeat is answered 200 and does nothing, whatever else it says.
#[tokio::test]
async fn a_repeat_does_nothing_after_a_restart_either() {
    for scheme in [Standard, GitHub, Stripe, Slack] {
        let mut door = Door::open(scheme).await;
        let time = now().to_string();
        let first = scheme.signed(&time, "id-1");
        let answer = door.send(&first).await.expect(200);
        assert_eq!(answer["outcome"], "recorded", "{}", scheme.name());
        let event = answer["event_id"].clone();
        // The same id, and a body that is signed as well.
        let body = first.body.replacen('{', "{\"more\":1,", 1);
        let another = scheme.signed_by(scheme.secret(), &time, "id-1", &body);
        for again in 0..2 {
            for made in [&first, &another] {
                let answer = door.send(made).await.expect(200);
                assert_eq!(
                    (&answer["outcome"], &answer["event_id"]),
                    (&json!("duplicate"), &event),
                    "{}",
                    scheme.name()
                );
            }
            if again == 0 {
                door.server = door.server.restart().await;
            }
        }
        let events = door.events("").await;
        let outcomes: Vec<&str> =
            events.iter().map(|event| event["outcome"].as_str().expect("a word")).collect();
        assert_eq!(outcomes, ["duplicate", "duplicate", "duplicate", "duplicate", "recorded"]);
        assert!(events[..4].iter().all(|repeat| repeat["duplicate_of"] == event), "{events:?}");
        let unproved = first.with(scheme.signature(), &scheme.value(&time, "AAAA"));
        door.check("a repeat without a proof", &unproved, Refused("was made by none")).await;
        is_unharmed(door).await;
    }
}
