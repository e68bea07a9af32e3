//! The control plane is real, guarded, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its fixtures too")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testbed::{ControlPlane, shared, unique};

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for a condition that is about to come true.
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A process counts as running until it is a zombie or gone.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The direct children of a process.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let parent = parent.to_string();
    pids.filter(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&parent)
    })
    .collect()
}

#[test]
fn the_server_is_kubernetes_and_ready() {
    assert_eq!(shared().kubectl(&["get", "--raw", "/readyz"]).unwrap(), "ok");
    let version = shared().kubectl(&["get", "--raw", "/version"]).unwrap();
    assert!(version.contains("\"major\": \"1\""), "{version}");
}

#[test]
fn a_client_that_trusts_another_authority_refuses_the_server() {
    let text = std::fs::read_to_string(shared().kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["someone-else".to_owned()]).unwrap();
    std::fs::write(dir.path().join("other.crt"), key.cert.pem()).unwrap();
    let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
    cluster.remove("certificate-authority-data").expect("the kubeconfig verifies the server");
    cluster.insert("certificate-authority".to_owned(), "other.crt".into());
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let error = shared().kubectl_as(&path, &["get", "namespaces"], "").unwrap_err().to_string();
    assert!(error.contains("x509"), "{error}");
}

#[test]
fn rbac_refuses_a_user_without_rights_and_obeys_a_binding() {
    let (cluster, user) = (shared(), unique("mallory"));
    let theirs = cluster.kubeconfig_for(&user, None).unwrap();
    let read = || cluster.kubectl_as(&theirs, &["get", "nodes"], "");
    let error = read().unwrap_err().to_string();
    assert!(error.contains("Forbidden") && error.contains(&user), "{error}");
    let role = format!("--clusterrole={user}");
    cluster.kubectl(&["create", "clusterrole", &user, "--verb=get,list", "--resource=nodes"]).unwrap();
    cluster.kubectl(&["create", "clusterrolebinding", &user, &role, &format!("--user={user}")]).unwrap();
    eventually("the binding is obeyed", || read().is_ok());
}

#[test]
fn a_group_in_the_certificate_counts() {
    let theirs = shared().kubeconfig_for(&unique("root"), Some("system:masters")).unwrap();
    shared().kubectl_as(&theirs, &["get", "secrets", "--all-namespaces"], "").unwrap();
}

#[test]
fn the_controller_manager_gives_a_new_namespace_its_account_and_its_token_works() {
    let (cluster, namespace) = (shared(), unique("home"));
    cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
    let account = ["get", "serviceaccount", "default", "-n", &namespace];
    eventually("the account", || cluster.kubectl(&account).is_ok());
    let token = cluster.kubectl(&["create", "token", "default", "-n", &namespace]).unwrap();
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let who = cluster.kubectl_as(&path, &["auth", "whoami"], "").unwrap();
    assert!(who.contains(&format!("system:serviceaccount:{namespace}:default")), "{who}");
}

#[test]
fn the_scheduler_says_why_a_pod_cannot_run() {
    let (cluster, namespace) = (shared(), unique("pods"));
    cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
    eventually("the account", || cluster.kubectl(&["get", "sa", "default", "-n", &namespace]).is_ok());
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  nodeSelector: {never: there}\n  containers: [{name: c, image: none}]\n";
    cluster.kubectl_with(&["apply", "-n", &namespace, "-f", "-"], pod).unwrap();
    let reason = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}";
    eventually("the scheduler's verdict", || {
        cluster.kubectl(&["get", "pod", "p", "-n", &namespace, "-o", reason]).unwrap() == "Unschedulable"
    });
}

#[test]
fn the_crds_of_the_chart_are_installed_once_and_served() {
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| shared().apply_crds().unwrap());
        }
    });
    let served =
        shared().kubectl(&["api-resources", "--api-group=spiderpool.spidernet.io", "-o", "name"]).unwrap();
    assert!(served.contains("spiderippools.spiderpool.spidernet.io"), "{served}");
    let begun = Instant::now();
    shared().apply_crds().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(20), "the second call asks nobody");
}

