//! `plan` against a real API server: what it reads there, and whether what it prints is accepted there.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testbed::aliyun::{Cloud, KEY, NicSpec, Refusal, SECRET, Topology};
use testbed::{Cluster, unique};

use crate::bench::{Bench, CTL, Ran, list, pool, provider, run};

/// The shared cluster with our CRDs.
fn cluster() -> &'static Cluster {
    let cluster = testbed::shared();
    cluster.apply_crds().unwrap();
    cluster
}

/// A bench of its own within the shared cluster: names and addresses that no other test has, and nodes that are there.
struct Scene {
    bench: Bench,
    /// The prefix of its names, and the value of the label that selects its nodes.
    name: String,
    /// The first three octets of its eth1.
    block: String,
}

impl Scene {
    fn new() -> Self {
        let (bench, name) = (Bench::empty(), unique("ctl"));
        let block = bench.sim.edit(cloud).unwrap();
        let nodes =
            ["master", "worker"].map(|node| (format!("{name}-{node}"), format!("cn-hangzhou.i-bp1{node}")));
        let labelled = list(&nodes)
            .replace("metadata: {name:", &format!("metadata: {{labels: {{scene: {name}}}, name:"));
        cluster().kubectl_with(&["apply", "-f", "-"], &labelled).unwrap();
        let config = provider(&name, bench.sim.endpoints());
        let multus = format!("    multusName: default/{name}-{{interface}}\n");
        bench.write("cloud.yaml", &format!("nodeSelector: scene={name}\n{config}{multus}"));
        Self { bench, name, block }
    }

    /// Assigns one address more to the worker's eth1, and returns it.
    fn assign(&self) -> String {
        let address = format!("{}.200", self.block);
        self.bench.sim.edit(|cloud| cloud.assign("eni-worker1", &[address.parse().unwrap()])).unwrap();
        address
    }

    fn node(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.bench.command(CTL);
        command.args(line.split_whitespace()).env("KUBECONFIG", cluster().kubeconfig());
        command
    }

    fn plan(&self, more: &str) -> Ran {
        run(self.command(&format!("plan --config cloud.yaml {more}")), "")
    }

    /// Applies a plan as the controller would: the nodes' status, too.
    fn apply(&self, text: &str) {
        let applied = cluster().kubectl_with(&["apply", "-f", "-"], text).unwrap();
        assert!(!applied.contains("unchanged"), "{applied}");
        for node in ["master", "worker"] {
            let statuses = serde_saphyr::from_multiple::<Value>(text).unwrap().into_iter();
            let Some(object) = statuses
                .into_iter()
                .find(|it| it["kind"] == "SpiderNode" && it["metadata"]["name"] == json!(self.node(node)))
            else {
                continue;
            };
            let patch = json!({"status": object["status"]}).to_string();
            let name = self.node(node);
            let args = ["patch", "spidernode", &name, "--subresource=status", "--type=merge", "-p", &patch];
            cluster().kubectl(&args).unwrap();
        }
    }
}

/// Builds two nodes with two NICs each in the seed's VPC, on addresses of their own: pools of one cluster never share any.
/// Returns the first three octets of the second subnet.
fn cloud(cloud: &mut Cloud) -> Result<String, Refusal> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // 100.64.0.0/10 is used by no other test.
    let number = std::process::id() % 64 * 256 + COUNT.fetch_add(2, Ordering::Relaxed) % 256;
    let block = |nic: u32| format!("100.{}.{}", 64 + number / 256, number % 256 + nic);
    let block6 = |nic: u32| format!("2001:db8:64:{:x}:", number + nic);
    cloud.add_key(KEY, SECRET);
    cloud.add_vpc("vpc-bp1seed", "100.64.0.0/10".parse().unwrap(), Some("2001:db8:64::/48".parse().unwrap()));
    for nic in 0..2 {
        let (v4, v6) = (format!("{}.0/24", block(nic)), format!("{}:/64", block6(nic)));
        let (v4, v6) = (v4.parse().unwrap(), Some(v6.parse().unwrap()));
        cloud.add_vswitch(format!("vsw-{nic}"), "vpc-bp1seed", "cn-hangzhou-i", v4, v6);
    }
    for (node, first) in [("master", 10), ("worker", 20)] {
        let instance = format!("i-bp1{node}");
        cloud.add_instance(&instance, node, "ecs.g7.xlarge", "vsw-0")?;
        for nic in 0..2 {
            let ips = (1..=5).map(|n| format!("{}.{}", block(nic), first + n));
            let ips = ips.chain((1..=3).map(|n| format!("{}:{}", block6(nic), first + n)));
            let (id, switch) = (format!("eni-{node}{nic}"), format!("vsw-{nic}"));
            let spec = if nic == 0 {
                NicSpec::primary(id, switch)
            } else {
                NicSpec::secondary(id, switch).device_index(Some(nic))
            };
            let own = format!("{}.{first}", block(nic)).parse().unwrap();
            let ips: Vec<IpAddr> = ips.map(|ip| ip.parse().unwrap()).collect();
            cloud.attach(&instance, spec.primary_ip(own).ips(ips))?;
        }
    }
    Ok(block(1))
}

