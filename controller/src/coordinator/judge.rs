//! What follows from what the cluster shows: the CIDRs of services and of the overlay's pods. Knows no client and no clock.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use api::{PodCidrType, SpiderCoordinatorSpec};
use ipnet::IpNet;
use model::AddressRange;

use super::blocks::Blocks;
use super::facts::Facts;
use super::sources::{
    Answer, Source, Subnet, calico, cilium, cilium_leaves_it_to_the_cluster, flag, kubeadm, service_objects,
};

/// What was found out about one of the two lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The blocks, sorted.
    pub(super) blocks: BTreeSet<IpNet>,
    /// How sure that is.
    pub(super) certainty: Certainty,
    /// The condition's reason.
    pub(super) reason: &'static str,
    /// The condition's message.
    pub(super) message: String,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It is so.
    Known,
    /// Nothing that was asked knows it.
    Unknown,
    /// A place that would go first may not be looked at.
    Denied,
    /// A place that would go first could not be read, and may be another time.
    Unread,
}

/// Judges the CIDRs of services.
pub(super) fn services(spec: &SpiderCoordinatorSpec, facts: &Facts) -> Finding {
    if let Some(finding) = explicit("serviceCIDR", spec.service_cidr.as_deref()) {
        return finding;
    }
    let places =
        [service_objects(facts), kubeadm(facts, Subnet::Services), flag(facts, "--service-cluster-ip-range")];
    let remedy =
        "pods of the coordinator get no route to ClusterIPs: set spec.serviceCIDR of this SpiderCoordinator";
    search(places, remedy)
}

/// Judges the CIDRs of the overlay's pods. `underlay` is what the pools give out, which no overlay holds.
pub(super) fn overlay(spec: &SpiderCoordinatorSpec, facts: &Facts, underlay: &[AddressRange]) -> Finding {
    if let Some(finding) = explicit("overlayPodCIDR", spec.overlay_pod_cidr.as_deref()) {
        return finding;
    }
    let cluster = || [kubeadm(facts, Subnet::Pods), flag(facts, "--cluster-cidr")];
    let mut places = Vec::new();
    match spec.pod_cidr_type.unwrap_or(PodCidrType::Auto) {
        PodCidrType::None => {
            return Finding {
                blocks: BTreeSet::new(),
                certainty: Certainty::Known,
                reason: "None",
                message: "podCIDRType is none: there is no overlay".to_owned(),
            };
        }
        PodCidrType::Cluster => places.extend(cluster()),
        PodCidrType::Calico => places.push(calico(facts)),
        PodCidrType::Cilium => {
            places.push(cilium(facts));
            if cilium_leaves_it_to_the_cluster(facts) {
                places.extend(cluster());
            }
        }
        PodCidrType::Auto => {
            places.extend([calico(facts), cilium(facts)]);
            places.extend(cluster());
        }
    }
    let remedy = "pods of the coordinator get no route to the overlay's pods: set spec.overlayPodCIDR of this \
                  SpiderCoordinator, or podCIDRType: none if there is no overlay";
    apart(search(places, remedy), underlay)
}

/// What people say goes first. An empty list says nothing, as upstream has it of every list.
fn explicit(field: &str, list: Option<&[String]>) -> Option<Finding> {
    let list = list.filter(|list| !list.is_empty())?;
    let blocks = Blocks::read(list.iter().map(String::as_str));
    let place = format!("from spec.{field}");
    Some(match blocks.complaint() {
        None => {
            Finding { blocks: blocks.good, certainty: Certainty::Known, reason: "Explicit", message: place }
        }
        Some(complaint) => Finding {
            blocks: blocks.good,
            certainty: Certainty::Unknown,
            reason: "Invalid",
            message: format!("{place}: {complaint}: correct it"),
        },
    })
}

/// Asks one place after the other until one knows.
fn search(places: impl IntoIterator<Item = Source>, remedy: &str) -> Finding {
    let (mut tried, mut hole) = (Vec::new(), Certainty::Known);
    for (reason, answer) in places {
        let (blocks, sentence) = match answer {
            Answer::Blocks(blocks, place) => {
                let complaint = blocks.complaint().map(|it| format!("; {it}")).unwrap_or_default();
                (blocks.good, format!("from {place}{complaint}"))
            }
            Answer::None(place) => (BTreeSet::new(), place),
            Answer::Nothing(why) => {
                tried.push(why);
                continue;
            }
            Answer::Denied(why) => {
                if hole == Certainty::Known {
                    hole = Certainty::Denied;
                }
                tried.push(why);
                continue;
            }
            Answer::Unread(why) => {
                hole = Certainty::Unread;
                tried.push(why);
                continue;
            }
            Answer::Stuck(why) => {
                tried.push(why);
                break;
            }
        };
        if hole == Certainty::Known {
            return Finding { blocks, certainty: hole, reason, message: sentence };
        }
        let message =
            format!("{sentence}, though not every place before it could be asked: {}", tried.join("; "));
        return Finding { blocks, certainty: hole, reason: "NotRead", message };
    }
    let (certainty, reason) = match hole {
        Certainty::Known | Certainty::Unknown => (Certainty::Unknown, "NotFound"),
        hole => (hole, "NotRead"),
    };
    let message = format!("nothing found, so {remedy}. Tried: {}", tried.join("; "));
    Finding { blocks: BTreeSet::new(), certainty, reason, message }
}

/// Leaves out blocks with addresses that pools give out: a route to them through the node would lead pods that are
/// neighbours on the network of the cloud through an interface that the cloud lets nothing of theirs leave by. Such a
/// block is usual: kube-proxy wants the pods within `--cluster-cidr`.
fn apart(mut finding: Finding, underlay: &[AddressRange]) -> Finding {
    let holds = |block: &IpNet| underlay.iter().any(|range| overlap(block, range));
    let within: Vec<String> =
        finding.blocks.iter().filter(|block| holds(block)).map(ToString::to_string).collect();
    if within.is_empty() {
        return finding;
    }
    finding.blocks.retain(|block| !holds(block));
    if finding.certainty == Certainty::Known {
        finding.certainty = Certainty::Unknown;
        finding.reason = "HoldsPools";
    }
    finding.message = format!(
        "{}; {} left out, because SpiderIPPools give out addresses of it: set spec.overlayPodCIDR of this \
         SpiderCoordinator to what is the overlay's alone, or podCIDRType: none if there is no overlay",
        finding.message,
        within.join(", ")
    );
    finding
}

fn overlap(block: &IpNet, range: &AddressRange) -> bool {
    let (first, last) = (block.network(), block.broadcast());
    first.is_ipv4() == range.first().is_ipv4() && range.first() <= last && first <= range.last()
}
