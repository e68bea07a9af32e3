//! Those of a kernel's modules that networks are made of, and what these need.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Packet filters, and what the protocols and interfaces of nodes and pods are.
const FOLDERS: [&str; 6] = ["8021q", "bridge", "core", "ipv4", "ipv6", "netfilter"];
/// Interfaces that are drivers, by their files' names.
const DRIVERS: [&str; 9] =
    ["bonding", "dummy", "ifb", "ipvlan", "macvlan", "tun", "veth", "virtio_net", "vrf"];

/// Returns the files that `modprobe` reads and the modules, by their paths in the folder of a kernel's modules.
pub(crate) fn of_networks(folder: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::file("read", folder))?.flatten() {
        let name = PathBuf::from(entry.file_name());
        if name.to_string_lossy().starts_with("modules.") {
            files.insert(name);
        }
    }
    let needs = folder.join("modules.dep");
    let needs = fs::read_to_string(&needs).map_err(Error::file("read", &needs))?;
    files.extend(needs.lines().filter_map(wanted).flatten().map(PathBuf::from));
    Ok(files)
}

/// Of a line of `modules.dep` that is about one of ours, the module and all that it needs.
fn wanted(line: &str) -> Option<impl Iterator<Item = &str>> {
    let (module, needs) = line.split_once(':')?;
    let name = module.rsplit('/').next()?.split('.').next()?;
    let is_ours = FOLDERS.iter().any(|folder| module.starts_with(&format!("kernel/net/{folder}/")))
        || module.starts_with("kernel/drivers/net/") && DRIVERS.contains(&name);
    is_ours.then(|| [module].into_iter().chain(needs.split_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_with_what_it_needs_and_others_do_not() {
        let of = |line| wanted(line).map(Iterator::collect::<Vec<_>>);
        assert_eq!(
            of(
                "kernel/net/netfilter/nft_ct.ko.xz: kernel/net/netfilter/nf_tables.ko.xz kernel/lib/crc.ko.xz"
            ),
            Some(vec![
                "kernel/net/netfilter/nft_ct.ko.xz",
                "kernel/net/netfilter/nf_tables.ko.xz",
                "kernel/lib/crc.ko.xz"
            ])
        );
        assert_eq!(of("kernel/drivers/net/veth.ko:"), Some(vec!["kernel/drivers/net/veth.ko"]));
        assert_eq!(of("kernel/drivers/net/ethernet/intel/e1000/e1000.ko:"), None);
        assert_eq!(of("kernel/net/sctp/sctp.ko:"), None);
    }
}
