//! What each place in the cluster says of CIDRs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::blocks::Blocks;
use super::facts::{CalicoPool, Component, Facts, Named, Sight};

/// The label selector of the pods whose flags may tell.
pub(super) const COMPONENTS: &str = "component in (kube-apiserver, kube-controller-manager)";

/// What one place says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These blocks, and no place need be asked after it; with a sentence on where they are from.
    Blocks(Blocks, String),
    /// That there are none, positively.
    None(String),
    /// Nothing: the next place is asked.
    Nothing(String),
    /// Something that we cannot follow: no other place may answer instead.
    Stuck(String),
    /// We may not look there.
    Denied(String),
    /// It could not be read.
    Unread(String),
}

/// An answer with the reason of the condition that it leads to.
pub(super) type Source = (&'static str, Answer);

/// The `ServiceCIDR` objects.
pub(super) fn service_objects(facts: &Facts) -> Source {
    let answer = seen(&facts.services, "ServiceCIDR objects", |objects| {
        let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        let place = format!("ServiceCIDR objects ({})", names.join(", "));
        listed(place, objects)
    });
    ("ServiceCIDRObjects", answer)
}

/// The subnets in kubeadm's `ConfigMap`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subnet {
    Services,
    Pods,
}

#[derive(Debug, Default, Deserialize)]
struct ClusterConfiguration {
    #[serde(default)]
    networking: Option<Networking>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Networking {
    #[serde(default)]
    pod_subnet: Option<String>,
    #[serde(default)]
    service_subnet: Option<String>,
}

/// `networking` in kubeadm's `ConfigMap`.
pub(super) fn kubeadm(facts: &Facts, subnet: Subnet) -> Source {
    let answer = seen(&facts.kubeadm, "ConfigMap kube-system/kubeadm-config", |text| {
        let place = "ConfigMap kube-system/kubeadm-config";
        let networking = match serde_saphyr::from_str::<ClusterConfiguration>(text) {
            Ok(configuration) => configuration.networking.unwrap_or_default(),
            Err(error) => {
                let error = error.to_string();
                let error = error.lines().next().unwrap_or_default();
                return Answer::Nothing(format!("{place}: its ClusterConfiguration cannot be read: {error}"));
            }
        };
        let (key, value) = match subnet {
            Subnet::Services => ("serviceSubnet", networking.service_subnet),
            Subnet::Pods => ("podSubnet", networking.pod_subnet),
        };
        blocks(format!("networking.{key} in {place}"), value.as_deref())
    });
    ("Kubeadm", answer)
}

/// A flag of the control plane's programs.
pub(super) fn flag(facts: &Facts, flag: &str) -> Source {
    let place = "the flags of kube-apiserver and kube-controller-manager in kube-system";
    let answer = seen(&facts.components, place, |components| {
        let found = components.iter().find_map(|it| value(&it.words, flag).map(|value| (it, value)));
        match found {
            Some((Component { pod, .. }, value)) => blocks(format!("{flag} of pod {pod}"), Some(value)),
            None if components.is_empty() => Answer::Nothing(format!("{place}: no such pods")),
            None => Answer::Nothing(format!("{place}: none has {flag}")),
        }
    });
    ("Flags", answer)
}

/// The value of a flag, in either of its forms.
fn value<'a>(words: &'a [String], flag: &str) -> Option<&'a str> {
    let mut words = words.iter().flat_map(|word| word.split_whitespace());
    while let Some(word) = words.next() {
        let Some(rest) = word.trim_matches(['"', '\'']).strip_prefix(flag) else { continue };
        match rest.strip_prefix('=') {
            Some(value) => return Some(value.trim_matches(['"', '\''])),
            None if rest.is_empty() => return words.next(),
            None => {}
        }
    }
    None
}

/// Calico's pools.
pub(super) fn calico(facts: &Facts) -> Source {
    let answer = seen(&facts.calico, "IPPools of Calico", |pools| {
        let pools: Vec<&CalicoPool> = pools.iter().filter(|pool| pool.serves_pods()).collect();
        let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let place = format!("IPPools of Calico ({})", names.join(", "));
        found(place, Blocks::read(pools.iter().map(|pool| pool.cidr.as_str())))
    });
    ("Calico", answer)
}

