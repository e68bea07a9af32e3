//! The agent and the plugin together: the real binary `spiderpool`, called as a runtime calls it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::stage::{Agent, Guest, Stage, eventually};

/// Returns the plugin of this name: the one that cargo put beside the agent, or else builds its package now.
///
/// `cargo test --workspace` has just built it; `cargo test -p agent` has not.
pub(crate) fn binary(name: &str, package: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().expect("a built plugin");
    let profile = PathBuf::from(env!("CARGO_BIN_EXE_spiderpool-agent"));
    let profile = profile.parent().expect("a folder");
    let path = profile.join(name);
    if !path.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--locked", "-p", package, "--target-dir"])
            .arg(profile.parent().expect("a folder"));
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo").success());
    }
    path
}

/// No interface of this machine, whose namespace stands for the sandbox's.
const NIC: &str = "pod-nic";

/// A network of this agent's.
fn network(stage: &Stage, agent: &Agent) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ipvlan",
        "ipam": {
            "type": "spiderpool", "ipam_unix_socket_path": agent.socket, "del_queue_dir": agent.queue,
            "log_file_path": stage.dir.path().join("spiderpool.log"),
        },
    })
}

/// Calls the plugin for a pod's NIC; returns whether it succeeded, and what it said.
async fn call(verb: &'static str, pod: &Guest, network: &Value) -> (bool, Value) {
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
        pod.namespace, pod.name, pod.uid
    );
    let configuration = network.to_string();
    let run = move || {
        let mut child = Command::new(binary("spiderpool", "ipam-plugin"))
            .env_clear()
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", NIC)])
            .envs([
                ("CNI_PATH", "/opt/cni/bin"),
                ("CNI_NETNS", "/proc/self/ns/net"),
                ("CNI_ARGS", &arguments),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin");
        let mut stdin = child.stdin.take().expect("its stdin");
        stdin.write_all(configuration.as_bytes()).expect("a reader");
        drop(stdin);
        child.wait_with_output().expect("its end")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("its end");
    let said = if output.stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output.stdout).expect("JSON on stdout")
    };
    (output.status.success(), said)
}

async fn check_says(pod: &Guest, made: &Value, words: &str) {
    let (succeeded, said) = call("CHECK", pod, made).await;
    assert!(!succeeded && said["msg"].as_str().is_some_and(|sentence| sentence.contains(words)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_plugin_gets_checks_and_gives_back_a_pods_addresses() {
    let stage = Stage::open().await;
    let v4 = stage.node_pool("a4", "a", 4, 1, (1, 20)).await;
    let v6 = stage.node_pool("a6", "a", 6, 1, (1, 20)).await;
    let mut agent = stage.agent("a").await;
    let network = network(&stage, &agent);
    let pod = stage.pod("web", "a", json!({})).await;
    assert_eq!(call("STATUS", &pod, &network).await, (true, Value::Null));
    let (added, result) = call("ADD", &pod, &network).await;
    let expected = json!({
        "cniVersion": "1.1.0",
        "ips": [
            {"address": format!("{}/24", stage.v4(1, 1)), "gateway": stage.v4(1, 254)},
            {"address": format!("{}/64", stage.v6(1, 1)), "gateway": stage.v6(1, 254)},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": stage.v4(1, 254)}, {"dst": "::/0", "gw": stage.v6(1, 254)}],
    });
    assert!(added, "{result}");
    for key in ["cniVersion", "ips", "routes"] {
        assert_eq!(result[key], expected[key], "{result}");
    }
    for (pool, address) in [(&v4, stage.v4(1, 1)), (&v6, stage.v6(1, 1))] {
        assert_eq!(stage.records(pool).await[&address].pod_uid, pod.uid);
    }

    let mut made = network.clone();
    made["prevResult"] = result;
    // The agent has nothing to object; the sandbox, which is no more than the test's own namespace, has no such interface.
    check_says(&pod, &made, "has no interface").await;
    made["prevResult"]["ips"][0]["address"] = json!(format!("{}/24", stage.v4(1, 9)));
    check_says(&pod, &made, "is not recorded").await;

    stage.remove(&pod).await;
    assert_eq!(call("DEL", &pod, &network).await, (true, Value::Null));
    assert!(stage.records(&v4).await.is_empty() && stage.records(&v6).await.is_empty());
    assert_eq!(call("DEL", &pod, &network).await, (true, Value::Null), "what is gone is gone");
    let (succeeded, said) = call("ADD", &pod, &network).await;
    assert!(
        !succeeded && said["msg"].as_str().is_some_and(|sentence| sentence.contains("there is no pod")),
        "{said}"
    );

    // Without the agent an ADD fails, and a DEL is kept until one is there again.
    let next = stage.pod("next", "a", json!({})).await;
    assert!(call("ADD", &next, &network).await.0);
    agent.signal("KILL");
    agent.ended().await;
    stage.remove(&next).await;
    let (succeeded, said) = call("ADD", &next, &network).await;
    assert!(!succeeded && said["code"] == 100, "{said}");
    let (succeeded, said) = call("STATUS", &next, &network).await;
    assert!(!succeeded && said["code"] == 50, "{said}");
    assert_eq!(call("DEL", &next, &network).await, (true, Value::Null));
    assert!(agent.queue.join("c1_pod-nic.json").is_file());
    assert_eq!(stage.records(&v4).await.len(), 1);
    let agent = stage.agent("a").await;
    eventually("the kept DEL is carried out", async || {
        (!agent.queue.join("c1_pod-nic.json").exists()).then_some(())
    })
    .await;
    stage.is_empty_soon(&v4).await;
    stage.is_empty_soon(&v6).await;
}
