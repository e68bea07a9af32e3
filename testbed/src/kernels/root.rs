//! What a kernel finds as its root: a shell, iproute2, iptables, its modules, and the program with what it starts.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::error::Error;
use crate::kernels::Program;
use crate::kernels::machine::Machine;
use crate::kernels::modules;
use crate::kernels::ramdisk::Ramdisk;
use crate::node_programs::{LIBRARIES, debian};

/// PID 1.
const INIT: &str = include_str!("init.sh");
/// Places that programs expect.
const FOLDERS: [&str; 8] = ["/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/var/log", "/var/run"];
/// Where these are in Debian's packages, and in there; what is linked to them is another name of theirs.
const TOOLS: [(&str, &str, &[&str]); 4] = [
    ("bin/busybox", "/bin/busybox", &[]),
    ("bin/ip", "/sbin/ip", &[]),
    ("bin/kmod", "/sbin/kmod", &["modprobe"]),
    ("usr/sbin/xtables-legacy-multi", "/sbin/xtables-legacy-multi", &["iptables", "ip6tables"]),
];
/// Where programs look for libraries, whatever their environment.
const SEARCHED: &str = concat!("/lib/", "x86_64-linux-gnu");
/// Where the kernel looks for modules.
const MODULES: &str = "/lib/modules";

/// Writes the archive that becomes the root of `machine`'s kernel.
pub(crate) fn write(path: &Path, machine: &Machine, program: &Program<'_>) -> Result<(), Error> {
    let file = File::create(path).map_err(Error::file("create", path))?;
    let mut root = Root { path, ramdisk: Ramdisk::new(BufWriter::new(file)) };
    let debian = debian(&cache::folder()?)?;
    for folder in FOLDERS {
        root.ramdisk.folder(Path::new(folder)).map_err(Error::file("write", path))?;
    }
    root.file("/init", INIT.as_bytes())?;
    root.file("/program", script(program).as_bytes())?;
    for (from, to, links) in TOOLS {
        root.program(&debian.join(from), Path::new(to), &debian)?;
        for link in links {
            let link = Path::new("/sbin").join(link);
            root.ramdisk.link(&link, to).map_err(Error::file("write", path))?;
        }
    }
    // iptables loads what it can match from here.
    let extensions = Path::new(LIBRARIES).join("xtables");
    let folder = debian.join(&extensions);
    for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))?.flatten() {
        root.copy(&entry.path(), &Path::new("/").join(&extensions).join(entry.file_name()))?;
    }
    for program in [program.path].iter().chain(program.beside) {
        root.program(program, program, &debian)?;
    }
    let folder = machine.modules();
    let version = Path::new(MODULES).join(folder.file_name().unwrap_or_default());
    for module in modules::of_networks(folder)? {
        root.copy(&folder.join(&module), &version.join(&module))?;
    }
    root.ramdisk.finish().map_err(Error::file("write", path))
}

struct Root<'a> {
    path: &'a Path,
    ramdisk: Ramdisk<BufWriter<File>>,
}

impl Root<'_> {
    fn file(&mut self, to: &str, content: &[u8]) -> Result<(), Error> {
        self.ramdisk.file(Path::new(to), content).map_err(Error::file("write", self.path))
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let content = fs::read(from).map_err(Error::file("read", from))?;
        self.ramdisk.file(to, &content).map_err(Error::file("write", self.path))
    }

    /// Adds a program and the libraries that it needs.
    fn program(&mut self, from: &Path, to: &Path, debian: &Path) -> Result<(), Error> {
        self.copy(from, to)?;
        for (library, to) in libraries(from, debian)? {
            self.copy(&library, &to)?;
        }
        Ok(())
    }
}

/// The libraries of a program and what loads them, each with its path in there.
fn libraries(program: &Path, debian: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LD_LIBRARY_PATH", debian.join(LIBRARIES)).env("LC_ALL", "C");
    let output = ldd.output().map_err(|source| Error::Start { program: "ldd".to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = said.lines().find(|line| line.contains("not found")) {
        let (program, remedy) = (line.trim().to_owned(), format!("install what {} needs", program.display()));
        return Err(Error::Missing { program, remedy });
    }
    // A program that needs none is an error of ldd's; one that is no program does not run, which says more than ldd does.
    Ok(said.lines().filter_map(library).collect())
}

/// Reads a line of ldd's: a library where the system found it, or the path of the loader, which is part of the program.
fn library(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (line, _) = line.trim().rsplit_once(" (0x")?;
    match line.split_once(" => ") {
        Some((name, path)) => Some((path.into(), Path::new(SEARCHED).join(name))),
        None => line.starts_with('/').then(|| (line.into(), line.into())),
    }
}

/// What PID 1 runs.
fn script(program: &Program<'_>) -> String {
    let Program { path, arguments, environment, beside: _, reach: _ } = program;
    let mut script = "exec env".to_owned();
    let settings = environment.iter().map(|(name, value)| format!("{name}={value}"));
    let words = settings.chain([path.display().to_string()]);
    for word in words.chain(arguments.iter().map(ToString::to_string)) {
        script += " '";
        script += &word.replace('\'', r"'\''");
        script += "'";
    }
    script + " 2>&1\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Reach;

    #[test]
    fn a_library_is_put_where_it_is_looked_for_and_the_loader_where_the_program_says() {
        let pair = |from: &str, to: &str| Some((PathBuf::from(from), PathBuf::from(to)));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(
            library("\tlibbpf.so.1 => /cache/usr/lib/libbpf.so.1 (0x00007f00)"),
            pair("/cache/usr/lib/libbpf.so.1", "/lib/x86_64-linux-gnu/libbpf.so.1")
        );
        let loader = "/lib64/ld-linux-x86-64.so.2";
        assert_eq!(library(&format!("\t{loader} (0x00007f12)")), pair(loader, loader));
        assert_eq!(library("\tstatically linked"), None);
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let program = Program {
            path: Path::new("/a b"),
            arguments: &["it's", "$HOME"],
            environment: &[("KEY", "one two")],
            beside: &[],
            reach: Reach::Nothing,
        };
        assert_eq!(script(&program), "exec env 'KEY=one two' '/a b' 'it'\\''s' '$HOME' 2>&1\n");
    }
}
