//! Every command in the docs is run by a test: here, or by one that the table names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is test code, its fixtures too")]

#[path = "built/product.rs"]
mod built;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use testbed::aliyun::{KEY, SECRET, Simulator, Topology};
use testbed::{ControlPlane, Programs, Signal, spawn_tied};

const PATIENCE: Duration = Duration::from_mins(1);

/// Who runs a command.
#[derive(Clone, Copy)]
enum Runner {
    /// A test in this file.
    Here,
    /// Another file of the checkout, which contains this text.
    File(&'static str, &'static str),
}

use Runner::{File as By, Here};

const CI_TESTS: Runner = By(".ci/run", "make --no-print-directory test");
const ALL_TESTS: Runner = By("Makefile", "$(CARGO) test --workspace --locked --no-fail-fast");
const DEMO: Runner =
    By("testbed/tests/demo.rs", "the_demo_shows_the_seeds_pools_and_how_they_follow_the_cloud");
const LINTS: Runner = By(".ci/run", "cargo clippy --workspace --all-targets --locked -- -D warnings");
const CI: Runner = By(".ci/run", "step \"tests\"");

/// Documents whose every command one test runs.
const WHOLE: &[(&str, Runner)] = &[
    ("docs/cli.md", By("ctl/tests/cli/guide.rs", "fn every_command_does_what_is_written")),
    (
        "docs/testbed.md",
        By("testbed/tests/cluster.rs", "fn the_guide_to_the_nodes_is_followed_word_for_word"),
    ),
];

/// All other commands, without the comment at their end.
const COMMANDS: &[(&str, Runner)] = &[
    (".ci/run", CI),
    ("cargo clippy -p model --all-targets -- -D warnings", LINTS),
    ("cargo test -p api", ALL_TESTS),
    ("cargo test -p config", ALL_TESTS),
    ("cargo test -p controller --lib", ALL_TESTS),
    ("cargo test -p model", ALL_TESTS),
    ("cargo test -p model a_moved_address", ALL_TESTS),
    ("cargo test -p providers-aliyun", ALL_TESTS),
    ("curl -s http://127.0.0.1:5720/metrics", Here),
    ("export KUBECONFIG=$PWD/.testbed/kubeconfig", Here),
    ("kubectl apply --server-side -f charts/spiderpool/crds", Here),
    ("kubectl describe spidernode worker", Here),
    ("kubectl get crds", Here),
    ("kubectl get events --all-namespaces", Here),
    (
        r#"kubectl get spidercoordinator default -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'"#,
        By("controller/tests/whole/coordinator.rs", "kubectl get spidercoordinator default"),
    ),
    ("kubectl get spiderippools -o wide", Here),
    ("kubectl get spidernodes", Here),
    ("make bench", By(".ci/run", "make --no-print-directory bench")),
    ("make crds", By("api/tests/crdgen.rs", "CARGO_BIN_EXE_crdgen")),
    ("make demo", DEMO),
    ("make ensure", By("Makefile", "test: ensure")),
    ("make test", CI_TESTS),
    ("spiderpool-controller --config cloud.yaml --listen 127.0.0.1:5720", Here),
    ("spiderpoolctl plan --config cloud.yaml -o table", Here),
    ("tail -n 3 .testbed/kube-apiserver.log", Here),
    ("target/debug/testbed down", Here),
    ("target/debug/testbed run -- kubectl get namespaces", Here),
    ("target/debug/testbed up", Here),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The documents, by their path from the root.
fn documents() -> Vec<String> {
    let mut names = vec!["README.md".to_owned(), "README-zh_CN.md".to_owned()];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            names.push(format!("docs/{name}"));
        }
    }
    names
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a document: language and text.
fn blocks(document: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let text = text(document);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let body: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            blocks.push((language.to_owned(), body.join("\n")));
        }
    }
    blocks
}

/// The shell blocks of a document.
fn scripts(document: &str) -> Vec<String> {
    blocks(document).into_iter().filter(|(language, _)| language == "sh").map(|(_, body)| body).collect()
}

