//! Having again what was had before: after a reboot the kernel has forgotten every VLAN and bond.

use std::path::{Path, PathBuf};

use crate::failed::Failed;
use crate::lock;
use crate::make::{Made, make};
use crate::records;
use crate::request::Request;

/// Where the plugin leaves its records, unless the network configuration's `stateDir` says otherwise.
pub const RECORDS: &str = "/var/lib/spidernet/ifacer";
/// What keeps two from working at once, unless the network configuration's `lockFile` says otherwise.
pub const LOCK: &str = "/var/run/spidernet/ifacer.lock";

/// Where things are on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The folder of the records.
    pub records: PathBuf,
    /// The lock.
    pub lock: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { records: RECORDS.into(), lock: LOCK.into() }
    }
}

/// What came of one record.
#[derive(Debug)]
pub struct Outcome {
    /// The interface that is asked for, or what else the file is called.
    pub device: String,
    /// What was done for it, in words, which is nothing when it was there; or why it is not there.
    pub result: Result<Vec<String>, Failed>,
}

/// Has everything again that ADDs asked for on this node, in the calling thread's network namespace, which must be the node's.
///
/// Each record is tried whatever comes of the others, and kept whatever comes of it. Blocks for some milliseconds, or for as long
/// as an ADD is at work: call it on a thread that may. To be called at the start of whoever looks after the node, before pods
/// that were there before get their networks again; as often as one likes.
#[must_use]
pub fn all(places: &Places) -> Vec<Outcome> {
    let paths = match records::list(&places.records) {
        Ok(paths) => paths,
        Err(error) => {
            let why = Failed::Record { path: places.records.clone(), why: error.to_string() };
            return vec![Outcome { device: String::new(), result: Err(why) }];
        }
    };
    let outcome = |path: PathBuf| Outcome {
        device: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        result: again(&path, &places.lock),
    };
    paths.into_iter().map(outcome).collect()
}

fn again(path: &Path, lock: &Path) -> Result<Vec<String>, Failed> {
    let request = records::read(path).map_err(|why| Failed::Record { path: path.to_owned(), why })?;
    Ok(locked(lock, || make(&request))?.done)
}

/// Does something while no other ifacer does.
pub(crate) fn locked<T>(lock: &Path, work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    let _held = lock::take(lock)?;
    work()
}

/// Has what an ADD asks for, and keeps that.
pub(crate) fn first(
    places: &Places,
    request: &Request,
    asked: &crate::request::Asked,
) -> Result<Made, Failed> {
    locked(&places.lock, || {
        let mut made = make(request)?;
        if let Err(error) = records::keep(&places.records, request, asked) {
            // A full disk must not keep pods from starting: the interface is there now.
            made.warnings.push(format!(
                "cannot keep a record in {}: {error}: after a reboot of the node {} comes with the next pod only",
                places.records.display(),
                request.device(),
            ));
        }
        Ok(made)
    })
}
