//! What upstream documents, case by case; the letters and numbers are those of its own end-to-end tests
//! (docs/upstream-tests.md).

use proptest::prelude::*;

use super::*;
use crate::holder::PodName;
use crate::template::MultusName;

const V4: Family = Family::V4;
const V6: Family = Family::V6;

/// A request in the making: a pod `default/web` on node `n1`, IPv4 and IPv6 switched on, `kube-system` Spiderpool's own.
#[derive(Clone)]
struct Asking {
    pod: PodFacts,
    wishes: Wishes,
    nic: String,
    node: String,
    node_labels: Labels,
    namespace_labels: Labels,
    namespace_pools: Given<PoolNames>,
    cni: CniDefaults,
    families: Vec<Family>,
    cluster_network: Option<MultusName>,
    masters: Option<Vec<ipnet::IpNet>>,
    subnets: SubnetFeature,
    horizon: Horizon,
}

impl Asking {
    fn new() -> Self {
        Self {
            pod: PodFacts {
                name: PodName { namespace: "default".into(), name: "web".into() },
                ..PodFacts::default()
            },
            wishes: Wishes::default(),
            nic: "eth0".into(),
            node: "n1".into(),
            node_labels: Labels::new(),
            namespace_labels: Labels::new(),
            namespace_pools: None,
            cni: CniDefaults::default(),
            families: Family::ALL.to_vec(),
            cluster_network: None,
            masters: None,
            subnets: SubnetFeature::Ignored,
            horizon: Horizon::Node,
        }
    }

    fn nic(mut self, nic: &str) -> Self {
        nic.clone_into(&mut self.nic);
        self
    }

    fn node(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }

    fn ippool(mut self, v4: &[&str], v6: &[&str]) -> Self {
        self.wishes.ippool = Some(Ok(names(v4, v6)));
        self
    }

    fn ippools(mut self, items: &[(Option<&str>, &[&str], &[&str])]) -> Self {
        let item = |(nic, v4, v6): &(Option<&str>, &[&str], &[&str])| NicPools {
            nic: nic.map(str::to_owned),
            names: names(v4, v6),
            clean_gateway: None,
        };
        self.wishes.ippools = Some(Ok(items.iter().map(item).collect()));
        self
    }

    fn namespace_pools(mut self, v4: &[&str], v6: &[&str]) -> Self {
        self.namespace_pools = Some(Ok(names(v4, v6)));
        self
    }

    fn cni(mut self, v4: &[&str], v6: &[&str]) -> Self {
        self.cni.names = names(v4, v6);
        self
    }

    fn networks(mut self, default: Option<&str>, further: &[&str]) -> Self {
        self.wishes.networks.default = default.map(|name| Ok(name.parse().unwrap()));
        let network = |text: &&str| match text.split_once('@') {
            Some((name, nic)) => Network { name: name.parse().unwrap(), interface: Some(nic.to_owned()) },
            None => Network { name: text.parse().unwrap(), interface: None },
        };
        self.wishes.networks.further = Some(Ok(further.iter().map(network).collect()));
        self
    }

    fn select(&self, pools: &[Candidate]) -> Result<Selection, SelectError> {
        let request = Request {
            pod: &self.pod,
            wishes: &self.wishes,
            nic: &self.nic,
            node: &self.node,
            node_labels: &self.node_labels,
            namespace_labels: &self.namespace_labels,
            namespace_pools: &self.namespace_pools,
            cni: &self.cni,
            families: &self.families,
            home: "kube-system",
            cluster_network: self.cluster_network.as_ref(),
            masters: self.masters.as_deref(),
            subnets: self.subnets,
            horizon: self.horizon,
        };
        select(&request, pools)
    }

    /// The names of the chosen IPv4 pools, in their order.
    fn v4(&self, pools: &[Candidate]) -> Vec<String> {
        chosen(&self.select(pools).unwrap(), V4)
    }

    /// The sentence with which one pool is refused, when it is the only one that is asked for.
    fn refusal(&self, pool: &Candidate) -> String {
        let asking = self.clone().ippool(&[&pool.name], &[]);
        let error = asking.select(std::slice::from_ref(pool)).unwrap_err();
        let [refused] = error.refused() else { panic!("one refusal: {error}") };
        assert_eq!((&refused.pool, refused.family), (&pool.name, V4));
        refused.reason.to_string()
    }
}

