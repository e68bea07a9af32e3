//! What goes wrong on purpose: scripted per action, for chosen calls.

use std::collections::BTreeMap;

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with `Throttling.User`.
    Throttled,
    /// HTTP 503 `ServiceUnavailable`.
    Unavailable,
    /// HTTP 502 with an HTML page.
    HtmlBadGateway,
    /// HTTP 200 with an HTML page, as a captive proxy answers.
    HtmlOk,
    /// No answer, ever; the connection stays open.
    Hang,
    /// A whole HTTP reply whose JSON ends in the middle.
    CutJson,
    /// An HTTP reply that is shorter than it promised: the connection closes in the middle.
    CutBody,
    /// The call is done, then the connection closes without a byte of reply.
    ReplyLost,
    /// A page without any item, with the token of the page that should have come.
    EmptyPage,
    /// Every page carries a token, the last one too, for ever.
    EndlessToken,
    /// The second NIC of the page also lists the first NIC's last address.
    DuplicateAddress,
    /// The first NIC of the page also lists an address that is in no subnet of the VPC.
    StrayAddress,
    /// Refused with this code and its usual status.
    Code(String),
}

impl Fault {
    /// Refuses with a code of the API.
    pub fn code(code: impl Into<String>) -> Self {
        Self::Code(code.into())
    }
}

/// The address of [`Fault::StrayAddress`], from a documentation block.
pub const STRAY: &str = "203.0.113.77";

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All, until cleared.
    Always,
    /// So many calls from now on.
    Next(u32),
    /// The n-th call from now on, counted from 1, and no other.
    Nth(u32),
}

#[derive(Debug)]
struct Scripted {
    fault: Fault,
    when: When,
    seen: u32,
}

/// The scripts, by action. `*` stands for every action; the metadata service's actions are `Metadata` and
/// `MetadataToken`.
#[derive(Debug, Default)]
pub struct Faults {
    scripts: BTreeMap<String, Vec<Scripted>>,
}

impl Faults {
    /// Adds a fault to an action. Several may wait; the first one added that hits a call wins.
    pub fn add(&mut self, action: impl Into<String>, when: When, fault: Fault) {
        self.scripts.entry(action.into()).or_default().push(Scripted { fault, when, seen: 0 });
    }

    /// Removes every fault.
    pub fn clear(&mut self) {
        self.scripts.clear();
    }

    /// Counts a call and returns the fault that hits it.
    pub(crate) fn strike(&mut self, action: &str) -> Option<Fault> {
        let mut hit = None;
        for name in [action, "*"] {
            let Some(scripts) = self.scripts.get_mut(name) else {
                continue;
            };
            for script in scripts.iter_mut() {
                let hits = match script.when {
                    When::Always => true,
                    When::Next(most) => script.seen < most,
                    When::Nth(n) => script.seen + 1 == n,
                };
                // A spell of calls starts when the one before it is over, so a waiting one does not count.
                let waits = matches!(script.when, When::Next(_)) && hit.is_some();
                if !waits {
                    script.seen = script.seen.saturating_add(1);
                }
                if hits && hit.is_none() {
                    hit = Some(script.fault.clone());
                }
            }
            scripts.retain(|script| match script.when {
                When::Always => true,
                When::Next(most) => script.seen < most,
                When::Nth(n) => script.seen < n,
            });
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_of_faults_follow_each_other_in_the_order_they_were_added() {
        let mut faults = Faults::default();
        faults.add("A", When::Next(2), Fault::Throttled);
        faults.add("A", When::Next(1), Fault::Unavailable);
        let seen: Vec<Option<Fault>> = (0..4).map(|_| faults.strike("A")).collect();
        assert_eq!(seen, [Some(Fault::Throttled), Some(Fault::Throttled), Some(Fault::Unavailable), None]);
    }

    #[test]
    fn the_nth_call_is_hit_and_no_other() {
        let mut faults = Faults::default();
        faults.add("*", When::Nth(2), Fault::Hang);
        assert_eq!(
            [faults.strike("A"), faults.strike("B"), faults.strike("A")],
            [None, Some(Fault::Hang), None]
        );
    }
}
