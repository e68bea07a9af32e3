//! Clouds that refuse, break or stay silent.

use std::time::{Duration, Instant};

use testbed::aliyun::{Fault, KEY, SECRET, Topology, When};

use crate::bench::{Bench, CTL, Ran, pool, provider, run, section};

const PLAN: &str = "plan --config cloud.yaml --nodes nodes.yaml";

fn with_secret(bench: &Bench, secret: &str) -> Ran {
    let mut command = bench.command(CTL);
    command.args(PLAN.split(' ')).env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
    run(command, "")
}

#[test]
fn a_wrong_key_is_one_sentence_without_the_secret() {
    let bench = Bench::seed();
    let sentence = with_secret(&bench, "hunter2hunter2").failed(1);
    assert!(sentence.starts_with("cannot read provider hz: ") && sentence.lines().count() == 1, "{sentence}");
    assert!(sentence.contains("secret of the access key") && !sentence.contains("hunter2"), "{sentence}");
}

#[test]
fn no_secret_is_in_the_verbose_log() {
    let bench = Bench::seed();
    let mut command = bench.command(CTL);
    command.args(PLAN.split(' ')).arg("-v");
    let ran = run(command, "");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET) && !ran.stdout.contains(KEY));
}

#[test]
fn broken_replies_fail_in_one_sentence() {
    let faults = [
        ("throttled", Fault::Throttled),
        ("no permission", Fault::code("Forbidden.RAM")),
        ("html", Fault::HtmlOk),
        ("cut", Fault::CutJson),
        ("empty page", Fault::EmptyPage),
        ("endless token", Fault::EndlessToken),
    ];
    for (what, fault) in faults {
        let bench = Bench::seed();
        bench.sim.edit(|cloud| cloud.faults.add("DescribeNetworkInterfaces", When::Always, fault));
        let sentence = bench.ctl(&format!("{PLAN} --timeout 8s")).failed(1);
        let is_one = sentence.starts_with("cannot read provider hz: ") && sentence.lines().count() == 1;
        assert!(is_one, "{what}: {sentence}");
    }
}

#[test]
fn a_silent_cloud_is_given_up_in_time() {
    let bench = Bench::seed();
    bench.sim.edit(|cloud| cloud.faults.add("*", When::Always, Fault::Hang));
    let began = Instant::now();
    let sentence = bench.ctl(&format!("{PLAN} --timeout 1500ms")).failed(1);
    assert_eq!(sentence, "cannot read provider hz: no answer within 1.5s");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    let bench = Bench::seed();
    let mut endpoints = bench.sim.endpoints().clone();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    endpoints.ecs = format!("http://{free}");
    bench.write("cloud.yaml", &provider("hz", &endpoints));
    let sentence = bench.ctl(&format!("{PLAN} --timeout 8s")).failed(1);
    assert!(sentence.contains("provider hz"), "{sentence}");
}

#[test]
fn one_unreadable_provider_does_not_hide_the_others() {
    let bench = Bench::seed();
    let other = bench.another();
    other.edit(|cloud| Topology::seed().build(cloud)).unwrap();
    other.edit(|cloud| cloud.faults.add("*", When::Always, Fault::code("Forbidden.RAM")));
    let rack = "  - name: rack\n    type: static\n    nodes:\n      bare: [{interface: eth0, subnet: 192.0.2.0/24, \
                ips: [192.0.2.10]}]\n";
    bench.write("cloud.yaml", &format!("providers:\n{}{rack}", section("denied", other.endpoints())));
    let nodes = std::fs::read_to_string(bench.dir.path().join("nodes.yaml")).unwrap();
    bench
        .write("nodes.yaml", &format!("{nodes}- {{apiVersion: v1, kind: Node, metadata: {{name: bare}}}}\n"));
    let ran = bench.ctl(PLAN);
    assert_eq!(ran.status, 1);
    let [line] = ran.stderr.lines().collect::<Vec<_>>()[..] else { panic!("one line: {}", ran.stderr) };
    assert!(line.starts_with("spiderpoolctl: cannot read provider denied: "), "{line}");
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&ran.stdout).unwrap();
    pool(&documents, "bare", "eth0", 4);
    let nodes: Vec<_> = documents.iter().filter(|it| it["kind"] == "SpiderNode").collect();
    assert_eq!(nodes.len(), 1, "what nobody read is not printed: {nodes:?}");
}
