use std::collections::BTreeMap;

use model::AddressSet;

use super::*;
use crate::coordinator::facts::{CalicoPool, Component, Named, Sight};

/// A cluster that shows nothing at all: a managed control plane.
fn bare() -> Facts {
    Facts {
        services: Sight::Absent,
        kubeadm: Sight::Absent,
        components: Sight::There(Vec::new()),
        calico: Sight::Absent,
        cilium: Sight::Absent,
        cilium_pools: Sight::Absent,
    }
}

fn kubeadm_says(text: &str) -> Sight<String> {
    Sight::There(format!("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n{text}"))
}

fn kubeadm_cluster() -> Facts {
    let kubeadm = kubeadm_says(
        "networking: {dnsDomain: cluster.local, podSubnet: '10.244.0.0/16,fd00:244::/56', serviceSubnet: 10.96.0.0/12}",
    );
    Facts { kubeadm, ..bare() }
}

fn named(name: &str, cidrs: &[&str]) -> Named {
    Named { name: name.into(), cidrs: cidrs.iter().map(|&it| it.into()).collect() }
}

fn pod(name: &str, words: &[&str]) -> Component {
    Component { pod: name.into(), words: words.iter().map(|&it| it.into()).collect() }
}

fn calico_pool(name: &str, cidr: &str, uses: &[&str]) -> CalicoPool {
    CalicoPool { name: name.into(), cidr: cidr.into(), uses: uses.iter().map(|&it| it.into()).collect() }
}

