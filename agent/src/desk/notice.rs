//! What a watch tells of a pool's versions: which is the newest, and who writes them, how fast.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ObjectMeta;
use tokio::time::Instant;

/// For how long a writer is expected to write again.
const MEMORY: Duration = Duration::from_secs(10);
/// How many writers are remembered: a longer ring would keep a newcomer waiting longer than a collision does.
const WRITERS: usize = 16;
/// How long it takes from one write to the next before that was seen: the API server takes about 5 ms for 200 records.
const FIRST_PACE: Duration = Duration::from_millis(10);
/// Who writes again later than this has not gone on writing.
const PAUSED: Duration = Duration::from_millis(250);
/// What the managers of our fields begin with; a node's name follows.
const MANAGER: &str = "spiderpool-agent/";

/// Returns the name under which a node's agent writes: the API server keeps it with the fields it wrote last.
pub(crate) fn writer(node: &str) -> String {
    format!("{MANAGER}{}", api::labels::label_value(node))
}

/// What is known of a pool's versions.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// The newest version.
    pub(crate) version: String,
    /// Since when that is known.
    pub(crate) at: Instant,
    /// Who wrote it, if an agent did.
    by: Option<Arc<str>>,
    /// Which agents wrote lately, and when.
    writers: BTreeMap<Arc<str>, Instant>,
    /// How long it takes from one write to the next.
    pub(crate) pace: Duration,
}

impl Default for Notice {
    fn default() -> Self {
        let writers = BTreeMap::new();
        Self { version: String::new(), at: Instant::now(), by: None, writers, pace: FIRST_PACE }
    }
}

impl Notice {
    /// Takes note of a version.
    pub(crate) fn hear(&mut self, metadata: &ObjectMeta, now: Instant) {
        self.version = metadata.resource_version.clone().unwrap_or_default();
        let by = author(metadata);
        let gap = now.saturating_duration_since(self.at);
        self.at = now;
        let Some(by) = by else {
            self.by = None;
            return;
        };
        if self.by.as_deref() == Some(by) && gap < PAUSED {
            // Slowly up, quickly down: a gap may be one in which the writer had nothing to write.
            self.pace = match gap.checked_sub(self.pace) {
                Some(more) => self.pace + more.min(self.pace) / 8,
                None => (self.pace * 3 + gap) / 4,
            };
        }
        let by: Arc<str> = by.into();
        self.writers.retain(|_, at| now.saturating_duration_since(*at) < MEMORY);
        self.writers.insert(Arc::clone(&by), now);
        if self.writers.len() > WRITERS
            && let Some(oldest) =
                self.writers.iter().min_by_key(|(_, at)| **at).map(|(name, _)| Arc::clone(name))
        {
            self.writers.remove(&oldest);
        }
        self.by = Some(by);
    }

    /// Whether somebody other than `me` has just written.
    pub(crate) fn others_write(&self, me: &str, now: Instant) -> bool {
        self.by.as_deref().is_some_and(|by| by != me)
            && now.saturating_duration_since(self.at) < self.pace * 2
    }

    /// Whether `me` wrote lately, as far as that was heard.
    pub(super) fn knows(&self, me: &str) -> bool {
        self.writers.contains_key(me)
    }

    /// Returns how many others come before `me` after the last writer, in the order of their names, which all agents know.
    pub(super) fn ahead(&self, me: &str) -> u32 {
        let Some(last) = self.by.as_deref() else { return 0 };
        let between = |from: Bound<&str>, to: Bound<&str>| self.writers.range::<str, _>((from, to)).count();
        let (after, before) = (Bound::Excluded(last), Bound::Excluded(me));
        let ahead = match last.cmp(me) {
            Ordering::Less => between(after, before),
            Ordering::Equal => self.writers.len().saturating_sub(1),
            Ordering::Greater => between(after, Bound::Unbounded) + between(Bound::Unbounded, before),
        };
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }
}

/// Who wrote the records last: the manager of that field, or of their number in a pool that has none.
fn author(metadata: &ObjectMeta) -> Option<&str> {
    let entries = metadata.managed_fields.as_ref()?;
    let owner = |field: &str| {
        entries.iter().find(|entry| {
            entry.subresource.as_deref() == Some("status")
                && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(field).is_some())
        })
    };
    let entry = owner("/f:status/f:allocatedIPs").or_else(|| owner("/f:status/f:allocatedIPCount"))?;
    entry.manager.as_deref().filter(|manager| manager.starts_with(MANAGER))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A version that an agent wrote, as the API server tells of it.
    pub(crate) fn version_of(name: &str) -> ObjectMeta {
        serde_json::from_value(json!({
            "resourceVersion": "7",
            "managedFields": [
                {"manager": "spiderpool-controller", "subresource": "status", "operation": "Update",
                 "fieldsV1": {"f:status": {"f:totalIPCount": {}}}},
                {"manager": "spiderpool-agent/before", "subresource": "status", "operation": "Update",
                 "fieldsV1": {"f:status": {"f:allocatedIPCount": {}}}},
                {"manager": format!("spiderpool-agent/{name}"), "subresource": "status", "operation": "Update",
                 "fieldsV1": {"f:status": {"f:allocatedIPs": {}}}},
            ],
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_that_of_a_writer_who_goes_on() {
        let mut notice = Notice::default();
        for (name, gap) in [("a", 20), ("a", 20), ("b", 150), ("b", 20), ("a", 5000), ("a", 5000)] {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            notice.hear(&version_of(name), Instant::now());
        }
        assert!(notice.pace > FIRST_PACE && notice.pace <= Duration::from_millis(20), "{:?}", notice.pace);
        assert!(notice.others_write("spiderpool-agent/b", Instant::now()));
        assert!(!notice.others_write("spiderpool-agent/a", Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn writers_are_forgotten() {
        let mut notice = Notice::default();
        notice.hear(&version_of("a"), Instant::now());
        notice.hear(&version_of("b"), Instant::now());
        assert!(notice.knows("spiderpool-agent/a") && !notice.knows("spiderpool-agent/c"));
        assert_eq!(notice.ahead("spiderpool-agent/c"), 0, "it comes after b");
        assert_eq!(notice.ahead("spiderpool-agent/b"), 1, "it comes after a");
        tokio::time::sleep(MEMORY * 2).await;
        notice.hear(&version_of("b"), Instant::now());
        assert!(!notice.knows("spiderpool-agent/a"));
        for at in 0..2 * WRITERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            notice.hear(&version_of(&format!("w{at}")), Instant::now());
        }
        assert_eq!(notice.writers.len(), WRITERS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_no_agent_wrote_tells_of_no_order() {
        let mut notice = Notice::default();
        notice.hear(&version_of("a"), Instant::now());
        let other = ObjectMeta { resource_version: Some("8".into()), ..ObjectMeta::default() };
        notice.hear(&other, Instant::now());
        assert_eq!((notice.version.as_str(), notice.ahead("spiderpool-agent/z")), ("8", 0));
    }
}
