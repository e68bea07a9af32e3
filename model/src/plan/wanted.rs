//! What the readings ask for: per node and NIC, the pools that should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{AddressRange, Family};
use crate::address_set::AddressSet;
use crate::moment::Moment;
use crate::nic::{InstanceId, Nic, NicId, NicUse, ProviderName};
use crate::node::{Match, Node};
use crate::plan::{Input, ProviderPolicy};
use crate::pool::{Origin, Owner, pool_name};
use crate::reading::{Reading, Sight};
use crate::report::{NicReport, Truth, Verdict};
use crate::template::MultusName;

/// One pool that should be, before anything in the cluster is looked at.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) subnet: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) multus: MultusName,
    pub(super) default: bool,
    pub(super) origin: Origin,
    /// The addresses that the reading showed and pods may use.
    pub(super) shown: AddressSet,
    /// When that reading began.
    pub(super) at: Moment,
}

/// What is known of one node so far.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) provider: Option<ProviderName>,
    pub(super) instance: Option<InstanceId>,
    pub(super) nics: Vec<NicReport>,
    pub(super) discovered: Verdict,
    pub(super) problems: Vec<String>,
}

/// What the readings ask for.
#[derive(Default)]
pub(super) struct Demand {
    /// By pool name.
    pub(super) pools: BTreeMap<String, Wanted>,
    /// By node name.
    pub(super) drafts: BTreeMap<String, Draft>,
    /// The names of the pools of each NIC, so that one under another name is known to be superseded.
    pub(super) by_nic: BTreeMap<(NicId, Family), String>,
}

/// A reading that has failed for this many resyncs in a row is shown as stale on every node.
const STALE_AFTER: u32 = 5;

pub(super) fn collect(input: &Input<'_>) -> Demand {
    let contested = contested(input);
    let mut demand = Demand::default();
    for (name, (node, matched)) in input.nodes {
        let draft = match matched {
            Match::None(why) => {
                let reason = if node.provider_id.is_some() { "NoProvider" } else { "NoProviderID" };
                draft(None, Verdict::new(Truth::False, reason, why.clone()))
            }
            Match::Instance { provider, instance } => {
                let id = (provider.clone(), instance.clone());
                match contested.get(instance).filter(|rivals| !rivals.owns(name)) {
                    Some(rivals) => {
                        let verdict =
                            Verdict::new(Truth::False, "InstanceContested", rivals.sentence(instance));
                        draft(Some(id), verdict)
                    }
                    None => match input.policy.providers.get(provider) {
                        Some(policy) => read(input, node, id, policy, &mut demand),
                        None => draft(
                            None,
                            Verdict::new(Truth::False, "NoProvider", "its provider is not configured"),
                        ),
                    },
                }
            }
        };
        demand.drafts.insert(name.clone(), draft);
    }
    demand
}

fn draft(id: Option<(ProviderName, InstanceId)>, discovered: Verdict) -> Draft {
    let (provider, instance) = id.unzip();
    Draft { provider, instance, nics: Vec::new(), discovered, problems: Vec::new() }
}

/// Nodes that claim one instance, and the one among them that already has its pools.
struct Rivals<'a> {
    names: Vec<&'a str>,
    holder: Option<&'a str>,
}

impl Rivals<'_> {
    fn owns(&self, node: &str) -> bool {
        self.holder == Some(node)
    }

    fn sentence(&self, instance: &InstanceId) -> String {
        let all = self.names.join(", ");
        match self.holder {
            Some(holder) => format!(
                "nodes {all} all name instance {instance} in spec.providerID; its pools stay with {holder}: correct the \
                 providerID of the others or delete them"
            ),
            None => format!(
                "nodes {all} all name instance {instance} in spec.providerID; none gets its pools until only one does"
            ),
        }
    }
}

fn contested<'a>(input: &Input<'a>) -> BTreeMap<&'a InstanceId, Rivals<'a>> {
    let mut claims = BTreeMap::<(&ProviderName, &InstanceId), Vec<&str>>::new();
    for (name, (_, matched)) in input.nodes {
        if let Match::Instance { provider, instance } = matched {
            claims.entry((provider, instance)).or_default().push(name);
        }
    }
    claims.retain(|_, names| names.len() > 1);
    if claims.is_empty() {
        return BTreeMap::new();
    }
    let mut holders = BTreeSet::<(&InstanceId, &str)>::new();
    for pool in input.pools.values() {
        if let Owner::Ours(origin, _) = &pool.owner {
            holders.insert((&origin.instance, &origin.node));
        }
    }
    claims
        .into_iter()
        .map(|((_, instance), names)| {
            let holding: Vec<_> = names.iter().filter(|name| holders.contains(&(instance, **name))).collect();
            let holder = if let [one] = holding.as_slice() { Some(**one) } else { None };
            (instance, Rivals { names, holder })
        })
        .collect()
}

