//! Real files in a real folder, changed in the ways in which people and kubelet change them.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

const POLL: Duration = Duration::from_millis(20);
/// Long enough for many readings on a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// Enough for ten readings.
const A_WHILE: Duration = Duration::from_millis(200);

struct Setup {
    dir: TempDir,
    path: PathBuf,
    configs: watch::Receiver<Arc<Config>>,
    registry: prometheus_client::registry::Registry,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn text(resync: u32) -> String {
    format!(
        "resync: {resync}s\nproviders:\n  - name: rack\n    type: static\n    nodes:\n      node-a:\n        \
         - {{interface: eth0, subnet: 192.0.2.0/24, gateway: 192.0.2.1, ips: [\"192.0.2.10-192.0.2.19\"]}}\n"
    )
}

async fn follow(dir: TempDir, path: PathBuf) -> Setup {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::new(&mut registry);
    let (follower, config) = Follower::open(&path, metrics).await.expect("a valid file");
    let (sender, configs) = watch::channel(config);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(follower.run(POLL, shutdown.clone(), sender));
    Setup { dir, path, configs, registry, shutdown, task }
}

async fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("cloud.yaml");
    fs::write(&path, text(60)).expect("a file");
    follow(dir, path).await
}

impl Setup {
    async fn next_resync(&mut self) -> u64 {
        timeout(SOON, self.configs.changed()).await.expect("a change in time").expect("a follower");
        self.configs.borrow_and_update().resync.as_secs()
    }

    async fn assert_kept(&self) {
        sleep(A_WHILE).await;
        assert!(!self.configs.has_changed().expect("a follower"), "the last good configuration stays");
        assert!(!self.task.is_finished());
    }

    fn counted(&self, outcome: &str) -> Option<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("text");
        let line = format!("spiderpool_cloud_config_reloads_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)).and_then(|count| count.parse().ok())
    }

    async fn wait_counted(&self, outcome: &str, count: u64) {
        let reached = async {
            while self.counted(outcome) != Some(count) {
                sleep(POLL).await;
            }
        };
        timeout(SOON, reached).await.expect("the count in time");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_at_the_start_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let error = Follower::open(&dir.path().join("none.yaml"), metrics).await.expect_err("no file");
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let mut setup = setup().await;
    fs::write(&setup.path, text(61)).expect("a write");
    assert_eq!(setup.next_resync().await, 61);
    setup.wait_counted("applied", 2).await;
}

#[tokio::test]
async fn a_renamed_file_takes_the_place_of_the_old() {
    let mut setup = setup().await;
    let next = setup.dir.path().join(".cloud.yaml.swp");
    fs::write(&next, text(62)).expect("a write");
    fs::rename(&next, &setup.path).expect("a rename");
    assert_eq!(setup.next_resync().await, 62);
}

#[tokio::test]
async fn a_config_map_swaps_its_symlinks() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    for (version, resync) in [("..2026_1", 60), ("..2026_2", 63)] {
        fs::create_dir(at(version)).expect("a folder");
        fs::write(at(version).join("cloud.yaml"), text(resync)).expect("a file");
    }
    symlink("..2026_1", at("..data")).expect("a link");
    symlink("..data/cloud.yaml", at("cloud.yaml")).expect("a link");
    let (path, data, next, old) = (at("cloud.yaml"), at("..data"), at("..data_tmp"), at("..2026_1"));
    let mut setup = follow(dir, path).await;
    symlink("..2026_2", &next).expect("a link");
    fs::rename(&next, &data).expect("a rename");
    fs::remove_dir_all(&old).expect("a removal");
    assert_eq!(setup.next_resync().await, 63);
}

#[tokio::test]
async fn a_wrong_file_keeps_the_last_good_one_and_is_reported_once() {
    let mut setup = setup().await;
    fs::write(&setup.path, "providers: [{nmae: x}]\n").expect("a write");
    setup.wait_counted("invalid", 1).await;
    setup.assert_kept().await;
    assert_eq!(setup.counted("invalid"), Some(1), "ten more readings of the same report nothing");
    fs::write(&setup.path, "another: mistake\n").expect("a write");
    setup.wait_counted("invalid", 2).await;
    fs::write(&setup.path, text(64)).expect("a write");
    assert_eq!(setup.next_resync().await, 64);
}

#[tokio::test]
async fn the_old_text_after_a_wrong_one_is_in_force_again() {
    let setup = setup().await;
    fs::write(&setup.path, "wrong").expect("a write");
    setup.wait_counted("invalid", 1).await;
    fs::write(&setup.path, text(60)).expect("a write");
    setup.wait_counted("unchanged", 1).await;
    setup.assert_kept().await;
}

#[tokio::test]
async fn a_file_that_is_no_text_keeps_the_last_good_one() {
    let setup = setup().await;
    fs::write(&setup.path, [0xff, 0xfe, 0x00]).expect("a write");
    setup.wait_counted("invalid", 1).await;
    setup.assert_kept().await;
}

#[tokio::test]
async fn a_deleted_file_keeps_the_last_good_one() {
    let mut setup = setup().await;
    fs::remove_file(&setup.path).expect("a removal");
    setup.wait_counted("unreadable", 1).await;
    setup.assert_kept().await;
    fs::write(&setup.path, text(65)).expect("a write");
    assert_eq!(setup.next_resync().await, 65);
}

#[tokio::test]
async fn a_change_of_words_only_sends_nothing() {
    let setup = setup().await;
    fs::write(&setup.path, format!("# a comment\n{}", text(60))).expect("a write");
    setup.wait_counted("unchanged", 1).await;
    setup.assert_kept().await;
}

#[tokio::test]
async fn a_file_that_reads_differently_every_time_is_not_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("cloud.yaml");
    fs::write(&path, text(60)).expect("a file");
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let (mut follower, config) = Follower::open(&path, metrics).await.expect("a valid file");
    let (sender, configs) = watch::channel(config);
    for resync in 70..80 {
        fs::write(&path, text(resync)).expect("a write");
        follower.look(&sender).await;
        assert_eq!(configs.borrow().resync.as_secs(), 60);
    }
    follower.look(&sender).await;
    assert_eq!(configs.borrow().resync.as_secs(), 79);
}

#[tokio::test]
async fn a_shutdown_ends_the_follower() {
    let setup = setup().await;
    setup.shutdown.cancel();
    timeout(SOON, setup.task).await.expect("an end in time").expect("no panic");
}
