//! How replies are written: list wrappers, request ids, and the places where the real service varies.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;

/// How an empty list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyLists {
    /// `"Wrapper": {"Inner": []}`.
    #[default]
    Written,
    /// The wrapper is not there.
    Absent,
    /// `"Wrapper": {}`.
    EmptyWrapper,
    /// One of the three each time, by a generator that starts from this seed.
    Mixed(u64),
}

/// How the token after the last page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastToken {
    /// `"NextToken": ""`.
    #[default]
    EmptyText,
    /// No `NextToken`.
    Absent,
}

/// How replies are written where the real service varies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// How an empty list is written.
    pub empty_lists: EmptyLists,
    /// How the token after the last page is written.
    pub last_token: LastToken,
    drawn: u64,
}

impl Style {
    /// Adds `"outer": {"inner": [...]}` to an object.
    pub(crate) fn list(&mut self, into: &mut Map<String, Value>, outer: &str, inner: &str, items: &[Value]) {
        let written = if items.is_empty() { self.empty() } else { EmptyLists::Written };
        match written {
            EmptyLists::Absent => {}
            EmptyLists::EmptyWrapper => {
                into.insert(outer.to_owned(), json!({}));
            }
            EmptyLists::Written | EmptyLists::Mixed(_) => {
                into.insert(outer.to_owned(), json!({ inner: items }));
            }
        }
    }

    fn empty(&mut self) -> EmptyLists {
        let EmptyLists::Mixed(seed) = self.empty_lists else {
            return self.empty_lists;
        };
        self.drawn = self.drawn.wrapping_add(1);
        match scramble(seed.wrapping_add(self.drawn)) % 3 {
            0 => EmptyLists::Written,
            1 => EmptyLists::Absent,
            _ => EmptyLists::EmptyWrapper,
        }
    }

    /// Adds the token of the next page, or says that there is none.
    pub(crate) fn next_token(&self, into: &mut Map<String, Value>, token: Option<String>) {
        match (token, self.last_token) {
            (Some(token), _) => {
                into.insert("NextToken".to_owned(), token.into());
            }
            (None, LastToken::EmptyText) => {
                into.insert("NextToken".to_owned(), "".into());
            }
            (None, LastToken::Absent) => {}
        }
    }
}

/// Spreads a number over all bits (splitmix64's finisher), so that neighbours differ.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A request id of the usual look, from a counter.
pub(crate) fn request_id(number: u64) -> String {
    let high = scramble(number);
    let low = scramble(high);
    format!(
        "{:08X}-{:04X}-5{:03X}-9{:03X}-{:012X}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// The body of an error reply.
pub(crate) fn error_body(refusal: &Refusal, request_id: &str, host: &str) -> Value {
    let Refusal { code, message } = refusal;
    let mut body = json!({
        "RequestId": request_id,
        "HostId": host,
        "Code": code,
        "Message": message,
        "Recommend": format!("https://api.example/troubleshoot?q={code}&requestId={request_id}"),
    });
    if let (true, Some(body)) =
        (code.starts_with("Forbidden") || code == "NoPermission", body.as_object_mut())
    {
        body.insert(
            "AccessDeniedDetail".to_owned(),
            json!({ "AuthAction": "ecs:Call", "NoPermissionType": "ImplicitDeny", "PolicyType": "AccountLevelIdentityBasedPolicy" }),
        );
    }
    body
}
