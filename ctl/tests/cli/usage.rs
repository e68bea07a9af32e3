//! Wrong usage, help, completion, and readers that go away.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::bench::{Bench, CTL, run};

#[test]
fn an_unknown_key_is_wrong_configuration_with_line_and_column() {
    let bench = Bench::seed();
    bench.write("cloud.yaml", "resync: 60s\nresinc: 5s\nproviders: []\n");
    for command in ["plan --config cloud.yaml --nodes nodes.yaml", "inventory --config cloud.yaml"] {
        let sentence = bench.ctl(command).failed(2);
        assert!(sentence.starts_with("cloud.yaml:2:1: ") && sentence.contains("\"resinc\""), "{sentence}");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let sentence = Bench::empty().ctl("inventory --config nowhere.yaml").failed(2);
    assert!(sentence.contains("nowhere.yaml does not exist"), "{sentence}");
}

#[test]
fn wrong_usage_has_its_own_exit_status() {
    let bench = Bench::empty();
    for line in ["", "plan", "plan --config a --nodes b -o xml", "inventory --config a --timeout 0s", "sing"]
    {
        let ran = bench.ctl(line);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("--help"), "{line}: {}", ran.stderr);
    }
}

#[test]
fn without_a_cluster_the_way_out_is_named() {
    let bench = Bench::seed();
    let sentence = bench.ctl("plan --config cloud.yaml").failed(1);
    assert!(sentence.contains("--nodes FILE") && sentence.contains("KUBECONFIG"), "{sentence}");
}

#[test]
fn every_help_has_examples_and_the_exit_statuses() {
    let bench = Bench::empty();
    for command in ["", "plan", "inventory", "why", "ip list", "ip show", "ip release", "gc"] {
        let help = bench.ctl(&format!("{command} --help")).ok();
        assert!(help.contains("Examples:") && help.contains("Exit status: 0 done"), "{help}");
    }
    let version = bench.ctl("--version").ok();
    assert_eq!(version, format!("spiderpoolctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn as_a_kubectl_plugin_it_says_so() {
    let bench = Bench::empty();
    let plugin = bench.dir.path().join("kubectl-spiderpool");
    symlink(CTL, &plugin).unwrap();
    let mut command = bench.command(&plugin);
    command.args(["plan", "--help"]);
    let help = run(command, "").ok();
    assert!(help.contains("Usage: kubectl spiderpool plan") && !help.contains("spiderpoolctl"), "{help}");
}

#[test]
fn shells_get_their_completion() {
    let bench = Bench::empty();
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef spiderpoolctl"), ("fish", "complete -c spiderpoolctl")]
    {
        let script = bench.ctl(&format!("completion {shell}")).ok();
        assert!(script.contains(part) && script.contains("inventory"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bench = Bench::seed();
    let mut command = bench.command(CTL);
    command.args(["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    let mut shell = bench.command("/bin/sh");
    shell.args(["-c", "\"$0\" plan --config cloud.yaml --nodes nodes.yaml 2>&- >&-; echo $?", CTL]);
    assert_eq!(run(shell, "").ok(), "0\n");
}
