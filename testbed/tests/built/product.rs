//! The product's programs, as cargo built them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The packages of the product's programs, and these.
const PROGRAMS: [(&str, &str); 6] = [
    ("controller", "spiderpool-controller"),
    ("ctl", "spiderpoolctl"),
    ("agent", "spiderpool-agent"),
    ("ipam-plugin", "spiderpool"),
    ("coordinator", "coordinator"),
    ("ifacer", "ifacer"),
];

/// Returns a program of the workspace: the one that cargo put beside this test, or else builds them now.
///
/// `cargo test --workspace` has just built them; `cargo test -p testbed` has not.
pub(crate) fn product(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let path = profile.join(name);
    BUILT.get_or_init(|| {
        if PROGRAMS.iter().all(|(_, program)| profile.join(program).is_file()) {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--target-dir"]).arg(profile.parent().unwrap());
        cargo.args(PROGRAMS.iter().flat_map(|(package, _)| ["-p", package]));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "the product's programs do not build");
    });
    path
}
