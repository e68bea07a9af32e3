use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use wire::{DelRequest, QueuedDel};

/// Keeps a DEL until the agent fetches it. When this returns, it outlives a power cut.
///
/// One file for each sandbox and interface: a runtime that repeats its DEL does not fill the disk.
pub(crate) fn keep(folder: &Path, request: DelRequest, now: SystemTime) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Both parts are of the CNI grammars: no slash, and neither begins the name with a dot.
    let name = format!("{}_{}", request.container_id, request.if_name);
    let queued_at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let text = serde_json::to_vec(&QueuedDel { request, queued_at })?;
    // Two DELs of one interface may run at once, each with its own file until the last rename.
    let temporary = folder.join(format!("{name}.{}.tmp", process::id()));
    let written =
        write(&temporary, &text).and_then(|()| fs::rename(&temporary, folder.join(format!("{name}.json"))));
    if let Err(error) = written {
        fs::remove_file(&temporary).unwrap_or_default();
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