#[test]
fn a_kubeconfig_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(shared().kubeconfig()), 0o600);
    assert_eq!(mode(shared().kubeconfig().parent().unwrap()), 0o700);
}

#[test]
fn two_run_side_by_side_and_leave_neither_process_nor_folder() {
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| ControlPlane::start().unwrap());
        let second = ControlPlane::start().unwrap();
        (first.join().unwrap(), second)
    });
    first.kubectl(&["create", "namespace", "only-here"]).unwrap();
    second.kubectl(&["get", "namespace", "only-here"]).unwrap_err();

    let mut kept = Vec::new();
    for plane in [&first, &second] {
        assert!(plane.processes().iter().all(|(_, pid)| runs(*pid)), "{:?}", plane.processes());
        kept.push((plane.folder().to_owned(), plane.processes()));
    }
    drop((first, second));
    for (folder, processes) in kept {
        assert!(!folder.exists(), "{}", folder.display());
        assert!(processes.iter().all(|(_, pid)| !runs(*pid)), "{processes:?}");
    }
}

#[test]
fn the_end_of_a_part_is_noticed_and_named() {
    let mut plane = ControlPlane::start().unwrap();
    plane.check().unwrap();
    let (_, pid) = plane.processes().into_iter().find(|(name, _)| *name == "kube-scheduler").unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    eventually("the end is noticed", || plane.check().is_err());
    assert!(plane.check().unwrap_err().to_string().starts_with("kube-scheduler ended by itself"));
}

#[test]
fn an_api_server_that_was_killed_comes_back_with_all_that_was_written() {
    let mut plane = ControlPlane::start().unwrap();
    let server = |plane: &ControlPlane| {
        plane.processes().into_iter().find(|(name, _)| *name == "kube-apiserver").unwrap().1
    };
    plane.kubectl(&["create", "namespace", "stays"]).unwrap();
    let former = server(&plane);
    plane.kill_apiserver();
    assert!(!runs(former));
    plane.kubectl(&["get", "namespace", "stays"]).unwrap_err();
    plane.start_apiserver().unwrap();
    assert_ne!(server(&plane), former);
    plane.kubectl(&["get", "namespace", "stays"]).unwrap();
    plane.check().unwrap();
}

/// Starts `testbed up` in `dir` and waits for the line that says it is up.
fn up(dir: &Path) -> (std::process::Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.arg("up").arg("--dir").arg(dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn a_crash_leaves_neither_process_nor_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("world");
    let (mut child, line) = up(&dir);
    assert_eq!(
        line.trim(),
        format!("export KUBECONFIG={}", dir.canonicalize().unwrap().join("kubeconfig").display())
    );
    let parts = children(child.id());
    assert_eq!(parts.len(), 5, "etcd, three of Kubernetes, and the janitor");
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("all parts end", || !parts.iter().any(|pid| runs(*pid)));
    eventually("the folder is gone", || !dir.exists());
}

#[test]
fn up_and_down_can_be_said_twice() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("world");
    let (mut child, line) = up(&dir);
    let (mut second, again) = up(&dir);
    assert_eq!(line, again);
    assert!(second.wait().unwrap().success());
    for _ in 0..2 {
        let mut down = Command::new(env!("CARGO_BIN_EXE_testbed"));
        assert!(down.arg("down").arg("--dir").arg(&dir).status().unwrap().success());
        assert!(!dir.exists());
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn run_hands_the_cluster_to_a_command_and_returns_its_status() {
    let script = r#"kubectl get --raw /readyz >&2 && test "$KUBECONFIG" = "$TESTBED_KUBECONFIG" && echo "$KUBECONFIG" && exit 7"#;
    let output =
        Command::new(env!("CARGO_BIN_EXE_testbed")).args(["run", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let kubeconfig = String::from_utf8(output.stdout).unwrap();
    assert!(!Path::new(kubeconfig.trim()).exists());
}
