//! The chain of CNI plugins of each `cniType`, in upstream's keys and upstream's order:
//! ifacer, main plugin, rdma, what the user chains, coordinator, tuning.

use serde::Serialize;
use serde_json::Value;

use super::AttachmentError;
use crate::{
    Bond, CniType, CoordinatorMode, DefaultPools, LinkState, OvsTrunk, Route, SpiderCoordinatorSpec,
    SpiderMultusConfigSpec, VlanMode,
};

/// The longest name of an interface, in bytes: `IFNAMSIZ` less the final zero (linux/if.h).
pub(super) const INTERFACE_NAME_MAX: usize = 15;

/// What the API server fills in for `coordinator.hostRuleTable` and `coordinator.podRPFilter`.
const HOST_RULE_TABLE: i64 = 500;
const POD_RP_FILTER: i64 = 0;

/// A CNI network configuration list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<'a> {
    pub(super) name: &'a str,
    pub(super) cni_version: &'a str,
    pub(super) plugins: Vec<Plugin<'a>>,
}

impl List<'_> {
    pub(super) fn to_text(&self) -> Result<String, AttachmentError> {
        serde_json::to_string(self).map_err(|error| AttachmentError::Write(error.to_string()))
    }
}

/// The plugins of a network, and the resource of a device plugin that its pods need.
pub(super) struct Chain<'a> {
    pub(super) plugins: Vec<Plugin<'a>>,
    pub(super) resource: Option<String>,
}

