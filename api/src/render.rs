//! The objects that a plan becomes: exactly what the controller applies and `spiderpoolctl plan` prints.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use model::{Coordinator, Family, MultusTarget, NicReport, NicUse, NodeReport, PoolTarget, Truth, Verdict};

use crate::{
    CniType, DISCOVERED, IpvlanConfig, NodeNic, NodeSource, SUFFICIENT_IPS, SYNCED, SpiderIPPool,
    SpiderIPPoolSpec, SpiderMultusConfig, SpiderMultusConfigSpec, SpiderNode, SpiderNodeSpec,
    SpiderNodeStatus, clamped_count, labels,
};

/// The source name of what a provider's API showed.
const API: &str = "API";

/// Returns the pool object of a target.
#[must_use]
pub fn pool(target: &PoolTarget) -> SpiderIPPool {
    let PoolTarget { name, spec, origin } = target;
    let family = spec.family();
    let labels = BTreeMap::from(
        [
            (labels::MANAGED_BY, labels::MANAGER.to_owned()),
            (labels::PROVIDER, labels::label_value(origin.provider.as_str())),
            (labels::NODE, labels::label_value(&origin.node)),
            (labels::NIC, labels::label_value(origin.nic.as_str())),
            (labels::INTERFACE, labels::label_value(&origin.interface)),
            (labels::FAMILY, labels::family_value(family).to_owned()),
            (labels::IPPOOL_CIDR, labels::cidr_value(&spec.subnet.to_string())),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let annotations = [
        (labels::PROVIDER_NAME, Some(origin.provider.to_string())),
        (labels::NODE_NAME, Some(origin.node.clone())),
        (labels::NODE_UID, Some(origin.node_uid.clone()).filter(|uid| !uid.is_empty())),
        (labels::INSTANCE, Some(origin.instance.to_string())),
        (labels::NIC_ID, Some(origin.nic.to_string())),
        (labels::MAC, origin.mac.map(|mac| mac.to_string())),
        (labels::INTERFACE, Some(origin.interface.clone())),
        (labels::SUBNET, Some(origin.subnet.to_string())),
        (labels::SOURCE, Some(origin.source.clone())),
        (labels::DENIED, Some(spec.denied.to_string()).filter(|denied| !denied.is_empty())),
    ];
    let annotations = annotations
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)))
        .collect();
    SpiderIPPool {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: SpiderIPPoolSpec {
            ip_version: Some(family.version()),
            subnet: spec.subnet.to_string(),
            ips: spec.ips.to_strings(),
            exclude_ips: spec.excluded.to_strings(),
            gateway: spec.gateway.map(|gateway| gateway.to_string()),
            default: Some(spec.default),
            node_name: spec.nodes.clone(),
            multus_name: spec.multus.clone(),
            ..SpiderIPPoolSpec::default()
        },
        status: None,
    }
}

/// Returns the attachment object of a target.
#[must_use]
pub fn multus_config(target: &MultusTarget) -> SpiderMultusConfig {
    SpiderMultusConfig {
        metadata: ObjectMeta {
            name: Some(target.name.name().to_owned()),
            namespace: Some(target.name.namespace().to_owned()),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())])),
            annotations: Some(BTreeMap::from([(labels::INTERFACE.to_owned(), target.interface.clone())])),
            ..ObjectMeta::default()
        },
        spec: SpiderMultusConfigSpec {
            cni_type: Some(CniType::Ipvlan),
            enable_coordinator: Some(target.coordinator == Coordinator::Chained),
            ipvlan: Some(IpvlanConfig { master: vec![target.interface.clone()], ..IpvlanConfig::default() }),
            ..SpiderMultusConfigSpec::default()
        },
        status: None,
    }
}

