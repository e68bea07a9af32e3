//! What the cloud says when it refuses: one code, its HTTP status and a message.

/// The documented HTTP status of each error code, in one table, so that a run against a real account can correct it.
/// Source: the tables of the vendor's error codes; clients must classify by code and never by status.
const STATUS: &[(&str, u16)] = &[
    ("AuthenticationFail.NoPermission", 403),
    ("AuthenticationFail.OIDCToken.Expired", 400),
    ("AuthenticationFail.OIDCToken.Invalid", 400),
    ("EniPerInstanceLimitExceeded", 403),
    ("EntityNotExist.Role", 404),
    ("Forbidden.AccessKeyDisabled", 403),
    ("Forbidden.RAM", 403),
    ("Forbidden.SubUser", 403),
    ("Forbidden.Unauthorized", 403),
    ("IdempotentFailed", 400),
    ("IdempotentParameterMismatch", 400),
    ("IllegalTimestamp", 400),
    ("IncompleteSignature", 400),
    ("IncorrectInstanceStatus", 403),
    ("InternalError", 500),
    ("InvalidAccessKeyId.Inactive", 403),
    ("InvalidAccessKeyId.NotFound", 404),
    ("InvalidAction.NotFound", 404),
    ("InvalidEcsId.NotFound", 404),
    ("InvalidEniId.NotFound", 404),
    ("InvalidInstanceId.NotFound", 404),
    ("InvalidIp.Address", 400),
    ("InvalidIp.IpAssigned", 403),
    ("InvalidIp.IpRepeated", 403),
    ("InvalidIp.IpUnassigned", 403),
    ("InvalidOperation.AvailabilityZoneMismatch", 403),
    ("InvalidOperation.DetachPrimaryEniNotAllowed", 403),
    ("InvalidOperation.InvalidEcsState", 403),
    ("InvalidOperation.InvalidEniState", 403),
    ("InvalidOperation.InvalidEniType", 403),
    ("InvalidOperation.Ipv4CountExceeded", 403),
    ("InvalidOperation.Ipv6CountExceeded", 403),
    ("InvalidOperation.Ipv6NotSupport", 403),
    ("InvalidOperation.VpcMismatch", 403),
    ("InvalidParameter", 400),
    ("InvalidParameter.Conflict", 400),
    ("InvalidPrivateIpAddress.Duplicated", 403),
    ("InvalidRegionId.NotFound", 404),
    ("InvalidSecurityGroupId.NotFound", 404),
    ("InvalidSecurityToken.Expired", 400),
    ("InvalidSecurityToken.Malformed", 400),
    ("InvalidSecurityToken.MismatchWithAccessKey", 400),
    ("InvalidTimeStamp.Expired", 400),
    ("InvalidVSwitch.Ipv6NotTurnOn", 403),
    ("InvalidVSwitchId.IpInvalid", 400),
    ("InvalidVSwitchId.IpNotEnough", 403),
    ("InvalidVSwitchId.NotFound", 404),
    ("LastTokenProcessing", 403),
    ("MaxEniCountExceeded", 403),
    ("MaxEniIpv6IpsCountExceeded", 403),
    ("MaxEniPrivateIpsCountExceeded", 403),
    ("MissingParameter", 400),
    ("NoPermission", 403),
    ("Operation.Conflict", 403),
    ("OperationConflict", 409),
    ("QuotaExceeded.PrivateIpAddress", 403),
    ("ServiceUnavailable", 503),
    ("ServiceUnavailable.RegionMaintaining", 503),
    ("SignatureDoesNotMatch", 400),
    ("SignatureNonceUsed", 400),
    ("Throttling", 400),
    ("Throttling.Api", 400),
    ("Throttling.User", 400),
    ("UnknownError", 400),
    ("UnsupportedParameter", 400),
];

/// A call that the cloud refused. Also what the builder verbs return, so that a test reads the cloud's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The error code, as in the reply's `Code`.
    pub code: String,
    /// The sentence, as in the reply's `Message`.
    pub message: String,
}

impl Refusal {
    /// Builds a refusal from one of the vendor's codes; an unknown code is allowed and answers HTTP 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// Returns the HTTP status that belongs to the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        STATUS
            .binary_search_by_key(&self.code.as_str(), |(code, _)| code)
            .ok()
            .and_then(|row| STATUS.get(row))
            .map_or(400, |(_, status)| *status)
    }

    /// Tells whether the code is one of the throttling family.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        self.code.starts_with("Throttling")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_code_is_found() {
        assert!(STATUS.is_sorted_by_key(|(code, _)| *code));
        assert_eq!(Refusal::new("ServiceUnavailable", "").status(), 503);
        assert_eq!(Refusal::new("InvalidAccessKeyId.NotFound", "").status(), 404);
        assert_eq!(Refusal::new("Never.Heard.Of", "").status(), 400);
    }
}