/// What Cilium's configuration says. That the cluster's own blocks are the pods' is [`Answer::Nothing`].
pub(super) fn cilium(facts: &Facts) -> Source {
    let answer = seen(&facts.cilium, "ConfigMap kube-system/cilium-config", |config| {
        let text = |key: &str| config.get(key).map_or("", |text| text.trim());
        let place = "ConfigMap kube-system/cilium-config";
        // Behind another CNI, which gives out the addresses. The pools are then whatever the default was.
        let chained = text("cni-chaining-mode");
        if !matches!(chained, "" | "none" | "portmap") {
            return Answer::Nothing(format!("{place}: Cilium is chained behind another CNI ({chained})"));
        }
        match text("ipam") {
            // Cilium's own default.
            "" | "cluster-pool" | "cluster-pool-v2beta" => cluster_pool(config, place),
            "kubernetes" => Answer::Nothing(format!("{place}: ipam is kubernetes, the cluster's own blocks")),
            "multi-pool" => seen(&facts.cilium_pools, "CiliumPodIPPools (ipam is multi-pool)", |pools| {
                let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
                listed(format!("CiliumPodIPPools ({})", names.join(", ")), pools)
            })
            .or_stuck(),
            mode @ ("eni" | "azure" | "alibabacloud") => Answer::None(format!(
                "{place}: ipam is {mode}, so pods have addresses of the cloud's network"
            )),
            mode => Answer::Stuck(format!("{place}: ipam is {mode}, and where pods are is not known of it")),
        }
    });
    ("Cilium", answer)
}

/// Whether Cilium leaves the pods' blocks to the cluster.
pub(super) fn cilium_leaves_it_to_the_cluster(facts: &Facts) -> bool {
    matches!(&facts.cilium, Sight::There(config) if config.get("ipam").is_some_and(|ipam| ipam.trim() == "kubernetes"))
}

fn cluster_pool(config: &BTreeMap<String, String>, place: &str) -> Answer {
    let families = [("enable-ipv4", "cluster-pool-ipv4-cidr"), ("enable-ipv6", "cluster-pool-ipv6-cidr")];
    let on = |key: &str| config.get(key).is_none_or(|text| text.trim() != "false");
    let lists = families.iter().filter(|(enabled, _)| on(enabled)).filter_map(|(_, key)| config.get(*key));
    found(
        format!("cluster-pool-ipv4-cidr and -ipv6-cidr in {place}"),
        Blocks::read(lists.map(String::as_str)),
    )
    .or_stuck()
}

impl Answer {
    /// Who gives out the addresses is known, only not which: to ask elsewhere would be to guess.
    fn or_stuck(self) -> Self {
        match self {
            Self::Nothing(why) => Self::Stuck(why),
            other => other,
        }
    }
}

fn seen<T>(sight: &Sight<T>, place: &str, look: impl FnOnce(&T) -> Answer) -> Answer {
    match sight {
        Sight::There(there) => look(there),
        Sight::Absent => Answer::Nothing(format!("{place}: the cluster has none")),
        Sight::Denied(why) => Answer::Denied(format!(
            "{place}: not allowed to look (controller/rbac.yaml has the rights): {why}"
        )),
        Sight::Unread(why) => Answer::Unread(format!("{place}: not read: {why}")),
    }
}

fn listed(place: String, objects: &[Named]) -> Answer {
    found(place, Blocks::read(objects.iter().flat_map(|object| object.cidrs.iter().map(String::as_str))))
}

fn blocks(place: String, text: Option<&str>) -> Answer {
    found(place, Blocks::read(text))
}

fn found(place: String, blocks: Blocks) -> Answer {
    match blocks.complaint() {
        _ if !blocks.good.is_empty() => Answer::Blocks(blocks, place),
        Some(complaint) => Answer::Nothing(format!("{place}: {complaint}")),
        None => Answer::Nothing(format!("{place}: empty")),
    }
}