/// The commands of a script, continued lines joined, without comments.
fn commands(script: &str) -> Vec<String> {
    let joined = script.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The script of a document that contains `command`.
fn script_with(document: &str, command: &str) -> String {
    let found = scripts(document).into_iter().find(|script| script.contains(command));
    found.unwrap_or_else(|| panic!("{document} does not show {command}"))
}

#[test]
fn every_command_in_the_docs_is_run_by_a_test() {
    let mut unknown = Vec::new();
    for document in documents() {
        if WHOLE.iter().any(|(name, _)| *name == document) {
            continue;
        }
        for command in scripts(&document).iter().flat_map(|script| commands(script)) {
            if !COMMANDS.iter().any(|(known, _)| *known == command) {
                unknown.push(format!("{document}: {command}"));
            }
        }
    }
    assert!(unknown.is_empty(), "no test runs these commands of the docs:\n{}", unknown.join("\n"));
}

#[test]
fn what_runs_the_docs_commands_is_there() {
    for (command, runner) in COMMANDS.iter().chain(WHOLE) {
        if let By(file, says) = runner {
            assert!(text(file).contains(says), "{command} is run by {file}, which does not say {says:?}");
        }
    }
}

#[test]
fn the_table_has_no_command_that_no_document_shows() {
    let shown: BTreeSet<String> = documents()
        .iter()
        .flat_map(|document| scripts(document))
        .flat_map(|script| commands(&script))
        .collect();
    let stale: Vec<_> =
        COMMANDS.iter().filter(|(command, _)| !shown.contains(*command)).map(|it| it.0).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn a_command_can_hide_in_no_other_kind_of_block() {
    let known = ["sh", "yaml", "json", "text", "", "rust", "promql"];
    for document in documents() {
        for (language, body) in blocks(&document) {
            assert!(known.contains(&language.as_str()), "{document}: ```{language}: is it sh?");
            let prompt = body.lines().any(|line| line.trim_start().starts_with("$ "));
            assert!(language == "sh" || !prompt, "{document}: a command in ```{language}:\n{body}");
        }
    }
}

#[test]
fn every_link_between_the_docs_leads_somewhere() {
    for document in documents() {
        let text = text(&document);
        let folder = root().join(&document).parent().unwrap().to_owned();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(folder.join(file).exists(), "{document} links to {target}, which is not there");
        }
    }
}

#[test]
fn both_readmes_show_the_same_blocks() {
    assert_eq!(blocks("README.md"), blocks("README-zh_CN.md"));
}

/// A folder that looks like the checkout after a build, with the programs of the docs on its `PATH`.
struct Desk {
    dir: TempDir,
    path: String,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir_all(dir.path().join("target/debug")).unwrap();
        std::fs::create_dir(&bin).unwrap();
        symlink(root().join("charts"), dir.path().join("charts")).unwrap();
        symlink(env!("CARGO_BIN_EXE_testbed"), dir.path().join("target/debug/testbed")).unwrap();
        let programs = Programs::ensure().unwrap();
        let (_, kubectl) = programs.paths().into_iter().find(|(name, _)| *name == "kubectl").unwrap();
        symlink(kubectl, bin.join("kubectl")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Self { dir, path }
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", script]).current_dir(self.dir.path()).env("PATH", &self.path);
        shell.env("KUBECACHEDIR", self.dir.path().join("kubectl-cache")).stdin(Stdio::null());
        shell
    }

    /// Runs a script of the docs and returns what it printed.
    fn run(&self, script: &str, kubeconfig: &Path) -> String {
        let mut shell = self.shell(script);
        let output = shell.env("KUBECONFIG", kubeconfig).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        out
    }
}

/// A program of the docs that goes on until it is ended.
struct Running(Child);

impl Running {
    fn start(mut command: Command, output: &Path) -> Self {
        let file = File::create(output).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self(spawn_tied(command, Signal::TERM).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            drop(Command::new("kill").arg(self.0.id().to_string()).status());
        }
        drop(self.0.wait());
    }
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The configuration of the readme, with the simulator's endpoints.
fn cloud_yaml(sim: &Simulator) -> String {
    let (_, yaml) = blocks("README.md").into_iter().find(|(language, _)| language == "yaml").unwrap();
    let testbed::aliyun::Endpoints { ecs, vpc, sts, metadata, control: _ } = sim.endpoints();
    format!("{yaml}\n    endpoints: {{ecs: {ecs:?}, vpc: {vpc:?}, sts: {sts:?}, metadata: {metadata:?}}}\n")
}

#[test]
fn the_readmes_way_onto_a_cluster_works() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sim = runtime.block_on(Simulator::start()).unwrap();
    sim.edit(|cloud| Topology::seed().build(cloud)).unwrap();
    // Of its own: the readme takes the lease of kube-system.
    let cluster = ControlPlane::start().unwrap();
    for (name, provider_id) in Topology::seed().nodes() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider_id},
        });
        cluster.kubectl_with(&["create", "-f", "-"], &node.to_string()).unwrap();
    }
    let desk = Desk::new();
    std::fs::write(desk.dir.path().join("cloud.yaml"), cloud_yaml(&sim)).unwrap();
    for product in ["spiderpool-controller", "spiderpoolctl"] {
        symlink(built::product(product), desk.dir.path().join("bin").join(product)).unwrap();
    }
    let key = format!("export ALIBABA_CLOUD_ACCESS_KEY_ID={KEY} ALIBABA_CLOUD_ACCESS_KEY_SECRET={SECRET}\n");

    let look = script_with("README.md", "spiderpoolctl plan");
    let shown = desk.run(&(key.clone() + &look), cluster.kubeconfig());
    assert!(shown.contains("172.31.199.185-189") && shown.contains("create"), "{shown}");

    // The readme's port may be taken on this machine.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let start = script_with("README.md", "spiderpool-controller --config").replace("127.0.0.1:5720", &free);
    let mut shell = desk.shell(&format!("{key}exec {start}"));
    shell.env("KUBECONFIG", cluster.kubeconfig());
    let log = desk.dir.path().join("controller.log");
    let controller = Running::start(shell, &log);
    eventually("the nodes are synced", || {
        let synced = "jsonpath={.items[*].status.conditions[?(@.type==\"Synced\")].status}";
        let states = cluster.kubectl(&["get", "spidernodes", "-o", synced]).unwrap_or_default();
        states == "True True"
    });
    let seen = script_with("README.md", "kubectl describe spidernode").replace("127.0.0.1:5720", &free);
    let seen = desk.run(&seen, cluster.kubeconfig());
    for sign in ["i-bp1worker", "kube-system/ipvlan-eth0", "Discovered", "spiderpool_cloud_leader 1"] {
        assert!(seen.contains(sign), "no {sign} in\n{seen}");
    }
    drop(controller);
}

#[test]
fn the_testbed_is_used_as_the_guide_says() {
    let (desk, nowhere) = (Desk::new(), Path::new("/nonexistent"));
    let output = desk.dir.path().join("up.log");
    let mut up = Running::start(
        desk.shell(&format!("exec {}", script_with("docs/development.md", "testbed up"))),
        &output,
    );
    eventually("the control plane is up", || {
        assert!(up.0.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&output).unwrap());
        std::fs::read_to_string(&output).unwrap().contains("export KUBECONFIG=")
    });
    let used = desk.run(&script_with("docs/development.md", "testbed down"), nowhere);
    assert!(used.contains("spiderippools.spiderpool.spidernet.io"), "{used}");
    assert!(up.0.wait().unwrap().success() && !desk.dir.path().join(".testbed").exists());
    let once = desk.run(&script_with("docs/development.md", "testbed run"), nowhere);
    assert!(once.contains("kube-system"), "{once}");
}
