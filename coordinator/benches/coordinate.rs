//! The plugin as the runtime sees it: one process for each verb, on real namespaces of this machine's kernel.
//!
//! Set `SPIDERPOOL_COORDINATOR` to the binary as it is shipped; without it cargo's own build is measured, which is larger and
//! slower. `SPIDERPOOL_BENCH=brief` makes it a matter of seconds.

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

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use call::Runtime;
use space::Space;
use world::World;

const CONTAINER: &str = "0123456789abcdef";

/// One thing that is timed again and again.
struct Series {
    name: &'static str,
    times: Vec<Duration>,
}

fn main() {
    let is_brief = env::var("SPIDERPOOL_BENCH").is_ok_and(|value| value == "brief");
    let (warm_ups, rounds) = if is_brief { (2, 10) } else { (10, 100) };
    let shipped = env::var_os("SPIDERPOOL_COORDINATOR").map(PathBuf::from);
    let note = if shipped.is_some() {
        "as it is shipped"
    } else {
        "cargo's build; SPIDERPOOL_COORDINATOR is not set"
    };
    let program = shipped.unwrap_or_else(|| env!("CARGO_BIN_EXE_coordinator").into());

    let world = World::new();
    let pod = world.pod(5);
    world.attach(&pod, "net1", 1, 5);
    let runtime = |nic: &str| {
        let mut runtime = Runtime::new(&pod, CONTAINER).with_interface(nic);
        runtime.program.clone_from(&program);
        runtime
    };
    let (eth0, net1) = (runtime("eth0"), runtime("net1"));
    let names = [
        "/bin/true",
        "ADD of eth0",
        "ADD of eth0 again",
        "CHECK of eth0",
        "ADD of net1",
        "DEL of net1",
        "DEL of eth0",
    ];
    let mut series = names.map(|name| Series { name, times: Vec::new() });
    // In turn, so that whatever else the machine does hits all alike.
    for round in 0..warm_ups + rounds {
        let times = [
            time(|| nothing(&world.node)),
            time(|| drop(eth0.must(&world.node, "ADD"))),
            time(|| drop(eth0.must(&world.node, "ADD"))),
            time(|| drop(eth0.must(&world.node, "CHECK"))),
            time(|| drop(net1.must(&world.node, "ADD"))),
            time(|| drop(net1.must(&world.node, "DEL"))),
            time(|| drop(eth0.must(&world.node, "DEL"))),
        ];
        if round >= warm_ups {
            series.iter_mut().zip(times).for_each(|(series, time)| series.times.push(time));
        }
    }

    println!("== the coordinator plugin, {note}; both families, a node with six addresses");
    let size = fs::metadata(&program).unwrap().len();
    row("size", &format!("{}.{:03} MB", size / 1_000_000, size / 1000 % 1000), "");
    row("programs that it runs", "0", "its environment has no PATH");
    let messages = said(&eth0, "messages");
    row(
        "netlink messages of an ADD of eth0",
        &messages,
        "questions and changes; the changes of a namespace in one call",
    );
    row("changes of an ADD of eth0", &said(&eth0, "changes"), "");
    for Series { name, times } in &mut series {
        times.sort();
        let (middle, late) = (times[rounds / 2], times[rounds * 95 / 100]);
        let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        row(name, &milliseconds(middle), &format!("p95 {}", milliseconds(late)));
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
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
