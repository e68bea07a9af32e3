//! The DELs that plugins left on the disk because nobody listened: carried out when the agent is there again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wire::QueuedDel;

use crate::agent::Agent;

/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(3);

/// A DEL's file is below 1 KiB: whatever is larger is none.
const LARGEST: u64 = 64 * 1024;

/// Carries out what waits in the folder, until `shutdown`.
pub async fn drain(agent: Arc<Agent>, shutdown: CancellationToken) {
    let folder = agent.settings.queue.clone();
    // What cannot be read is left where it is, and told once.
    let mut bad: BTreeSet<OsString> = BTreeSet::new();
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = agent.health.is_ready() => {}
    }
    loop {
        for path in waiting(&folder) {
            let Some(name) = path.file_name().map(ToOwned::to_owned).filter(|name| !bad.contains(name))
            else {
                continue;
            };
            if shutdown.is_cancelled() {
                return;
            }
            match read(&path) {
                Ok(Some(queued)) => carry_out(&agent, &path, &queued).await,
                // Taken away meanwhile.
                Ok(None) => {}
                Err(why) => {
                    warn!(file = %path.display(), "a DEL that was left here cannot be read: {why}; remove the file");
                    bad.insert(name);
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn carry_out(agent: &Agent, path: &Path, queued: &QueuedDel) {
    // A failure is in the log already, and the file stays for the next round.
    if agent.del(&queued.request).await.is_err() {
        return;
    }
    agent.metrics.queued_del();
    let QueuedDel { request, queued_at } = queued;
    let pod = format!("{}/{}", request.pod_namespace, request.pod_name);
    info!(pod, nic = request.if_name, queued_at, "carried out a DEL that had been left on the disk");
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(file = %path.display(), "cannot remove a DEL that was carried out: {error}");
        }
        _ => {}
    }
}

/// Returns the files that are complete, oldest names first.
fn waiting(folder: &Path) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                debug!(folder = %folder.display(), "cannot look for DELs left here: {error}");
            }
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Result<Option<QueuedDel>, String> {
    let text = match std::fs::metadata(path) {
        Ok(file) if file.len() > LARGEST || !file.is_file() => {
            return Err("it is no file, or too large".to_owned());
        }
        Ok(_) => std::fs::read(path),
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
