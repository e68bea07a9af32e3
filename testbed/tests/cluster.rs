//! The guide to the nodes is followed word for word. Needs root, as the nodes do.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its fixtures too")]

#[path = "built/product.rs"]
mod built;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// What `make` runs once all is built, and by which name the guide has it.
const TARGETS: [(&str, &str); 2] = [
    ("make cluster-down", "testbed down --dir .testbed-cluster"),
    ("make cluster", "testbed cluster --detach"),
];

/// All shell blocks of a document, one after the other.
fn script(document: &str) -> String {
    let mut script = String::new();
    let mut blocks = document.split("```");
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        script += block.strip_prefix("sh\n").unwrap_or_default();
    }
    script
}

#[test]
fn the_guide_to_the_nodes_is_followed_word_for_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let mut script = script(&std::fs::read_to_string(root.join("docs/testbed.md")).unwrap());
    for (target, command) in TARGETS {
        assert!(
            makefile.contains(command.trim_start_matches("testbed ")),
            "`{target}` does not run {command}"
        );
        assert!(script.contains(target), "the guide does not show {target}");
        script = script.replace(target, &format!("target/debug/{command}"));
    }
    // A failure half way leaves the cluster to the janitor of its folder.
    let programs = built::product("spiderpool-agent").parent().unwrap().to_owned();
    script =
        script.replace("cluster --detach", &format!("cluster --detach --programs {}", programs.display()));
    let script = format!("trap 'target/debug/testbed down --dir .testbed-cluster' EXIT\n{script}");

    let desk = tempfile::tempdir().unwrap();
    let built = desk.path().join("target/debug");
    std::fs::create_dir_all(&built).unwrap();
    symlink(env!("CARGO_BIN_EXE_testbed"), built.join("testbed")).unwrap();
    let own = testbed::Programs::ensure().unwrap();
    let kubectl =
        own.paths().into_iter().find(|(name, _)| *name == "kubectl").unwrap().1.parent().unwrap().to_owned();
    let path = format!("{}:{}", kubectl.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euxo", "pipefail", "-c", &script]).current_dir(desk.path()).env("PATH", path);
    let output = bash.env("KUBECACHEDIR", desk.path().join("cache")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    for sign in ["export KUBECONFIG=", "master-eth1-v6", "pod/web condition met", "203.0.113.1\n", "multus"] {
        assert!(out.contains(sign), "no {sign} in\n{out}\n{err}");
    }
    assert!(!desk.path().join(".testbed-cluster").exists());
}
