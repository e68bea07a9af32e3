//! The product's programs, as cargo built them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Returns a program of the workspace: the one that cargo put beside this test, or else builds them now.
///
/// `cargo test --workspace` has just built them; `cargo test -p testbed` has not.
pub(crate) fn product(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let path = profile.join(name);
    BUILT.get_or_init(|| {
        if ["spiderpool-controller", "spiderpoolctl"].iter().all(|name| profile.join(name).is_file()) {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "-p", "controller", "-p", "ctl", "--target-dir"]);
        cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "controller and ctl do not build");
    });
    path
}
