//! A working directory with a cloud.yaml and a nodes.yaml, the simulated cloud they speak of, and the real binary.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testbed::aliyun::{Endpoints, KEY, SECRET, Simulator, Topology};
use tokio::runtime::Runtime;

pub(crate) const CTL: &str = env!("CARGO_BIN_EXE_spiderpoolctl");

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Returns stdout of a run that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout
    }

    /// Returns the documents of a run that succeeded.
    #[track_caller]
    pub(crate) fn documents(self) -> Vec<Value> {
        serde_saphyr::from_multiple(&self.ok()).unwrap()
    }

    /// Returns what a run said that failed with this status, and that it printed nothing else.
    #[track_caller]
    pub(crate) fn failed(self, status: i32) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        let sentence = self.stderr.strip_prefix("spiderpoolctl: ").unwrap();
        assert!(sentence.ends_with('\n') && !sentence.contains(SECRET), "{sentence}");
        sentence.trim_end().to_owned()
    }
}

pub(crate) struct Bench {
    pub(crate) sim: Simulator,
    pub(crate) dir: TempDir,
    /// Drives the simulator; dropped after it.
    runtime: Runtime,
}

impl Bench {
    /// The seed's cloud: two nodes, two NICs each.
    pub(crate) fn seed() -> Self {
        let bench = Self::empty();
        bench.sim.edit(|cloud| Topology::seed().build(cloud)).unwrap();
        bench.write("cloud.yaml", &provider("hz", bench.sim.endpoints()));
        bench.write("nodes.yaml", &list(&Topology::seed().nodes()));
        bench
    }

    /// A cloud without anything, and an empty directory.
    pub(crate) fn empty() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sim = runtime.block_on(Simulator::start()).unwrap();
        Self { sim, dir: TempDir::new().unwrap(), runtime }
    }

    /// Starts another cloud in the same runtime.
    pub(crate) fn another(&self) -> Simulator {
        self.runtime.block_on(Simulator::start()).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// The binary in the directory, with the cloud's key and without any cluster.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin");
        command.env("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY).env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET);
        command
    }

    /// Runs the binary with words of one line.
    pub(crate) fn ctl(&self, line: &str) -> Ran {
        let mut command = self.command(CTL);
        command.args(line.split_whitespace());
        run(command, "")
    }
}

/// Runs a command with a text on its stdin.
pub(crate) fn run(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read its stdin may be gone by now.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A configuration with one provider of the seed's VPC.
pub(crate) fn provider(name: &str, endpoints: &Endpoints) -> String {
    format!("providers:\n{}", section(name, endpoints))
}

/// One provider of the seed's VPC.
pub(crate) fn section(name: &str, endpoints: &Endpoints) -> String {
    let Endpoints { ecs, vpc, sts, metadata, control: _ } = endpoints;
    format!(
        "  - name: {name}\n    type: aliyun\n    region: cn-hangzhou\n    vpcID: vpc-bp1seed\n    \
         endpoints: {{ecs: {ecs:?}, vpc: {vpc:?}, sts: {sts:?}, metadata: {metadata:?}}}\n"
    )
}

/// A List of nodes, as kubectl prints it.
pub(crate) fn list(nodes: &[(String, String)]) -> String {
    let mut text = "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n".to_owned();
    for (name, id) in nodes {
        let item = format!("metadata: {{name: {name}}}, spec: {{providerID: {id}}}");
        writeln!(text, "- {{apiVersion: v1, kind: Node, {item}}}").unwrap();
    }
    text
}

/// The pool of a node and interface.
#[track_caller]
pub(crate) fn pool<'a>(documents: &'a [Value], node: &str, interface: &str, version: i64) -> &'a Value {
    let found = documents.iter().filter(|it| {
        it["kind"] == "SpiderIPPool"
            && it["spec"]["ipVersion"] == version
            && it["spec"]["nodeName"][0] == node
            && it["metadata"]["annotations"]["cloud.spidernet.io/interface"] == interface
    });
    let [pool] = found.collect::<Vec<_>>()[..] else { panic!("one pool of {node} {interface} IPv{version}") };
    pool
}