fn names(v4: &[&str], v6: &[&str]) -> PoolNames {
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    PoolNames { v4: list(v4), v6: list(v6) }
}

fn chosen(selection: &Selection, family: Family) -> Vec<String> {
    let choices = selection.families.get(&family).into_iter().flatten();
    choices.map(|choice| choice.pool.clone()).collect()
}

fn pool(name: &str) -> Candidate {
    let subnet = Some("10.0.0.0/24".parse().unwrap());
    Candidate { offered: 10, free: Some(10), subnet, ..Candidate::open(name, V4) }
}

fn pool6(name: &str) -> Candidate {
    let subnet = Some("2001:db8::/64".parse().unwrap());
    Candidate { offered: 10, free: Some(10), subnet, ..Candidate::open(name, V6) }
}

fn default_pool(name: &str) -> Candidate {
    Candidate { default: true, ..pool(name) }
}

fn behind(name: &str, network: &str) -> Candidate {
    Candidate { networks: vec![network.into()], ..pool(name) }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector { requirements: vec![Requirement::In(key.into(), [value.to_owned()].into())] }
}

// === which rule decides ===

/// A00004, A00005, A00006, E2E order of precedence.
#[test]
fn the_first_rule_that_applies_decides_alone() {
    let pools: Vec<Candidate> = ["ippools", "ippool", "namespace", "cni"]
        .map(pool)
        .into_iter()
        .chain([default_pool("default")])
        .collect();
    let mut asking = Asking::new()
        .ippools(&[(Some("eth0"), &["ippools"], &[])])
        .ippool(&["ippool"], &[])
        .namespace_pools(&["namespace"], &[])
        .cni(&["cni"], &[]);
    let mut next = |drop: fn(&mut Asking)| {
        let selection = asking.select(&pools).unwrap();
        drop(&mut asking);
        (selection.rule, chosen(&selection, V4).join(","))
    };
    assert_eq!(next(|asking| asking.wishes.ippools = None), (Rule::IpPools, "ippools".into()));
    assert_eq!(next(|asking| asking.wishes.ippool = None), (Rule::IpPool, "ippool".into()));
    assert_eq!(next(|asking| asking.namespace_pools = None), (Rule::Namespace, "namespace".into()));
    assert_eq!(next(|asking| asking.cni.names = PoolNames::default()), (Rule::Cni, "cni".into()));
    assert_eq!(next(|_| ()), (Rule::Default, "default".into()));
}

#[test]
fn a_lower_rule_is_not_consulted_when_the_deciding_one_leads_nowhere() {
    let asking = Asking::new().ippool(&["gone"], &[]).cni(&["cni"], &[]);
    let error = asking.select(&[pool("cni"), default_pool("default")]).unwrap_err();
    let SelectError::NoneServes { rule: Rule::IpPool, family: V4, refused, .. } = &error else {
        panic!("none serves: {error}")
    };
    assert_eq!(refused.len(), 1);
    assert_eq!(
        error.to_string(),
        "cannot choose an IPv4 pool for eth0 of pod default/web on node n1: the pod's annotation ipam.spidernet.io/ippool leads to \
         no pool that serves it: pool gone does not exist, or serves other nodes only; name a pool that serves the pod, or change \
         the pools"
    );
}

