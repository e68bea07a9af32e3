//! What the cluster holds, as the plan looks at it: Kubernetes objects to the model.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use model::{AddressRange, AddressSet, Node, Origin, Owner, Pool, PoolSpec, RangeError};

use crate::{SpiderIPPool, allocations, labels};

/// Reads what the plan needs of a node.
#[must_use]
pub fn node(node: &v1::Node) -> Node {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    Node {
        name: node.name_any(),
        uid: node.uid().unwrap_or_default(),
        provider_id: node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).filter(|id| !id.is_empty()),
        addresses: addresses.filter_map(|address| address.address.parse::<IpAddr>().ok()).collect(),
    }
}

/// A pool as the plan looks at it, with what could not be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// The pool.
    pub pool: Pool,
    /// What is wrong with it, one sentence each, to be said in an Event.
    pub problems: Vec<String>,
}

/// Reads a pool, whoever wrote it. What cannot be read never makes it look emptier: of a pool whose allocations cannot
/// be read, every address counts as held.
#[must_use]
pub fn pool(object: &SpiderIPPool) -> PoolView {
    let (ips, bad_ips) = AddressSet::parse_lenient(&object.spec.ips);
    // Whoever wrote `b-a` meant the addresses from a to b: nobody else may take them for free.
    let ips = ips.union(&bad_ips.iter().filter_map(turned).collect());
    let (excluded, bad_exclusions) = AddressSet::parse_lenient(&object.spec.exclude_ips);
    let mut problems: Vec<String> = bad_ips.iter().map(|error| format!("spec.ips: {error}")).collect();
    if overlaps(&object.spec.ips) {
        problems.push("spec.ips: ranges overlap, each address counts once".to_owned());
    }
    problems.extend(bad_exclusions.iter().map(|error| format!("spec.excludeIPs: {error}")));
    let denials = object.denied().1;
    problems.extend(denials.iter().map(|error| format!("annotation {}: {error}", labels::DENIED)));
    let text = object.status.as_ref().and_then(|status| status.allocated_ips.as_deref());
    let allocated = match allocations(text) {
        Ok(allocations) => allocations.into_keys().collect(),
        Err(error) => {
            problems.push(format!("{error}: all its addresses count as held"));
            ips.clone()
        }
    };
    let name = object.name_any();
    let owner = ours(object, &ips, &excluded).unwrap_or(Owner::Foreign);
    let pool = Pool {
        name,
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        owner,
        ips,
        allocated,
        total: object.status.as_ref().and_then(|status| status.total_ip_count),
        terminating: object.metadata.deletion_timestamp.is_some(),
    };
    PoolView { pool, problems }
}

/// Returns a reversed range the right way round.
fn turned(error: &RangeError) -> Option<AddressRange> {
    let RangeError::Reversed { text } = error else { return None };
    let (last, first) = text.split_once('-')?;
    AddressRange::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
}

/// Whether some address is named twice in a list: the ranges one by one hold more than their union.
fn overlaps(items: &[String]) -> bool {
    let ranges: Vec<AddressRange> = items.iter().filter_map(|item| item.parse().ok()).collect();
    let single = ranges.iter().fold(0, |sum: u128, range| sum.saturating_add(range.count()));
    single > ranges.into_iter().collect::<AddressSet>().count()
}

