//! The `crdgen` command: what it writes, it finds up to date, and it names what is not.

#![expect(clippy::unwrap_used, reason = "all of it is test code, also what stands outside of #[test]")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn crdgen(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crdgen")).args(args).arg(folder).output().unwrap()
}

#[test]
fn a_changed_file_is_named_by_the_check_and_mended_by_a_run() {
    let folder = tempfile::tempdir().unwrap();
    assert!(crdgen(&[], folder.path()).status.success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 8);
    assert!(crdgen(&["--check"], folder.path()).status.success());

    let pools = folder.path().join("spiderpool.spidernet.io_spiderippools.yaml");
    assert!(fs::read_to_string(&pools).unwrap().starts_with("# Generated"));
    fs::write(&pools, "edited: by hand\n").unwrap();
    let check = crdgen(&["--check"], folder.path());
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stderr).contains("spiderippools.yaml differs"));
    assert_eq!(fs::read_to_string(&pools).unwrap(), "edited: by hand\n", "a check writes nothing");

    assert!(crdgen(&[], folder.path()).status.success());
    assert!(crdgen(&["--check"], folder.path()).status.success());
}

#[test]
fn an_unknown_option_is_wrong_usage() {
    let run = crdgen(&["--chekc"], Path::new("nowhere"));
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("--chekc"));
}
