//! Pods and their nodes, and services: what goes through the node, which an ipvlan interface alone does not reach.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use serde_json::{Value, json};
use testbed::{PEER_V4, PEER_V6, Plugins};

use crate::paths::at;
use crate::pod::{Draft, Pod};
use crate::space::Space;
use crate::stage::{PATIENCE, SECOND_NETWORK, Stage, stage};

pub(crate) const NODES: [&str; 2] = ["master", "worker"];
/// Where each node answers by itself.
const NODE_PORT: u16 = 9080;
/// How often a service is asked before one of two endpoints that was not heard counts as missing: by chance, once in 10^7.
const TRIES: usize = 24;
/// What the cloud gives its load balancers, one for each policy and family.
const BALANCERS: [[&str; 2]; 2] =
    [["203.0.113.80", "2001:db8:ffff::80"], ["203.0.113.81", "2001:db8:ffff::81"]];

pub(crate) fn target(address: IpAddr, port: u16) -> String {
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    format!("http://{host}:{port}/")
}

/// The address in "address:port".
fn host(text: &Value) -> IpAddr {
    let text = text.as_str().unwrap_or_else(|| panic!("no address: {text}"));
    text.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).parse().unwrap()
}

/// The client's address as an answer has it, and the name of the one who gave it.
pub(crate) fn heard(answer: &Value) -> (IpAddr, String) {
    (host(&answer["answer"]["source"]), answer["answer"]["hostname"].as_str().unwrap().to_owned())
}

/// Asks as a host of another network that the VPC is connected with.
pub(crate) fn ask_from_outside(stage: &Stage, target: &str, seconds: u32) -> Result<Value, String> {
    let mut command = Command::new(Plugins::ensure().unwrap().probe());
    let own: IpAddr = if target.contains('[') { PEER_V6.into() } else { PEER_V4.into() };
    command.args(["get", "--from", &own.to_string(), "--timeout", &format!("{seconds}s"), target]);
    stage.nodes.place_on_router(&mut command);
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn pods_and_nodes_reach_each_other() {
    let stage = stage();
    let space = Space::new(&stage, "nodes");
    let probe = Plugins::ensure().unwrap().probe();
    for node in NODES {
        let serve = format!("'{}' serve --port {NODE_PORT}", probe.display());
        stage.guest(node).keep("probe", &serve).unwrap();
    }
    let [first, second, both] = space.run([
        Draft::new("first", "master"),
        Draft::new("second", "master").default_network(SECOND_NETWORK),
        Draft::new("both", "worker").networks(SECOND_NETWORK),
    ]);
    for pod in [&first, &second, &both] {
        for node in NODES {
            for (own, address) in pod.of("eth0").into_iter().zip(stage.node_addresses(node)) {
                let answer = space.ask(&pod.name, &target(address, NODE_PORT), 20);
                let answer = answer.unwrap_or_else(|error| {
                    panic!("{} does not reach {node} at {address}: {error}\n{}", pod.name, stage.logs())
                });
                assert_eq!(heard(&answer), (own, node.to_owned()), "{} to {address}", pod.name);
            }
        }
        for interface in ["eth0", "net1"] {
            for address in pod.of(interface) {
                for node in NODES {
                    let ask = format!("'{}' get --timeout 20s '{}'", probe.display(), target(address, 8080));
                    let answer = stage.guest(node).sh(&ask).unwrap_or_else(|error| {
                        panic!("{node} does not reach {} at {address}: {error}\n{}", pod.name, stage.logs())
                    });
                    let (_, name) = heard(&serde_json::from_str(&answer).unwrap());
                    assert_eq!(name, pod.name, "{node} to {address}");
                }
            }
        }
    }
    for node in NODES {
        stage.guest(node).end("probe").unwrap();
    }
    space.clear(PATIENCE);
}

/// A service for the pods of an app, of both families.
pub(crate) fn service(space: &Space, name: &str, app: &str, more: &Value) -> Vec<IpAddr> {
    let mut spec = json!({
        "selector": {"app": app}, "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"],
        "ports": [{"port": 80, "targetPort": 8080}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({"name": name, "namespace": space.name});
    space.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}));
    let args = ["get", "service", name, "-n", &space.name, "-o", "jsonpath={.spec.clusterIPs[*]}"];
    space.stage.kubectl(&args).split_whitespace().map(|ip| ip.parse().unwrap()).collect()
}

fn node_port(space: &Space, name: &str) -> u16 {
    let args = ["get", "service", name, "-n", &space.name, "-o", "jsonpath={.spec.ports[0].nodePort}"];
    space.stage.kubectl(&args).parse().unwrap()
}

