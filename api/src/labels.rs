//! The labels, annotations and finalizers that our objects carry or that upstream reads.

use std::fmt::Write as _;

use model::Family;
use sha2::{Digest, Sha256};

/// Says who owns an object; only objects that carry it with [`MANAGER`] are ever modified by the controller.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on what the controller wrote.
pub const MANAGER: &str = "spiderpool-controller";

/// The provider's name in the configuration, as a [`label_value`].
pub const PROVIDER: &str = "cloud.spidernet.io/provider";
/// The node's name, as a [`label_value`]; the exact name is in [`NODE_NAME`].
pub const NODE: &str = "cloud.spidernet.io/node";
/// The cloud's NIC identifier, as a [`label_value`]; the exact one is in [`NIC_ID`].
pub const NIC: &str = "cloud.spidernet.io/nic";
/// The interface's name in the guest.
pub const INTERFACE: &str = "cloud.spidernet.io/interface";
/// The address family: [`family_value`].
pub const FAMILY: &str = "cloud.spidernet.io/family";

/// Annotation: the provider's exact name in the configuration.
pub const PROVIDER_NAME: &str = "cloud.spidernet.io/provider";
/// Annotation: the exact name of the node.
pub const NODE_NAME: &str = "cloud.spidernet.io/node-name";
/// Annotation: the UID of the node that the object was made for; another UID is another node under the same name.
pub const NODE_UID: &str = "cloud.spidernet.io/node-uid";
/// Annotation: the cloud's instance identifier.
pub const INSTANCE: &str = "cloud.spidernet.io/instance";
/// Annotation: the cloud's NIC identifier, exact.
pub const NIC_ID: &str = "cloud.spidernet.io/nic";
/// Annotation: the NIC's MAC address.
pub const MAC: &str = "cloud.spidernet.io/mac";
/// Annotation: the cloud's subnet identifier.
pub const SUBNET: &str = "cloud.spidernet.io/subnet";
/// Annotation: which source showed the addresses.
pub const SOURCE: &str = "cloud.spidernet.io/source";

/// Annotation: the addresses that nobody gets any more, because a complete reading no longer showed them or somebody
/// else's pool names them as well. Those that no pod holds are in `excludeIPs` too; the rest of `excludeIPs` is people's.
pub const DENIED: &str = "cloud.spidernet.io/denied";

/// Upstream's finalizer on pools, subnets, endpoints and coordinators.
pub const FINALIZER: &str = "spiderpool.spidernet.io";
/// Upstream's label on a pool: its CIDR as a [`cidr_value`].
pub const IPPOOL_CIDR: &str = "ipam.spidernet.io/ippool-cidr";
/// Upstream's label on a subnet: its CIDR as a [`cidr_value`].
pub const SUBNET_CIDR: &str = "ipam.spidernet.io/subnet-cidr";
/// Upstream's annotation on a `SpiderMultusConfig`: the name of the `NetworkAttachmentDefinition`, when it is another.
pub const MULTUS_CR_NAME: &str = "multus.spidernet.io/cr-name";
/// Upstream's annotation on a `SpiderMultusConfig`: the `cniVersion` of the generated configuration.
pub const MULTUS_CNI_VERSION: &str = "multus.spidernet.io/cni-version";
/// Upstream's annotation on a `SpiderMultusConfig`: the name of the network in the generated configuration.
pub const CNI_CONFIG_NAME: &str = "cni.spidernet.io/cniconfig-name";
/// Annotation on a `NetworkAttachmentDefinition`: the keys of the annotations that its `SpiderMultusConfig` led to, with
/// commas between, so that one that is asked for no longer can be told from one that somebody else added.
pub const COPIED: &str = "cloud.spidernet.io/copied-annotations";

/// The longest label value that Kubernetes takes.
const VALUE_MAX: usize = 63;
/// Hex digits of the hash at the end of a value that had to be changed: 40 bits keep a million values apart
/// with a chance of collision below one half, and only values that share the kept text compete.
const HASH_DIGITS: usize = 10;

/// Returns the value of [`FAMILY`]: `v4` or `v6`.
#[must_use]
pub fn family_value(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// Returns a CIDR as upstream writes it into [`IPPOOL_CIDR`]: `.`, `:` and `/` replaced by `-`.
///
/// A CIDR that begins with `::` gives a value that begins with `-`, which is no label: those upstream cannot label
/// either, and the value is then made valid by [`label_value`].
#[must_use]
pub fn cidr_value(cidr: &str) -> String {
    label_value(&cidr.replace(['.', ':', '/'], "-"))
}

/// Returns a valid label value for any text: the text itself when it is one, otherwise what is left of it after
/// replacing the characters that may not be there, cut, with a hash of the whole text at the end.
///
/// Deterministic; two texts share a value only when their hashes collide. A changed value could in principle also equal
/// the unchanged value of another text, so an exact comparison belongs to the annotation and not to the label.
#[must_use]
pub fn label_value(text: &str) -> String {
    let fits = text.len() <= VALUE_MAX && text.bytes().all(|b| inner(char::from(b)));
    if text.is_empty() || (fits && text.starts_with(outer) && text.ends_with(outer)) {
        return text.to_owned();
    }
    let mut hash = String::new();
    for byte in Sha256::digest(text).iter().take(HASH_DIGITS / 2) {
        // Writing into a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let kept: String = text
        .chars()
        .map(|c| if inner(c) { c } else { '-' })
        .skip_while(|&c| !outer(c))
        .take(VALUE_MAX - HASH_DIGITS - 1)
        .collect();
    match kept.trim_end_matches(|c| !outer(c)) {
        "" => hash,
        kept => format!("{kept}-{hash}"),
    }
}

/// Whether a label value may begin or end with the character.
fn outer(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

/// Whether a label value may contain the character.
fn inner(c: char) -> bool {
    outer(c) || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_a_label_value_stays_as_it_is() {
        for text in ["", "a", "worker-1.example.com", "eni-bp1A_b", &"x".repeat(63)] {
            assert_eq!(label_value(text), text);
        }
    }

    #[test]
    fn long_texts_with_the_same_beginning_get_different_values() {
        let (a, b) = (format!("{}a", "node.".repeat(40)), format!("{}b", "node.".repeat(40)));
        assert_ne!(label_value(&a), label_value(&b));
        assert!(label_value(&a).starts_with("node.node.") && label_value(&b).len() <= VALUE_MAX);
    }

    #[test]
    fn a_cidr_is_labelled_as_upstream_does() {
        assert_eq!(cidr_value("172.31.192.0/20"), "172-31-192-0-20");
        assert_eq!(cidr_value("fd00:10::/64"), "fd00-10---64");
    }

    proptest! {
        #[test]
        fn every_text_becomes_a_valid_value(text in any::<String>()) {
            let value = label_value(&text);
            prop_assert!(value.len() <= VALUE_MAX);
            prop_assert!(value.chars().all(inner));
            prop_assert!(value.is_empty() || (value.starts_with(outer) && value.ends_with(outer)));
            prop_assert_eq!(value.is_empty(), text.is_empty());
        }
    }
}
