//! `why` against a real API server: pods that got an address, and pods that did not.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testbed::{Cluster, unique};

use crate::bench::{Bench, CTL, Ran, run};

/// What Multus installs: enough of it to keep a configuration.
const DEFINITIONS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: network-attachment-definitions.k8s.cni.cncf.io}
spec:
  group: k8s.cni.cncf.io
  scope: Namespaced
  names: {plural: network-attachment-definitions, singular: network-attachment-definition, kind: NetworkAttachmentDefinition, shortNames: [net-attach-def]}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// The shared cluster with all kinds.
fn cluster() -> &'static Cluster {
    let cluster = testbed::shared();
    cluster.apply_crds().unwrap();
    let name = "crd/network-attachment-definitions.k8s.cni.cncf.io";
    if cluster.kubectl(&["get", name]).is_err() {
        cluster.kubectl_with(&["apply", "-f", "-"], DEFINITIONS).unwrap();
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", name]).unwrap();
    cluster
}

/// A namespace, two nodes and a subnet of its own within the shared cluster.
struct Scene {
    bench: Bench,
    name: String,
    block: String,
}

impl Scene {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // 198.18.0.0/15 is used by no other test.
        let number = std::process::id() % 16 * 16 + COUNT.fetch_add(1, Ordering::Relaxed) % 16;
        let scene = Self { bench: Bench::empty(), name: unique("why"), block: format!("198.18.{number}") };
        let (name, nodes) = (&scene.name, [scene.node("a"), scene.node("b")]);
        let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})];
        items.extend(nodes.map(|node| {
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": {"zone": "z1"}}})
        }));
        Scene::apply(&items);
        for nic in ["eth0", "eth1"] {
            scene.network(nic, &json!({"type": "spiderpool"}));
        }
        scene
    }

    fn node(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    /// A pool's name in full: pools have no namespace.
    fn full(&self, pool: &str) -> String {
        format!("{}-{pool}", self.name)
    }

    fn apply(items: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        cluster().kubectl_with(&["apply", "-f", "-"], &list).unwrap();
    }

    fn network(&self, name: &str, ipam: &Value) {
        let config =
            json!({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "ipvlan", "ipam": ipam}]});
        Self::apply(&[json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": self.name}, "spec": {"config": config.to_string()}
        })]);
    }

    /// A pool of two addresses, with what else it says.
    fn pool(&self, name: &str, last: u8, more: &Value) {
        let block = &self.block;
        let mut spec = json!({
            "subnet": format!("{block}.0/24"), "ips": [format!("{block}.{last}-{block}.{}", last + 1)],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self::apply(&[json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
            "metadata": {"name": self.full(name)}, "spec": spec
        })]);
    }

    /// The four pools that the controller generates for two nodes with two NICs.
    fn generated(&self) {
        for (at, (node, nic)) in (0_u8..).zip([("a", "eth0"), ("a", "eth1"), ("b", "eth0"), ("b", "eth1")]) {
            let more = json!({
                "default": true, "nodeName": [self.node(node)], "multusName": [format!("{}/{nic}", self.name)],
            });
            self.pool(&format!("{node}-{nic}"), 10 + 2 * at, &more);
        }
    }

    /// A pod on node a.
    fn pod(&self, annotations: &Value) -> String {
        Self::apply(&[json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": self.name, "annotations": annotations, "labels": {"app": "web"}},
            "spec": {"nodeName": self.node("a"), "containers": [{"name": "c", "image": "busybox"}]}
        })]);
        cluster().kubectl(&["get", "pod", "web", "-n", &self.name, "-o", "jsonpath={.metadata.uid}"]).unwrap()
    }

    /// Records addresses in a pool, as the agent does.
    fn record(&self, pool: &str, records: &Value) {
        let status = json!({"status": {"allocatedIPs": records.to_string()}}).to_string();
        let pool = self.full(pool);
        let args = ["patch", "spiderippool", &pool, "--subresource=status", "--type=merge", "-p", &status];
        cluster().kubectl(&args).unwrap();
    }

    fn why(&self, more: &str) -> Ran {
        let mut command = self.bench.command(CTL);
        command.args(["why", "web", "-n", &self.name]).args(more.split_whitespace());
        command.env("KUBECONFIG", cluster().kubeconfig());
        run(command, "")
    }

    fn report(&self, more: &str) -> Value {
        serde_json::from_str(&self.why(&format!("-o json {more}")).ok()).unwrap()
    }

    /// The NIC's own pools in the order of a report, with their turns; those of other tests are left out.
    fn pools<'a>(&self, nic: &'a Value) -> Vec<(&'a str, Option<u64>, &'a str)> {
        let own = nic["pools"].as_array().unwrap().iter().filter_map(|pool| {
            let name = pool["pool"].as_str().unwrap();
            let short = name.strip_prefix(&format!("{}-", self.name))?;
            Some((short, pool["turn"].as_u64(), pool["why"].as_str().unwrap()))
        });
        own.collect()
    }
}