/// One plugin's configuration.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Plugin<'a> {
    Ours(Known<'a>),
    Users(Value),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Known<'a> {
    Ifacer(Ifacer<'a>),
    Macvlan(Macvlan<'a>),
    Ipvlan(OnMaster<'a>),
    Vlan(OnMaster<'a>),
    Sriov(Sriov<'a>),
    IbSriov(IbSriov<'a>),
    Ipoib(OnMaster<'a>),
    Ovs(Ovs<'a>),
    Rdma {},
    Coordinator(Coordinator<'a>),
    Tuning { mtu: i32 },
}

/// Makes a VLAN interface, a bond, or a VLAN on a bond, or sets a NIC up, before the main plugin needs it.
#[derive(Debug, Serialize)]
pub(super) struct Ifacer<'a> {
    #[serde(rename = "vlanID", skip_serializing_if = "Option::is_none")]
    vlan_id: Option<i32>,
    interfaces: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    bond: Option<&'a Bond>,
    /// Upstream's takes no notice of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<i32>,
}

/// Who sees to it that a NIC of the node is up and takes packets as large as the pods'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nics {
    /// Whoever runs the node: what people write leads to what upstream makes of it.
    TheNodes,
    /// The ifacer: clouds' images often leave further NICs as the cloud plugs them in.
    TheIfacers,
}

#[derive(Debug, Serialize)]
pub(super) struct Macvlan<'a> {
    mode: &'static str,
    #[serde(flatten)]
    rest: OnMaster<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnMaster<'a> {
    master: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Sriov<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tx_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tx_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IbSriov<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pkey: Option<&'a str>,
    #[serde(rename = "link_state", skip_serializing_if = "Option::is_none")]
    link_state: Option<LinkState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdma_isolation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ib_kubernetes_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ovs<'a> {
    bridge: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<i32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    trunk: &'a [OvsTrunk],
    #[serde(rename = "deviceID", skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam<'a>>,
}

/// Our own IPAM plugin's part.
#[derive(Debug, Serialize)]
pub(super) struct Ipam<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "default_ipv4_ippool", skip_serializing_if = "<[_]>::is_empty")]
    ipv4: &'a [String],
    #[serde(rename = "default_ipv6_ippool", skip_serializing_if = "<[_]>::is_empty")]
    ipv6: &'a [String],
    #[serde(rename = "match_master_subnet", skip_serializing_if = "Option::is_none")]
    match_master_subnet: Option<bool>,
}

/// The settings of the coordinator that differ from the cluster's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Coordinator<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tune_pod_routes: Option<bool>,
    /// The coordinator spells it so; `SpiderCoordinator` ends in `NIC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_default_route_nic: Option<&'a str>,
    #[serde(rename = "podMACPrefix", skip_serializing_if = "Option::is_none")]
    pod_mac_prefix: Option<&'a str>,
    #[serde(rename = "serviceCIDR", skip_serializing_if = "<[_]>::is_empty")]
    service_cidr: &'a [String],
    #[serde(rename = "overlayPodCIDR", skip_serializing_if = "<[_]>::is_empty")]
    overlay_pod_cidr: &'a [String],
    #[serde(rename = "hijackCIDR", skip_serializing_if = "<[_]>::is_empty")]
    hijack_cidr: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policy_routes: &'a [Route],
    #[serde(skip_serializing_if = "Option::is_none")]
    host_rule_table: Option<i64>,
    #[serde(rename = "podRPFilter", skip_serializing_if = "Option::is_none")]
    pod_rp_filter: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_queue_len: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    veth_link_address: Option<&'a str>,
    #[serde(rename = "vethMTU", skip_serializing_if = "Option::is_none")]
    veth_mtu: Option<i64>,
}

/// Returns the user's own configuration as it is, or none.
pub(super) fn custom(spec: &SpiderMultusConfigSpec) -> Result<Option<String>, AttachmentError> {
    let Some(text) = spec.custom_cni.as_deref().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    object("spec.customCNI", text)?;
    Ok(Some(text.to_owned()))
}

/// Returns the plugins of any `cniType` but custom, in the order in which they run.
pub(super) fn chain(
    spec: &SpiderMultusConfigSpec,
    kind: CniType,
    nics: Nics,
) -> Result<Chain<'_>, AttachmentError> {
    let mut known = Vec::new();
    let mut last = None;
    let mut resource = None;
    match kind {
        // Answered by `custom`; a chain of nothing would be no configuration.
        CniType::Custom => {}
        CniType::Macvlan => {
            let block = block(spec.macvlan.as_ref(), "macvlan", "macvlan")?;
            let base = base("macvlan", &block.master, block.vlan_id, block.bond.as_ref())?;
            known.extend(base.ifacer.map(Known::Ifacer));
            let ipam = ipam(spec, block.ippools.as_ref());
            let rest = OnMaster { master: base.master, vlan_id: None, mtu: some(block.mtu), ipam };
            known.push(Known::Macvlan(Macvlan { mode: "bridge", rest }));
        }
        CniType::Ipvlan => {
            let block = block(spec.ipvlan.as_ref(), "ipvlan", "ipvlan")?;
            let base = base("ipvlan", &block.master, block.vlan_id, block.bond.as_ref())?;
            let ipam = ipam(spec, block.ippools.as_ref());
            let mtu = some(block.mtu);
            known.extend(below(base.ifacer, nics, &block.master, mtu).map(Known::Ifacer));
            known.push(Known::Ipvlan(OnMaster { master: base.master, vlan_id: None, mtu, ipam }));
        }
        CniType::Vlan => {
            let block = block(spec.vlan.as_ref(), "vlan", "vlan")?;
            // The plugin itself makes the VLAN, on the bond if there is one.
            let base = base("vlan", &block.master, None, block.bond.as_ref())?;
            known.extend(base.ifacer.map(Known::Ifacer));
            let vlan_id = match block.vlan_mode {
                Some(VlanMode::Auto) => None,
                Some(VlanMode::Manual) | None => {
                    let wants = "the VLAN, or set vlanMode auto to get it with the address";
                    Some(block.vlan_id.ok_or_else(|| missing("spec.vlan.vlanID", wants))?)
                }
            };
            let ipam = ipam(spec, block.ippools.as_ref());
            known.push(Known::Vlan(OnMaster { master: base.master, vlan_id, mtu: some(block.mtu), ipam }));
        }
        CniType::Sriov => {
            let block = block(spec.sriov.as_ref(), "sriov", "sriov")?;
            resource = Some(device("spec.sriov.resourceName", block.resource_name.as_deref())?);
            let mut ipam = ipam(spec, block.ippools.as_ref());
            if let (Some(ipam), Some(pools)) = (&mut ipam, &block.ippools) {
                ipam.match_master_subnet = pools.match_master_subnet.filter(|matched| *matched);
            }
            known.push(Known::Sriov(Sriov {
                vlan: block.vlan_id,
                min_tx_rate: block.min_tx_rate_mbps,
                max_tx_rate: block.max_tx_rate_mbps,
                ipam,
            }));
            if block.rdma_isolation == Some(true) {
                known.push(Known::Rdma {});
            }
            last = some(block.mtu).map(|mtu| Known::Tuning { mtu });
        }
        CniType::IbSriov => {
            let block = block(spec.ibsriov.as_ref(), "ib-sriov", "ibsriov")?;
            resource = Some(device("spec.ibsriov.resourceName", block.resource_name.as_deref())?);
            known.push(Known::IbSriov(IbSriov {
                pkey: block.pkey.as_deref(),
                link_state: block.link_state,
                rdma_isolation: block.rdma_isolation,
                ib_kubernetes_enabled: block.enable_ib_kubernetes,
                ipam: ipam(spec, block.ippools.as_ref()),
            }));
        }
        CniType::Ipoib => {
            let block = block(spec.ipoib.as_ref(), "ipoib", "ipoib")?;
            let master = block.master.clone().filter(|master| !master.is_empty());
            let master = master.ok_or_else(|| missing("spec.ipoib.master", MASTER))?;
            let ipam = ipam(spec, block.ippools.as_ref());
            known.push(Known::Ipoib(OnMaster { master, vlan_id: None, mtu: None, ipam }));
        }
        CniType::Ovs => {
            let block = block(spec.ovs.as_ref(), "ovs", "ovs")?;
            if block.bridge.is_empty() {
                return Err(missing("spec.ovs.bridge", "the bridge of Open vSwitch"));
            }
            let device_id = block.device_id.as_deref().filter(|device| !device.is_empty());
            // The resource under which the device plugin of KubeVirt's ovs-cni offers a bridge's VFs.
            resource = device_id.map(|_| format!("ovs-cni.network.kubevirt.io/{}", block.bridge));
            known.push(Known::Ovs(Ovs {
                bridge: &block.bridge,
                vlan: block.vlan,
                trunk: &block.trunk,
                device_id,
                ipam: ipam(spec, block.ippools.as_ref()),
            }));
        }
    }
    let mut plugins: Vec<Plugin<'_>> = known.into_iter().map(Plugin::Ours).collect();
    plugins.extend(chained(spec)?.into_iter().map(Plugin::Users));
    if spec.enable_coordinator.unwrap_or(true) {
        let settings = spec.coordinator.as_ref().map(coordinator).unwrap_or_default();
        plugins.push(Plugin::Ours(Known::Coordinator(settings)));
    }
    plugins.extend(last.map(Plugin::Ours));
    Ok(Chain { plugins, resource })
}

/// What belongs into `master`.
const MASTER: &str = "the name of an interface of the node";

/// The interface that the main plugin stands on, and what makes it.
struct Base<'a> {
    master: String,
    ifacer: Option<Ifacer<'a>>,
}

