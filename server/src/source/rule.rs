//! What a proof in a request looks like: data, without code.

use std::time::Duration;

/// One way in which a request can prove where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The headers that may hold the proof, in lower case: the first that is there does.
    pub headers: Vec<String>,
    /// Where in its value.
    pub form: Form,
    /// What makes it.
    pub proof: Proof,
}

/// Where in a header's value a proof stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The whole value, behind this text.
    Behind(String),
    /// The items of a list that have this name: `t=1,v1=aa,v1=bb`. Any of them may be the one.
    Items {
        /// Between two items.
        separator: char,
        /// Between an item's name and what it says.
        equals: char,
        /// The name.
        name: &'static str,
    },
}

/// What makes a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The secret itself.
    Token,
    /// The secret, `user:password`, as HTTP's basic authentication writes it (RFC 7617).
    Basic,
    /// A code over what is signed.
    Hmac(Algorithm, Encoding, Signed),
    /// A signature over what is signed, of which the secret is the public key.
    Ed25519(Encoding, Signed),
}

/// The hash of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// For senders that know no better: as a code it still holds.
    Sha1,
    /// The usual one.
    Sha256,
    /// The long one.
    Sha512,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// In lower case.
    Hex,
    /// With padding (RFC 4648, 4).
    Base64,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// One behind the other.
    pub parts: Vec<Part>,
    /// When it was signed, where the request says so.
    pub time: Option<Time>,
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(String),
    /// The raw body.
    Body,
    /// The address that the request was sent to, as its sender knows it.
    Url,
    /// The value of this header.
    Header(String),
    /// The text of [`Signed::time`].
    Time,
    /// The fields of a form, sorted by name, each name and value with nothing in between; nothing where the body is no
    /// form. Twilio's.
    SortedForm,
}

/// When a request was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Where it says so.
    pub place: TimePlace,
    /// How far from now it may be, before and after; `None`: as far as one likes.
    pub tolerance: Option<Duration>,
}

/// Where a request says when it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimePlace {
    /// In a header.
    Header(String),
    /// In the item of this name beside the signature.
    Item(&'static str),
    /// In a member of the JSON body, which is signed as a whole.
    Body(&'static [&'static str]),
}

/// The key that a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Any text; its bytes are the key.
    Text,
    /// `user:password`.
    Pair,
    /// `whsec_` and 24 to 64 bytes in base64.
    Standard,
    /// A public key of Ed25519: 32 bytes in hex, or in base64, perhaps behind `whpk_`.
    Public,
}