/// Asks until all of these have answered, and none else has.
pub(crate) fn all_answer(
    stage: &Stage,
    what: &str,
    pods: &[&Pod],
    mut ask: impl FnMut() -> Result<Value, String>,
) {
    let mut names = BTreeSet::new();
    for _ in 0..TRIES {
        let answer = ask().unwrap_or_else(|error| panic!("{what}: {error}\n{}", stage.logs()));
        names.insert(heard(&answer).1);
        if names.len() >= pods.len() {
            break;
        }
    }
    assert_eq!(names, pods.iter().map(|pod| pod.name.clone()).collect(), "{what}");
}

/// Has a cloud's load balancer before each service, as its controller would, and asks them as a host of another network.
fn from_load_balancers(space: &Space, services: [(&str, u16); 2], web: &[&Pod]) {
    let stage = space.stage;
    for ((name, port), addresses) in services.into_iter().zip(BALANCERS) {
        let status = json!({"status": {"loadBalancer": {"ingress": addresses.map(|ip| json!({"ip": ip}))}}});
        let patch = ["-n", &space.name, "--subresource=status", "--type=merge", "-p", &status.to_string()];
        stage.kubectl(&[&["patch", "service", name], &patch[..]].concat());
        for (family, address) in addresses.into_iter().enumerate() {
            let address: IpAddr = address.parse().unwrap();
            let nodes = NODES.map(|node| SocketAddr::new(stage.node_addresses(node)[family], port));
            stage.nodes.balance(SocketAddr::new(address, 80), &nodes).unwrap();
            let own: IpAddr = if address.is_ipv6() { PEER_V6.into() } else { PEER_V4.into() };
            all_answer(stage, &format!("{name} by {address}"), web, || {
                let answer = ask_from_outside(stage, &target(address, 80), 20)?;
                // As a client of its own, where each node asks its own endpoints only.
                assert!(name == "entry" || heard(&answer).0 == own, "{name} by {address}: {answer}");
                Ok(answer)
            });
        }
    }
}

#[test]
fn services_are_reached_from_pods_and_from_outside() {
    let stage = stage();
    let space = Space::new(&stage, "services");
    let [near, far, second, both] = space.run([
        Draft::new("near", "master").app("web"),
        Draft::new("far", "worker").default_network(SECOND_NETWORK).app("web"),
        Draft::new("second", "master").default_network(SECOND_NETWORK),
        Draft::new("both", "worker").networks(SECOND_NETWORK),
    ]);
    let web = [&near, &far];
    let inside = service(&space, "inside", "web", &json!({}));
    let [entry, kept] = [("entry", "Cluster"), ("kept", "Local")].map(|(name, policy)| {
        service(&space, name, "web", &json!({"type": "LoadBalancer", "externalTrafficPolicy": policy}));
        node_port(&space, name)
    });
    for address in &inside {
        let url = target(*address, 80);
        stage.eventually("the service is there", || space.ask("near", &url, 5));
        for pod in [&near, &second, &both] {
            let what = format!("{} asks {address}", pod.name);
            all_answer(&stage, &what, &web, || space.ask(&pod.name, &url, 20));
        }
    }
    for (node, here) in NODES.into_iter().zip(web) {
        for address in stage.node_addresses(node) {
            let url = target(address, entry);
            stage.eventually("the entry is there", || ask_from_outside(&stage, &url, 5));
            all_answer(&stage, &format!("from outside by {url}"), &web, || {
                ask_from_outside(&stage, &url, 20)
            });
            // Where the policy is Local, only the node's own endpoints answer, and they see who asks.
            let url = target(address, kept);
            stage.eventually("the entry is there", || ask_from_outside(&stage, &url, 5));
            for _ in 0..4 {
                let answer = ask_from_outside(&stage, &url, 20);
                let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}\n{}", stage.logs()));
                let own: IpAddr = if address.is_ipv6() { PEER_V6.into() } else { PEER_V4.into() };
                assert_eq!(heard(&answer), (own, here.name.clone()), "{url}");
            }
        }
    }
    from_load_balancers(&space, [("entry", entry), ("kept", kept)], &web);
    // A pod asks its own node, which is reached through its cable: whichever policy, it gets an answer, be it from the other node.
    for (pod, node) in [(&near, "master"), (&second, "master"), (&far, "worker"), (&both, "worker")] {
        for address in stage.node_addresses(node) {
            for port in [entry, kept] {
                // Twenty connections, so some of them go to the other node.
                let often = ["--interval", "100ms", "--for", "2s", "--timeout", "20s"];
                let said = space.probe(&pod.name, &[&["loop"], &often[..], &[&at(address, port)]].concat());
                let said: Value = serde_json::from_str(&said.unwrap_or_else(|error| {
                    panic!("{} asks {port} of {node} at {address}: {error}\n{}", pod.name, stage.logs())
                }))
                .unwrap();
                assert!(said["sent"].as_u64() > Some(10) && said["lost"] == 0, "{}: {said}", pod.name);
            }
        }
    }
    space.clear(PATIENCE);
}