fn read(
    input: &Input<'_>,
    node: &Node,
    (provider, instance): (ProviderName, InstanceId),
    policy: &ProviderPolicy,
    demand: &mut Demand,
) -> Draft {
    let unread = Reading::default();
    let reading = input.readings.get(&provider).unwrap_or(&unread);
    let id = Some((provider.clone(), instance.clone()));
    let (nics, at) = match reading.sight(&instance) {
        Sight::Unknown => {
            let verdict = reading.failure().map_or_else(
                || ("NotRead", format!("provider {provider} has not been read yet")),
                |failure| ("ReadFailed", format!("provider {provider} could not be read: {failure}")),
            );
            return draft(id, Verdict::new(Truth::Unknown, verdict.0, verdict.1));
        }
        Sight::Absent(_) => {
            let why = format!(
                "provider {provider} shows no NIC of instance {instance} in its scope: is spec.providerID right, and is \
                 the instance in the configured VPC?"
            );
            return draft(id, Verdict::new(Truth::False, "InstanceNotFound", why));
        }
        Sight::Present(nics, at) => (nics, at),
    };
    let mut draft = draft(id, discovered(input, &provider, reading, nics.len()));
    let interfaces = interfaces(input, policy, nics);
    let mut taken = BTreeSet::new();
    for (nic, interface) in in_order(nics, interfaces) {
        let left_alone = match (&nic.use_, &interface) {
            (NicUse::LeftAlone(_), _) => true,
            (NicUse::Unclear(why), _) => {
                draft.problems.push(format!("NIC {} waits: {why}", nic.id));
                true
            }
            (NicUse::Pods, Err(problem)) => {
                draft.problems.push(format!("NIC {} is left alone: {problem}", nic.id));
                true
            }
            (NicUse::Pods, Ok(name)) if !taken.insert(name.clone()) => {
                draft
                    .problems
                    .push(format!("NIC {} is left alone: another NIC is named {name} already", nic.id));
                true
            }
            (NicUse::Pods, Ok(_)) => false,
        };
        let interface = interface.unwrap_or_default();
        let mut report = NicReport {
            nic: nic.clone(),
            subnet: reading.subnet(&nic.subnet).cloned(),
            multus: None,
            addresses: AddressSet::new(),
            pools: Vec::new(),
            interface,
        };
        if !left_alone {
            want(node, &instance, &provider, policy, at, &mut report, demand, &mut draft.problems);
        }
        draft.nics.push(report);
    }
    draft
}

fn discovered(input: &Input<'_>, provider: &ProviderName, reading: &Reading, nics: usize) -> Verdict {
    let old = reading.whole().is_none_or(|at| at.after(input.policy.resync * STALE_AFTER) <= input.now);
    match reading.failure() {
        Some(failure) if reading.failure_lasts() || old => Verdict::new(
            Truth::Unknown,
            "ReadFailed",
            format!("provider {provider} could not be read again, what it showed before is kept: {failure}"),
        ),
        _ => Verdict::new(Truth::True, "Read", format!("provider {provider} showed {nics} NICs")),
    }
}

