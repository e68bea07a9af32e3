//! `status.allocatedIPs`: the JSON document in a string that says which pod holds which address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Holder, PodName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who holds one address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// `namespace/name` of the pod, or of the virtual machine it runs.
    #[serde(default)]
    pub pod: String,
    /// The pod's UID.
    #[serde(default)]
    pub pod_uid: String,
    /// The interface in the pod. Ours: upstream writes the first two keys only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nic: String,
    /// The sandbox, shortened. Ours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The pod's node, in a pool that serves more than one. Ours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What other writers put beside the two keys: kept as it is.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

impl From<Allocation> for Holder {
    fn from(allocation: Allocation) -> Self {
        let Allocation { pod, pod_uid, nic, container, node, others } = allocation;
        let (namespace, name) = pod.split_once('/').unwrap_or(("", &pod));
        let pod = PodName { namespace: namespace.to_owned(), name: name.to_owned() };
        let others = others.into_iter().map(|(key, value)| (key, value.to_string())).collect();
        Self { pod, uid: pod_uid, nic, container, node, others }
    }
}

impl From<&Holder> for Allocation {
    fn from(holder: &Holder) -> Self {
        let Holder { pod, uid, nic, container, node, others } = holder;
        let pod = if pod.namespace.is_empty() { pod.name.clone() } else { pod.to_string() };
        let value =
            |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        Self {
            pod,
            pod_uid: uid.clone(),
            nic: nic.clone(),
            container: container.clone(),
            node: node.clone(),
            others: others.iter().map(|(key, text)| (key.clone(), value(text))).collect(),
        }
    }
}

/// Why `status.allocatedIPs` cannot be read. Unknown is not empty: nothing may be taken from such a pool.
#[derive(Debug, thiserror::Error)]
pub enum AllocationsError {
    /// The text is no JSON object of allocations.
    #[error("status.allocatedIPs is no JSON object of allocations: {0}")]
    Json(#[from] serde_json::Error),
    /// A key is no address.
    #[error("status.allocatedIPs has the key {key:?}, which is no IP address")]
    Key {
        /// The key as it is written.
        key: String,
    },
}

/// Reads `status.allocatedIPs`: none, the empty text and `null` are no allocation.
pub fn allocations(text: Option<&str>) -> Result<BTreeMap<IpAddr, Allocation>, AllocationsError> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(BTreeMap::new());
    };
    let by_text: Option<BTreeMap<String, Allocation>> = serde_json::from_str(text)?;
    by_text
        .unwrap_or_default()
        .into_iter()
        .map(|(key, allocation)| match key.parse() {
            Ok(address) => Ok((address, allocation)),
            Err(_) => Err(AllocationsError::Key { key }),
        })
        .collect()
}

/// Writes `status.allocatedIPs`: none when there is no allocation, as upstream's finalizer logic expects.
pub fn allocations_text(
    allocations: &BTreeMap<IpAddr, Allocation>,
) -> Result<Option<String>, AllocationsError> {
    if allocations.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string(allocations)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_survive_a_round_trip() {
        let text = r#"{"10.0.0.5":{"pod":"default/a","podUid":"u1","nic":"eth1","n":{"x":[1]},"container":"c1","node":"n1"},"2001:db8::5":{"pod":"default/b","podUid":"u2"}}"#;
        let read = allocations(Some(text)).unwrap();
        assert_eq!(read.len(), 2);
        let written = allocations_text(&read).unwrap().unwrap();
        let (before, after): (Value, Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&written).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn a_holder_survives_a_round_trip() {
        let text = r#"{"10.0.0.5":{"pod":"default/a","podUid":"u1","nic":"eth1","n":{"x":[1]},"container":"c1","node":"n1"},"10.0.0.6":{"pod":"odd","podUid":""}}"#;
        let read = allocations(Some(text)).unwrap();
        for allocation in read.into_values() {
            assert_eq!(Allocation::from(&Holder::from(allocation.clone())), allocation);
        }
    }

    #[test]
    fn no_text_is_no_allocation() {
        for text in [None, Some(""), Some("null"), Some("{}")] {
            assert!(allocations(text).unwrap().is_empty(), "{text:?}");
        }
        assert_eq!(allocations_text(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn a_broken_text_is_an_error_and_not_empty() {
        for text in ["{", "[]", r#"{"10.0.0.5": 3}"#, r#"{"10.0.0": {"pod": "a/b", "podUid": "u"}}"#] {
            assert!(allocations(Some(text)).is_err(), "{text}");
        }
    }
}
