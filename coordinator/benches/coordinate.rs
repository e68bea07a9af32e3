//! The plugin as the runtime sees it: one process for each verb, on real namespaces of this machine's kernel, and then once more in
//! that of the testbed's nodes, beside upstream's.
//!
//! Set `SPIDERPOOL_COORDINATOR` to the binary as it is shipped; without it cargo's own build is measured, which is larger and
//! slower. `SPIDERPOOL_BENCH=brief` makes it a matter of seconds, and leaves upstream's out.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/plugin/call.rs"]
mod call;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/plugin/space.rs"]
mod space;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/plugin/world.rs"]
mod world;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use serde_json::json;
use testbed::Peer;
use testbed::kernels::{Kernel, Program, Reach};

use call::Runtime;
use space::Space;
use world::World;

const CONTAINER: &str = "0123456789abcdef";
const PEERS_CONTAINER: &str = "fedcba9876543210";
/// Where upstream's plugin looks for its agent, whatever it is told.
const PEERS_SOCKET: &str = "/var/run/spidernet/spiderpool.sock";
/// Upstream's program, where this one runs in the kernel of the testbed's nodes.
const PEER: &str = "SPIDERPOOL_PEER";
/// For a hundred ADDs and DELs of upstream's in there.
const PATIENCE: Duration = Duration::from_mins(15);

/// How often each verb is timed, and how often it is called before that.
#[derive(Clone, Copy)]
struct Rounds {
    warm_ups: usize,
    timed: usize,
}

fn main() {
    let shipped = env::var_os("SPIDERPOOL_COORDINATOR").map(PathBuf::from);
    let note = if shipped.is_some() {
        "as it is shipped"
    } else {
        "cargo's build; SPIDERPOOL_COORDINATOR is not set"
    };
    let program = shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_coordinator").into());
    if let Some(peer) = env::var_os(PEER) {
        beside(&program, Path::new(&peer));
        return;
    }
    let is_brief = env::var("SPIDERPOOL_BENCH").is_ok_and(|value| value == "brief");
    println!("== the coordinator plugin, {note}; both families, a node with six addresses");
    alone(
        &program,
        if is_brief { Rounds { warm_ups: 2, timed: 10 } } else { Rounds { warm_ups: 10, timed: 100 } },
    );
    if !is_brief {
        println!("== the same beside upstream's {}, in the kernel of the testbed's nodes", Peer::VERSION);
        let peer = Peer::Coordinator.ensure().unwrap();
        let own = env::current_exe().unwrap();
        let measure = Program {
            path: &own,
            arguments: &[],
            environment: &[
                ("SPIDERPOOL_COORDINATOR", program.to_str().unwrap()),
                (PEER, peer.to_str().unwrap()),
            ],
            beside: &[&program, &peer],
            reach: Reach::Nothing,
        };
        let outcome = Kernel::Uml.run(&measure, PATIENCE).unwrap();
        assert_eq!(outcome.status, 0, "{}", outcome.output);
        print!("{}", outcome.output);
    }
}

/// One thing that is timed again and again.
struct Series {
    name: &'static str,
    times: Vec<Duration>,
}

impl Series {
    fn median(&mut self) -> Duration {
        self.times.sort();
        self.times[self.times.len() / 2]
    }

    /// Prints its line of the table, and returns the median.
    fn print(&mut self, note: &str) -> Duration {
        let middle = self.median();
        let late = self.times[self.times.len() * 95 / 100];
        row(self.name, &milliseconds(middle), &format!("p95 {}{note}", milliseconds(late)));
        middle
    }
}

/// One pod at a time, and the runtime's calls for its interfaces.
struct Stage {
    pod: Space,
    /// Of its addresses.
    last: u8,
    calls: Vec<Runtime>,
}

impl Stage {
    /// Two of them never meet if the first pod of one has an even `last`, and that of the other an odd one.
    fn new(world: &World, program: &Path, (container, last): (&str, u8), nics: &[&str]) -> Self {
        let pod = world.pod(last);
        let call = |nic: &&str| {
            let mut runtime = Runtime::new(&pod, container).with_interface(nic);
            program.clone_into(&mut runtime.program);
            runtime
        };
        let calls = nics.iter().map(call).collect();
        Self { pod, last, calls }
    }

    /// Puts a new pod in its place: a runtime's ADD never finds one that another ADD has seen. The kernel takes its time to forget
    /// the former one's addresses.
    fn renew(&mut self, world: &World) {
        self.last = if self.last > 240 { self.last - 200 } else { self.last + 2 };
        self.pod = world.pod(self.last);
        if self.calls.len() > 1 {
            world.attach(&self.pod, "net1", 1, self.last);
        }
        self.calls.iter_mut().for_each(|runtime| runtime.netns = self.pod.path());
    }
}

/// What is timed, by name.
type Thing<'a, S> = (&'static str, &'a dyn Fn(&S));

