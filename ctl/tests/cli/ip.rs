//! `ip` and `gc` against a real API server.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Cluster, ControlPlane, unique};

use crate::bench::{Bench, CTL, Ran, run};

/// A bench with a pool of two nodes' pods: one is alive, one is gone.
struct Scene<'a> {
    bench: Bench,
    cluster: &'a Cluster,
    name: String,
    /// The UID of the pod that is alive.
    uid: String,
    /// The first three octets of its addresses.
    block: String,
}

fn shared() -> &'static Cluster {
    let cluster = testbed::shared();
    cluster.apply_crds().unwrap();
    cluster
}

impl<'a> Scene<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number =
            std::process::id() % 64 * 4 + COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4;
        // 198.18.0.0/15 is for benchmarks; nobody else here uses its second half.
        let (name, block) = (unique("ip"), format!("198.19.{number}"));
        let pool = json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool", "metadata": {"name": name},
            "spec": {"subnet": format!("{block}.0/24"), "ips": [format!("{block}.1-{block}.99")],
                "excludeIPs": [format!("{block}.50")]},
        });
        cluster.kubectl_with(&["create", "-f", "-"], &pool.to_string()).unwrap();
        let node = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}-n}}\n");
        cluster.kubectl_with(&["create", "-f", "-"], &node).unwrap();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{name}-live"), "namespace": "default"},
            "spec": {"nodeName": format!("{name}-n"), "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "busybox"}]},
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        // The namespace gets its service account a moment after the cluster is up.
        while let Err(error) = cluster.kubectl_with(&["create", "-f", "-"], &pod.to_string()) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(200));
        }
        let uid = cluster
            .kubectl(&["get", "pod", &format!("{name}-live"), "-o", "jsonpath={.metadata.uid}"])
            .unwrap();
        let scene = Self { bench: Bench::empty(), cluster, name, uid: uid.trim().to_owned(), block };
        scene.hold(&[(1, "live", &scene.uid), (2, "gone", "u-gone"), (3, "live", "u-before")]);
        scene
    }

    fn address(&self, last: u8) -> String {
        format!("{}.{last}", self.block)
    }

    /// Writes the pool's records as agents do: address, pod and UID.
    fn hold(&self, records: &[(u8, &str, &str)]) {
        let record = |(last, pod, uid): &(u8, &str, &str)| {
            let pod = format!("default/{}-{pod}", self.name);
            let record = json!({"pod": pod, "podUid": uid, "nic": "eth0", "container": "c1", "node": format!("{}-n", self.name)});
            (self.address(*last), record)
        };
        let map: serde_json::Map<String, Value> = records.iter().map(record).collect();
        let patch = json!({"status": {"allocatedIPs": Value::Object(map).to_string(), "allocatedIPCount": records.len()}});
        let patch = patch.to_string();
        let args =
            ["patch", "spiderippool", &self.name, "--subresource=status", "--type=merge", "-p", &patch];
        self.cluster.kubectl(&args).unwrap();
    }

    /// Returns the addresses that the pool's records name.
    fn held(&self) -> Vec<String> {
        let args = ["get", "spiderippool", &self.name, "-o", "jsonpath={.status.allocatedIPs}"];
        let text = self.cluster.kubectl(&args).unwrap();
        let map: serde_json::Map<String, Value> = serde_json::from_str(text.trim()).unwrap_or_default();
        map.into_iter().map(|(address, _)| address).collect()
    }

    fn ctl(&self, line: &str) -> Ran {
        let mut command = self.bench.command(CTL);
        command.args(line.split_whitespace()).env("KUBECONFIG", self.cluster.kubeconfig());
        run(command, "")
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // The cluster may be shared: what is left behind would be in the way of other tests.
        let _ = self.cluster.kubectl(&["delete", "spiderippool", &self.name, "--wait=false"]);
        let (pod, node) = (format!("{}-live", self.name), format!("{}-n", self.name));
        let _ = self.cluster.kubectl(&["delete", "pod", &pod, "--force", "--grace-period=0", "--wait=false"]);
        let _ = self.cluster.kubectl(&["delete", "node", &node, "--wait=false"]);
    }
}