#[test]
fn an_annotation_that_does_not_decide_need_not_be_readable() {
    let bad = || BadAnnotation {
        annotation: "x".into(),
        owner: "the namespace",
        at: "at its top".into(),
        why: "no".into(),
    };
    let mut asking = Asking::new().ippool(&["a"], &[]);
    asking.namespace_pools = Some(Err(bad()));
    assert_eq!(asking.v4(&[pool("a")]), ["a"]);
    asking.wishes.ippool = None;
    let error = asking.select(&[default_pool("a")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot choose a pool for eth0 of pod default/web: annotation x of the namespace cannot be read at its top: no"
    );
}

#[test]
fn an_automatic_pool_is_refused_or_ignored_as_set() {
    let mut asking = Asking::new();
    asking.wishes.subnet = Some("ipam.spidernet.io/subnet");
    assert_eq!(asking.v4(&[default_pool("a")]), ["a"]);
    asking.subnets = SubnetFeature::Refused;
    let error = asking.select(&[default_pool("a")]).unwrap_err().to_string();
    assert!(error.contains("ipam.spidernet.io/subnet asks for an automatic pool"), "{error}");
}

#[test]
fn without_any_pool_the_ways_out_are_named() {
    let error = Asking::new().select(&[pool("a")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot choose a pool for eth0 of pod default/web on node n1: nothing names one, and no pool is a default; set \
         spec.default on a pool, or name pools in annotation ipam.spidernet.io/ippool, on the namespace or in the CNI configuration"
    );
}

// === names and wildcards ===

#[test]
fn the_users_order_is_the_order() {
    let specific = Candidate { nodes: vec!["n1".into()], ..pool("c") };
    let full = Candidate { free: Some(0), ..pool("b") };
    let pools = [pool("a"), full, specific];
    for order in [["b", "c", "a"], ["a", "b", "c"], ["c", "a", "b"]] {
        assert_eq!(Asking::new().ippool(&order, &[]).v4(&pools), order);
        assert_eq!(Asking::new().cni(&order, &[]).v4(&pools), order);
        assert_eq!(Asking::new().namespace_pools(&order, &[]).v4(&pools), order);
    }
}

#[test]
fn a_pool_that_is_not_there_does_not_sink_the_others() {
    let selection = Asking::new().ippool(&["gone", "a"], &[]).select(&[pool("a")]).unwrap();
    assert_eq!(chosen(&selection, V4), ["a"]);
    let missing =
        Refused { pool: "gone".into(), family: V4, reason: Reason::Missing { horizon: Horizon::Node } };
    assert_eq!(selection.refused, [missing]);
}

#[test]
fn a_name_twice_counts_once() {
    assert_eq!(Asking::new().ippool(&["a", "b", "a"], &[]).v4(&[pool("a"), pool("b")]), ["a", "b"]);
}

/// A00007, A00015.
#[test]
fn wildcards_take_their_place_in_the_order() {
    let pools = ["z", "v4-b", "v4-a", "v4-c", "w"].map(pool);
    let expected = ["z", "v4-a", "v4-b", "v4-c", "w"];
    assert_eq!(Asking::new().ippool(&["z", "v4-*", "w"], &[]).v4(&pools), expected);
    assert_eq!(Asking::new().namespace_pools(&["z", "v4-?", "w"], &[]).v4(&pools), expected);
    assert_eq!(Asking::new().cni(&["z", "v4-[a-c]", "w"], &[]).v4(&pools), expected);
    assert_eq!(Asking::new().ippools(&[(Some("eth0"), &["z", "v4-*", "w"], &[])]).v4(&pools), expected);
}

#[test]
fn a_pool_that_is_named_as_well_keeps_the_place_of_its_name() {
    let pools = ["a1", "a2", "a3"].map(pool);
    assert_eq!(Asking::new().ippool(&["a2", "a*"], &[]).v4(&pools), ["a2", "a1", "a3"]);
    assert_eq!(Asking::new().ippool(&["a*", "a1"], &[]).v4(&pools), ["a2", "a3", "a1"]);
    assert_eq!(Asking::new().ippool(&["a[12]", "a*"], &[]).v4(&pools), ["a1", "a2", "a3"]);
}

#[test]
fn within_a_wildcard_the_specific_pool_comes_first_and_the_full_one_last() {
    let specific = Candidate { nodes: vec!["n1".into()], ..pool("c") };
    let full = Candidate { free: Some(0), ..pool("a") };
    assert_eq!(Asking::new().ippool(&["*"], &[]).v4(&[full, pool("b"), specific]), ["c", "b", "a"]);
}

#[test]
fn a_wildcard_looks_at_its_own_family_only() {
    let selection = Asking::new().ippool(&["*"], &["*"]).select(&[pool("a"), pool6("b")]).unwrap();
    assert_eq!((chosen(&selection, V4), chosen(&selection, V6)), (vec!["a".into()], vec!["b".into()]));
    assert!(selection.refused.is_empty());
}

#[test]
fn a_wildcard_that_leads_nowhere_does_not_sink_the_others() {
    let selection = Asking::new().ippool(&["x*", "[", "a"], &[]).select(&[pool("a")]).unwrap();
    assert_eq!(chosen(&selection, V4), ["a"]);
    let told: Vec<String> =
        selection.refused.iter().map(|refused| format!("{} {}", refused.pool, refused.reason)).collect();
    assert_eq!(told[0], "x* is a wildcard that matches no pool of this node");
    assert!(told[1].starts_with("[ is a wildcard that cannot be read"), "{told:?}");
}

// === families ===

/// E00009, E00010.
#[test]
fn one_family_may_be_asked_for_on_a_dual_stack_cluster() {
    let selection = Asking::new().ippool(&["a"], &[]).select(&[pool("a"), pool6("b")]).unwrap();
    assert_eq!(selection.families.keys().collect::<Vec<_>>(), [&V4]);
    assert_eq!(selection.without, [(V6, Absence::NotNamed)].into());
    let selection = Asking::new().ippool(&[], &["b"]).select(&[pool("a"), pool6("b")]).unwrap();
    assert_eq!(selection.families.keys().collect::<Vec<_>>(), [&V6]);
}

#[test]
fn a_family_that_is_switched_off_is_dropped() {
    let mut asking = Asking::new().ippool(&["a"], &["b"]);
    asking.families = vec![V4];
    let selection = asking.select(&[pool("a"), pool6("b")]).unwrap();
    assert_eq!(selection.families.keys().collect::<Vec<_>>(), [&V4]);
    assert_eq!(selection.without, [(V6, Absence::SwitchedOff)].into());
    let error = asking.ippool(&[], &["b"]).select(&[pool("a"), pool6("b")]).unwrap_err().to_string();
    assert!(error.contains("names IPv6 pools only") && error.contains("set enableIPv6: true"), "{error}");
}

#[test]
fn a_family_without_a_pool_that_serves_fails_the_whole() {
    let error = Asking::new().ippool(&["a"], &["gone"]).select(&[pool("a"), pool6("b")]).unwrap_err();
    assert!(matches!(error, SelectError::NoneServes { family: V6, .. }), "{error}");
    let error =
        Asking::new().select(&[default_pool("a"), Candidate { default: true, disabled: true, ..pool6("b") }]);
    assert!(error.unwrap_err().to_string().contains("pool b is disabled"));
}

#[test]
fn the_default_pools_of_others_do_not_ask_for_a_family() {
    let elsewhere = Candidate { default: true, nodes: vec!["n2".into()], ..pool6("b") };
    let selection = Asking::new().select(&[default_pool("a"), elsewhere]).unwrap();
    assert_eq!(selection.without, [(V6, Absence::NoDefault)].into());
    assert_eq!(selection.refused.len(), 1);
    // What the agent of n1 does not even see makes no difference.
    let unseen = Asking::new().select(&[default_pool("a")]).unwrap();
    assert_eq!((unseen.families, unseen.without), (selection.families, selection.without));
}

#[test]
fn a_pool_of_the_other_family_is_refused() {
    let error = Asking::new().ippool(&["b"], &[]).select(&[pool6("b")]).unwrap_err();
    assert_eq!(error.refused()[0].reason.to_string(), "has IPv6 addresses");
}

// === whom a pool serves ===

/// D00005.
#[test]
fn a_disabled_or_terminating_pool_serves_nobody() {
    let asking = Asking::new();
    assert_eq!(asking.refusal(&Candidate { disabled: true, ..pool("a") }), "is disabled (spec.disable)");
    assert_eq!(asking.refusal(&Candidate { terminating: true, ..pool("a") }), "is being deleted");
    let problem = Some("spec.excludeIPs: \"x\" is no range".to_owned());
    assert_eq!(
        asking.refusal(&Candidate { problem, ..pool("a") }),
        "gives nothing out: spec.excludeIPs: \"x\" is no range"
    );
}

/// L00001, L00002.
#[test]
fn node_affinity_lets_in_the_nodes_it_selects() {
    let zoned = Candidate { node_labels: Some(selector("zone", "a")), ..pool("a") };
    let mut asking = Asking::new().ippool(&["a"], &[]);
    asking.node_labels = labels(&[("zone", "a")]);
    assert_eq!(asking.v4(std::slice::from_ref(&zoned)), ["a"]);
    asking.node_labels = labels(&[("zone", "b")]);
    assert_eq!(
        asking.refusal(&zoned),
        "serves nodes with zone=a (it has zone=b), not node n1 (spec.nodeAffinity)"
    );
}

/// L00003, L00004.
#[test]
fn namespace_affinity_lets_in_the_namespaces_it_selects() {
    let owned = Candidate { namespace_labels: Some(selector("team", "a")), ..pool("a") };
    let mut asking = Asking::new().ippool(&["a"], &[]);
    asking.namespace_labels = labels(&[("team", "a")]);
    assert_eq!(asking.v4(std::slice::from_ref(&owned)), ["a"]);
    asking.namespace_labels = Labels::new();
    assert_eq!(
        asking.refusal(&owned),
        "serves namespaces with team=a (it has no label team), not default (spec.namespaceAffinity)"
    );
}

/// L00005, L00006.
#[test]
fn pod_affinity_lets_in_the_pods_it_selects() {
    let own = Candidate { pods: PodRule::Labels(selector("app", "web")), ..pool("a") };
    let mut asking = Asking::new().ippool(&["a"], &[]);
    asking.pod.labels = labels(&[("app", "web")]);
    assert_eq!(asking.v4(std::slice::from_ref(&own)), ["a"]);
    asking.pod.labels = labels(&[("app", "db")]);
    assert_eq!(
        asking.refusal(&own),
        "serves pods with app=web (it has app=db), not this one (spec.podAffinity)"
    );
}

/// L00007, and the walkthrough of pools across zones: backup pools by zone, one annotation for all replicas.
#[test]
fn a_daemon_set_across_zones_gets_the_pool_of_each_nodes_zone() {
    let zoned =
        |name: &str, zone: &str| Candidate { node_labels: Some(selector("node-subnet", zone)), ..pool(name) };
    let pools = [zoned("test-ippool-6", "subnet-6"), zoned("test-ippool-7", "subnet-7")];
    let mut asking = Asking::new().ippool(&["test-ippool-6", "test-ippool-7"], &[]);
    for (zone, pool) in [("subnet-6", "test-ippool-6"), ("subnet-7", "test-ippool-7")] {
        asking.node_labels = labels(&[("node-subnet", zone)]);
        assert_eq!(asking.v4(&pools), [pool]);
    }
}

/// L00009.
#[test]
fn namespaces_share_a_pool_that_serves_both() {
    let shared = Candidate { namespaces: vec!["default".into(), "other".into()], ..pool("a") };
    let mut asking = Asking::new().ippool(&["a"], &[]);
    assert_eq!(asking.v4(std::slice::from_ref(&shared)), ["a"]);
    asking.pod.name.namespace = "other".into();
    assert_eq!(asking.v4(std::slice::from_ref(&shared)), ["a"]);
    asking.pod.name.namespace = "third".into();
    assert_eq!(
        asking.refusal(&shared),
        "serves namespaces default, other only, not third (spec.namespaceName)"
    );
}

/// D00011, D00012.
#[test]
fn node_name_lets_in_the_nodes_it_names() {
    let own = Candidate { nodes: vec!["n2".into()], ..pool("a") };
    assert_eq!(Asking::new().node("n2").ippool(&["a"], &[]).v4(std::slice::from_ref(&own)), ["a"]);
    assert_eq!(Asking::new().refusal(&own), "serves node n2 only, not node n1 (spec.nodeName)");
    let many = Candidate { nodes: (2..=9).map(|at| format!("n{at}")).collect(), ..pool("a") };
    assert_eq!(
        Asking::new().refusal(&many),
        "serves nodes n2, n3, n4 and 5 more only, not node n1 (spec.nodeName)"
    );
}

/// D00013, D00016.
#[test]
fn names_come_before_labels() {
    let both = Candidate {
        nodes: vec!["n1".into()],
        node_labels: Some(selector("zone", "a")),
        namespaces: vec!["default".into()],
        namespace_labels: Some(selector("team", "a")),
        ..pool("a")
    };
    assert_eq!(Asking::new().ippool(&["a"], &[]).v4(std::slice::from_ref(&both)), ["a"]);
    let mut selected = Asking::new().node("n2");
    selected.node_labels = labels(&[("zone", "a")]);
    assert!(selected.refusal(&both).contains("spec.nodeName"));
    let mut selected = Asking::new();
    selected.pod.name.namespace = "other".into();
    selected.namespace_labels = labels(&[("team", "a")]);
    assert!(selected.refusal(&both).contains("spec.namespaceName"));
}

/// D00014, D00015.
#[test]
fn namespace_name_lets_in_the_namespaces_it_names() {
    let own = Candidate { namespaces: vec!["prod".into()], ..pool("a") };
    let mut asking = Asking::new();
    assert_eq!(asking.refusal(&own), "serves namespace prod only, not default (spec.namespaceName)");
    asking.pod.name.namespace = "prod".into();
    assert_eq!(asking.ippool(&["a"], &[]).v4(&[own]), ["a"]);
}

#[test]
fn a_pool_made_for_an_application_serves_its_pods_only() {
    let web = Application {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        namespace: "default".into(),
        name: "web".into(),
    };
    let made = Candidate { pods: PodRule::Application(web.clone()), ..pool("a") };
    let mut asking = Asking::new();
    assert_eq!(
        asking.refusal(&made),
        "was made for apps/v1 Deployment default/web, and the pod belongs to no application (spec.podAffinity)"
    );
    asking.pod.application = Some(Application { kind: "StatefulSet".into(), ..web.clone() });
    assert!(asking.refusal(&made).contains("belongs to apps/v1 StatefulSet default/web"));
    asking.pod.application = Some(web);
    assert_eq!(asking.ippool(&["a"], &[]).v4(&[made]), ["a"]);
}

/// D00009, D00010.
#[test]
fn multus_name_lets_in_the_nics_behind_the_networks_it_names() {
    let own = behind("a", "kube-system/ipvlan-eth0");
    let asking = Asking::new().networks(Some("kube-system/ipvlan-eth0"), &["kube-system/ipvlan-eth1"]);
    assert_eq!(asking.clone().ippool(&["a"], &[]).v4(std::slice::from_ref(&own)), ["a"]);
    assert_eq!(
        asking.nic("net1").refusal(&own),
        "serves network kube-system/ipvlan-eth0 only, and kube-system/ipvlan-eth1 is behind net1 (spec.multusName)"
    );
}

#[test]
fn a_multus_name_without_namespace_is_in_spiderpools_own() {
    let own = behind("a", "ipvlan-eth0");
    let asking = Asking::new().ippool(&["a"], &[]);
    assert_eq!(
        asking.clone().networks(Some("kube-system/ipvlan-eth0"), &[]).v4(std::slice::from_ref(&own)),
        ["a"]
    );
    assert!(asking.networks(Some("default/ipvlan-eth0"), &[]).select(&[own]).is_err());
}

#[test]
fn a_pool_without_multus_name_serves_any_nic() {
    for nic in ["eth0", "net1", "whatever"] {
        assert_eq!(Asking::new().nic(nic).ippool(&["a"], &[]).v4(&[pool("a")]), ["a"]);
    }
}

#[test]
fn eth0_of_a_pod_that_names_no_network_is_behind_the_clusters() {
    let own = behind("a", "kube-system/ipvlan-eth0");
    let mut asking = Asking::new();
    assert_eq!(
        asking.refusal(&own),
        "serves network kube-system/ipvlan-eth0 only, and nothing says which network is behind eth0: the pod has no annotation \
         v1.multus-cni.io/default-network, and the agent no MULTUS_CLUSTER_NETWORK (spec.multusName)"
    );
    asking.cluster_network = Some("kube-system/ipvlan-eth0".parse().unwrap());
    assert_eq!(asking.clone().ippool(&["a"], &[]).v4(std::slice::from_ref(&own)), ["a"]);
    assert!(asking.nic("net1").refusal(&own).contains("nothing says which network is behind net1"));
}

#[test]
fn a_pool_may_have_to_match_the_masters_subnet() {
    let mut asking = Asking::new();
    asking.masters = Some(vec!["10.0.0.7/16".parse().unwrap()]);
    assert_eq!(asking.clone().ippool(&["a"], &[]).v4(&[pool("a")]), ["a"]);
    asking.masters = Some(vec!["10.1.0.7/16".parse().unwrap()]);
    assert_eq!(
        asking.refusal(&pool("a")),
        "has no subnet of the master of eth0, which has 10.1.0.7/16 (match_master_subnet)"
    );
    // A pool that names the network says more than a subnet does.
    let named = behind("a", "kube-system/x");
    assert_eq!(asking.networks(Some("kube-system/x"), &[]).ippool(&["a"], &[]).v4(&[named]), ["a"]);
}

// === the order of pools that nobody put in order ===

#[test]
fn more_specific_default_pools_come_first() {
    let at = |name: &str| default_pool(name);
    let (all, node) = (selector("k", "v"), vec!["n1".to_owned()]);
    let pools = [
        at("g-plain"),
        Candidate { networks: vec!["kube-system/x".into()], ..at("f-multus") },
        Candidate { namespace_labels: Some(all.clone()), ..at("e-namespace-labels") },
        Candidate { namespaces: vec!["default".into()], ..at("d-namespace") },
        Candidate { node_labels: Some(all.clone()), ..at("c-node-labels") },
        Candidate { nodes: node, ..at("b-node") },
        Candidate { pods: PodRule::Labels(all), ..at("a-pods") },
    ];
    let mut asking = Asking::new().networks(Some("kube-system/x"), &[]);
    let own = labels(&[("k", "v")]);
    (asking.pod.labels, asking.node_labels, asking.namespace_labels) = (own.clone(), own.clone(), own);
    let names: Vec<String> = pools.iter().rev().map(|pool| pool.name.clone()).collect();
    assert_eq!(asking.v4(&pools), names);
}

#[test]
fn among_equal_default_pools_the_emptier_comes_first_and_the_full_one_last() {
    let with = |name: &str, free| Candidate { free, ..default_pool(name) };
    let pools = [
        with("full", Some(0)),
        with("b", Some(5)),
        with("a", Some(5)),
        with("unknown", None),
        with("most", Some(9)),
    ];
    assert_eq!(Asking::new().v4(&pools), ["most", "a", "b", "unknown", "full"]);
    let full = Asking::new().select(&pools).unwrap().families[&V4].last().cloned();
    assert_eq!(full, Some(Choice { pool: "full".into(), found: Found::Default, free: Some(0) }));
}

// === several NICs ===

#[test]
fn each_nic_gets_the_default_pool_behind_its_network() {
    let pools = ["eth0", "eth1"].map(|nic| Candidate {
        default: true,
        nodes: vec!["n1".into()],
        ..behind(nic, &format!("kube-system/ipvlan-{nic}"))
    });
    let asking = Asking::new().networks(Some("kube-system/ipvlan-eth0"), &["kube-system/ipvlan-eth1"]);
    assert_eq!(asking.v4(&pools), ["eth0"]);
    assert_eq!(asking.nic("net1").v4(&pools), ["eth1"]);
}

/// A00010: the same network twice, and the same pool.
#[test]
fn two_nics_may_share_a_network_and_a_pool() {
    let asking = Asking::new().networks(None, &["kube-system/x", "kube-system/x"]).ippool(&["a"], &[]);
    let pools = [behind("a", "kube-system/x")];
    assert_eq!(asking.clone().nic("net1").v4(&pools), ["a"]);
    assert_eq!(asking.nic("net2").v4(&pools), ["a"]);
}

/// A00017.
#[test]
fn named_items_go_by_the_nics_name() {
    let asking = Asking::new().ippools(&[(Some("net1"), &["b"], &[]), (Some("eth0"), &["a"], &[])]);
    let pools = [pool("a"), pool("b")];
    assert_eq!(asking.v4(&pools), ["a"]);
    assert_eq!(asking.nic("net1").v4(&pools), ["b"]);
}

/// A00018.
#[test]
fn unnamed_items_go_by_the_order_of_the_networks() {
    let asking = Asking::new().networks(None, &["kube-system/x", "kube-system/y@data"]).ippools(&[
        (None, &["a"], &[]),
        (None, &["b"], &[]),
        (None, &["c"], &[]),
    ]);
    let pools = ["a", "b", "c"].map(pool);
    assert_eq!(asking.v4(&pools), ["a"]);
    assert_eq!(asking.clone().nic("net1").v4(&pools), ["b"]);
    assert_eq!(asking.nic("data").v4(&pools), ["c"]);
}

/// A00013.
#[test]
fn a_nic_that_the_annotation_leaves_out_is_an_error_that_says_so() {
    let pools = [pool("a"), default_pool("b")];
    let error = Asking::new().nic("net1").ippools(&[(Some("eth0"), &["a"], &[])]).select(&pools).unwrap_err();
    assert!(
        error.to_string().contains("has no item for it, only for eth0; add one with \"interface\": \"net1\""),
        "{error}"
    );
    let asking = Asking::new().networks(None, &["kube-system/x"]).ippools(&[(None, &["a"], &[])]);
    let error = asking.nic("net1").select(&pools).unwrap_err();
    assert!(
        error.to_string().contains("its 1 item(s), which so count for eth0, net1 in this order"),
        "{error}"
    );
}

/// A00011.
#[test]
fn the_item_of_a_nic_decides_about_its_default_route() {
    for (cni, item, clean) in
        [(false, None, false), (true, None, true), (true, Some(false), false), (false, Some(true), true)]
    {
        let mut asking = Asking::new().ippools(&[(Some("eth0"), &["a"], &[])]);
        asking.cni.clean_gateway = cni;
        let Some(Ok(items)) = &mut asking.wishes.ippools else { unreachable!("given above") };
        items[0].clean_gateway = item;
        assert_eq!(asking.select(&[pool("a")]).unwrap().clean_gateway, clean, "{cni} {item:?}");
    }
}

// === always ===

fn some_pool() -> impl Strategy<Value = Candidate> {
    let name = "[ab][0-3]";
    let flags = (any::<bool>(), proptest::bool::weighted(0.1), proptest::bool::weighted(0.1), any::<bool>());
    let nodes = proptest::collection::vec("n[12]", 0..3);
    (name, flags, nodes, proptest::option::of(0..3_u128)).prop_map(
        |(name, (default, disabled, terminating, six), nodes, free)| Candidate {
            terminating,
            disabled,
            default,
            nodes,
            free,
            ..if six { pool6(&name) } else { pool(&name) }
        },
    )
}

proptest! {
    /// The promises of [`Selection`] and [`SelectError`], whatever is asked.
    #[test]
    fn every_choice_serves_once_and_nothing_is_lost(
        pools in proptest::collection::btree_map("[ab][0-3]", some_pool(), 0..8),
        named in proptest::option::of((
            proptest::collection::vec(r"[ab][0-3]|[ab*?][*?0]", 0..4), proptest::collection::vec(r"[ab][0-3]|[ab]\*", 0..4),
        )),
        families in proptest::sample::subsequence(vec![V4, V6], 1..=2),
    ) {
        let pools: Vec<Candidate> = pools.into_iter().map(|(name, pool)| Candidate { name, ..pool }).collect();
        let mut asking = Asking::new();
        asking.families.clone_from(&families);
        asking.wishes.ippool = named.map(|(v4, v6)| Ok(PoolNames { v4, v6 }));
        if asking.wishes.ippool.as_ref().is_some_and(|names| names.as_ref().is_ok_and(PoolNames::is_empty)) {
            asking.wishes.ippool = None;
        }
        match asking.select(&pools) {
            Ok(selection) => {
                prop_assert!(!selection.families.is_empty());
                for (family, choices) in &selection.families {
                    prop_assert!(families.contains(family) && !choices.is_empty());
                    let mut seen = BTreeSet::new();
                    for choice in choices {
                        prop_assert!(seen.insert(&choice.pool), "{} twice", choice.pool);
                        let pool = pools.iter().find(|pool| pool.name == choice.pool).unwrap();
                        prop_assert!(pool.family == *family && !pool.disabled && !pool.terminating);
                        prop_assert!(pool.nodes.is_empty() || pool.nodes.contains(&asking.node));
                        let refused = selection.refused.iter().any(|it| it.pool == choice.pool && it.family == *family);
                        prop_assert!(!refused, "{} chosen and refused", choice.pool);
                    }
                }
                for family in Family::ALL {
                    prop_assert_ne!(selection.families.contains_key(&family), selection.without.contains_key(&family));
                }
            }
            Err(error) => prop_assert!(error.to_string().starts_with("cannot choose a"), "{error}"),
        }
    }

    #[test]
    fn the_order_in_which_pools_are_listed_changes_nothing(
        pools in proptest::collection::btree_map("[ab][0-3]", some_pool(), 0..8).prop_map(|pools| {
            pools.into_iter().map(|(name, pool)| Candidate { name, ..pool }).collect::<Vec<_>>()
        }),
        wildcard in any::<bool>(),
    ) {
        let asking = if wildcard { Asking::new().ippool(&["b*", "a0", "a*"], &[]) } else { Asking::new() };
        let turned: Vec<Candidate> = pools.iter().rev().cloned().collect();
        prop_assert_eq!(asking.select(&pools), asking.select(&turned));
    }
}
