//! Which NIC is which tap.

use crate::aliyun::{NicStatus, World};

/// Where a NIC enters the virtual switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// The tap's name.
    pub(crate) tap: String,
    /// The NIC's id.
    pub(crate) nic: String,
    /// The vSwitch's id.
    pub(crate) vswitch: String,
}

/// The ports of an instance, in the order of its guest's interfaces. `number` tells instances apart.
pub(crate) fn ports(cloud: &World, instance: &str, number: usize) -> Vec<Port> {
    let nics = cloud.nics_of(instance).into_iter().filter(|nic| nic.status == NicStatus::InUse);
    nics.enumerate()
        .map(|(k, nic)| Port {
            tap: format!("tap{number}-{k}"),
            nic: nic.id.clone(),
            vswitch: nic.vswitch.clone(),
        })
        .collect()
}
