//! One NIC of the pod: asked about as its agent asks.

use api::annotations;
use kube::ResourceExt;
use model::select::{
    Behind, Candidate, CniDefaults, Found, Horizon, PodFacts, Reason, Refused, Request, Rule, SelectError,
    Selection, select,
};
use model::{Family, PodName};

use super::cni::Ipam;
use super::facts::Facts;
use super::{Considered, Held, Nic, Pod};

/// Explains one NIC; `home` is Spiderpool's own namespace, `held` the addresses of all NICs.
pub(super) fn nic(
    facts: &Facts,
    home: &str,
    pod: &Pod,
    pools: &[Candidate],
    name: &str,
    held: &[Held],
) -> Nic {
    let cluster_network = facts.settings.cluster_network.as_ref();
    let network = match facts.wishes.networks.behind(name, cluster_network) {
        Behind::Network(network) => Some(network.to_string()),
        Behind::Unknown | Behind::Unreadable(_) => None,
    };
    let mut nic = Nic {
        name: name.to_owned(),
        ipam: None,
        rule: None,
        clean_gateway: None,
        error: None,
        pools: Vec::new(),
        without: Vec::new(),
        addresses: held.iter().filter(|held| held.nic == name).cloned().collect(),
        network,
    };
    let mut unknown = None;
    let cni = match nic.network.as_ref().and_then(|network| facts.networks.get(network)) {
        Some(Ipam::Other(other)) => {
            nic.ipam = Some(other.clone());
            return nic;
        }
        Some(Ipam::Ours { defaults, matches_master }) => {
            if *matches_master {
                let note =
                    "match_master_subnet is set, and what the NIC's master has is known on the node only";
                nic.without.push(note.to_owned());
            }
            defaults.clone()
        }
        Some(Ipam::Unknown(why)) => {
            unknown = Some(why.as_str());
            CniDefaults::default()
        }
        None => {
            unknown = Some("nothing says which network is behind the NIC");
            CniDefaults::default()
        }
    };
    let outcome = ask(facts, home, pod, pools, name, &cni);
    let rule = match &outcome {
        Ok(selection) => Some(selection.rule),
        Err(error) => error.rule(),
    };
    // The rules above the CNI configuration decide without it.
    if let (Some(Rule::Default), Some(why)) = (rule, unknown) {
        nic.without.push(format!("default pools of the CNI configuration are unknown: {why}"));
    }
    tell(&mut nic, outcome, rule, pools);
    nic
}

fn ask(
    facts: &Facts,
    home: &str,
    pod: &Pod,
    pools: &[Candidate],
    name: &str,
    cni: &CniDefaults,
) -> Result<Selection, SelectError> {
    let namespace = facts.namespace.as_ref();
    let namespace_pools = namespace.and_then(|namespace| annotations::namespace(namespace.annotations()));
    let pod_facts = PodFacts {
        name: PodName { namespace: pod.namespace.clone(), name: pod.name.clone() },
        labels: facts.pod.labels().clone(),
        application: facts.application.clone(),
    };
    let request = Request {
        pod: &pod_facts,
        wishes: &facts.wishes,
        nic: name,
        node: &pod.node,
        node_labels: &facts.node.as_ref().map(|node| node.labels().clone()).unwrap_or_default(),
        namespace_labels: &namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default(),
        namespace_pools: &namespace_pools,
        cni,
        families: &facts.settings.families,
        home,
        cluster_network: facts.settings.cluster_network.as_ref(),
        masters: None,
        subnets: facts.settings.subnets,
        horizon: Horizon::Cluster,
    };
    select(&request, pools)
}

fn tell(nic: &mut Nic, outcome: Result<Selection, SelectError>, rule: Option<Rule>, pools: &[Candidate]) {
    let free = |name: &str| pools.iter().find(|pool| pool.name == name).and_then(|pool| pool.free);
    nic.rule = rule.map(|rule| rule.to_string());
    let refused = match outcome {
        Ok(selection) => {
            nic.clean_gateway = Some(selection.clean_gateway);
            nic.pools = serving(&selection);
            let absent = selection.without.iter();
            nic.without
                .extend(absent.map(|(family, why)| format!("no IPv{} address: {why}", family.version())));
            selection.refused
        }
        Err(error) => {
            nic.error = Some(error.to_string());
            error.refused().to_vec()
        }
    };
    nic.pools.extend(refused.iter().map(|it| not_serving(it, rule, free(&it.pool))));
}

fn serving(selection: &Selection) -> Vec<Considered> {
    let mut serving = Vec::new();
    for (family, choices) in &selection.families {
        serving.extend(choices.iter().zip(1..).map(|(choice, turn)| Considered {
            pool: choice.pool.clone(),
            family: family.version(),
            turn: Some(turn),
            free: choice.free.map(|free| free.to_string()),
            why: match (&choice.found, choice.free) {
                (_, Some(0)) => "serves, but no address is free".to_owned(),
                (Found::Name, _) => "named".to_owned(),
                (Found::Wildcard(pattern), _) => format!("matches {pattern}"),
                (Found::Default, _) => "default pool".to_owned(),
            },
            elsewhere: false,
        }));
    }
    serving
}

fn not_serving(refused: &Refused, rule: Option<Rule>, free: Option<u128>) -> Considered {
    Considered {
        pool: refused.pool.clone(),
        family: Family::version(refused.family),
        turn: None,
        free: free.map(|free| free.to_string()),
        why: refused.reason.to_string(),
        elsewhere: rule == Some(Rule::Default) && matches!(refused.reason, Reason::Node { .. }),
    }
}