fn ours(object: &SpiderIPPool, ips: &AddressSet, excluded: &AddressSet) -> Option<Owner> {
    if object.labels().get(labels::MANAGED_BY)? != labels::MANAGER {
        return None;
    }
    let notes: &BTreeMap<String, String> = object.annotations();
    let subnet: IpNet = object.spec.subnet.parse().ok()?;
    let origin = Origin {
        provider: notes.get(labels::PROVIDER_NAME)?.as_str().into(),
        node: notes.get(labels::NODE_NAME)?.clone(),
        node_uid: notes.get(labels::NODE_UID).cloned().unwrap_or_default(),
        instance: notes.get(labels::INSTANCE)?.as_str().into(),
        nic: notes.get(labels::NIC_ID)?.as_str().into(),
        mac: notes.get(labels::MAC).and_then(|mac| mac.parse().ok()),
        interface: notes.get(labels::INTERFACE)?.clone(),
        subnet: notes.get(labels::SUBNET)?.as_str().into(),
        source: notes.get(labels::SOURCE).cloned().unwrap_or_default(),
    };
    let spec = PoolSpec {
        subnet,
        gateway: object.spec.gateway.as_ref().and_then(|gateway| gateway.parse().ok()),
        ips: ips.clone(),
        excluded: excluded.clone(),
        denied: object.denied().0.intersection(ips),
        default: object.spec.default.unwrap_or_default(),
        nodes: object.spec.node_name.clone(),
        multus: object.spec.multus_name.clone(),
    };
    Some(Owner::Ours(origin, spec))
}

#[cfg(test)]
mod tests {
    use model::{PoolTarget, pool_name};

    use super::*;
    use crate::render;

    fn target() -> PoolTarget {
        let set = |items: &[&str]| AddressSet::parse(items).unwrap();
        let subnet: IpNet = "172.31.192.0/20".parse().unwrap();
        PoolTarget {
            name: pool_name("worker", "eth0", &"eni-1".into(), subnet),
            spec: PoolSpec {
                subnet,
                gateway: Some("172.31.207.253".parse().unwrap()),
                ips: set(&["172.31.199.190-172.31.199.194"]),
                excluded: set(&["172.31.199.190", "172.31.199.194"]),
                denied: set(&["172.31.199.190", "172.31.199.193"]),
                default: true,
                nodes: vec!["worker".into()],
                multus: vec!["kube-system/ipvlan-eth0".into()],
            },
            origin: Origin {
                provider: "hz".into(),
                node: "worker".into(),
                node_uid: "u".into(),
                instance: "i-1".into(),
                nic: "eni-1".into(),
                mac: Some("00:16:3e:0a:00:01".parse().unwrap()),
                interface: "eth0".into(),
                subnet: "vsw-1".into(),
                source: "aliyun".into(),
            },
        }
    }

    #[test]
    fn a_rendered_pool_reads_back_as_what_it_was() {
        let target = target();
        let view = pool(&render::pool(&target));
        assert_eq!(view.pool.owner, Owner::Ours(target.origin, target.spec));
        assert!(view.problems.is_empty());
    }

    #[test]
    fn a_pool_without_our_label_or_with_half_a_record_is_foreign() {
        for key in [labels::MANAGED_BY, labels::NIC_ID, labels::NODE_NAME] {
            let mut object = render::pool(&target());
            object.labels_mut().remove(key);
            object.annotations_mut().remove(key);
            assert_eq!(pool(&object).pool.owner, Owner::Foreign, "{key}");
        }
    }

    #[test]
    fn a_denial_that_cannot_be_read_is_said() {
        let mut object = render::pool(&target());
        object.annotations_mut().insert(labels::DENIED.to_owned(), "172.31.199.190,x".to_owned());
        let problems = pool(&object).problems;
        assert!(problems.len() == 1 && problems[0].contains(labels::DENIED), "{problems:?}");
    }

    #[test]
    fn a_reversed_range_is_said_and_counts_as_taken() {
        let mut object = render::pool(&target());
        object.spec.ips = vec!["2001:db8::9-2001:db8::1".into()];
        let view = pool(&object);
        assert_eq!(view.pool.ips.to_strings(), ["2001:db8::1-2001:db8::9"]);
        assert_eq!(view.problems.len(), 1, "{:?}", view.problems);
    }

    #[test]
    fn a_pool_whose_allocations_cannot_be_read_counts_as_held_whole() {
        let mut object = render::pool(&target());
        object.status = Some(crate::SpiderIPPoolStatus {
            allocated_ips: Some("{broken".into()),
            ..crate::SpiderIPPoolStatus::default()
        });
        let view = pool(&object);
        assert_eq!(view.pool.allocated, view.pool.ips);
        assert_eq!(view.problems.len(), 1);
    }
}