#[test]
fn the_addresses_that_pods_hold_are_listed_by_what_they_are_asked_for() {
    let scene = Scene::new(shared());
    let name = &scene.name;
    let text = scene.ctl(&format!("ip list --pool {name}")).ok();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ADDRESS", "POD", "NIC", "NODE", "POOL"]);
    let (pod, node) = (format!("default/{name}-live"), format!("{name}-n"));
    assert_eq!(lines[1], [&scene.address(1), &pod, "eth0", &node, name]);
    assert_eq!(lines.len(), 4, "{text}");

    let wide = scene.ctl(&format!("ip list --pod {name}-gone -o wide")).ok();
    assert!(wide.contains("u-gone") && wide.contains("c1") && !wide.contains(&scene.uid), "{wide}");
    let json: Value =
        serde_json::from_str(&scene.ctl(&format!("ip list --node {node} -o json")).ok()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert_eq!(json[1]["address"], json!(scene.address(2)));
    assert_eq!((&json[1]["namespace"], &json[1]["uid"]), (&json!("default"), &json!("u-gone")));
    let nothing = scene.ctl(&format!("ip list --pool {name} --namespace elsewhere"));
    assert!(nothing.stderr.contains("no pod holds such an address"), "{nothing:?}");
    assert_eq!(nothing.ok(), "");
}

#[test]
fn a_pool_whose_records_cannot_be_read_is_said_and_the_others_are_listed() {
    let scene = Scene::new(shared());
    let bad = Scene::new(shared());
    let patch = json!({"status": {"allocatedIPs": "{", "allocatedIPCount": 1}}).to_string();
    let args = ["patch", "spiderippool", &bad.name, "--subresource=status", "--type=merge", "-p", &patch];
    shared().kubectl(&args).unwrap();
    let ran = scene.ctl("ip list");
    assert_eq!(ran.status, 1);
    assert!(
        ran.stderr.contains(&format!("warning: pool {}: status.allocatedIPs", bad.name)),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains(&scene.address(2)), "{}", ran.stdout);
}

#[test]
fn an_address_is_shown_with_its_pool_and_its_pod() {
    let scene = Scene::new(shared());
    let show = |last: u8| scene.ctl(&format!("ip show {}", scene.address(last))).ok();
    let live = show(1);
    for part in [&scene.name, &scene.uid, "alive", "keep: pod default/", "held"] {
        assert!(live.contains(part), "{part}: {live}");
    }
    let gone = show(2);
    assert!(gone.contains("gone") && gone.contains("free: pod default/"), "{gone}");
    assert!(show(3).contains("another pod has its name"));
    assert!(show(50).contains("excluded") && show(51).contains("free"));
    let yaml = scene.ctl(&format!("ip show {} -o yaml", scene.address(1)));
    let [document] = &yaml.documents()[..] else { unreachable!("one document") };
    assert_eq!(document[0]["record"]["verdict"], "keep");
    let sentence = scene.ctl("ip show 203.0.113.200").failed(1);
    assert!(sentence.contains("no pool has 203.0.113.200"), "{sentence}");
    scene.ctl("ip show not-an-address").stderr.contains("--help").then_some(()).unwrap();
}

#[test]
fn an_address_is_released_only_when_nobody_uses_it() {
    let scene = Scene::new(shared());
    let release = |last: u8, more: &str| scene.ctl(&format!("ip release {} {more}", scene.address(last)));
    let sentence = release(2, "").failed(2);
    assert!(sentence.contains("--yes"), "nobody is there to say yes: {sentence}");
    let sentence = release(1, "--yes").failed(1);
    assert!(sentence.contains("is alive") && sentence.contains("--force"), "{sentence}");
    let sentence = release(2, "--yes --uid another").failed(1);
    assert!(sentence.contains("\"u-gone\", not for \"another\""), "{sentence}");
    assert_eq!(scene.held().len(), 3, "nothing was released yet");

    let said = release(2, "--yes --uid u-gone").ok();
    assert!(said.contains(" released: pool ") && said.contains("is gone"), "{said}");
    assert_eq!(scene.held(), [scene.address(1), scene.address(3)]);
    let sentence = release(2, "--yes").failed(1);
    assert!(sentence.contains("nothing to release"), "{sentence}");

    let forced = release(1, "--yes --force");
    assert!(forced.stderr.contains("both have one address"), "{forced:?}");
    forced.ok();
    assert_eq!(scene.held(), [scene.address(3)]);
    release(3, "--yes").ok();
    assert!(scene.held().is_empty());
    let args = ["get", "spiderippool", &scene.name, "-o", "jsonpath={.status.allocatedIPCount}"];
    assert_eq!(shared().kubectl(&args).unwrap().trim(), "0");
}

#[test]
fn what_is_held_for_nobody_is_said_first_and_freed_then() {
    // Its own cluster: gc looks at all of it.
    let plane = ControlPlane::start().unwrap();
    plane.apply_crds().unwrap();
    let scene = Scene::new(&plane);
    let ran = scene.ctl("gc --dry-run");
    assert!(ran.stderr.contains("2 of 3 records would be freed"), "{}", ran.stderr);
    let table = ran.ok();
    assert_eq!(table.lines().filter(|line| line.contains(" free ")).count(), 2, "{table}");
    assert!(!table.contains("is alive"), "{table}");
    assert_eq!(scene.held().len(), 3, "nothing was touched");
    let all: Value = serde_json::from_str(&scene.ctl("gc --dry-run --all -o json").ok()).unwrap();
    let verdicts: Vec<&str> =
        all.as_array().unwrap().iter().filter_map(|it| it["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["keep", "free", "free"]);

    let began = Instant::now();
    let table = scene.ctl("gc").ok();
    assert!(began.elapsed() > Duration::from_secs(10), "it looks twice");
    assert_eq!(table.lines().filter(|line| line.contains(" freed ")).count(), 2, "{table}");
    assert_eq!(scene.held(), [scene.address(1)]);
    let ran = scene.ctl("gc");
    assert!(ran.stderr.contains("nothing to free among 1 records"), "{ran:?}");
    assert_eq!(ran.ok(), "");
}

#[test]
fn a_user_who_may_not_read_pods_frees_nothing() {
    let plane = ControlPlane::start().unwrap();
    plane.apply_crds().unwrap();
    let scene = Scene::new(&plane);
    let mut rights = String::new();
    write!(
        rights,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {0}}}\nrules:\n\
         - {{apiGroups: [spiderpool.spidernet.io], resources: ['*'], verbs: ['*']}}\n\
         - {{apiGroups: [''], resources: [nodes], verbs: [list]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {0}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}\n\
         subjects: [{{kind: User, name: {0}, apiGroup: rbac.authorization.k8s.io}}]\n",
        scene.name
    )
    .unwrap();
    plane.kubectl_with(&["apply", "-f", "-"], &rights).unwrap();
    let user = plane.kubeconfig_for(&scene.name, None).unwrap();
    for line in ["gc", &format!("ip release {} --yes", scene.address(2))] {
        let mut command = scene.bench.command(CTL);
        command.args(line.split_whitespace()).env("KUBECONFIG", &user);
        let sentence = run(command, "").failed(1);
        assert!(sentence.contains("does not let Pods be listed"), "{sentence}");
    }
    assert_eq!(scene.held().len(), 3);
}
