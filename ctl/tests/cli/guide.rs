//! What docs/cli.md shows is what happens: its commands run in their order, and print what stands below them.

use std::os::unix::fs::symlink;

use testbed::aliyun::{Endpoints, Topology};
use testbed::{ControlPlane, Programs};

use crate::bench::{Bench, CTL, list, run};

const GUIDE: &str = include_str!("../../../docs/cli.md");

/// Returns the guide's blocks: language and text, in their order.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = GUIDE.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// The guide's configuration, with the simulator's endpoints.
fn config(endpoints: &Endpoints) -> String {
    let (_, config) = blocks().into_iter().find(|(language, _)| *language == "yaml").unwrap();
    let Endpoints { ecs, vpc, sts, metadata, control: _ } = endpoints;
    format!("{config}\n    endpoints: {{ecs: {ecs:?}, vpc: {vpc:?}, sts: {sts:?}, metadata: {metadata:?}}}\n")
}

#[test]
fn every_command_does_what_is_written() {
    let bench = Bench::seed();
    bench.write("cloud.yaml", &config(bench.sim.endpoints()));
    std::fs::remove_file(bench.dir.path().join("nodes.yaml")).unwrap();
    let cluster = ControlPlane::start().unwrap();
    cluster.apply_crds().unwrap();
    let mut nodes = Topology::seed().nodes();
    nodes.push(("spare".to_owned(), "cn-hangzhou.i-bp1gone".to_owned()));
    cluster.kubectl_with(&["apply", "-f", "-"], &list(&nodes)).unwrap();
    let bin = bench.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(CTL, bin.join("spiderpoolctl")).unwrap();
    let programs = Programs::ensure().unwrap();
    let (_, kubectl) = programs.paths().into_iter().find(|(name, _)| *name == "kubectl").unwrap();
    symlink(kubectl, bin.join("kubectl")).unwrap();
    let path = format!("{}:{}/.local/bin:/usr/bin:/bin", bin.display(), bench.dir.path().display());

    let blocks = blocks();
    let (mut commands, mut wrong) = (0, Vec::new());
    for (at, (language, script)) in blocks.iter().enumerate() {
        if *language != "sh" {
            continue;
        }
        let mut shell = bench.command("/bin/bash");
        shell
            .args(["-c", &format!("exec 2>&1; {script}")])
            .env("PATH", &path)
            .env("KUBECONFIG", cluster.kubeconfig());
        let ran = run(shell, "");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{script}\n{}", ran.stdout);
        commands += 1;
        if let Some(("text", expected)) = blocks.get(at + 1)
            && ran.stdout.trim_end() != expected.trim_end()
        {
            wrong.push(format!("{script}\nprints\n{}", ran.stdout));
        }
    }
    assert!(wrong.is_empty(), "docs/cli.md shows something else:\n{}", wrong.join("\n"));
    assert!(commands >= 8, "{commands} blocks of commands");
}

#[test]
fn every_option_is_explained() {
    let bench = Bench::empty();
    for command in ["plan", "inventory", "why", "ip list", "ip show", "ip release", "gc"] {
        let help = bench.ctl(&format!("{command} --help")).ok();
        let (_, options) = help.split_once("Options:").unwrap();
        let (options, _) = options.split_once("Examples:").unwrap();
        let names = options.split_whitespace().filter(|word| word.starts_with("--"));
        let names: Vec<&str> = names.map(|name| name.trim_end_matches([',', ')'])).collect();
        assert!(names.len() >= 4, "{help}");
        for name in names.iter().filter(|name| !["--help"].contains(*name)) {
            assert!(GUIDE.contains(&format!("`{name}")), "{name} of {command} is not in docs/cli.md");
        }
    }
}
