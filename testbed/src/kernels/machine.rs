//! What runs a kernel: User-Mode Linux by itself, Debian's kernel for clouds in QEMU.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache::{self, CacheLock};
use crate::debian::Packages;
use crate::error::Error;
use crate::kernels::{Kernel, Reach};
use crate::node_programs::{self, LIBRARIES, debian};
use crate::programs::{given_folders, locate};
use crate::progress;

/// Without what it is recommended to have: displays, other machines' firmware.
const QEMU: Packages = Packages { name: "debian-qemu", names: &["qemu-system-x86"], seconds: 10 };
const QEMU_PROGRAM: &str = "qemu-system-x86_64";
/// A Debian release may have several, of which the newest is taken: nodes' guests have the release's own already.
const CLOUD: Packages =
    Packages { name: "debian-cloud-kernel", names: &["linux-image-cloud-amd64"], seconds: 10 };
/// What is around the version in the packages' names.
const CLOUD_NAME: [&str; 2] = ["linux-image-", "-cloud-amd64"];

/// For both kernels. What is not used is not taken from this machine.
const MEMORY: &str = "1024M";

/// Emulated, defences cost much time and defend nothing; code that is at the same address in every process is translated once.
const FAST: &str = "mitigations=off nokaslr norandmaps init_on_alloc=0 apparmor=0 audit=0 nowatchdog cryptomgr.notests \
                    rcupdate.rcu_expedited=1";

/// A kernel, and what runs it.
pub(crate) enum Machine {
    Uml {
        kernel: PathBuf,
        modules: PathBuf,
    },
    Qemu {
        program: PathBuf,
        /// The unpacked packages, when the program is of these.
        tree: Option<PathBuf>,
        kernel: PathBuf,
        modules: PathBuf,
    },
}

impl Machine {
    /// Finds or fetches all of it.
    pub(crate) fn ensure(kernel: Kernel) -> Result<Self, Error> {
        let cache = cache::folder()?;
        let debian = debian(&cache)?;
        if kernel == Kernel::Uml {
            let modules = only(&debian.join(node_programs::MODULES), "")?;
            return Ok(Self::Uml { kernel: debian.join(node_programs::KERNEL), modules });
        }
        let cloud = CLOUD.unpack_newest(&cache, "boot", CLOUD_NAME)?;
        let modules = only(&link_libraries(&cloud)?.join("modules"), "")?;
        depend(&cache, &cloud, &modules, &debian)?;
        let cached = QEMU.folder(&cache);
        let given = locate(QEMU_PROGRAM, &given_folders(), Path::new(""));
        let (program, tree) = if let Some(program) = given {
            (program, None)
        } else {
            let program = Path::new("usr/bin").join(QEMU_PROGRAM);
            let tree = QEMU.unpack_with_needs(&cache, &program.to_string_lossy())?;
            (cached.join(program), Some(tree))
        };
        Ok(Self::Qemu { program, tree, kernel: only(&cloud.join("boot"), "vmlinuz")?, modules })
    }

    /// Where what it consists of is, by name.
    pub(crate) fn paths(&self) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Uml { kernel, modules: _ } => vec![("linux.uml", kernel.clone())],
            Self::Qemu { program, kernel, tree: _, modules: _ } => {
                vec![(QEMU_PROGRAM, program.clone()), ("vmlinuz", kernel.clone())]
            }
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Uml { .. } => "User-Mode Linux",
            Self::Qemu { .. } => "Debian's kernel for clouds",
        }
    }

    /// The folder of the kernel's modules, whose name is the kernel's version.
    pub(crate) fn modules(&self) -> &Path {
        match self {
            Self::Uml { modules, .. } | Self::Qemu { modules, .. } => modules,
        }
    }

    /// The command that boots the kernel, with its console on stdin and stdout; it ends with the kernel, and with it all.
    pub(crate) fn command(&self, ramdisk: &Path, folder: &Path, reach: Reach) -> Command {
        let mut command = match self {
            Self::Uml { kernel, modules: _ } => {
                // A guest is many processes; in a process namespace of their own they all end when the first one does.
                let mut command = Command::new("unshare");
                command.args(["--pid", "--fork", "--kill-child"]).arg(kernel);
                command.args([&format!("mem={MEMORY}"), "quiet", "panic=-1", "con=null", "con0=fd:0,fd:1"]);
                command.arg(setting("initrd=", ramdisk)).arg(setting("uml_dir=", &folder.join("uml")));
                command
            }
            Self::Qemu { program, tree, kernel, modules: _ } => {
                let mut command = Command::new(program);
                if let Some(tree) = tree {
                    command.env("LD_LIBRARY_PATH", libraries(tree));
                    command.env("QEMU_MODULE_DIR", tree.join(LIBRARIES).join("qemu"));
                    for data in ["qemu", "seabios"] {
                        command.arg("-L").arg(tree.join("usr/share").join(data));
                    }
                }
                // Nothing but a serial line: no display, no disk.
                command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
                if reach == Reach::ThisMachine {
                    command.args([
                        "-netdev",
                        "user,id=machine",
                        "-device",
                        "virtio-net-pci,netdev=machine,romfile=",
                    ]);
                }
                // Never KVM: where there seems to be one it may be another emulator's, which is worse than this one.
                command.args(["-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2"]);
                command.args(["-m", MEMORY, "-no-reboot", "-kernel"]).arg(kernel).arg("-initrd").arg(ramdisk);
                command.args(["-append", &format!("console=ttyS0 quiet panic=-1 {FAST}")]);
                command
            }
        };
        command.stdin(Stdio::piped()).current_dir("/").process_group(0);
        command
    }
}

/// The folders of a tree's libraries: some are below `/lib` still.
fn libraries(tree: &Path) -> OsString {
    let newer = tree.join(LIBRARIES);
    let older = Path::new(LIBRARIES).strip_prefix("usr").map_or(newer.clone(), |folder| tree.join(folder));
    let mut both = newer.into_os_string();
    both.push(":");
    both.push(older);
    both
}

fn setting(name: &str, path: &Path) -> OsString {
    let mut setting = OsString::from(name);
    setting.push(path);
    setting
}

/// Debian has modules below `/lib` or, since 13, below `/usr/lib`, and its `depmod` knows of one of them.
fn link_libraries(tree: &Path) -> Result<PathBuf, Error> {
    let lib = tree.join("lib");
    if lib.is_dir() {
        return Ok(lib);
    }
    match std::os::unix::fs::symlink("usr/lib", &lib) {
        // Another process did it at the same moment.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(lib),
        other => other.map(|()| lib.clone()).map_err(Error::file("link", &lib)),
    }
}

/// The one entry of a folder whose name begins so.
fn only(folder: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut paths = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    paths.next().map(|entry| entry.path()).ok_or_else(|| Error::Missing {
        program: format!("{}/{prefix}*", folder.display()),
        remedy: format!("remove {}, and it is fetched again", folder.display()),
    })
}

/// Writes what `modprobe` must know of the modules, which installing the package would have done.
fn depend(cache: &Path, tree: &Path, modules: &Path, debian: &Path) -> Result<(), Error> {
    // The last that depmod writes.
    if modules.join("modules.devname").exists() {
        return Ok(());
    }
    let _lock = CacheLock::take(cache)?;
    let mut depmod = Command::new(debian.join("bin/kmod"));
    depmod.arg0("depmod").env("LD_LIBRARY_PATH", debian.join(LIBRARIES));
    depmod.arg("--basedir").arg(tree).args(modules.file_name());
    progress::run_quietly(depmod, &cache.join("debian-cloud-kernel-modules.log"))
}
