//! The access keys that the cloud knows, lasting ones and temporary ones, and the nonces they used.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::clock::{iso, later};
use super::refusal::Refusal;

/// How far the date of a request may be off, either way. Source: the vendor's signature page.
const SKEW: SignedDuration = SignedDuration::from_mins(15);
/// A nonce must be remembered as long as its date could still be accepted, on both sides of now.
const NONCE_LIFE: SignedDuration = SignedDuration::from_mins(31);
/// Old nonces are swept when this many are held.
const NONCE_SWEEP: usize = 65_536;

/// A temporary credential as STS and the RAM role hand it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Temporary {
    /// The access key id, `STS.…`.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// The security token that every call must carry.
    pub token: String,
    /// From then on the cloud answers `InvalidSecurityToken.Expired`.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Temporary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Temporary")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Key {
    Lasting { secret: String },
    Inactive,
    Temporary(Temporary),
}

/// The access keys of the simulated account.
#[derive(Default)]
pub struct Keys {
    held: BTreeMap<String, Key>,
    nonces: HashMap<String, Timestamp>,
    minted: u64,
}

impl Keys {
    /// Adds a lasting key.
    pub fn add(&mut self, id: impl Into<String>, secret: impl Into<String>) {
        self.held.insert(id.into(), Key::Lasting { secret: secret.into() });
    }

    /// Adds a temporary credential.
    pub fn add_temporary(&mut self, credential: Temporary) {
        self.held.insert(credential.id.clone(), Key::Temporary(credential));
    }

    /// Makes up a new temporary credential and adds it.
    pub fn mint(&mut self, now: Timestamp, lasts: Duration) -> Temporary {
        self.minted += 1;
        let n = self.minted;
        let credential = Temporary {
            id: format!("STS.NSimulated{n:012}"),
            secret: format!("simulated-secret-{n:012}"),
            token: format!("CAISsimulatedtoken/{n:012}+=="),
            expires: later(now, lasts),
        };
        self.add_temporary(credential.clone());
        credential
    }

    /// Switches a lasting key off, as an administrator would.
    pub fn deactivate(&mut self, id: &str) {
        if let Some(key @ Key::Lasting { .. }) = self.held.get_mut(id) {
            *key = Key::Inactive;
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, id: &str) {
        self.held.remove(id);
    }

    /// Returns the secret to check a signature with, after the key itself passed.
    pub(crate) fn secret(&self, id: &str, token: Option<&str>, now: Timestamp) -> Result<&str, Refusal> {
        match self.held.get(id) {
            None => Err(Refusal::new("InvalidAccessKeyId.NotFound", "Specified access key is not found.")),
            Some(Key::Inactive) => {
                Err(Refusal::new("InvalidAccessKeyId.Inactive", "Specified access key is disabled."))
            }
            Some(Key::Lasting { secret }) => match token {
                None => Ok(secret),
                Some(_) => Err(mismatch()),
            },
            Some(Key::Temporary(credential)) => match token {
                Some(token) if token == credential.token => {
                    if now >= credential.expires {
                        return Err(Refusal::new(
                            "InvalidSecurityToken.Expired",
                            "Specified SecurityToken is expired.",
                        ));
                    }
                    Ok(&credential.secret)
                }
                Some(token) if !self.is_token(token) => Err(Refusal::new(
                    "InvalidSecurityToken.Malformed",
                    "Specified SecurityToken is malformed.",
                )),
                _ => Err(mismatch()),
            },
        }
    }

    fn is_token(&self, text: &str) -> bool {
        self.held.values().any(|key| matches!(key, Key::Temporary(credential) if credential.token == text))
    }

    /// Accepts a nonce once per key.
    pub(crate) fn spend_nonce(&mut self, id: &str, nonce: &str, now: Timestamp) -> Result<(), Refusal> {
        if self.nonces.len() >= NONCE_SWEEP {
            self.nonces.retain(|_, spent| now.duration_since(*spent) < NONCE_LIFE);
        }
        let entry = format!("{id}/{nonce}");
        if self.nonces.get(&entry).is_some_and(|spent| now.duration_since(*spent) < NONCE_LIFE) {
            return Err(Refusal::new("SignatureNonceUsed", "Specified signature nonce was used already."));
        }
        self.nonces.insert(entry, now);
        Ok(())
    }
}

fn mismatch() -> Refusal {
    Refusal::new(
        "InvalidSecurityToken.MismatchWithAccessKey",
        "Specified SecurityToken mismatch with the AccessKey.",
    )
}

/// Checks the date of a request against the cloud's clock.
pub(crate) fn check_date(text: &str, now: Timestamp) -> Result<(), Refusal> {
    let shaped = text.len() == "2026-01-02T03:04:05Z".len() && text.ends_with('Z');
    let date: Timestamp = text.parse().ok().filter(|_| shaped).ok_or_else(|| {
        Refusal::new(
            "IllegalTimestamp",
            "The input parameter Timestamp that is mandatory is not well formed.",
        )
    })?;
    if now.duration_since(date).abs() > SKEW {
        return Err(Refusal::new(
            "InvalidTimeStamp.Expired",
            format!("Specified time stamp or date value is expired. The server time is {}.", iso(now)),
        ));
    }
    Ok(())
}
