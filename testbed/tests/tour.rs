//! The tour shows what it promises. Needs root, as the nodes do.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its fixtures too")]

#[path = "built/product.rs"]
mod built;

use std::process::Command;

#[test]
fn the_walkthrough_for_alibaba_cloud_works_step_by_step() {
    let makefile = include_str!("../../Makefile");
    assert!(makefile.contains("@$(BUILT)/testbed tour\n"), "`make tour` does something else");
    let programs = built::product("spiderpool-agent").parent().unwrap().to_owned();
    let mut tour = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let output = tour.args(["tour", "--programs"]).arg(&programs).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    // What is not right ends it; that nothing was left out is seen by what it says.
    for sign in [
        "master-eth1-v6-",
        "spidermultusconfig.spiderpool.spidernet.io/ipvlan-eth1 configured",
        "test-app-2-",
        "# on worker: busybox ping",
        "service/entry-local created",
        "121.41.165.119",
        "probe get http://47.98.137.75:999/",
        r#"{"answer":"203.0.113.1""#,
        "That was all of it.",
    ] {
        assert!(out.contains(sign), "no {sign} in\n{out}\n{err}");
    }
}
