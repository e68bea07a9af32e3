//! What was asserted on this node, so that it can be again after a reboot: one file for each interface that was asked for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::request::{Asked, Request};

/// What this version writes. A file of another is left to whoever knows it.
const FORMAT: u64 = 1;

#[derive(Deserialize, Serialize)]
struct Record {
    format: u64,
    asked: Asked,
}

/// Only what every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

/// Keeps a request; another one for the same interface makes way. When this returns, it outlives a power cut.
pub(crate) fn keep(folder: &Path, request: &Request, asked: &Asked) -> io::Result<()> {
    let text = serde_json::to_vec(&Record { format: FORMAT, asked: asked.clone() })?;
    // The names of interfaces have no slash.
    let path = folder.join(format!("{}.json", request.device()));
    // Each pod comes by here, and a sync is dear.
    if fs::read(&path).is_ok_and(|held| held == text) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // Who keeps one holds the lock, so what a crash left here is nobody's.
    let temporary = folder.join(format!("{}.tmp", request.device()));
    let written = write(&temporary, &text).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        fs::remove_file(&temporary).unwrap_or_default();
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// The paths of all records, in the order of their names; none when there is no folder yet.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // Any other is being written, or was left by a crash.
        if path.extension().is_some_and(|end| end == "json") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads one; the error is why not, in words.
pub(crate) fn read(path: &Path) -> Result<Request, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let Head { format } =
        serde_json::from_slice(&text).map_err(|error| format!("it is no record: {error}"))?;
    if format != FORMAT {
        return Err(format!("its format is {format}, and this version knows {FORMAT} only"));
    }
    let Record { asked, .. } = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    Request::new(&asked).map_err(|wrong| format!("its {} must be {}", wrong.key, wrong.must))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::request::AskedBond;

    fn asked(vlan: u64) -> Asked {
        Asked { interfaces: vec!["eth1".to_owned()], vlan, ..Asked::default() }
    }

    fn kept(folder: &Path, asked: &Asked) {
        keep(folder, &Request::new(asked).unwrap(), asked).unwrap();
    }

    #[test]
    fn a_request_is_read_as_it_was_kept_and_the_same_one_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("var/ifacer");
        assert_eq!(list(folder).unwrap(), Vec::<PathBuf>::new());
        let bond = AskedBond { name: "b".to_owned(), mode: "1".to_owned(), options: "miimon=50".to_owned() };
        let two = Asked {
            interfaces: vec!["eth1".to_owned(), "eth2".to_owned()],
            vlan: 7,
            mtu: 1400,
            bond: Some(bond),
        };
        for asked in [&asked(0), &asked(5), &two] {
            kept(folder, asked);
        }
        let paths = list(folder).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["b.7.json", "eth1.5.json", "eth1.json"]);
        assert_eq!(read(&paths[0]), Ok(Request::new(&two).unwrap()));
        assert_eq!(read(&paths[1]), Ok(Request::new(&asked(5)).unwrap()));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 3, "something temporary was left");

        let written = fs::metadata(&paths[1]).unwrap();
        kept(folder, &asked(5));
        assert_eq!(fs::metadata(&paths[1]).unwrap().ino(), written.ino(), "the same was written again");
        kept(folder, &Asked { mtu: 1300, ..asked(5) });
        assert_eq!(read(&paths[1]), Ok(Request::new(&Asked { mtu: 1300, ..asked(5) }).unwrap()));
    }

    #[test]
    fn a_record_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        for (text, word) in [
            ("", "no record"),
            ("[]", "no record"),
            ("{\"format\": 2, \"devices\": []}", "format is 2"),
            ("{\"format\": 1}", "asked"),
            ("{\"format\": 1, \"asked\": {\"interfaces\": [], \"extra\": 1}}", "extra"),
            ("{\"format\": 1, \"asked\": {\"interfaces\": [\"a\", \"a\"]}}", "twice"),
        ] {
            let path = folder.path().join("x.json");
            fs::write(&path, text).unwrap();
            let why = read(&path).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
