//! What a person at the console can do to the cloud, and a little more.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Cloud;
use crate::aliyun::keys::Temporary;
use crate::aliyun::refusal::Refusal;
use crate::aliyun::world::{
    Attachment, Instance, InstanceStatus, InstanceType, Nic, NicKind, NicSpec, NicStatus, Primary, VSwitch,
    Vpc,
};

impl Cloud {
    /// Adds a VPC.
    pub fn add_vpc(&mut self, id: impl Into<String>, cidr: Ipv4Net, ipv6_cidr: Option<Ipv6Net>) {
        let vpc = Vpc { id: id.into(), cidr, ipv6_cidr };
        self.change().put_vpc(vpc);
    }

    /// Adds a vSwitch to a VPC, or replaces the one with that id.
    pub fn add_vswitch(
        &mut self,
        id: impl Into<String>,
        vpc: impl Into<String>,
        zone: impl Into<String>,
        cidr: Ipv4Net,
        ipv6_cidr: Option<Ipv6Net>,
    ) {
        let id = id.into();
        let vswitch = VSwitch {
            name: id.clone(),
            id,
            vpc: vpc.into(),
            zone: zone.into(),
            cidr,
            ipv6_cidr,
            tags: BTreeMap::new(),
        };
        self.change().put_vswitch(vswitch);
    }

    /// Adds an instance type, or replaces the one with that id.
    pub fn add_instance_type(&mut self, kind: InstanceType) {
        self.change().put_type(kind);
    }

    /// Adds a running instance without any NIC; [`attach`](Self::attach) gives it some.
    ///
    /// # Errors
    /// `InvalidVSwitchId.NotFound`.
    pub fn add_instance(
        &mut self,
        id: impl Into<String>,
        name: impl Into<String>,
        instance_type: impl Into<String>,
        vswitch: &str,
    ) -> Result<(), Refusal> {
        let created = self.clock.now();
        let VSwitch { id: vswitch, vpc, zone, .. } = self.world().need_vswitch(vswitch)?.clone();
        let instance = Instance {
            id: id.into(),
            name: name.into(),
            instance_type: instance_type.into(),
            vswitch,
            vpc,
            zone,
            status: InstanceStatus::Running,
            tags: BTreeMap::new(),
            created,
        };
        self.change().put_instance(instance);
        Ok(())
    }

    /// Sets whether an instance runs.
    ///
    /// # Errors
    /// `InvalidInstanceId.NotFound`.
    pub fn set_instance_status(&mut self, id: &str, status: InstanceStatus) -> Result<(), Refusal> {
        self.change().instance_mut(id)?.status = status;
        Ok(())
    }

    /// Removes an instance, its primary NIC, and the NICs that go with it.
    pub fn remove_instance(&mut self, id: &str) {
        self.change().remove_instance(id);
    }

    /// Adds a NIC that is on no instance.
    ///
    /// # Errors
    /// `InvalidVSwitchId.NotFound`, `InvalidVSwitchId.IpNotEnough`.
    pub fn add_nic(&mut self, spec: NicSpec) -> Result<(), Refusal> {
        self.put_nic(spec, None)
    }

    /// Adds a NIC that is on an instance already.
    ///
    /// # Errors
    /// `InvalidInstanceId.NotFound`, `InvalidVSwitchId.NotFound`, `InvalidVSwitchId.IpNotEnough`.
    pub fn attach(&mut self, instance: &str, spec: NicSpec) -> Result<(), Refusal> {
        self.world().need_instance(instance)?;
        self.put_nic(spec, Some(instance.to_owned()))
    }

    fn put_nic(&mut self, spec: NicSpec, instance: Option<String>) -> Result<(), Refusal> {
        let created = self.clock.now();
        let vswitch = self.world().need_vswitch(&spec.vswitch)?.clone();
        let primary = match spec.primary {
            Primary::Given(address) => Some(address),
            Primary::Missing => None,
            Primary::Chosen => self.world().pick_ipv4s(&vswitch, 1)?.first().copied(),
        };
        let usual = if instance.is_some() { NicStatus::InUse } else { NicStatus::Available };
        let world = self.change();
        let mac = spec.mac.unwrap_or_else(|| mac(world.next_number()));
        world.put_nic(Nic {
            name: String::new(),
            description: String::new(),
            delete_on_release: spec.kind != NicKind::Secondary,
            kind: spec.kind,
            status: spec.status.unwrap_or(usual),
            mac,
            vswitch: vswitch.id,
            vpc: vswitch.vpc,
            zone: vswitch.zone,
            primary,
            secondary: spec.secondary,
            ipv6: spec.ipv6,
            ipv4_prefixes: spec.ipv4_prefixes,
            ipv6_prefixes: spec.ipv6_prefixes,
            security_groups: vec!["sg-bp1simulated0000000001".to_owned()],
            tags: spec.tags,
            attachment: instance.map(|instance| Attachment {
                instance,
                device_index: spec.device_index,
                trunk: spec.trunk,
            }),
            traffic_mode: spec.traffic_mode,
            created,
            busy_until: None,
            id: spec.id,
        });
        Ok(())
    }

    /// Takes a NIC off its instance at once; the NIC stays, `Available`.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`.
    pub fn detach_nic(&mut self, nic: &str) -> Result<(), Refusal> {
        let nic = self.change().nic_mut(nic)?;
        nic.attachment = None;
        nic.status = NicStatus::Available;
        Ok(())
    }

