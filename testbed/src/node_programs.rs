//! The programs that nodes and the network between them are made of, and where each comes from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::Packages;
use crate::error::Error;
use crate::programs::{given_folders, locate};
use crate::{cache, containerd, kubernetes};

/// What guests and the network need of Debian beside CNI plugins and images, and the libraries of these that a small installation lacks.
const DEBIAN: Packages = Packages {
    name: "debian-nodes",
    names: &[
        "busybox-static",
        "iproute2",
        "iptables",
        "kmod",
        "libbpf1",
        "libedit2",
        "libelf1",
        "libip4tc2",
        "libip6tc2",
        "libjansson4",
        "libkmod2",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnfnetlink0",
        "libnftables1",
        "libnftnl11",
        "libseccomp2",
        "libxtables12",
        "nftables",
        "runc",
        "user-mode-linux",
    ],
    seconds: 5,
};
/// The guests' kernel, a program.
pub(crate) const KERNEL: &str = "usr/bin/linux.uml";
/// The kernel modules, where the package has them.
pub(crate) const MODULES: &str = "usr/lib/uml/modules";
/// The folder of libraries, in Debian's words for this machine.
pub(crate) const LIBRARIES: &str = concat!("usr/lib/", "x86_64-linux-gnu");

/// The programs of nodes. Control planes alone need none of them.
#[derive(Debug, Clone)]
pub struct NodePrograms {
    pub(crate) kubelet: PathBuf,
    pub(crate) kube_proxy: PathBuf,
    /// The folder of containerd's programs.
    pub(crate) containerd: PathBuf,
    /// The unpacked packages.
    pub(crate) debian: PathBuf,
    ip: PathBuf,
    nft: PathBuf,
}

impl NodePrograms {
    /// Finds each program on `PATH` or in the cache, or else fetches or builds it into the cache.
    ///
    /// The first time on a machine this takes minutes and says so on stderr; after that it takes milliseconds.
    ///
    /// # Errors
    /// When a program cannot be had.
    pub fn ensure() -> Result<Self, Error> {
        static FOUND: OnceLock<NodePrograms> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::find()?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn find() -> Result<Self, Error> {
        let cache = cache::folder()?;
        let given = given_folders();
        let debian = debian(&cache)?;
        let kube = |name: &str| {
            let cached = kubernetes::cached(&cache, name);
            locate(name, &given, &cached).map_or_else(|| kubernetes::build(&cache, name), Ok)
        };
        let of_debian = |name: &str, cached: &str| {
            let cached = debian.join(cached);
            locate(name, &given, &cached).unwrap_or(cached)
        };
        Ok(Self {
            kubelet: kube("kubelet")?,
            kube_proxy: kube("kube-proxy")?,
            containerd: containerd::ensure(&cache)?,
            ip: of_debian("ip", "bin/ip"),
            nft: of_debian("nft", "usr/sbin/nft"),
            debian,
        })
    }

    /// The path of each program, by name.
    #[must_use]
    pub fn paths(&self) -> Vec<(&'static str, PathBuf)> {
        let Self { kubelet, kube_proxy, containerd, debian, ip, nft } = self;
        let mut paths = vec![
            ("linux.uml", self.kernel()),
            ("kubelet", kubelet.clone()),
            ("kube-proxy", kube_proxy.clone()),
            ("runc", debian.join("usr/sbin/runc")),
            ("ip", ip.clone()),
            ("nft", nft.clone()),
        ];
        paths.extend(containerd::PROGRAMS.map(|name| (name, containerd.join(name))));
        paths
    }

    /// The guests' kernel, a program.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.debian.join(KERNEL)
    }

    /// Libraries that programs of the unpacked packages may need and the machine may lack.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.debian.join(LIBRARIES)
    }

    /// `ip`, able to run.
    pub(crate) fn ip(&self) -> Command {
        self.able(&self.ip)
    }

    /// `nft`, able to run.
    pub(crate) fn nft(&self) -> Command {
        self.able(&self.nft)
    }

    fn able(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if program.starts_with(&self.debian) {
            command.env("LD_LIBRARY_PATH", self.libraries());
        }
        command
    }
}

/// The unpacked packages of Debian, with the guests' kernel and what belongs to it.
pub(crate) fn debian(cache: &Path) -> Result<PathBuf, Error> {
    let debian = DEBIAN.unpack(cache, KERNEL)?;
    link_modules(&debian)?;
    Ok(debian)
}

/// `modprobe --dirname` wants the modules below `lib/modules`.
fn link_modules(debian: &Path) -> Result<(), Error> {
    let link = debian.join("lib/modules");
    if link.is_dir() {
        return Ok(());
    }
    match std::os::unix::fs::symlink(Path::new("..").join(MODULES), &link) {
        // Another process did it at the same moment.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::file("link", &link)),
    }
}