/// Returns the object of a node, owned by the Node of the same name so that it goes with it.
///
/// What `previous` already says is kept to the letter, times included: a reading that shows nothing new is no write.
#[must_use]
pub fn node(report: &NodeReport, previous: Option<&SpiderNodeStatus>, now: Timestamp) -> SpiderNode {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: report.node.clone(),
        uid: report.node_uid.clone(),
        ..OwnerReference::default()
    };
    SpiderNode {
        metadata: ObjectMeta {
            name: Some(report.node.clone()),
            labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())])),
            owner_references: Some(vec![owner]).filter(|_| !report.node_uid.is_empty()),
            ..ObjectMeta::default()
        },
        spec: SpiderNodeSpec::default(),
        status: Some(node_status(report, previous, now)),
    }
}

fn node_status(report: &NodeReport, previous: Option<&SpiderNodeStatus>, now: Timestamp) -> SpiderNodeStatus {
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let conditions =
        [(DISCOVERED, &report.discovered), (SYNCED, &report.synced), (SUFFICIENT_IPS, &report.sufficient)];
    let conditions = conditions.map(|(kind, verdict)| condition(kind, verdict, previous, seconds)).into();
    let source = NodeSource {
        name: API.to_owned(),
        observed_at: Some(Time(seconds)),
        complete: report.discovered.status == Truth::True,
        message: None,
    };
    let mut status = SpiderNodeStatus {
        provider: report.provider.as_ref().map(ToString::to_string),
        instance: report.instance.as_ref().map(ToString::to_string),
        sources: report.provider.as_ref().map(|_| source).into_iter().collect(),
        nics: report.nics.iter().map(nic).collect(),
        nic_count: i64::try_from(report.nics.len()).ok(),
        ipv4_count: Some(clamped_count(report.count(Family::V4))),
        ipv6_count: Some(clamped_count(report.count(Family::V6))),
        conditions,
        observed_generation: None,
    };
    if let Some(previous) = previous {
        let mut same = status.clone();
        same.sources.clone_from(&previous.sources);
        if same == *previous {
            status = same;
        }
    }
    status
}

fn condition(
    kind: &str,
    verdict: &Verdict,
    previous: Option<&SpiderNodeStatus>,
    now: Timestamp,
) -> Condition {
    let status = match verdict.status {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let before =
        previous.and_then(|p| p.conditions.iter().find(|c| c.type_ == kind)).filter(|c| c.status == status);
    // These sentences differ from try to try (request identifiers), or from one controller to another that shares the
    // node with it (configured providers): the first one stays.
    let wavers = verdict.status == Truth::Unknown || verdict.reason.starts_with("NoProvider");
    let kept = before.filter(|c| wavers && c.reason == verdict.reason);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: kept.map_or_else(|| verdict.message.clone(), |c| c.message.clone()),
        last_transition_time: before.map_or(Time(now), |c| c.last_transition_time.clone()),
        observed_generation: None,
    }
}

fn nic(report: &NicReport) -> NodeNic {
    let NicReport { nic, interface, subnet, multus, addresses, pools } = report;
    let block = |family| subnet.as_ref().and_then(|s| s.block(family)).map(|block| block.to_string());
    let gateway = |family| subnet.as_ref().and_then(|s| s.gateway(family)).map(|gateway| gateway.to_string());
    NodeNic {
        id: nic.id.to_string(),
        mac: nic.mac.map(|mac| mac.to_string()),
        index: nic.index.map(i64::from),
        interface: Some(interface.clone()).filter(|name| !name.is_empty()),
        subnet: Some(nic.subnet.to_string()),
        use_: match &nic.use_ {
            NicUse::Pods => "Pods".to_owned(),
            NicUse::LeftAlone(why) | NicUse::Unclear(why) => why.clone(),
        },
        primary: nic.primary.iter().map(ToString::to_string).collect(),
        ipv4: addresses.of(Family::V4).to_strings(),
        ipv6: addresses.of(Family::V6).to_strings(),
        ipv4_subnet: block(Family::V4),
        ipv4_gateway: gateway(Family::V4),
        ipv6_subnet: block(Family::V6),
        ipv6_gateway: gateway(Family::V6),
        multus_name: multus.as_ref().map(ToString::to_string),
        pools: pools.clone(),
    }
}