fn base<'a>(
    block: &'static str,
    masters: &'a [String],
    vlan: Option<i32>,
    bond: Option<&'a Bond>,
) -> Result<Base<'a>, AttachmentError> {
    let first = masters.first().filter(|master| !master.is_empty());
    let first = first.ok_or_else(|| missing(format!("spec.{block}.master"), MASTER))?;
    // One interface needs no bond, whatever is said of one.
    let bond = match (masters.len(), bond.filter(|bond| !bond.name.is_empty())) {
        (..=1, _) => None,
        (masters, None) => return Err(AttachmentError::Bond { block, masters }),
        (_, bond) => bond,
    };
    let below = bond.map_or(first, |bond| &bond.name);
    let vlan_id = some(vlan);
    let master = vlan_id.map_or_else(|| below.clone(), |vlan| format!("{below}.{vlan}"));
    if bond.is_none() && vlan_id.is_none() {
        return Ok(Base { master, ifacer: None });
    }
    for (name, advice) in [(below, "give the bond a shorter name"), (&master, SHORTER)] {
        let made = name == &master || bond.is_some();
        if made && name.len() > INTERFACE_NAME_MAX {
            return Err(AttachmentError::InterfaceName { name: name.clone(), advice });
        }
    }
    Ok(Base { master, ifacer: Some(Ifacer { vlan_id, interfaces: masters, bond, mtu: None }) })
}

