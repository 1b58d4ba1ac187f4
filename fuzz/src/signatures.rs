//! Signatures: no request proves anything to a secret that its sender does not know, and none does harm.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use taskhook::source::facts;
use taskhook::source::presets::PRESETS;
use taskhook::source::rule::KeyForm;
use taskhook::source::secret::Key;
use taskhook::source::verify::{Seen, verify};
use taskhook_core::Timestamp;

/// The moment at which every request comes; times in the corpus are near it.
const AT: i64 = 1_700_000_000;

/// One secret of each form. Nothing that is guessed is one of them, nor signed with one.
static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    [
        ("7d1f0c5a9be84e0d8d0f4b7f2c1a6e93", KeyForm::Text),
        ("user:7d1f0c5a9be84e0d8d0f4b7f2c1a6e93", KeyForm::Pair),
        ("whsec_fR8MWpvoTg2ND0t/LBpuk30fDFqb6E4N", KeyForm::Standard),
        ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", KeyForm::Public),
    ]
    .map(|(text, form)| Key::parse(text, &[form]).expect("a secret"))
    .into()
});

/// Takes the first byte as a sender, the lines up to an empty one as headers, and the rest as the body.
pub fn check(data: &[u8]) {
    let Some((&sender, rest)) = data.split_first() else { return };
    let end = rest.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let preset = &PRESETS[usize::from(sender) % PRESETS.len()];
    let url = "https://hooks.example/webhook/source?a=1";
    let seen = Seen { headers: &headers, body, url, at: Timestamp::from_secs(AT) };
    let keys: Vec<Key> = KEYS.iter().filter(|key| preset.keys.contains(&key.form())).cloned().collect();
    let refused = match verify(&preset.rules, &keys, None, &seen) {
        Ok(key) => panic!("{} takes it, by secret {key}", preset.name),
        Err(refused) => refused.0,
    };
    if !preset.rules.is_empty() {
        assert!(!refused.is_empty(), "{} does not say why", preset.name);
    }
    assert!(!refused.contains("7d1f0c5a"), "{refused}");
    let _ = (facts::find(preset.delivery_id, &seen), facts::find(preset.kind, &seen));
    let _ = (facts::wrong_attribute(&headers).map(str::len), facts::fields(&headers, body));
}
