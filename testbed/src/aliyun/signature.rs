//! The V3 signature, recomputed from what arrived. Written from the protocol's description, apart from any client.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// The only algorithm that is served.
const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The three parts of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The access key id.
    pub credential: String,
    /// Lower-case header names in the order in which the client signed them.
    pub signed_headers: Vec<String>,
    /// Lower-case hex.
    pub signature: String,
}

impl Authorization {
    /// Reads the header's text.
    ///
    /// # Errors
    /// `IncompleteSignature` when the algorithm or one of the three parts is missing.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let incomplete = || {
            Refusal::new(
                "IncompleteSignature",
                "The request signature does not conform to Alibaba Cloud standards.",
            )
        };
        let rest =
            text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(incomplete)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.split_once('=').ok_or_else(incomplete)? {
                ("Credential", value) => credential = Some(value.to_owned()),
                ("SignedHeaders", value) => {
                    signed_headers = Some(value.split(';').map(str::to_owned).collect());
                }
                ("Signature", value) => signature = Some(value.to_owned()),
                _ => return Err(incomplete()),
            }
        }
        Ok(Self {
            credential: credential.ok_or_else(incomplete)?,
            signed_headers: signed_headers.ok_or_else(incomplete)?,
            signature: signature.ok_or_else(incomplete)?,
        })
    }
}

/// What the signature covers, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The decoded query pairs, in any order.
    pub query: &'a [(String, String)],
    /// Every header, in the order of arrival, names in any case.
    pub headers: &'a [(String, String)],
    /// The text of `x-acs-content-sha256`.
    pub payload_hash: &'a str,
}

impl Signed<'_> {
    /// Returns the text that the client must have signed when it signed these headers.
    #[must_use]
    pub fn string_to_sign(&self, signed_headers: &[String]) -> String {
        let mut pairs: Vec<&(String, String)> = self.query.iter().collect();
        pairs.sort();
        let query: Vec<String> =
            pairs.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let mut canonical = format!("{}\n{}\n{}\n", self.method, self.path, query.join("&"));
        for name in signed_headers {
            let mut values: Vec<&str> = self
                .headers
                .iter()
                .filter(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
                .collect();
            values.sort_unstable();
            canonical.extend([name, ":", &values.join(","), "\n"]);
        }
        canonical.extend(["\n", &signed_headers.join(";"), "\n", self.payload_hash]);
        format!("{ALGORITHM}\n{}", hash(canonical.as_bytes()))
    }

    /// Checks the signature against a secret.
    ///
    /// # Errors
    /// `IncompleteSignature` when a header that must be signed is not, `SignatureDoesNotMatch` with the server's own
    /// text to sign otherwise.
    pub fn verify(&self, given: &Authorization, secret: &str) -> Result<(), Refusal> {
        for (name, _) in self.headers {
            let name = name.to_ascii_lowercase();
            let must = name == "host" || name == "content-type" || name.starts_with("x-acs-");
            if must && !given.signed_headers.contains(&name) {
                return Err(Refusal::new(
                    "IncompleteSignature",
                    format!("The request signature does not cover the header {name}, which was sent."),
                ));
            }
        }
        let text = self.string_to_sign(&given.signed_headers);
        if sign(&text, secret) == given.signature {
            return Ok(());
        }
        Err(Refusal::new(
            "SignatureDoesNotMatch",
            format!(
                "Specified signature is not matched with our calculation. server string to sign is:{}",
                text.replace('\n', "\\n")
            ),
        ))
    }
}

/// Returns lower-case hex of the HMAC-SHA256 of a text.
#[must_use]
pub fn sign(text: &str, secret: &str) -> String {
    // HMAC takes a key of any length, so the constructor cannot refuse; an empty result would match no signature.
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mut mac| {
            mac.update(text.as_bytes());
            hex(&mac.finalize().into_bytes())
        })
        .unwrap_or_default()
}

/// Returns lower-case hex of the SHA-256 of some bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 3986: letters, digits and `-_.~` stay, every other byte becomes `%XX`.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
