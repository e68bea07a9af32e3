//! The columns of `kubectl get`.

use crate::server::cluster;

/// A pool, a subnet and so on, each with the header lines of `kubectl get` without and with `-o wide`.
const KINDS: [(&str, &str, &str, &str); 7] = [
    (
        "sp",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderIPPool, metadata: {name: NAME}, spec: {subnet: 198.18.0.0/24}}",
        "NAME VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT DEFAULT",
        "NAME VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT DEFAULT DISABLE NODENAME MULTUSNAME APP-NAMESPACE",
    ),
    (
        "ss",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderSubnet, metadata: {name: NAME}, spec: {subnet: 198.18.0.0/24}}",
        "NAME VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT",
        "NAME VERSION SUBNET ALLOCATED-IP-COUNT TOTAL-IP-COUNT",
    ),
    (
        "se",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderEndpoint, metadata: {name: NAME}, status: {ownerControllerType: Pod, ownerControllerName: a, current: {uid: uid-1, node: node-1, ips: []}}}",
        "NAME INTERFACE IPV4POOL IPV4 IPV6POOL IPV6 NODE",
        "NAME INTERFACE IPV4POOL IPV4 IPV6POOL IPV6 NODE",
    ),
    (
        "sr",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderReservedIP, metadata: {name: NAME}, spec: {ips: [198.18.0.1]}}",
        "NAME VERSION",
        "NAME VERSION",
    ),
    (
        "scc",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderCoordinator, metadata: {name: NAME}, spec: {podCIDRType: auto}}",
        "NAME AGE",
        "NAME AGE",
    ),
    (
        "smc",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderMultusConfig, metadata: {name: NAME}}",
        "NAME TYPE READY REASON AGE",
        "NAME TYPE READY REASON AGE MESSAGE",
    ),
    (
        "sn",
        "{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderNode, metadata: {name: NAME}}",
        "NAME PROVIDER INSTANCE NICS IPV4 IPV6 DISCOVERED SYNCED SUFFICIENT AGE",
        "NAME PROVIDER INSTANCE NICS IPV4 IPV6 DISCOVERED SYNCED SUFFICIENT AGE MESSAGE",
    ),
];

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn kubectl_prints_the_columns_of_upstream() {
    let cluster = cluster();
    for (short_name, manifest, narrow, wide) in KINDS {
        let name = testbed::unique("columns");
        cluster
            .kubectl_with(&["create", "-f", "-"], &format!("---\n{}", manifest.replace("NAME", &name)))
            .unwrap();
        let headers = [vec!["get", short_name, &name], vec!["get", short_name, &name, "-o", "wide"]]
            .map(|args| words(cluster.kubectl(&args).unwrap().lines().next().unwrap_or_default()));
        cluster.kubectl(&["delete", short_name, &name, "--wait=false"]).unwrap();
        assert_eq!(headers, [narrow, wide], "{short_name}");
    }
}

#[test]
fn a_node_that_is_fine_says_so_in_one_line() {
    let cluster = cluster();
    let name = testbed::unique("columns");
    let condition = |kind: &str, status: &str| {
        format!(
            "{{type: {kind}, status: '{status}', reason: Test, message: it is so, lastTransitionTime: '2026-01-01T00:00:00Z'}}"
        )
    };
    let manifest = format!(
        "---\n{{apiVersion: spiderpool.spidernet.io/v2beta1, kind: SpiderNode, metadata: {{name: {name}}}, status: {{provider: hz, instance: i-1, \
         nicCount: 1, ipv4Count: 5, ipv6Count: 9223372036854775807, sources: [{{name: API, observedAt: '2026-01-01T00:00:00Z', complete: true}}], \
         nics: [{{id: eni-1, mac: '00:16:3e:00:00:01', index: 0, use: Pods, ipv4: [10.0.0.1-10.0.0.5]}}], conditions: [{}, {}, {}]}}}}",
        condition("Discovered", "True"),
        condition("Synced", "True"),
        condition("SufficientIPs", "False"),
    );
    cluster.kubectl_with(&["create", "-f", "-"], &manifest).unwrap();
    cluster.kubectl_with(&["replace", "--subresource=status", "-f", "-"], &manifest).unwrap();
    let line = words(&cluster.kubectl(&["get", "sn", &name, "-o", "wide", "--no-headers"]).unwrap());
    cluster.kubectl(&["delete", "sn", &name]).unwrap();
    assert!(line.contains("hz i-1 1 5 9223372036854775807 True True False"), "{line}");
    assert!(line.ends_with("it is so"), "{line}");
}
