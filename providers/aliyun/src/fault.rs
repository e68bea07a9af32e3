//! What the cloud's error codes mean, and what a person can do about them.

use std::fmt::Write as _;
use std::time::Duration;

use providers::Class;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::wire::nullable;

/// The fields that every reply may carry; `Code` is there when the call failed.
///
/// Some products write the keys with a small first letter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Fault {
    #[serde(alias = "requestId", deserialize_with = "nullable")]
    pub(crate) request_id: String,
    #[serde(alias = "code", deserialize_with = "nullable")]
    pub(crate) code: Value,
    #[serde(alias = "message", deserialize_with = "nullable")]
    pub(crate) message: Value,
    #[serde(alias = "accessDeniedDetail", deserialize_with = "nullable")]
    pub(crate) access_denied_detail: Value,
}

impl Fault {
    /// Returns the error code, if the reply reports a failure.
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_str().filter(|code| !code.is_empty())
    }

    /// Returns the cloud's own words on one line, cut where they get long.
    pub(crate) fn words(&self) -> String {
        // Long enough for every message that the vendor documents.
        const LONGEST: usize = 500;
        let text = self.message.as_str().unwrap_or_default();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Returns who was refused what, as far as the cloud tells.
    pub(crate) fn denied_detail(&self) -> String {
        let mut text = String::new();
        // The rest (an encoded diagnosis) is of no use to a reader.
        for key in
            ["AuthAction", "AuthPrincipalType", "AuthPrincipalDisplayName", "NoPermissionType", "PolicyType"]
        {
            if let Some(value) =
                self.access_denied_detail.get(key).and_then(Value::as_str).filter(|v| !v.is_empty())
            {
                let separator = if text.is_empty() { "" } else { ", " };
                let _ = write!(text, "{separator}{key} {value}");
            }
        }
        text
    }
}

/// Returns the class of an error code.
///
/// By the code alone: the HTTP status of one code differs between actions and over time. A code that nobody has seen
/// counts as transient, for then the caller keeps what it has and comes back.
pub(crate) fn class(code: &str) -> Class {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| code.starts_with(prefix));
    if code.starts_with("Throttling") {
        Class::Throttled
    } else if is_credential(code) || is_clock(code) || is_permission(code) {
        Class::Denied
    } else if begins(&["InvalidRegionId", "InvalidVpcId", "InvalidVpcID", "InvalidAction", "InvalidVersion"])
    {
        Class::Invalid
    } else if code.ends_with(".NotFound") {
        Class::NotFound
    } else if begins(&["InvalidOperation", "InvalidStatus"]) {
        // Another change is running on the same thing.
        Class::Transient
    } else if begins(&["Invalid", "Missing", "Unsupported", "IdempotentParameterMismatch"]) {
        Class::Invalid
    } else {
        Class::Transient
    }
}

/// Tells whether a code means that temporary credentials may be used up, so that fresh ones could help.
pub(crate) fn is_stale_credential(code: &str) -> bool {
    code.starts_with("InvalidSecurityToken") || code.starts_with("InvalidAccessKeyId")
}

fn is_credential(code: &str) -> bool {
    [
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "AuthenticationFail",
    ]
    .iter()
    .any(|prefix| code.starts_with(prefix))
        || code.starts_with("EntityNotExist")
}

fn is_clock(code: &str) -> bool {
    code.starts_with("InvalidTimeStamp") || code.starts_with("IllegalTimestamp")
}

/// The two misspellings are the vendor's, on its IPv6 actions.
fn is_permission(code: &str) -> bool {
    ["Forbidden", "Forbedden", "Forbbiden", "NoPermission"].iter().any(|prefix| code.starts_with(prefix))
}

/// What an [`advice`] is about.
pub(crate) struct Circumstance<'a> {
    /// The RAM action to allow, like `ecs:DescribeNetworkInterfaces`.
    pub(crate) ram_action: &'a str,
    /// Where the credentials came from and which key they are, the key masked.
    pub(crate) identity: &'a str,
    /// How many seconds this machine's clock is ahead of the cloud's, when the reply had a date.
    pub(crate) clock_ahead: Option<i64>,
}