/// Names every NIC: by the source, else by the name its pools already bear, else by index.
///
/// Where the cloud gives no index, the primary is 0 and the others follow in the order of their identifiers; a name
/// once given stays, so that detaching one NIC does not rename the next.
fn interfaces(
    input: &Input<'_>,
    policy: &ProviderPolicy,
    nics: &[Nic],
) -> BTreeMap<NicId, Result<String, String>> {
    let mut names = BTreeMap::new();
    let mut used: BTreeSet<u32> = nics.iter().filter_map(|nic| nic.index).collect();
    let mut ordered: Vec<&Nic> = nics.iter().collect();
    ordered.sort_by(|a, b| a.id.cmp(&b.id));
    let unnamed = ordered.iter().filter(|nic| nic.interface.is_none() && nic.index.is_none()).count();
    let known: BTreeMap<&NicId, &str> = if unnamed == 0 { BTreeMap::new() } else { named_before(input) };
    for nic in &ordered {
        let name = match (&nic.interface, nic.index, known.get(&nic.id)) {
            (Some(name), _, _) => Ok(name.clone()),
            (None, Some(index), _) => policy.interface.render(index).map_err(|e| e.to_string()),
            (None, None, Some(name)) => Ok((*name).to_owned()),
            (None, None, None) => continue,
        };
        names.insert(nic.id.clone(), name);
    }
    for nic in ordered {
        if names.contains_key(&nic.id) {
            continue;
        }
        let name = (1..).filter(|index| used.insert(*index)).find_map(|index| {
            let name = policy.interface.render(index).map_err(|e| e.to_string());
            let free = name.as_ref().map_or(true, |name| !names.values().any(|n| n.as_ref() == Ok(name)));
            free.then_some(name)
        });
        names.insert(nic.id.clone(), name.unwrap_or_else(|| Err("no index is free".into())));
    }
    names
}

fn named_before<'a>(input: &Input<'a>) -> BTreeMap<&'a NicId, &'a str> {
    let pools = input.pools.values();
    pools
        .filter_map(|pool| match &pool.owner {
            Owner::Ours(origin, _) => Some((&origin.nic, origin.interface.as_str())),
            Owner::Foreign => None,
        })
        .collect()
}

/// Pairs NICs with their names, by index and then identifier.
fn in_order(
    nics: &[Nic],
    mut names: BTreeMap<NicId, Result<String, String>>,
) -> Vec<(&Nic, Result<String, String>)> {
    let mut pairs: Vec<_> = nics
        .iter()
        .map(|nic| (nic, names.remove(&nic.id).unwrap_or_else(|| Err("it is listed twice".into()))))
        .collect();
    pairs.sort_by(|(a, a_name), (b, b_name)| {
        let key = |nic: &Nic| nic.index.unwrap_or(u32::MAX);
        key(a).cmp(&key(b)).then_with(|| a_name.cmp(b_name)).then_with(|| a.id.cmp(&b.id))
    });
    pairs
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call site; a struct for it would only rename the arguments"
)]
fn want(
    node: &Node,
    instance: &InstanceId,
    provider: &ProviderName,
    policy: &ProviderPolicy,
    at: Moment,
    report: &mut NicReport,
    demand: &mut Demand,
    problems: &mut Vec<String>,
) {
    let (nic, interface) = (&report.nic, &report.interface);
    let multus = match policy.multus.render(interface) {
        Ok(multus) => multus,
        Err(problem) => return problems.push(format!("NIC {} is left alone: {problem}", nic.id)),
    };
    let Some(subnet) = &report.subnet else {
        return problems
            .push(format!("NIC {}: provider {provider} does not show its subnet {}", nic.id, nic.subnet));
    };
    let own: AddressSet = node.addresses.iter().chain(&nic.primary).copied().collect();
    for family in Family::ALL {
        let Some(block) = subnet.block(family) else {
            continue;
        };
        let mut usable = nic.addresses.of(family).difference(&own);
        let outside = usable.difference(&AddressSet::from_iter([AddressRange::from(block)]));
        if !outside.is_empty() {
            problems.push(format!("NIC {}: {outside} left out, outside its subnet {block}", nic.id));
            usable = usable.difference(&outside);
        }
        let gateway = subnet.gateway(family);
        if let Some(gateway) = gateway.filter(|gateway| usable.contains(*gateway)) {
            problems.push(format!("NIC {}: {gateway} left out, it is the gateway of {block}", nic.id));
            usable = usable.difference(&AddressSet::from_iter([gateway]));
        }
        let name = pool_name(&node.name, interface, &nic.id, block);
        report.addresses = report.addresses.union(&usable);
        report.pools.push(name.clone());
        demand.by_nic.insert((nic.id.clone(), family), name.clone());
        let origin = Origin {
            provider: provider.clone(),
            node: node.name.clone(),
            node_uid: node.uid.clone(),
            instance: instance.clone(),
            nic: nic.id.clone(),
            mac: nic.mac,
            interface: interface.clone(),
            subnet: nic.subnet.clone(),
            source: policy.source.clone(),
        };
        let wanted = Wanted {
            name: name.clone(),
            subnet: block,
            gateway,
            multus: multus.clone(),
            default: policy.default,
            origin,
            shown: usable,
            at,
        };
        demand.pools.insert(name, wanted);
    }
    report.multus = Some(multus);
}