#[test]
fn what_is_printed_is_accepted_by_the_api_server() {
    let scene = Scene::new();
    for format in ["yaml", "json"] {
        let text = scene.plan(&format!("-o {format}")).ok();
        let said =
            cluster().kubectl_with(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], &text);
        let said = said.unwrap();
        assert_eq!(
            said.lines().filter(|line| line.ends_with("created (server dry run)")).count(),
            12,
            "{said}"
        );
    }
}

#[test]
fn names_that_yaml_could_take_for_something_else_are_accepted() {
    let scene = Scene::new();
    let odd = ["on", "1e3", "0x10", "null", "1.5", "0755", "1-1"];
    let nics = |name: &str| {
        format!("      \"{name}\": [{{interface: eth0, subnet: 192.0.2.0/24, ips: [192.0.2.9]}}]\n")
    };
    for name in odd {
        let config = format!("providers:\n  - name: rack\n    type: static\n    nodes:\n{}", nics(name));
        scene.bench.write("cloud.yaml", &config);
        scene
            .bench
            .write("odd.yaml", &format!("apiVersion: v1\nkind: Node\nmetadata: {{name: \"{name}\"}}\n"));
        let text = scene.plan("--nodes odd.yaml").ok();
        let args = ["apply", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"];
        let accepted = cluster().kubectl_with(&args, &text).unwrap();
        let accepted: Value = serde_json::from_str(&accepted).unwrap();
        let items = accepted["items"].as_array().unwrap();
        assert_eq!(pool(items, name, "eth0", 4)["spec"]["nodeName"], json!([name]), "{text}");
    }
}

#[test]
fn a_cluster_that_has_it_all_gets_nothing() {
    let scene = Scene::new();
    let first = scene.plan("").ok();
    assert!(first.contains("ownerReferences"), "the cluster's nodes have a uid: {first}");
    scene.apply(&first);
    let ran = scene.plan("");
    assert!(ran.stderr.contains("nothing to write, all is as it should be (pools: 8;"), "{ran:?}");
    assert_eq!(ran.ok(), "");
    assert_eq!(scene.plan("--all").documents().len(), 12);
    let table = scene.plan("-o table").ok();
    assert_eq!(table.lines().filter(|line| line.ends_with(" keep")).count(), 8, "{table}");
}

#[test]
fn a_new_address_is_an_update_that_can_be_applied() {
    let scene = Scene::new();
    scene.apply(&scene.plan("").ok());
    let address = scene.assign();
    let text = scene.plan("").ok();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<&Value> = documents.iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["SpiderIPPool", "SpiderNode"], "{text}");
    let changed = pool(&documents, &scene.node("worker"), "eth1", 4);
    assert_eq!(changed["spec"]["ips"], json!([format!("{0}.21-{0}.25", scene.block), address]));
    assert!(changed["metadata"]["resourceVersion"].is_string(), "{changed}");
    let table = scene.plan("-o table").ok();
    let [row] = table.lines().filter(|line| line.ends_with(" update")).collect::<Vec<_>>()[..] else {
        panic!("one update: {table}")
    };
    assert!(row.contains(&format!("{}.21-25,{address}", scene.block)) && row.contains(" 6 "), "{row}");
    scene.apply(&text);
    assert_eq!(scene.plan("").ok(), "");
}

#[test]
fn an_update_whose_pool_changed_since_is_refused() {
    let scene = Scene::new();
    scene.apply(&scene.plan("").ok());
    scene.assign();
    let text = scene.plan("").ok();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let name =
        pool(&documents, &scene.node("worker"), "eth1", 4)["metadata"]["name"].as_str().unwrap().to_owned();
    cluster().kubectl(&["label", "spiderippool", &name, "seen=since"]).unwrap();
    let refused = cluster().kubectl_with(&["apply", "-f", "-"], &text).unwrap_err().to_string();
    assert!(refused.contains("the object has been modified"), "{refused}");
}

