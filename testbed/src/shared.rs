//! The one control plane that all tests of a process share.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::error::Error;
use crate::programs::Programs;

/// Set by `testbed run`: the kubeconfig of the control plane that several test processes share.
pub const SHARED_KUBECONFIG: &str = "TESTBED_KUBECONFIG";

/// The cluster that the tests of this process share: that of `testbed run`, or else one started on the first call.
///
/// It ends with the process. Tests run side by side in it, so each uses names of its own (see [`unique`]).
///
/// # Panics
/// When it cannot be brought up: no test that asked for it can pass.
#[expect(clippy::panic, reason = "a test without its cluster can only fail, and must say why")]
#[must_use]
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Result<Shared, Error>> = OnceLock::new();
    match SHARED.get_or_init(bring_up) {
        Ok(Shared::Own(plane)) => plane,
        Ok(Shared::Given(cluster)) => cluster,
        Err(error) => panic!("no control plane for the tests: {error}"),
    }
}

/// Returns `prefix` with a suffix that no other test of this machine gets.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

enum Shared {
    Own(Box<ControlPlane>),
    Given(Cluster),
}

fn bring_up() -> Result<Shared, Error> {
    match std::env::var_os(SHARED_KUBECONFIG) {
        Some(path) => Ok(Shared::Given(Cluster::open(&PathBuf::from(path), Programs::ensure()?.kubectl)?)),
        None => Ok(Shared::Own(Box::new(ControlPlane::start()?))),
    }
}
