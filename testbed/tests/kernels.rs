//! The tests of plugins, which need no Kubernetes, run once more in other kernels than this machine's.
//!
//! Needs root, as these tests themselves do. Nothing of it leaves the kernels.

#![expect(clippy::unwrap_used, reason = "all of this is test code, its fixtures too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use testbed::kernels::{Kernel, Outcome, Program, Reach};

/// Emulated, on a machine whose cores all do something else.
const PATIENCE: Duration = Duration::from_mins(8);

/// Two kernels at a time would take each other's time, of which the tests in them have a little only.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tests that call a plugin.
struct Suite {
    /// The package, and so the plugin's name.
    package: &'static str,
    /// The tests' program, as cargo calls it.
    program: &'static str,
    /// Fewer than it has, many more than a run that finds none.
    at_least: u32,
}

const IFACER: Suite = Suite { package: "ifacer", program: "plugin", at_least: 25 };
const COORDINATOR: Suite = Suite { package: "coordinator", program: "plugin", at_least: 31 };

impl Suite {
    /// The program of the tests, built now unless cargo finds it up to date.
    fn built(&self) -> PathBuf {
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--locked", "--no-run", "--message-format=json"]);
        cargo.args(["-p", self.package, "--test", self.program, "--target-dir"]).arg(target);
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the tests of {} do not build", self.package);
        let messages = String::from_utf8(output.stdout).unwrap();
        let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let program = |message: &Value| {
            let is_ours = message["target"]["name"] == self.program && message["profile"]["test"] == true;
            is_ours.then(|| message["executable"].as_str().map(PathBuf::from))?
        };
        messages.filter_map(|message| program(&message)).next_back().unwrap()
    }

    /// Runs the tests in a kernel that has these features and no others of which the tests know.
    fn run(&self, kernel: Kernel, features: &str) -> Outcome {
        let tests = self.built();
        let plugin = tests.ancestors().nth(2).unwrap().join(self.package);
        let program = Program {
            path: &tests,
            arguments: &["--test-threads", "2"],
            environment: &[("SPIDERPOOL_KERNEL", features)],
            beside: &[&plugin],
            reach: Reach::Nothing,
        };
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.run(&program, PATIENCE).unwrap()
    }

    /// That all tests passed, and that these were not none.
    fn passed(&self, outcome: &Outcome) {
        let Outcome { status, output, .. } = outcome;
        let result =
            output.lines().find_map(|line| line.strip_prefix("test result: ok. ")).unwrap_or_default();
        let count = |of: &str| -> Option<u32> {
            result.split("; ").find_map(|part| part.strip_suffix(of)?.trim().parse().ok())
        };
        assert!(*status == 0 && count("failed") == Some(0) && count("ignored") == Some(0), "{output}");
        assert!(count("passed") >= Some(self.at_least) && count("filtered out") == Some(0), "{output}");
    }
}

/// Debian's for clouds.
fn passes_in_a_cloud(suite: &Suite) {
    let outcome = suite.run(Kernel::Cloud, "ipvlan nftables");
    suite.passed(&outcome);
    assert!(outcome.release.contains("cloud"), "{}", outcome.release);
    assert!(outcome.cpus >= 2, "{}", outcome.cpus);
}

#[test]
fn the_coordinator_passes_its_tests_in_a_kernel_for_clouds_with_nftables_and_several_cpus() {
    passes_in_a_cloud(&COORDINATOR);
}

#[test]
fn the_ifacer_passes_its_tests_in_a_kernel_for_clouds_with_vlans_and_bonds() {
    passes_in_a_cloud(&IFACER);
}

/// A shell script, in a kernel.
fn shell(kernel: Kernel, script: &str, patience: Duration) -> Result<Outcome, testbed::Error> {
    let program = Program {
        path: Path::new("/bin/sh"),
        arguments: &["-c", script],
        environment: &[("WORD", "it's here")],
        beside: &[],
        reach: Reach::Nothing,
    };
    kernel.run(&program, patience)
}

#[test]
fn a_program_that_fails_in_another_kernel_says_so_here() {
    let outcome =
        shell(Kernel::Uml, "echo \"$WORD\"; ip link add name probe type veth; exit 7", PATIENCE).unwrap();
    assert_eq!(outcome.status, 7);
    assert!(outcome.output.starts_with("it's here\n"), "{}", outcome.output);
    // A command that fails instead.
    let outcome = shell(Kernel::Uml, "ip link add name probe type nonsense", PATIENCE).unwrap();
    assert_ne!(outcome.status, 0);
    assert!(outcome.output.contains("Unknown device type"), "{}", outcome.output);
}

#[test]
fn a_kernel_that_hangs_is_ended_and_its_last_words_are_told() {
    let hung =
        shell(Kernel::Uml, "echo last words; sleep 1000", Duration::from_secs(10)).unwrap_err().to_string();
    assert!(hung.contains("was killed after 1") && hung.contains("last words"), "{hung}");
}
