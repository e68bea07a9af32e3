//! Virtual machines and the limits of their types.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceStatus {
    /// Being made.
    Pending,
    /// Booting.
    Starting,
    /// Up.
    Running,
    /// Going down.
    Stopping,
    /// Down.
    Stopped,
}

impl InstanceStatus {
    /// Returns the API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
        }
    }

    /// Tells whether NICs may be attached, detached and given addresses in this state.
    #[must_use]
    pub fn is_steady(self) -> bool {
        matches!(self, Self::Running | Self::Stopped)
    }
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Name and host name.
    pub name: String,
    /// Its type's id, `ecs.g7.xlarge`.
    pub instance_type: String,
    /// The vSwitch of its primary NIC.
    pub vswitch: String,
    /// That vSwitch's VPC.
    pub vpc: String,
    /// That vSwitch's zone.
    pub zone: String,
    /// Whether it runs.
    pub status: InstanceStatus,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// The limits of an instance type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// `ecs.<family>.<size>`.
    pub id: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in GiB.
    pub memory: u32,
    /// NICs, the primary one included.
    pub nics: usize,
    /// IPv4 addresses of one NIC, its primary one included.
    pub ipv4_per_nic: usize,
    /// IPv6 addresses of one NIC; 0 without IPv6.
    pub ipv6_per_nic: usize,
}

impl InstanceType {
    /// The types every region starts with. Figures: the documented samples of `DescribeInstanceTypes`.
    pub(crate) fn usual() -> Vec<Self> {
        let of = |id: &str, cpus, memory, nics, ipv4_per_nic, ipv6_per_nic| Self {
            id: id.to_owned(),
            cpus,
            memory,
            nics,
            ipv4_per_nic,
            ipv6_per_nic,
        };
        vec![
            of("ecs.g6.large", 2, 8, 2, 6, 1),
            of("ecs.g7.xlarge", 4, 16, 4, 15, 15),
            of("ecs.g7.16xlarge", 64, 256, 8, 30, 30),
        ]
    }

    /// Returns the family, `ecs.<family>`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.id.rsplit_once('.').map_or(self.id.as_str(), |(family, _)| family)
    }
}
