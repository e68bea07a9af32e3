//! `AssumeRoleWithOIDC`: a service account's token in, a temporary credential out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::clock::iso;
use super::cloud::Cloud;
use super::parameters::{Parameters, invalid};
use super::refusal::Refusal;

/// The roles that may be assumed.
#[derive(Debug)]
pub struct Sts {
    trusts: BTreeSet<(String, String)>,
    tokens: BTreeSet<String>,
    expired: BTreeSet<String>,
    /// How long a credential lasts that asks for longer; the role's maximum session.
    pub longest: Duration,
    /// When set, how long every credential lasts, whatever the call asks for.
    pub lasts: Option<Duration>,
}

impl Default for Sts {
    fn default() -> Self {
        Self {
            trusts: BTreeSet::new(),
            tokens: BTreeSet::new(),
            expired: BTreeSet::new(),
            longest: Duration::from_hours(1),
            lasts: None,
        }
    }
}

impl Sts {
    /// Lets a role be assumed by whoever holds a token of this OIDC provider.
    pub fn trust(&mut self, role_arn: impl Into<String>, provider_arn: impl Into<String>) {
        self.trusts.insert((role_arn.into(), provider_arn.into()));
    }

    /// Accepts a token from now on.
    pub fn accept_token(&mut self, token: impl Into<String>) {
        self.tokens.insert(token.into());
    }

    /// Answers `AuthenticationFail.OIDCToken.Expired` to a token that was accepted before, as after its rotation.
    pub fn expire_token(&mut self, token: &str) {
        if let Some(token) = self.tokens.take(token) {
            self.expired.insert(token);
        }
    }
}

pub(crate) fn assume_role(cloud: &mut Cloud, parameters: &Parameters) -> Result<Map<String, Value>, Refusal> {
    let role = parameters.required("RoleArn")?;
    let provider = parameters.required("OIDCProviderArn")?;
    let token = parameters.required("OIDCToken")?;
    let session = parameters.required("RoleSessionName")?;
    let shaped = |c: char| c.is_ascii_alphanumeric() || ".@_-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(shaped) {
        return Err(invalid("RoleSessionName", session));
    }
    if !(4..=20_000).contains(&token.len()) {
        return Err(invalid("OIDCToken", "(not shown)"));
    }
    let longest = usize::try_from(cloud.sts.longest.as_secs()).unwrap_or(usize::MAX);
    let seconds = parameters.number("DurationSeconds", 900..=longest.max(900))?.unwrap_or(3_600.min(longest));
    let sts = &cloud.sts;
    if !sts.trusts.iter().any(|(known, _)| known == role) {
        return Err(Refusal::new("EntityNotExist.Role", format!("The role {role} does not exist.")));
    }
    if !sts.trusts.contains(&(role.to_owned(), provider.to_owned())) {
        return Err(Refusal::new(
            "AuthenticationFail.NoPermission",
            "This operation is forbidden by permission system: the role does not trust the provider.",
        ));
    }
    if sts.expired.contains(token) {
        return Err(Refusal::new("AuthenticationFail.OIDCToken.Expired", "The OIDC token is expired."));
    }
    if !sts.tokens.contains(token) {
        return Err(Refusal::new("AuthenticationFail.OIDCToken.Invalid", "The OIDC token is not valid."));
    }
    let now = cloud.clock.now();
    let lasts = sts.lasts.unwrap_or(Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX)));
    let credential = cloud.keys.mint(now, lasts);
    let name = role.rsplit('/').next().unwrap_or_default();
    let account = cloud.account;
    let Value::Object(reply) = json!({
        "OIDCTokenInfo": {
            "Subject": "system:serviceaccount:kube-system:spiderpool",
            "Issuer": "https://oidc.example/simulated",
            "ClientIds": "sts.aliyuncs.com",
            "ExpirationTime": iso(credential.expires),
            "IssuanceTime": iso(now),
            "VerificationInfo": "Success",
        },
        "AssumedRoleUser": {
            "Arn": format!("acs:ram::{account}:role/{name}/{session}"),
            "AssumedRoleId": format!("300000000000000000:{session}"),
        },
        "Credentials": {
            "AccessKeyId": credential.id,
            "AccessKeySecret": credential.secret,
            "SecurityToken": credential.token,
            "Expiration": iso(credential.expires),
        },
    }) else {
        return Ok(Map::new());
    };
    Ok(reply)
}

/// The reply in XML, which is what a caller gets who does not ask for `Format=JSON`.
pub(crate) fn xml(action: &str, reply: &Map<String, Value>) -> String {
    fn element(out: &mut String, name: &str, value: &Value) {
        // Writing to a String cannot fail.
        let _ = write!(out, "<{name}>");
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| element(out, name, value)),
            Value::String(text) => {
                let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
                out.push_str(&escaped);
            }
            other => {
                let _ = write!(out, "{other}");
            }
        }
        let _ = write!(out, "</{name}>");
    }
    let mut out = String::from("<?xml version='1.0' encoding='UTF-8'?>");
    element(&mut out, &format!("{action}Response"), &Value::Object(reply.clone()));
    out
}