/// Times things in turn, so that whatever else the machine does hits all alike; before each round something is made ready.
fn measure<S, const N: usize>(
    rounds: Rounds,
    state: &mut S,
    ready: impl Fn(&mut S),
    things: [Thing<'_, S>; N],
) -> [Series; N] {
    let mut series = things.each_ref().map(|(name, _)| Series { name, times: Vec::new() });
    for round in 0..rounds.warm_ups + rounds.timed {
        ready(state);
        for (series, (_, work)) in series.iter_mut().zip(&things) {
            let begin = Instant::now();
            work(state);
            if round >= rounds.warm_ups {
                series.times.push(begin.elapsed());
            }
        }
    }
    series
}

/// Our plugin on this kernel.
fn alone(program: &Path, rounds: Rounds) {
    let world = World::new();
    let mut stage = Stage::new(&world, program, (CONTAINER, 5), &["eth0", "net1"]);
    let node = &world.node;
    let call = |stage: &Stage, nic: usize, verb: &str| drop(stage.calls[nic].must(node, verb));
    let mut series = measure(
        rounds,
        &mut stage,
        |stage| stage.renew(&world),
        [
            ("/bin/true", &|_| nothing(node)),
            ("ADD of eth0", &|stage| call(stage, 0, "ADD")),
            ("ADD of eth0 again", &|stage| call(stage, 0, "ADD")),
            ("CHECK of eth0", &|stage| call(stage, 0, "CHECK")),
            ("ADD of net1", &|stage| call(stage, 1, "ADD")),
            ("DEL of net1", &|stage| call(stage, 1, "DEL")),
            ("DEL of eth0", &|stage| call(stage, 0, "DEL")),
        ],
    );
    let size = fs::metadata(program).unwrap().len();
    row("size", &format!("{}.{:03} MB", size / 1_000_000, size / 1000 % 1000), "");
    row("programs that it runs", "0", "its environment has no PATH");
    let eth0 = &stage.calls[0];
    let messages = said(eth0, "messages");
    row(
        "netlink messages of an ADD of eth0",
        &messages,
        "questions and changes; the changes of a namespace in one call",
    );
    row("changes of an ADD of eth0", &said(eth0, "changes"), "");
    for series in &mut series {
        series.print("");
    }
}

/// Our plugin and upstream's, each with a pod of its own on one node, in a kernel where nobody minds a file in `/var/run`.
fn beside(program: &Path, peer: &Path) {
    let world = World::new();
    let ours = Stage::new(&world, program, (CONTAINER, 5), &["eth0"]);
    let mut theirs = Stage::new(&world, peer, (PEERS_CONTAINER, 6), &["eth0"]);
    let runtime = &mut theirs.calls[0];
    // It runs iptables, and takes no nothing for an empty list.
    runtime.search_path = Some("/sbin:/bin");
    runtime.cluster_with("overlayPodCIDR", json!([]));
    fs::create_dir_all(Path::new(PEERS_SOCKET).parent().unwrap()).unwrap();
    symlink(runtime.network["agentSocketPath"].as_str().unwrap(), PEERS_SOCKET).unwrap();
    let node = &world.node;
    let call = |stage: &Stage, verb: &str| drop(stage.calls[0].must(node, verb));
    let [mut nothing, mut own_add, mut their_add, mut own_del, mut their_del] = measure(
        Rounds { warm_ups: 2, timed: 20 },
        &mut (ours, theirs),
        |(ours, theirs)| {
            ours.renew(&world);
            theirs.renew(&world);
        },
        [
            ("/bin/true", &|_| nothing(node)),
            ("ADD of eth0", &|(ours, _)| call(ours, "ADD")),
            ("upstream's ADD of eth0", &|(_, theirs)| call(theirs, "ADD")),
            ("DEL of eth0", &|(ours, _)| call(ours, "DEL")),
            ("upstream's DEL of eth0", &|(_, theirs)| call(theirs, "DEL")),
        ],
    );
    nothing.print("");
    for (own, their) in [(&mut own_add, &mut their_add), (&mut own_del, &mut their_del)] {
        let ratio = their.median().as_secs_f64() / own.median().as_secs_f64();
        own.print("");
        their.print(&format!("; {ratio:.1} times ours"));
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// What starting a program inside costs anyway.
fn nothing(node: &Space) {
    let status = node.inside(|| Command::new("/bin/true").stdin(Stdio::null()).status()).unwrap();
    assert!(status.success());
}

/// The largest number that the log has for a key.
fn said(runtime: &Runtime, key: &str) -> String {
    let log = runtime.log();
    let numbers = log.lines().filter_map(|line| line.split(&format!("\"{key}\":")).nth(1));
    let numbers = numbers.filter_map(|rest| rest.split([',', '}']).next()?.parse::<u32>().ok());
    numbers.max().map(|number| number.to_string()).unwrap_or_default()
}

/// Prints one line of the table.
fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<40} | {figure:>12} | {note}");
}