    /// Puts a NIC that exists onto an instance at once.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`, `InvalidInstanceId.NotFound`.
    pub fn reattach_nic(
        &mut self,
        nic: &str,
        instance: &str,
        device_index: Option<u32>,
    ) -> Result<(), Refusal> {
        self.world().need_instance(instance)?;
        let nic = self.change().nic_mut(nic)?;
        nic.attachment = Some(Attachment { instance: instance.to_owned(), device_index, trunk: None });
        nic.status = NicStatus::InUse;
        Ok(())
    }

    /// Removes a NIC at once.
    pub fn remove_nic(&mut self, nic: &str) {
        self.change().remove_nic(nic);
    }

    /// Sets a NIC's state at once.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`.
    pub fn set_nic_status(&mut self, nic: &str, status: NicStatus) -> Result<(), Refusal> {
        self.change().nic_mut(nic)?.status = status;
        Ok(())
    }

    /// Tags a NIC.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`.
    pub fn tag_nic(&mut self, nic: &str, key: &str, value: &str) -> Result<(), Refusal> {
        self.change().nic_mut(nic)?.tags.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Gives a NIC addresses of either family, as the API would: inside its vSwitch, not reserved, not taken.
    /// Does not count against the instance type's quota.
    ///
    /// # Errors
    /// The code with which the API refuses the address.
    pub fn assign(&mut self, nic: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let world = self.world();
        let vswitch = world.need_vswitch(&world.need_nic(nic)?.vswitch)?;
        world.check_ips(vswitch, addresses)?;
        self.plant(nic, addresses)
    }

    /// Gives a NIC addresses without any check: duplicates, strays, reserved ones.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`.
    pub fn plant(&mut self, nic: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let nic = self.change().nic_mut(nic)?;
        for address in addresses {
            match address {
                IpAddr::V4(address) => nic.secondary.push(*address),
                IpAddr::V6(address) => nic.ipv6.push(*address),
            }
        }
        Ok(())
    }

    /// Takes addresses of either family from a NIC.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`, `InvalidIp.IpUnassigned` when one of them is not a secondary address of it; then
    /// nothing is taken.
    pub fn unassign(&mut self, nic: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let held = self.world().need_nic(nic)?;
        for address in addresses {
            let has = match address {
                IpAddr::V4(address) => held.secondary.contains(address),
                IpAddr::V6(address) => held.ipv6.contains(address),
            };
            if !has {
                let message = format!("The specified IP \"{address}\" is not assigned to \"{nic}\".");
                return Err(Refusal::new("InvalidIp.IpUnassigned", message));
            }
        }
        let nic = self.change().nic_mut(nic)?;
        nic.secondary.retain(|held| !addresses.contains(&IpAddr::V4(*held)));
        nic.ipv6.retain(|held| !addresses.contains(&IpAddr::V6(*held)));
        Ok(())
    }

    /// Moves addresses from one NIC to another, in one step.
    ///
    /// # Errors
    /// As [`unassign`](Self::unassign) and [`assign`](Self::assign); then nothing is moved.
    pub fn move_ips(&mut self, from: &str, to: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let before = self.world().need_nic(from)?.clone();
        self.unassign(from, addresses)?;
        // One step for those who lag behind, too: only the first half leaves a stale world.
        let delays = std::mem::take(&mut self.delays);
        let moved = self.assign(to, addresses);
        if moved.is_err() {
            self.change().put_nic(before);
        }
        self.delays = delays;
        moved
    }

    /// Gives a NIC a /28 or a /80, as the API would.
    ///
    /// # Errors
    /// The code with which the API refuses the prefix.
    pub fn assign_prefix(&mut self, nic: &str, prefix: IpNet) -> Result<(), Refusal> {
        let world = self.world();
        let vswitch = world.need_vswitch(&world.need_nic(nic)?.vswitch)?;
        match prefix {
            IpNet::V4(prefix) => {
                world.check_ipv4_prefixes(vswitch, &[prefix])?;
                self.change().nic_mut(nic)?.ipv4_prefixes.push(prefix);
            }
            IpNet::V6(prefix) => {
                world.check_ipv6_prefixes(vswitch, &[prefix])?;
                self.change().nic_mut(nic)?.ipv6_prefixes.push(prefix);
            }
        }
        Ok(())
    }

    /// Takes a prefix from a NIC; one that it does not hold is no error.
    ///
    /// # Errors
    /// `InvalidEniId.NotFound`.
    pub fn unassign_prefix(&mut self, nic: &str, prefix: IpNet) -> Result<(), Refusal> {
        let nic = self.change().nic_mut(nic)?;
        nic.ipv4_prefixes.retain(|held| IpNet::V4(*held) != prefix);
        nic.ipv6_prefixes.retain(|held| IpNet::V6(*held) != prefix);
        Ok(())
    }

    /// Adds a lasting access key.
    pub fn add_key(&mut self, id: impl Into<String>, secret: impl Into<String>) {
        self.keys.add(id, secret);
    }

    /// Makes up a temporary credential that lasts so long from now on.
    pub fn add_sts_credential(&mut self, lasts: std::time::Duration) -> Temporary {
        let now = self.clock.now();
        self.keys.mint(now, lasts)
    }
}

/// The vendor's MAC addresses start so.
pub(crate) fn mac(number: u64) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    format!("00:16:3e:{a:02x}:{b:02x}:{c:02x}")
}
