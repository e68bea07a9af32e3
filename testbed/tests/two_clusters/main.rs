//! Two clusters in two data centres, as in the walkthrough for Submariner: pods of one reach pods and services of the other through
//! their node, because of the coordinator's `hijackCIDR`.
//!
//! Submariner itself is a set of images of a registry. What it does on a gateway node is done here: the same tunnel (IPsec, whose keys a
//! test may write down instead of negotiating them) and the same exception from masquerading. Needs root, as all nodes do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

#[path = "../built/product.rs"]
mod built;
mod gateway;
#[path = "../pods/pod.rs"]
#[expect(dead_code, reason = "the tests of pods on one cluster use all of it")]
mod pod;
mod site;
#[path = "../pods/space.rs"]
#[expect(dead_code, reason = "the tests of pods on one cluster use all of it")]
mod space;
#[path = "../pods/stage.rs"]
#[expect(dead_code, reason = "the tests of pods on one cluster use all of it")]
mod stage;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;

use serde_json::Value;

use pod::{Draft, Pod};
use site::{A, B, Cluster, NODE, Site};
use space::Space;
use stage::PATIENCE;

/// A pod that knows nothing of the other cluster.
const PLAIN: &str = "plain";
/// How often a service is asked before one of two endpoints that was not heard counts as missing: by chance, once in 10^7.
const TRIES: usize = 24;

/// A cluster with the walkthrough's application in it.
struct App<'a> {
    site: &'static Site,
    space: Space<'a>,
    pods: Vec<Pod>,
    service: IpAddr,
}

impl<'a> App<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        let Cluster { site, stage } = cluster;
        let space = Space::new(stage, "app");
        let create = ["create", "-n", &space.name, "-f", "-"];
        stage.nodes.plane().kubectl_with(&create, include_str!("app.yaml")).unwrap();
        let pods = space.all_running(2, PATIENCE, || space.pods());
        let args = ["get", "service", "test-app-svc", "-n", &space.name, "-o", "jsonpath={.spec.clusterIP}"];
        let service: IpAddr = stage.kubectl(&args).parse().unwrap();
        assert!(site.services().contains(&service), "{service} in {}", site.name);
        for pod in &pods {
            assert!(pod.ips.iter().all(|ip| site.pods().contains(ip)), "{:?} in {}", pod.ips, site.name);
        }
        Self { site, space, pods, service }
    }

    /// Each block of the other cluster goes through the node.
    fn routes(&self, other: &Site) {
        for pod in &self.pods {
            let said = self.space.exec(&pod.name, &["ip", "route"]).unwrap();
            let lines: Vec<String> =
                said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            for block in [self.site.services(), other.services(), other.pods()] {
                let way = format!("{block} via {} dev veth0", self.site.nics[1]);
                assert!(lines.iter().any(|line| line.starts_with(&way)), "no {way} in {}\n{said}", pod.name);
            }
        }
    }

    /// Asks a web server from a pod, which must not get an answer.
    fn does_not_reach(&self, pod: &str, address: IpAddr) {
        let answer = self.space.ask(pod, &format!("http://{address}/"), 3);
        assert!(answer.is_err(), "{pod} in {} reaches {address}: {answer:?}", self.site.name);
    }

    /// Asks a web server from a pod, and returns as whom it sees the pod, and its name.
    fn heard(&self, pod: &Pod, address: IpAddr) -> (IpAddr, String) {
        let answer: Value =
            self.space.ask(&pod.name, &format!("http://{address}/"), 20).unwrap_or_else(|error| {
                panic!("{} in {} does not reach {address}: {error}", pod.name, self.site.name)
            });
        let source = answer["answer"]["source"].as_str().unwrap();
        let source = source.rsplit_once(':').unwrap().0.parse().unwrap();
        (source, answer["answer"]["hostname"].as_str().unwrap().to_owned())
    }

    /// Every pod reaches every pod of the other cluster, which sees its own address, by way of both nodes.
    fn reaches_pods_of(&self, other: &Self) {
        for pod in &self.pods {
            for to in &other.pods {
                assert_eq!(self.heard(pod, to.ips[0]), (pod.ips[0], to.name.clone()));
            }
            let said = self
                .space
                .exec(&pod.name, &["ping", "-c", "2", "-w", "20", &other.pods[0].ips[0].to_string()]);
            let said = said.unwrap();
            // Two hops: the node here, and the node there.
            assert!(said.contains(" 0% packet loss") && said.contains("ttl=62"), "{said}");
        }
    }

    /// All pods behind the other cluster's service answer, and see the pod's own address.
    fn reaches_service_of(&self, other: &Self) {
        for pod in &self.pods {
            let mut names = BTreeSet::new();
            for _ in 0..TRIES {
                let (source, name) = self.heard(pod, other.service);
                assert_eq!(source, pod.ips[0], "{name} behind {}", other.service);
                names.insert(name);
                if names.len() == other.pods.len() {
                    break;
                }
            }
            assert_eq!(names, other.pods.iter().map(|pod| pod.name.clone()).collect());
        }
    }
}

#[test]
fn pods_reach_pods_and_services_of_another_cluster_through_their_node() {
    let [a, b] = both(|site| Cluster::start(site), [&A, &B]);
    a.stage.nodes.join(&b.stage.nodes).unwrap();
    let [in_a, in_b] = both(App::start, [&a, &b]);
    let [plain] = in_a.space.run([Draft::new(PLAIN, NODE).default_network("kube-system/macvlan-plain")]);
    in_a.routes(in_b.site);
    in_b.routes(in_a.site);

    a.reaches_only_the_first_nic_of(&b);
    for address in [in_b.pods[0].ips[0], in_b.service] {
        in_a.does_not_reach(&in_a.pods[0].name, address);
    }

    gateway::connect(&a, &b);
    gateway::connect(&b, &a);
    for (own, other) in [(&in_a, &in_b), (&in_b, &in_a)] {
        own.reaches_pods_of(other);
        own.reaches_service_of(other);
        let (_, name) = own.heard(&own.pods[0], own.service);
        assert!(own.pods.iter().any(|pod| pod.name == name), "{name} is of the other cluster");
    }
    for cluster in [&a, &b] {
        gateway::was_used(cluster);
    }
    for address in [in_b.pods[0].ips[0], in_b.service] {
        in_a.does_not_reach(&plain.name, address);
    }
    a.reaches_only_the_first_nic_of(&b);
}

/// The same for both, side by side.
fn both<S: Send, T: Send>(work: impl Fn(S) -> T + Sync, [first, second]: [S; 2]) -> [T; 2] {
    thread::scope(|scope| {
        let second = scope.spawn(|| work(second));
        let first = work(first);
        [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    })
}
