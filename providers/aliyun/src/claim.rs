//! Which instance a node is, by the `providerID` that Alibaba's cloud controller or ACK wrote.

use model::{Claim, InstanceId, Node};

/// Reads a node's `providerID`.
///
/// `alicloud://<region>.<instance>` and the bare `<region>.<instance>` are instances. Everything that is not of that
/// kind belongs to somebody else: no `providerID`, another scheme (`ack-hybrid://` is a machine outside the cloud), a
/// bare id without a dot (Lingjun machines have no ECS instance), another region. Only what says `alicloud://` and
/// cannot be read is [`Claim::Unreadable`], and so is every instance while the region is not known.
pub(crate) fn claim(node: &Node, own_region: Option<&str>) -> Claim {
    let Some(text) = node.provider_id.as_deref().filter(|text| !text.is_empty()) else {
        return Claim::NotMine;
    };
    let (named, rest) = match text.split_once("://") {
        Some(("alicloud", rest)) => (true, rest),
        Some(_) => return Claim::NotMine,
        None => (false, text),
    };
    let Some((region, instance)) = split(rest) else {
        return if named {
            Claim::Unreadable(format!("providerID {text:?} is not like alicloud://cn-hangzhou.i-bp1…"))
        } else {
            Claim::NotMine
        };
    };
    match own_region {
        Some(own) if own == region => Claim::Instance(InstanceId::from(instance)),
        Some(_) => Claim::NotMine,
        None => Claim::Unreadable(format!(
            "providerID {text:?} may be ours, but the provider's own region is not known yet: set `region` in the \
             configuration, or see why the metadata service did not tell it"
        )),
    }
}

/// Splits `<region>.<instance>`; neither part holds a dot, and an ECS instance begins with `i-`.
fn split(text: &str) -> Option<(&str, &str)> {
    let (region, instance) = text.split_once('.')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain(region) && plain(instance) && instance.len() > 2 && instance.starts_with("i-"))
        .then_some((region, instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim_of(provider_id: &str) -> Claim {
        let node = Node {
            name: "n".to_owned(),
            uid: String::new(),
            provider_id: Some(provider_id.to_owned()),
            addresses: Vec::new(),
        };
        claim(&node, Some("cn-hangzhou"))
    }

    #[test]
    fn both_forms_of_the_vendor_name_the_instance() {
        for text in ["alicloud://cn-hangzhou.i-bp1node1", "cn-hangzhou.i-bp1node1"] {
            assert_eq!(claim_of(text), Claim::Instance(InstanceId::from("i-bp1node1")), "{text}");
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_not_claimed() {
        for text in [
            "",
            "ack-hybrid://cn-hangzhou.i-bp1node1",
            "aws:///us-east-1a/i-0abc",
            "e01-cn-abcdefg",
            "alicloud://cn-beijing.i-bp1node1",
            "cn-beijing.i-bp1node1",
            "rack1.example",
            "kind://docker/kind/kind-control-plane",
        ] {
            assert_eq!(claim_of(text), Claim::NotMine, "{text}");
        }
    }

    #[test]
    fn a_node_without_a_provider_id_is_not_claimed() {
        let node = Node { name: "n".into(), uid: String::new(), provider_id: None, addresses: Vec::new() };
        assert_eq!(claim(&node, Some("cn-hangzhou")), Claim::NotMine);
    }

    #[test]
    fn garbage_behind_our_scheme_is_unreadable_and_says_what_it_was() {
        for text in [
            "alicloud://",
            "alicloud://i-bp1",
            "alicloud://cn-hangzhou.",
            "alicloud://a.b.c",
            "alicloud://x.i-",
        ] {
            let Claim::Unreadable(reason) = claim_of(text) else { panic!("{text} was read") };
            assert!(reason.contains(text), "{reason}");
        }
    }

    #[test]
    fn without_a_region_no_instance_is_claimed_and_none_is_denied() {
        let mut node = Node {
            name: "n".to_owned(),
            uid: String::new(),
            provider_id: Some("cn-hangzhou.i-bp1node1".to_owned()),
            addresses: Vec::new(),
        };
        assert!(matches!(claim(&node, None), Claim::Unreadable(_)));
        node.provider_id = Some("ack-hybrid://x".to_owned());
        assert_eq!(claim(&node, None), Claim::NotMine);
    }
}