/// What runs before the main plugin, for whoever sees to the NICs.
fn below<'a>(
    ifacer: Option<Ifacer<'a>>,
    nics: Nics,
    masters: &'a [String],
    mtu: Option<i32>,
) -> Option<Ifacer<'a>> {
    match nics {
        Nics::TheNodes => ifacer,
        Nics::TheIfacers => {
            let nic = Ifacer { vlan_id: None, interfaces: masters, bond: None, mtu };
            // The main plugin refuses an MTU that is larger than its master's.
            Some(Ifacer { mtu, ..ifacer.unwrap_or(nic) })
        }
    }
}

/// What to do when `<interface>.<vlan>` is too long.
const SHORTER: &str = "give the interface below the VLAN a shorter name";

fn block<'a, T>(
    block: Option<&'a T>,
    kind: &'static str,
    name: &'static str,
) -> Result<&'a T, AttachmentError> {
    block.ok_or(AttachmentError::Block { kind, block: name })
}

fn missing(field: impl Into<String>, wants: &'static str) -> AttachmentError {
    AttachmentError::Missing { field: field.into(), wants }
}

fn device(field: &str, name: Option<&str>) -> Result<String, AttachmentError> {
    let name = name.filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| missing(field, "the resource of the SR-IOV device plugin"))
}

/// Numbers for which 0 means none.
fn some(number: Option<i32>) -> Option<i32> {
    number.filter(|number| *number != 0)
}

fn ipam<'a>(spec: &SpiderMultusConfigSpec, pools: Option<&'a DefaultPools>) -> Option<Ipam<'a>> {
    (spec.disable_ipam != Some(true)).then(|| Ipam {
        kind: "spiderpool",
        ipv4: pools.map_or(&[], |pools| &pools.ipv4),
        ipv6: pools.map_or(&[], |pools| &pools.ipv6),
        match_master_subnet: None,
    })
}

fn chained(spec: &SpiderMultusConfigSpec) -> Result<Vec<Value>, AttachmentError> {
    let items = spec.chain_cni_json_data.iter().enumerate();
    items
        .map(|(at, text)| {
            let field = format!("spec.chainCNIJsonData[{at}]");
            let plugin = object(&field, text)?;
            let named = plugin.get("type").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty());
            if named { Ok(plugin) } else { Err(AttachmentError::PluginType { field }) }
        })
        .collect()
}

fn object(field: &str, text: &str) -> Result<Value, AttachmentError> {
    let wrong = |reason: String| AttachmentError::Json { field: field.to_owned(), reason };
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(wrong("it is JSON of another kind".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn coordinator(spec: &SpiderCoordinatorSpec) -> Coordinator<'_> {
    let SpiderCoordinatorSpec {
        mode,
        // Where the cluster's CIDRs come from is the cluster's business.
        pod_cidr_type: _,
        hijack_cidr,
        policy_routes,
        pod_mac_prefix,
        tune_pod_routes,
        pod_default_route_nic,
        host_rule_table,
        pod_rp_filter,
        tx_queue_len,
        veth_link_address,
        veth_mtu,
        service_cidr,
        overlay_pod_cidr,
    } = spec;
    Coordinator {
        mode: mode.map(mode_text),
        tune_pod_routes: *tune_pod_routes,
        pod_default_route_nic: text(pod_default_route_nic.as_ref()),
        pod_mac_prefix: text(pod_mac_prefix.as_ref()),
        service_cidr: service_cidr.as_deref().unwrap_or_default(),
        overlay_pod_cidr: overlay_pod_cidr.as_deref().unwrap_or_default(),
        hijack_cidr: hijack_cidr.as_deref().unwrap_or_default(),
        policy_routes,
        // The API server fills these in, and upstream does not pass them on: what it filled in must not overrule what
        // the cluster's SpiderCoordinator says.
        host_rule_table: host_rule_table.filter(|table| *table != HOST_RULE_TABLE),
        pod_rp_filter: pod_rp_filter.filter(|filter| *filter != POD_RP_FILTER),
        tx_queue_len: *tx_queue_len,
        veth_link_address: text(veth_link_address.as_ref()),
        veth_mtu: *veth_mtu,
    }
}

fn text(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The coordinator's word for a mode, which differs from the object's for the last.
fn mode_text(mode: CoordinatorMode) -> &'static str {
    match mode {
        CoordinatorMode::Auto => "auto",
        CoordinatorMode::Underlay => "underlay",
        CoordinatorMode::Overlay => "overlay",
        CoordinatorMode::Disabled => "disable",
    }
}
