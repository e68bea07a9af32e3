//! The V3 request signature, `ACS3-HMAC-SHA256`: a pure function of the request and the secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// RFC 3986: everything but the unreserved characters is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What is signed.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// As [`canonical_query`] returns it, and as it is sent.
    pub(crate) query: &'a str,
    /// Every header that is sent; those that take part are picked here.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The value of `x-acs-content-sha256`.
    pub(crate) payload_hash: &'a str,
}

impl Request<'_> {
    /// Returns the headers that are signed (`host`, `content-type`, `x-acs-*`), by lower-case name. A header given
    /// twice has its values sorted and joined by a comma.
    fn signed_headers(&self) -> BTreeMap<String, String> {
        let mut signed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value) in self.headers {
            let name = name.to_ascii_lowercase();
            if name == "host" || name == "content-type" || name.starts_with("x-acs-") {
                signed.entry(name).or_default().push(value.trim());
            }
        }
        let join = |mut values: Vec<&str>| {
            values.sort_unstable();
            values.join(",")
        };
        signed.into_iter().map(|(name, values)| (name, join(values))).collect()
    }

    fn string_to_sign(&self, signed: &BTreeMap<String, String>, names: &str) -> String {
        let mut headers = String::new();
        for (name, value) in signed {
            let _ = writeln!(headers, "{name}:{value}");
        }
        let Self { method, path, query, payload_hash, headers: _ } = self;
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_hash}");
        format!("{ALGORITHM}\n{}", sha256_hex(canonical.as_bytes()))
    }

    /// Returns the `Authorization` header.
    pub(crate) fn authorization(&self, access_key_id: &str, secret: &Secret) -> String {
        let signed = self.signed_headers();
        let names = signed.keys().map(String::as_str).collect::<Vec<_>>().join(";");
        let signature = hmac_hex(secret.expose().as_bytes(), self.string_to_sign(&signed, &names).as_bytes());
        format!("{ALGORITHM} Credential={access_key_id},SignedHeaders={names},Signature={signature}")
    }
}

/// Returns parameters sorted by name in byte order and percent-encoded: the form that is signed, and sent.
pub(crate) fn canonical_query<K: AsRef<str>, V: AsRef<str>>(parameters: &[(K, V)]) -> String {
    let mut sorted: Vec<(&str, &str)> = parameters.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
    sorted.sort_unstable();
    let mut query = String::new();
    for (name, value) in sorted {
        let separator = if query.is_empty() { "" } else { "&" };
        let (name, value) = (utf8_percent_encode(name, RESERVED), utf8_percent_encode(value, RESERVED));
        let _ = write!(query, "{separator}{name}={value}");
    }
    query
}

/// Returns the SHA-256 of some bytes in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac_hex(key: &[u8], text: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "HMAC pads or hashes its key, so a key of any length is one")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Published by the vendor, or made with its SDKs.
    const VECTORS: &str = include_str!("../tests/data/signature-vectors.json");

    #[derive(Deserialize)]
    struct File {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        method: String,
        canonical_uri: String,
        query: BTreeMap<String, String>,
        headers: Vec<(String, String)>,
        body: Option<String>,
        payload_hash: String,
        access_key_id: String,
        access_key_secret: String,
        expect: Expect,
    }

    #[derive(Deserialize)]
    struct Expect {
        authorization: String,
        signature: String,
        string_to_sign: Option<String>,
    }

    #[test]
    fn every_vector_is_reproduced() {
        let file: File = serde_json::from_str(VECTORS).unwrap();
        assert!(file.vectors.len() >= 6);
        for vector in file.vectors {
            let query: Vec<(&String, &String)> = vector.query.iter().collect();
            let query = canonical_query(&query);
            let headers: Vec<(&str, &str)> =
                vector.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let request = Request {
                method: &vector.method,
                path: &vector.canonical_uri,
                query: &query,
                headers: &headers,
                payload_hash: &vector.payload_hash,
            };
            if let Some(body) = &vector.body {
                assert_eq!(sha256_hex(body.as_bytes()), vector.payload_hash, "{}", vector.name);
            }
            let authorization =
                request.authorization(&vector.access_key_id, &Secret::new(vector.access_key_secret));
            assert_eq!(authorization, vector.expect.authorization, "{}", vector.name);
            assert!(authorization.ends_with(&vector.expect.signature), "{}", vector.name);
            if let Some(expected) = vector.expect.string_to_sign {
                let signed = request.signed_headers();
                let names = signed.keys().map(String::as_str).collect::<Vec<_>>().join(";");
                assert_eq!(request.string_to_sign(&signed, &names), expected, "{}", vector.name);
            }
        }
    }

    #[test]
    fn parameters_are_sorted_by_bytes_and_encoded_as_rfc_3986() {
        let query = canonical_query(&[("P.2", "b"), ("P.10", "a b*~/+ü:"), ("P.1", "")]);
        assert_eq!(query, "P.1=&P.10=a%20b%2A~%2F%2B%C3%BC%3A&P.2=b");
    }

    #[test]
    fn headers_that_a_proxy_may_rewrite_are_not_signed() {
        let headers = [("host", "h"), ("accept", "a"), ("user-agent", "u"), ("x-acs-date", "d")];
        let request = Request { method: "POST", path: "/", query: "", headers: &headers, payload_hash: "" };
        let authorization = request.authorization("id", &Secret::new("s"));
        assert!(authorization.contains("SignedHeaders=host;x-acs-date,"), "{authorization}");
    }
}