#[test]
fn each_nic_is_explained_with_its_default_pools() {
    let scene = Scene::new();
    scene.generated();
    let name = &scene.name;
    let uid = scene.pod(&json!({
        "v1.multus-cni.io/default-network": format!("{name}/eth0"), "k8s.v1.cni.cncf.io/networks": "eth1",
    }));
    let address = format!("{}.12", scene.block);
    scene.record(
        "a-eth1",
        &json!({address.as_str(): {"pod": format!("{name}/web"), "podUid": uid, "nic": "net1"}}),
    );
    let report = scene.report("");
    assert_eq!(report["pod"]["node"], json!(scene.node("a")));
    let [eth0, net1] = report["nics"].as_array().unwrap().as_slice() else { panic!("two NICs: {report}") };
    assert_eq!((&eth0["name"], &eth0["network"]), (&json!("eth0"), &json!(format!("{name}/eth0"))));
    assert_eq!(net1["rule"], json!("the default pools (spec.default)"));
    let (pools, network) = (
        scene.pools(net1),
        format!("serves network {name}/eth0 only, and {name}/eth1 is behind net1 (spec.multusName)"),
    );
    assert_eq!(pools[0], ("a-eth1", Some(1), "default pool"));
    assert_eq!(pools[1], ("a-eth0", None, network.as_str()));
    assert!(pools[2].0 == "b-eth0" && pools[2].2.contains("(spec.nodeName)"), "{pools:?}");
    assert_eq!(net1["pools"][0]["free"], json!("1"));
    assert_eq!(net1["addresses"][0]["address"], json!(address));
    assert_eq!(eth0["addresses"], json!([]));
}

#[test]
fn people_read_what_concerns_the_pods_node() {
    let scene = Scene::new();
    scene.generated();
    let name = &scene.name;
    scene.pod(&json!({"v1.multus-cni.io/default-network": format!("{name}/eth0")}));
    let text = scene.why("").ok();
    assert!(text.starts_with(&format!("Pod {name}/web, Pending, on node {name}-a\n")), "{text}");
    assert!(text.contains("\nNIC eth0, network ") && text.contains("holds no address"), "{text}");
    assert!(text.contains("decided by the default pools (spec.default)"), "{text}");
    assert!(text.contains(&format!("{name}-a-eth1")) && !text.contains(&format!("{name}-b-")), "{text}");
    assert!(text.contains("default pools of other nodes (--all shows them)"), "{text}");
    assert!(scene.why("--all").ok().contains(&format!("{name}-b-eth0")));
    let one = scene.why("--nic net7").ok();
    assert!(one.contains("NIC net7, network unknown") && !one.contains("NIC eth0"), "{one}");
}

#[test]
fn a_pod_that_got_nothing_is_explained() {
    let scene = Scene::new();
    scene.pool("off", 10, &json!({"disable": true}));
    scene.pool("other", 20, &json!({"nodeAffinity": {"matchLabels": {"zone": "z2"}}}));
    let (off, other) = (scene.full("off"), scene.full("other"));
    let wish = json!({"ipv4": [off, other, "nowhere", format!("{}-x*", scene.name)]}).to_string();
    scene.pod(&json!({"ipam.spidernet.io/ippool": wish}));
    let report = scene.report("");
    let nic = &report["nics"][0];
    let error = nic["error"].as_str().unwrap();
    assert!(error.contains(&format!("pool {off} is disabled (spec.disable)")), "{error}");
    assert_eq!(
        scene.pools(nic),
        [
            ("off", None, "is disabled (spec.disable)"),
            (
                "other",
                None,
                format!(
                    "serves nodes with zone=z2 (it has zone=z1), not node {} (spec.nodeAffinity)",
                    scene.node("a")
                )
                .as_str()
            ),
            ("x*", None, "is a wildcard that matches no pool"),
        ]
    );
    assert!(nic["pools"].as_array().unwrap().iter().any(|pool| pool["why"] == "does not exist"));
    assert!(scene.why("").ok().contains("cannot choose an IPv4 pool for eth0"));
}

#[test]
fn the_order_of_the_annotation_is_shown_with_what_is_free() {
    let scene = Scene::new();
    for (name, last) in [("p1", 10), ("p2", 20), ("first", 30)] {
        scene.pool(name, last, &json!({}));
    }
    let block = &scene.block;
    scene.record("first", &json!({
        format!("{block}.30"): {"pod": "x/y", "podUid": "u"}, format!("{block}.31"): {"pod": "x/z", "podUid": "v"},
    }));
    let reserved = json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderReservedIP",
        "metadata": {"name": scene.name}, "spec": {"ips": [format!("{block}.10")]}
    });
    Scene::apply(&[reserved]);
    let wish = json!({"ipv4": [scene.full("first"), scene.full("p*")]}).to_string();
    scene.pod(&json!({"ipam.spidernet.io/ippool": wish}));
    let report = scene.report("");
    let (nic, pattern) = (&report["nics"][0], format!("matches {}", scene.full("p*")));
    let pools = scene.pools(nic);
    assert_eq!(
        pools,
        [
            ("first", Some(1), "serves, but no address is free"),
            ("p1", Some(2), pattern.as_str()),
            ("p2", Some(3), pattern.as_str()),
        ]
    );
    let free: Vec<&Value> = nic["pools"].as_array().unwrap().iter().map(|pool| &pool["free"]).collect();
    assert_eq!(free, ["0", "1", "2"]);
    assert_eq!(nic["without"][0], json!("no IPv6 address: no pool of the family is named"));
}

