//! The vendor's own Python SDK drives the simulator: its signatures are accepted, and its models parse every reply
//! without losing a key.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own functions may fail it")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use testbed::aliyun::{EmptyLists, KEY, LastToken, SECRET, Simulator, Topology};

/// Pinned, so that a run means the same tomorrow.
const PACKAGES: [&str; 3] = [
    "alibabacloud_ecs20140526==7.11.8",
    "alibabacloud_vpc20160428==7.2.2",
    "alibabacloud_sts20150401==1.2.0",
];

const ROLE: &str = "acs:ram::1234567890123456:role/cni";
const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c1";

/// Returns a Python that has the SDK, made when missing. Several test runs at once make it once.
fn python() -> PathBuf {
    let cache = testbed::cache::folder().unwrap();
    fs::create_dir_all(&cache).unwrap();
    let lock = File::create(cache.join("python-aliyun.lock")).unwrap();
    lock.lock().unwrap();
    let home = cache.join("python-aliyun");
    let python = home.join("bin/python");
    let done = home.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
        return python;
    }
    eprintln!("installing the vendor's Python SDK into {} (about 30 s)", home.display());
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&home),
        "make a virtual environment; install python3-venv",
    );
    run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES),
        "install the vendor's SDK",
    );
    fs::write(done, wanted).unwrap();
    python
}

fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot {what}: {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot {what}: {command:?}: {said}");
}

async fn drive(empty_lists: EmptyLists, last_token: LastToken) {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| {
        Topology::large(300, 4, 2).build(cloud)?;
        Topology::seed().build(cloud)?;
        cloud.tag_nic("eni-bp1worker1", "a b*~/+ü", "c d*~/+é")?;
        cloud.style.empty_lists = empty_lists;
        cloud.style.last_token = last_token;
        cloud.sts.trust(ROLE, PROVIDER);
        cloud.sts.accept_token("token-of-the-service-account");
        Ok::<(), testbed::aliyun::Refusal>(())
    })
    .unwrap();
    let bare = |url: &str| url.trim_start_matches("http://").to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aliyun_sdk.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .env("ECS", bare(&sim.endpoints().ecs))
        .env("VPC", bare(&sim.endpoints().vpc))
        .env("STS", bare(&sim.endpoints().sts))
        .envs([("KEY", KEY), ("SECRET", SECRET), ("ROLE", ROLE), ("PROVIDER", PROVIDER)])
        .env("OIDC_TOKEN", "token-of-the-service-account")
        .env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("checks passed"), "{said}");
}

#[tokio::test]
async fn the_vendors_sdk_drives_every_action_and_loses_no_key() {
    drive(EmptyLists::Written, LastToken::EmptyText).await;
}

#[tokio::test]
async fn the_vendors_sdk_gets_along_without_last_tokens_and_empty_lists() {
    drive(EmptyLists::Mixed(1), LastToken::Absent).await;
}
