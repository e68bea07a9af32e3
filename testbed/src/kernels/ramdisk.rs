//! The archive that a kernel unpacks into its first root: cpio's format "newc".

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// The kinds of files, as `st_mode` has them.
const FOLDER: u32 = 0o04_0000;
const REGULAR: u32 = 0o10_0000;
const LINK: u32 = 0o12_0000;
/// All numbers and names begin at a multiple of this.
const ALIGNMENT: usize = 4;

/// An archive that is being written; without [`Ramdisk::finish`] it has no end.
pub(crate) struct Ramdisk<W> {
    out: W,
    /// What is in it by now. The kernel wants a folder before what is in it.
    held: BTreeSet<PathBuf>,
}

impl<W: Write> Ramdisk<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, held: BTreeSet::new() }
    }

    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let mut ancestors: Vec<&Path> = path.ancestors().filter(|it| it.file_name().is_some()).collect();
        ancestors.reverse();
        for folder in ancestors {
            if self.held.insert(folder.to_owned()) {
                self.entry(folder, FOLDER | 0o755, &[])?;
            }
        }
        Ok(())
    }

    /// Adds an executable file, unless something is there.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.add(path, REGULAR | 0o755, content)
    }

    /// Adds a symbolic link, unless something is there.
    pub(crate) fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.add(path, LINK | 0o777, target.as_bytes())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.entry(Path::new("TRAILER!!!"), 0, &[])?;
        self.out.flush()
    }

    fn add(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        if self.held.insert(path.to_owned()) {
            self.entry(path, mode, content)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let name: PathBuf = path.components().filter(|part| !matches!(part, Component::RootDir)).collect();
        let name = name.to_str().ok_or_else(|| io::Error::other("its name is no text"))?;
        let too_large = |_| io::Error::other("it is larger than 4 GiB");
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let inode = u32::try_from(self.held.len()).map_err(too_large)?;
        let length = u32::try_from(name.len() + 1).map_err(too_large)?;
        // Owner, group, number of links and time; then size, the numbers of devices, the name's length and no checksum.
        let numbers = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        let mut head =
            numbers.iter().fold("070701".to_owned(), |head, number| head + &format!("{number:08x}"));
        head += name;
        head.push('\0');
        self.aligned(head.as_bytes())?;
        self.aligned(content)
    }

    fn aligned(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; ALIGNMENT][..bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_once_and_before_what_is_in_it() {
        let mut bytes = Vec::new();
        let mut ramdisk = Ramdisk::new(&mut bytes);
        ramdisk.file(Path::new("/a/b/c"), b"hello").unwrap();
        ramdisk.file(Path::new("/a/b/c"), b"again").unwrap();
        ramdisk.link(Path::new("/a/d"), "b/c").unwrap();
        ramdisk.finish().unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        // By their magic number, names and contents.
        let text = String::from_utf8(bytes).unwrap().replace('\0', "");
        let entries: Vec<_> =
            text.split("070701").map(|entry| entry.get(13 * 8..).unwrap_or_default()).collect();
        assert_eq!(entries, ["", "a", "a/b", "a/b/chello", "a/db/c", "TRAILER!!!"]);
    }
}