#[test]
fn the_pools_of_the_cni_configuration_are_found_behind_the_network() {
    let scene = Scene::new();
    scene.pool("p", 10, &json!({}));
    scene.network(
        "eth1",
        &json!({"type": "spiderpool", "default_ipv4_ippool": [scene.full("p")], "clean_gateway": true}),
    );
    scene.network("other", &json!({"type": "host-local"}));
    let networks = r#"[{"name": "eth1", "interface": "data"}, {"name": "other"}]"#;
    scene.pod(&json!({"k8s.v1.cni.cncf.io/networks": networks}));
    let report = scene.report("");
    let (data, other) = (&report["nics"][1], &report["nics"][2]);
    assert_eq!((&data["name"], &data["rule"]), (&json!("data"), &json!("the CNI configuration")));
    assert_eq!((scene.pools(data), &data["cleanGateway"]), (vec![("p", Some(1), "named")], &json!(true)));
    assert_eq!(
        (&other["name"], &other["ipam"], &other["rule"]),
        (&json!("net2"), &json!("host-local"), &Value::Null)
    );
}

#[test]
fn what_the_agents_were_told_is_read_from_the_config_map() {
    let scene = Scene::new();
    scene.pool("p", 10, &json!({"multusName": ["eth0"]}));
    let name = &scene.name;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spiderpool-conf", "namespace": name},
        "data": {"conf.yml": "enableIPv4: true\nenableIPv6: false\nenableSpiderSubnet: true\n", "clusterNetwork": "eth0"}
    });
    Scene::apply(&[settings]);
    let wish = json!({"ipv4": [scene.full("p")], "ipv6": ["six"]}).to_string();
    scene.pod(&json!({"ipam.spidernet.io/ippool": wish}));
    let report = scene.report(&format!("--spiderpool-namespace {name}"));
    let nic = &report["nics"][0];
    assert_eq!(nic["network"], json!(format!("{name}/eth0")));
    assert_eq!(scene.pools(nic), [("p", Some(1), "named")]);
    assert_eq!(nic["without"], json!(["no IPv6 address: the family is switched off"]));
    let report = scene.report(&format!("--cluster-network {name}/eth1"));
    assert!(report["nics"][0]["error"].as_str().unwrap().contains("eth1 is behind eth0"), "{report}");
}

#[test]
fn a_namespaces_pools_and_a_broken_annotation_are_said() {
    let scene = Scene::new();
    scene.pool("p", 10, &json!({}));
    let name = &scene.name;
    let note = |text: &str| {
        let note = format!("ipam.spidernet.io/default-ipv4-ippool={text}");
        cluster().kubectl(&["annotate", "--overwrite", "namespace", name, &note]).unwrap();
    };
    note(&format!("[{:?}]", scene.full("p")));
    scene.pod(&json!({}));
    let report = scene.report("");
    assert_eq!(report["nics"][0]["rule"], json!("the namespace's annotation"));
    assert_eq!(scene.pools(&report["nics"][0]), [("p", Some(1), "named")]);
    note("pool-a");
    let report = scene.report("");
    let error = report["nics"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("annotation ipam.spidernet.io/default-ipv4-ippool of the namespace cannot be read"),
        "{error}"
    );
}

#[test]
fn a_pod_that_is_gone_fails_and_what_is_left_of_it_is_named() {
    let scene = Scene::new();
    scene.pool("p", 10, &json!({}));
    let sentence = scene.why("").failed(1);
    assert!(
        sentence.contains("there is no pod") && sentence.contains("no pool has an address recorded"),
        "{sentence}"
    );
    let address = format!("{}.10", scene.block);
    scene.record("p", &json!({address.as_str(): {"pod": format!("{}/web", scene.name), "podUid": "gone"}}));
    let sentence = scene.why("").failed(1);
    assert!(
        sentence.contains(&format!("still recorded for that name: {address} of pool {}", scene.full("p"))),
        "{sentence}"
    );
    scene.pod(&json!({}));
    let text = scene.why("").ok();
    assert!(
        text.contains(&format!(
            "{address} of pool {}, recorded for an earlier pod of the name",
            scene.full("p")
        )),
        "{text}"
    );
}

#[test]
fn without_a_cluster_the_way_out_is_named() {
    let sentence = Bench::empty().ctl("why web").failed(1);
    assert!(sentence.contains("set KUBECONFIG"), "{sentence}");
}
