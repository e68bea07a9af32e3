//! Annotations of pods and namespaces, which every user of the cluster writes, and the choice of pools that they lead to.
//!
//! Input: one text, which is tried as each of the annotations.

#![no_main]

use std::collections::BTreeMap;

use api::annotations;
use libfuzzer_sys::fuzz_target;
use model::Family;
use model::select::{self, Candidate, CniDefaults, Horizon, PodFacts, PodRule, Request, SubnetFeature};

const HOME: &str = "kube-system";

fn pools() -> Vec<Candidate> {
    let pool = |name: &str, family: Family, subnet: &str, default: bool| Candidate {
        name: name.to_owned(),
        family,
        subnet: subnet.parse().ok(),
        terminating: false,
        disabled: false,
        default,
        nodes: Vec::new(),
        node_labels: None,
        namespaces: Vec::new(),
        namespace_labels: None,
        pods: PodRule::Any,
        networks: Vec::new(),
        offered: 10,
        free: Some(5),
        problem: None,
    };
    vec![
        pool("shop", Family::V4, "10.0.0.0/24", false),
        pool("shop-v6", Family::V6, "fd00::/64", false),
        pool("worker-eth0-a", Family::V4, "10.0.1.0/24", true),
        pool("worker-eth0-b", Family::V4, "10.0.1.0/24", false),
        pool("worker-eth0-v6", Family::V6, "fd00:1::/64", true),
    ]
}

fuzz_target!(|text: &str| {
    let keys = [
        annotations::IPPOOLS,
        annotations::IPPOOL,
        annotations::ROUTES,
        annotations::NETWORKS,
        annotations::DEFAULT_NETWORK,
        annotations::DEFAULT_IPV4_IPPOOL,
        annotations::DEFAULT_IPV6_IPPOOL,
        annotations::SUBNET,
    ];
    let (pools, facts, cni) = (pools(), PodFacts::default(), CniDefaults::default());
    let all: BTreeMap<String, String> = keys.iter().map(|key| ((*key).to_owned(), text.to_owned())).collect();
    let alone = |key: &str| BTreeMap::from([(key.to_owned(), text.to_owned())]);
    let told = [
        all,
        alone(annotations::IPPOOL),
        alone(annotations::IPPOOLS),
        alone(annotations::NETWORKS),
        BTreeMap::new(),
    ];
    for (at, annotations) in told.iter().enumerate() {
        let wishes = annotations::pod(annotations, "default", HOME);
        // Without wishes of the pod it is the namespace's that decide.
        let own = alone(annotations::DEFAULT_IPV4_IPPOOL);
        let namespace = annotations::namespace(if at == 4 { &own } else { annotations });
        if let Some(Err(bad)) = &wishes.routes {
            assert!(bad.to_string().contains(annotations::ROUTES));
        }
        for nic in ["eth0", "net1"] {
            let request = Request {
                pod: &facts,
                wishes: &wishes,
                nic,
                node: "worker",
                node_labels: &BTreeMap::new(),
                namespace_labels: &BTreeMap::new(),
                namespace_pools: &namespace,
                cni: &cni,
                families: &[Family::V4, Family::V6],
                home: HOME,
                cluster_network: None,
                masters: None,
                subnets: SubnetFeature::default(),
                horizon: Horizon::Node,
            };
            match select::select(&request, &pools) {
                Ok(selection) => {
                    assert!(!selection.families.is_empty());
                    for (family, choices) in &selection.families {
                        assert!(!choices.is_empty(), "{family:?}");
                        let named = |choice: &select::Choice| {
                            pools.iter().any(|pool| pool.name == choice.pool && pool.family == *family)
                        };
                        assert!(choices.iter().all(named), "a pool that is there, and of the family");
                    }
                }
                Err(error) => assert!(error.to_string().len() > 10, "{error}"),
            }
        }
    }
});