#[test]
fn the_pools_of_a_node_that_left_would_be_deleted() {
    let scene = Scene::new();
    scene.apply(&scene.plan("").ok());
    let master = scene.node("master");
    cluster().kubectl(&["delete", "node", &master]).unwrap();
    let ran = scene.plan("-o table");
    let deletions =
        ran.stderr.lines().filter(|line| line.starts_with(&format!("would delete pool {master}-eth")));
    assert_eq!(deletions.count(), 4, "{}", ran.stderr);
    let table = ran.ok();
    assert_eq!(table.lines().filter(|line| line.ends_with(" delete")).count(), 4, "{table}");
    assert_eq!(table.lines().filter(|line| line.ends_with(" keep")).count(), 4, "{table}");
    let pools = cluster().kubectl(&["get", "spiderippools", "-o", "name"]).unwrap();
    assert_eq!(pools.matches(&master).count(), 4, "nothing was touched: {pools}");
}

#[test]
fn a_user_who_may_not_list_is_told_what() {
    let scene = Scene::new();
    let mut command = scene.command("plan --config cloud.yaml");
    command.env("KUBECONFIG", cluster().kubeconfig_for(&scene.name, None).unwrap());
    let sentence = run(command, "").failed(1);
    assert!(
        sentence.starts_with("the API server does not let ") && sentence.contains("forbidden"),
        "{sentence}"
    );
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
}

#[test]
fn an_api_server_that_is_gone_is_one_sentence() {
    let scene = Scene::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = std::fs::read_to_string(cluster().kubeconfig()).unwrap();
    scene.bench.write("gone.kubeconfig", &config.replace(cluster().server(), &format!("https://{free}")));
    let mut command = scene.command("plan --config cloud.yaml --timeout 10s");
    command.env("KUBECONFIG", scene.bench.dir.path().join("gone.kubeconfig"));
    let sentence = run(command, "").failed(1);
    assert!(sentence.contains("API server") && sentence.lines().count() == 1, "{sentence}");
}

#[test]
fn what_is_gone_from_a_pool_goes_when_the_update_is_applied() {
    let scene = Scene::new();
    let (name, node) = (&scene.name, scene.node("rack"));
    let config = |nic: &str| {
        format!(
            "nodeSelector: scene={name}-rack\nproviders:\n  - name: {name}\n    type: static\n    multusName: \
             default/{name}-{{interface}}\n    nodes:\n      {node}:\n        - {{interface: eth9, subnet: {}.0/24, {nic}}}\n",
            scene.block
        )
    };
    let labels = format!("metadata: {{labels: {{scene: {name}-rack}}, name: {node}}}");
    cluster()
        .kubectl_with(&["apply", "-f", "-"], &format!("apiVersion: v1\nkind: Node\n{labels}\n"))
        .unwrap();
    let nics = |ips: &str| ips.replace('@', &scene.block);
    scene.bench.write("cloud.yaml", &config(&nics("gateway: @.1, ips: [@.60-@.69]")));
    let first = scene.plan("").ok();
    cluster().kubectl_with(&["apply", "-f", "-"], &first).unwrap();
    let first: Vec<Value> = serde_saphyr::from_multiple(&first).unwrap();
    let object = pool(&first, &node, "eth9", 4)["metadata"]["name"].as_str().unwrap();
    scene.bench.write("cloud.yaml", &config(&nics("ips: [@.60-@.70]")));
    let second = scene.plan("").ok();
    cluster().kubectl_with(&["apply", "--validate=strict", "-f", "-"], &second).unwrap();
    let now: Value =
        serde_json::from_str(&cluster().kubectl(&["get", "spiderippool", object, "-o", "json"]).unwrap())
            .unwrap();
    assert_eq!(now["spec"]["ips"], json!([nics("@.60-@.70")]), "{second}");
    assert_eq!(now["spec"].get("gateway"), None, "{second}");
    let table = scene.plan("-o table").ok();
    assert!(table.lines().any(|line| line.starts_with(object) && line.ends_with(" keep")), "{table}");
}

#[test]
fn a_cluster_that_does_not_know_our_kinds_is_planned_with_a_warning_each() {
    let bench = Bench::seed();
    let bare = testbed::ControlPlane::start().unwrap();
    bare.kubectl_with(&["apply", "-f", "-"], &list(&Topology::seed().nodes())).unwrap();
    let mut command = bench.command(CTL);
    command.args(["plan", "--config", "cloud.yaml"]).env("KUBECONFIG", bare.kubeconfig());
    let ran = run(command, "");
    let warnings = ran.stderr.lines().filter(|line| line.ends_with("install the CRDs first"));
    assert_eq!(warnings.count(), 3, "{}", ran.stderr);
    assert_eq!(ran.documents().len(), 12);
}