/// Returns what to do about a code, or nothing when only waiting helps.
pub(crate) fn advice(code: &str, circumstance: &Circumstance<'_>) -> String {
    let Circumstance { ram_action, identity, clock_ahead } = circumstance;
    if is_clock(code) {
        let skew = match clock_ahead {
            Some(0) | None => String::new(),
            Some(seconds) if *seconds > 0 => format!(" (it is {seconds} s ahead of the cloud's)"),
            Some(seconds) => format!(" (it is {} s behind the cloud's)", seconds.unsigned_abs()),
        };
        format!("set this machine's clock{skew}: the cloud accepts 15 minutes of difference")
    } else if is_permission(code) {
        format!("allow the RAM action {ram_action} to {identity}")
    } else if code.starts_with("InvalidAccessKeyId") {
        format!("the cloud does not know the access key of {identity}, or it is disabled: check it")
    } else if code.starts_with("SignatureDoesNotMatch") || code.starts_with("IncompleteSignature") {
        format!("the access key secret of {identity} does not belong to its key: check it")
    } else if code.starts_with("InvalidSecurityToken") {
        format!("the security token of {identity} is expired or is not of this key: renew it")
    } else if code.starts_with("AuthenticationFail") || code.starts_with("EntityNotExist") {
        format!("check that the role, its OIDC provider and its trust policy fit {identity}")
    } else if code.starts_with("InvalidRegionId") {
        "check `region` in the configuration".to_owned()
    } else if code.starts_with("InvalidVpcI") {
        "check `vpcID` and `region` in the configuration".to_owned()
    } else {
        String::new()
    }
}

/// Returns how long the cloud asks a throttled caller to wait: `x-acs-retry-after` in milliseconds, or `TimeLeft`,
/// also in milliseconds, of the rate limit headers.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = text("x-acs-retry-after").and_then(|value| value.trim().parse().ok());
    let left = || {
        ["x-ratelimit-user-api", "x-ratelimit-user"].iter().filter_map(|name| text(name)).find_map(|value| {
            value.split(',').find_map(|part| part.trim().strip_prefix("TimeLeft:")?.trim().parse().ok())
        })
    };
    plain.or_else(left).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_the_class() {
        for (code, expected) in [
            ("Throttling", Class::Throttled),
            ("Throttling.User", Class::Throttled),
            ("ServiceUnavailable", Class::Transient),
            ("InternalError", Class::Transient),
            ("Operation.Conflict", Class::Transient),
            ("InvalidOperation.Conflict", Class::Transient),
            ("SignatureNonceUsed", Class::Transient),
            ("NeverHeardOf.It", Class::Transient),
            ("Forbidden.RAM", Class::Denied),
            ("Forbedden.NotSupportRAM", Class::Denied),
            ("Forbbiden.SubUser", Class::Denied),
            ("NoPermission", Class::Denied),
            ("InvalidAccessKeyId.NotFound", Class::Denied),
            ("InvalidSecurityToken.Expired", Class::Denied),
            ("SignatureDoesNotMatch", Class::Denied),
            ("InvalidTimeStamp.Expired", Class::Denied),
            ("AuthenticationFail.OIDCToken.Expired", Class::Denied),
            ("EntityNotExist.Role", Class::Denied),
            ("InvalidRegionId.NotFound", Class::Invalid),
            ("InvalidParameter", Class::Invalid),
            ("MissingParameter", Class::Invalid),
            ("InvalidEniId.NotFound", Class::NotFound),
            ("InvalidInstanceId.NotFound", Class::NotFound),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }

    #[test]
    fn both_throttle_headers_are_understood() {
        let headers = |name: &'static str, value: &'static str| {
            [(reqwest::header::HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect()
        };
        let wait = |name, value| retry_after(&headers(name, value));
        assert_eq!(wait("x-acs-retry-after", "1500"), Some(Duration::from_millis(1500)));
        let rate = "Limit:1,Remain:0,TimeLeft:2000,Reset:1234";
        assert_eq!(wait("x-ratelimit-user-api", rate), Some(Duration::from_secs(2)));
        assert_eq!(wait("x-ratelimit-user", rate), Some(Duration::from_secs(2)));
        assert_eq!(wait("x-acs-retry-after", "soon"), None);
    }

    #[test]
    fn the_message_is_one_line_of_bounded_length() {
        let fault = Fault { message: Value::from(format!("a\n b {}", "x".repeat(900))), ..Fault::default() };
        assert!(fault.words().starts_with("a b xxx") && fault.words().chars().count() == 501);
    }

    #[test]
    fn keys_with_a_small_first_letter_are_read_too() {
        let text = r#"{"requestId":"r","code":"Forbidden.RAM","message":"m","accessDeniedDetail":{"AuthAction":"a:b"}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!((fault.code(), fault.request_id.as_str()), (Some("Forbidden.RAM"), "r"));
        assert_eq!(fault.denied_detail(), "AuthAction a:b");
    }
}