fn cilium_says(entries: &[(&str, &str)]) -> Sight<BTreeMap<String, String>> {
    Sight::There(entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
}

fn spec(kind: PodCidrType) -> SpiderCoordinatorSpec {
    SpiderCoordinatorSpec { pod_cidr_type: Some(kind), ..SpiderCoordinatorSpec::default() }
}

fn texts(finding: &Finding) -> Vec<String> {
    finding.blocks.iter().map(ToString::to_string).collect()
}

fn found(kind: PodCidrType, facts: &Facts) -> Finding {
    overlay(&spec(kind), facts, &[])
}

#[track_caller]
fn is(finding: &Finding, blocks: &[&str], certainty: Certainty, reason: &str) {
    assert_eq!(
        (texts(finding), finding.certainty, finding.reason),
        (blocks.iter().map(|&it| it.to_owned()).collect(), certainty, reason),
        "{}",
        finding.message
    );
}

#[test]
fn kubeadm_tells_both() {
    let facts = kubeadm_cluster();
    is(&services(&spec(PodCidrType::Auto), &facts), &["10.96.0.0/12"], Certainty::Known, "Kubeadm");
    for kind in [PodCidrType::Auto, PodCidrType::Cluster] {
        is(&found(kind, &facts), &["10.244.0.0/16", "fd00:244::/56"], Certainty::Known, "Kubeadm");
    }
}

#[test]
fn all_service_cidr_objects_count_and_go_before_kubeadm() {
    let objects =
        vec![named("kubernetes", &["10.96.0.0/12", "fd00:96::/112"]), named("more", &["10.112.0.0/16"])];
    let facts = Facts { services: Sight::There(objects), ..kubeadm_cluster() };
    let finding = services(&spec(PodCidrType::None), &facts);
    is(&finding, &["10.96.0.0/12", "10.112.0.0/16", "fd00:96::/112"], Certainty::Known, "ServiceCIDRObjects");
    assert!(finding.message.contains("kubernetes, more"), "{}", finding.message);
}

#[test]
fn the_flags_of_the_control_plane_tell_where_kubeadm_does_not() {
    let words =
        ["kube-apiserver", "--secure-port=6443", "--service-cluster-ip-range=10.96.0.0/12,fd00:96::/112"];
    let manager =
        ["sh", "-c", "exec kube-controller-manager --cluster-cidr 10.244.0.0/16 --allocate-node-cidrs=true"];
    let components = vec![pod("kube-apiserver-a", &words), pod("kube-controller-manager-a", &manager)];
    let facts = Facts { components: Sight::There(components), ..bare() };
    is(
        &services(&spec(PodCidrType::Auto), &facts),
        &["10.96.0.0/12", "fd00:96::/112"],
        Certainty::Known,
        "Flags",
    );
    is(&found(PodCidrType::Cluster, &facts), &["10.244.0.0/16"], Certainty::Known, "Flags");
}

#[test]
fn a_flag_is_not_taken_for_one_that_it_begins() {
    let words = ["--cluster-cidr-something=10.0.0.0/8", "--node-cidr-mask-size=24"];
    let facts = Facts { components: Sight::There(vec![pod("a", &words)]), ..bare() };
    is(&found(PodCidrType::Cluster, &facts), &[], Certainty::Unknown, "NotFound");
}

#[test]
fn a_managed_cluster_that_shows_nothing_is_told_what_was_tried_and_what_to_do() {
    let finding = services(&spec(PodCidrType::Auto), &bare());
    is(&finding, &[], Certainty::Unknown, "NotFound");
    for part in ["ServiceCIDR objects", "kubeadm-config", "no such pods", "set spec.serviceCIDR"] {
        assert!(finding.message.contains(part), "{part}: {}", finding.message);
    }
    let finding = found(PodCidrType::Auto, &bare());
    is(&finding, &[], Certainty::Unknown, "NotFound");
    for part in ["IPPools of Calico", "cilium-config", "set spec.overlayPodCIDR", "podCIDRType: none"] {
        assert!(finding.message.contains(part), "{part}: {}", finding.message);
    }
}

#[test]
fn none_depends_on_nothing() {
    let broken = || Sight::<Vec<Named>>::Unread("it took too long".into());
    let facts = Facts {
        services: broken(),
        kubeadm: Sight::Unread("500".into()),
        components: Sight::Denied("403".into()),
        calico: Sight::Unread("500".into()),
        cilium: Sight::Unread("500".into()),
        cilium_pools: broken(),
    };
    is(&found(PodCidrType::None, &facts), &[], Certainty::Known, "None");
}

#[test]
fn calicos_pools_count_in_both_families_disabled_or_not_but_not_those_for_other_things_than_pods() {
    let pools = vec![
        calico_pool("default-ipv4-ippool", "192.168.0.0/16", &["Workload", "Tunnel"]),
        calico_pool("default-ipv6-ippool", "fd00:1::/48", &[]),
        // Pools that are disabled come in here as well: the reader does not tell them apart.
        calico_pool("former", "192.169.0.0/17", &[]),
        calico_pool("balancers", "198.51.100.0/24", &["LoadBalancer"]),
    ];
    let facts = Facts { calico: Sight::There(pools), ..kubeadm_cluster() };
    for kind in [PodCidrType::Auto, PodCidrType::Calico] {
        let finding = found(kind, &facts);
        is(&finding, &["192.168.0.0/16", "192.169.0.0/17", "fd00:1::/48"], Certainty::Known, "Calico");
        assert!(!finding.message.contains("balancers"), "{}", finding.message);
    }
}

#[test]
fn calico_without_pools_is_not_found_by_auto_and_is_unknown_if_asked_for() {
    let facts = Facts { calico: Sight::There(Vec::new()), ..kubeadm_cluster() };
    is(&found(PodCidrType::Auto, &facts), &["10.244.0.0/16", "fd00:244::/56"], Certainty::Known, "Kubeadm");
    is(&found(PodCidrType::Calico, &facts), &[], Certainty::Unknown, "NotFound");
}

#[test]
fn cilium_is_followed_in_each_of_its_modes() {
    let pools =
        [("cluster-pool-ipv4-cidr", "10.1.0.0/16 10.2.0.0/16"), ("cluster-pool-ipv6-cidr", "fd00:2::/104")];
    let with = |mode: &'static str| [&[("ipam", mode)], &pools[..]].concat();
    let cases: [(&str, &[&str], Certainty, &str); 9] = [
        ("cluster-pool", &["10.1.0.0/16", "10.2.0.0/16", "fd00:2::/104"], Certainty::Known, "Cilium"),
        ("cluster-pool-v2beta", &["10.1.0.0/16", "10.2.0.0/16", "fd00:2::/104"], Certainty::Known, "Cilium"),
        ("kubernetes", &["10.244.0.0/16", "fd00:244::/56"], Certainty::Known, "Kubeadm"),
        ("multi-pool", &["10.3.0.0/16", "fd00:3::/64"], Certainty::Known, "Cilium"),
        ("eni", &[], Certainty::Known, "Cilium"),
        ("azure", &[], Certainty::Known, "Cilium"),
        ("alibabacloud", &[], Certainty::Known, "Cilium"),
        ("crd", &[], Certainty::Unknown, "NotFound"),
        ("delegated-plugin", &[], Certainty::Unknown, "NotFound"),
    ];
    for (mode, blocks, certainty, reason) in cases {
        let cilium_pools = Sight::There(vec![named("default", &["10.3.0.0/16", "fd00:3::/64"])]);
        let facts = Facts { cilium: cilium_says(&with(mode)), cilium_pools, ..kubeadm_cluster() };
        for kind in [PodCidrType::Auto, PodCidrType::Cilium] {
            let finding = found(kind, &facts);
            is(&finding, blocks, certainty, reason);
            if blocks.is_empty() {
                assert!(finding.message.contains(mode), "{}", finding.message);
            }
        }
    }
}

#[test]
fn ciliums_default_mode_and_a_family_that_is_off() {
    let cilium = cilium_says(&[
        ("cluster-pool-ipv4-cidr", "10.1.0.0/16"),
        ("cluster-pool-ipv6-cidr", "fd00:2::/104"),
        ("enable-ipv6", "false"),
    ]);
    let facts = Facts { cilium, ..bare() };
    is(&found(PodCidrType::Auto, &facts), &["10.1.0.0/16"], Certainty::Known, "Cilium");
}

#[test]
fn cilium_behind_another_cni_gives_out_nothing() {
    let cilium = cilium_says(&[("cni-chaining-mode", "aws-cni"), ("cluster-pool-ipv4-cidr", "10.0.0.0/8")]);
    let facts = Facts { cilium, ..bare() };
    let finding = found(PodCidrType::Auto, &facts);
    is(&finding, &[], Certainty::Unknown, "NotFound");
    assert!(finding.message.contains("chained behind another CNI (aws-cni)"), "{}", finding.message);
}

#[test]
fn cilium_in_multi_pool_mode_without_its_kind_is_not_replaced_by_a_guess() {
    let facts = Facts { cilium: cilium_says(&[("ipam", "multi-pool")]), ..kubeadm_cluster() };
    let finding = found(PodCidrType::Auto, &facts);
    is(&finding, &[], Certainty::Unknown, "NotFound");
    assert!(finding.message.contains("CiliumPodIPPools"), "{}", finding.message);
}

#[test]
fn explicit_lists_go_before_all_and_empty_ones_say_nothing() {
    let explicit = SpiderCoordinatorSpec {
        service_cidr: Some(vec!["172.16.0.5/16".into()]),
        overlay_pod_cidr: Some(vec!["172.17.0.0/16".into()]),
        ..spec(PodCidrType::None)
    };
    let facts = kubeadm_cluster();
    is(&services(&explicit, &facts), &["172.16.0.0/16"], Certainty::Known, "Explicit");
    let underlay = AddressSet::parse(&["172.17.0.9"]).unwrap();
    is(&overlay(&explicit, &facts, underlay.ranges()), &["172.17.0.0/16"], Certainty::Known, "Explicit");
    let empty = SpiderCoordinatorSpec { service_cidr: Some(Vec::new()), ..spec(PodCidrType::Auto) };
    is(&services(&empty, &facts), &["10.96.0.0/12"], Certainty::Known, "Kubeadm");
}

#[test]
fn garbage_in_an_explicit_list_is_named_and_the_rest_counts() {
    let explicit = SpiderCoordinatorSpec {
        service_cidr: Some(vec!["172.16.0.0/16".into(), "10.96.0.1".into()]),
        ..spec(PodCidrType::Auto)
    };
    let finding = services(&explicit, &kubeadm_cluster());
    is(&finding, &["172.16.0.0/16"], Certainty::Unknown, "Invalid");
    assert!(finding.message.contains("\"10.96.0.1\""), "{}", finding.message);
}

#[test]
fn garbage_in_the_cluster_is_passed_over() {
    let networking = "networking: {podSubnet: '10.244.0.0/16,nonsense', serviceSubnet: ten}";
    let facts = Facts { kubeadm: kubeadm_says(networking), ..bare() };
    let finding = found(PodCidrType::Cluster, &facts);
    is(&finding, &["10.244.0.0/16"], Certainty::Known, "Kubeadm");
    assert!(finding.message.contains("\"nonsense\""), "{}", finding.message);
    let finding = services(&spec(PodCidrType::Cluster), &facts);
    is(&finding, &[], Certainty::Unknown, "NotFound");
    assert!(finding.message.contains("\"ten\""), "{}", finding.message);
    let facts = Facts { kubeadm: Sight::There("{[".into()), ..bare() };
    let finding = services(&spec(PodCidrType::Cluster), &facts);
    assert!(finding.message.contains("cannot be read"), "{}", finding.message);
}

#[test]
fn a_place_that_may_not_be_looked_at_is_named_and_the_next_one_is_asked() {
    let facts = Facts { services: Sight::Denied("forbidden".into()), ..kubeadm_cluster() };
    let finding = services(&spec(PodCidrType::Auto), &facts);
    is(&finding, &["10.96.0.0/12"], Certainty::Denied, "NotRead");
    assert!(finding.message.contains("controller/rbac.yaml"), "{}", finding.message);
}

#[test]
fn a_place_that_does_not_answer_makes_what_comes_after_it_unsure() {
    let facts = Facts { calico: Sight::Unread("it took too long".into()), ..kubeadm_cluster() };
    is(&found(PodCidrType::Auto, &facts), &["10.244.0.0/16", "fd00:244::/56"], Certainty::Unread, "NotRead");
    is(&found(PodCidrType::Calico, &facts), &[], Certainty::Unread, "NotRead");
    is(
        &found(PodCidrType::Cluster, &facts),
        &["10.244.0.0/16", "fd00:244::/56"],
        Certainty::Known,
        "Kubeadm",
    );
}

#[test]
fn a_block_with_addresses_of_pools_is_no_overlay() {
    let underlay = AddressSet::parse(&["10.9.0.5-10.9.0.9", "10.244.7.1", "fd00:9::1"]).unwrap();
    let finding = overlay(&spec(PodCidrType::Auto), &kubeadm_cluster(), underlay.ranges());
    is(&finding, &["fd00:244::/56"], Certainty::Unknown, "HoldsPools");
    assert!(finding.message.contains("10.244.0.0/16 left out"), "{}", finding.message);
}
