//! Two clusters in two data centres, as in the walkthrough for Submariner: pods of one reach pods and services of the other through
//! their node, because of the coordinator's `hijackCIDR`.
//!
//! Submariner itself is a set of images of a registry. What it does on a gateway node is done here: the same tunnel (`IPsec`, whose keys a
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

/// How often a service is asked before one of two endpoints that was not heard counts as missing: by chance, once in 10^7.
const TRIES: usize = 24;
/// Where the application's web server takes whatever comes, beside its port 80.
const BULK: u16 = 82;

/// A cluster with the walkthrough's application in it.
struct App<'a> {
    cluster: &'a Cluster,
    site: &'static Site,
    space: Space<'a>,
    pods: Vec<Pod>,
    service: IpAddr,
    /// A pod that knows nothing of the other cluster.
    plain: Pod,
}

impl<'a> App<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        let Cluster { site, stage } = cluster;
        let space = Space::new(stage, "app");
        let create = ["create", "-n", &space.name, "-f", "-"];
        stage.nodes.plane().kubectl_with(&create, include_str!("app.yaml")).unwrap();
        let [plain] = space.run([Draft::new("plain", NODE).default_network("kube-system/macvlan-plain")]);
        let mut pods = space.all_running(3, PATIENCE, || space.pods());
        pods.retain(|pod| pod.name != plain.name);
        let args = ["get", "service", "test-app-svc", "-n", &space.name, "-o", "jsonpath={.spec.clusterIP}"];
        let service: IpAddr = stage.kubectl(&args).parse().unwrap();
        assert!(site.services().contains(&service), "{service} in {}", site.name);
        for pod in &pods {
            space.serving(&pod.name, 80);
            assert!(pod.ips.iter().all(|ip| site.pods().contains(ip)), "{:?} in {}", pod.ips, site.name);
        }
        Self { cluster, site, space, pods, service, plain }
    }

    /// Each block of the other cluster goes through the node.
    fn has_routes_to(&self, other: &Site) {
        let said = self.space.exec(&self.pods[0].name, &["ip", "route"]).unwrap();
        let lines: Vec<String> =
            said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for block in [self.site.services(), other.services(), other.pods()] {
            let way = format!("{block} via {} dev veth0", self.site.nics[1]);
            assert!(
                lines.iter().any(|line| line.starts_with(&way)),
                "no {way} in {}\n{said}",
                self.site.name
            );
        }
    }

    /// Neither a pod nor the service of the other cluster answers to this pod.
    fn does_not_reach(&self, pod: &Pod, other: &Self) {
        both(
            |address: IpAddr| {
                let answer = self.space.ask(&pod.name, &format!("http://{address}/"), 3);
                assert!(answer.is_err(), "{} in {} reaches {address}: {answer:?}", pod.name, self.site.name);
            },
            [other.pods[0].ips[0], other.service],
        );
    }

    /// Asks a web server from a pod, and returns as whom it sees the pod, and its name.
    fn heard(&self, pod: &Pod, address: IpAddr) -> (IpAddr, String) {
        let answer = self.space.ask(&pod.name, &format!("http://{address}/"), 20);
        let answer: Value = answer.unwrap_or_else(|error| {
            let logs = self.cluster.stage.logs();
            panic!("{} in {} does not reach {address}: {error}\n{logs}", pod.name, self.site.name)
        });
        let source = answer["answer"]["source"].as_str().unwrap();
        let source = source.rsplit_once(':').unwrap().0.parse().unwrap();
        (source, answer["answer"]["hostname"].as_str().unwrap().to_owned())
    }

    /// A pod reaches every pod of the other cluster, which sees its own address, by way of both nodes.
    fn reaches_pods_of(&self, other: &Self) {
        let pod = &self.pods[0];
        for to in &other.pods {
            assert_eq!(self.heard(pod, to.ips[0]), (pod.ips[0], to.name.clone()));
        }
        let to = other.pods[0].ips[0].to_string();
        let said = self.space.exec(&pod.name, &["ping", "-c", "2", "-w", "20", &to]).unwrap();
        // Two hops: the node here, and the node there.
        assert!(said.contains(" 0% packet loss") && said.contains("ttl=62"), "{said}");
        // As much as goes through: the tunnel has less room than eth0, which the node must say and the pod believe.
        let bulk = ["/bin/probe", "measure", "--for", "500ms", &format!("{to}:{BULK}")];
        self.space.exec(&pod.name, &bulk).unwrap();
        // One without hijackCIDR answers all the same, by the way on which it was asked.
        self.space.reaches(pod, pod.ips[0], &other.plain, other.plain.ips[0]);
    }

    /// All pods behind a service answer to a pod; returns as whom they see it.
    fn reaches_service_of(&self, app: &Self) -> BTreeSet<IpAddr> {
        let (mut sources, mut names) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..TRIES {
            let (source, name) = self.heard(&self.pods[0], app.service);
            sources.insert(source);
            names.insert(name);
            if names.len() == app.pods.len() {
                break;
            }
        }
        assert_eq!(names, app.pods.iter().map(|pod| pod.name.clone()).collect());
        sources
    }
}

#[test]
fn pods_reach_pods_and_services_of_another_cluster_through_their_node() {
    let [a, b] = both(Cluster::start, [&A, &B]);
    a.stage.nodes.join(&b.stage.nodes).unwrap();
    let [in_a, in_b] = &both(App::start, [&a, &b]);
    let sides = [(in_a, in_b), (in_b, in_a)];
    both(
        |(own, other)| {
            own.has_routes_to(other.site);
            own.cluster.reaches_only_the_first_nic_of(other.cluster);
            own.does_not_reach(&own.pods[0], other);
        },
        sides,
    );
    both(|(own, other)| gateway::connect(own.cluster, other.cluster), sides);
    both(
        |(own, other)| {
            own.reaches_pods_of(other);
            let sources = own.reaches_service_of(other);
            assert_eq!(sources, BTreeSet::from([own.pods[0].ips[0]]), "as whom {} is seen", own.site.name);
            own.reaches_service_of(own);
            own.does_not_reach(&own.plain, other);
        },
        sides,
    );
    both(gateway::was_used, [&a, &b]);
}

/// The same for both, side by side.
fn both<S: Send, T: Send>(work: impl Fn(S) -> T + Sync, [first, second]: [S; 2]) -> [T; 2] {
    thread::scope(|scope| {
        let second = scope.spawn(|| work(second));
        let first = work(first);
        [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    })
}
