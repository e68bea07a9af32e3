//! Which addresses of a vSwitch are taken, and which come next.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{VSwitch, World};
use crate::aliyun::refusal::Refusal;

/// Prefix length of an IPv4 block that a NIC may hold.
const IPV4_PREFIX: u8 = 28;
/// Prefix length of an IPv6 block that a NIC may hold.
const IPV6_PREFIX: u8 = 80;

/// What the NICs of one vSwitch hold.
#[derive(Default)]
struct Taken {
    ipv4: BTreeSet<Ipv4Addr>,
    ipv6: BTreeSet<Ipv6Addr>,
    ipv4_prefixes: BTreeSet<Ipv4Net>,
    ipv6_prefixes: BTreeSet<Ipv6Net>,
}

impl Taken {
    fn holds_ipv4(&self, address: Ipv4Addr) -> bool {
        self.ipv4.contains(&address)
            || Ipv4Net::new(address, IPV4_PREFIX)
                .is_ok_and(|block| self.ipv4_prefixes.contains(&block.trunc()))
    }

    fn holds_ipv6(&self, address: Ipv6Addr) -> bool {
        self.ipv6.contains(&address)
            || Ipv6Net::new(address, IPV6_PREFIX)
                .is_ok_and(|block| self.ipv6_prefixes.contains(&block.trunc()))
    }
}

impl World {
    fn taken(&self, vswitch: &str) -> Taken {
        self.taken_in(&[vswitch]).remove(vswitch).unwrap_or_default()
    }

    /// What the NICs of some vSwitches hold, in one pass over all NICs.
    fn taken_in(&self, vswitches: &[&str]) -> HashMap<String, Taken> {
        let mut all: HashMap<String, Taken> =
            vswitches.iter().map(|id| ((*id).to_owned(), Taken::default())).collect();
        for nic in self.nics() {
            let Some(taken) = all.get_mut(&nic.vswitch) else { continue };
            taken.ipv4.extend(nic.primary.iter().chain(&nic.secondary));
            taken.ipv6.extend(&nic.ipv6);
            taken.ipv4_prefixes.extend(&nic.ipv4_prefixes);
            taken.ipv6_prefixes.extend(&nic.ipv6_prefixes);
        }
        all
    }

    /// Returns how many IPv4 addresses of each of some vSwitches are free, in their order.
    #[must_use]
    pub fn available_ipv4(&self, vswitches: &[&VSwitch]) -> Vec<usize> {
        let ids: Vec<&str> = vswitches.iter().map(|it| it.id.as_str()).collect();
        let all = self.taken_in(&ids);
        let free = |vswitch: &&VSwitch| {
            let (first, last) = vswitch.usable_ipv4();
            let usable = u32::from(last).saturating_sub(u32::from(first)).saturating_add(1);
            let taken = all.get(&vswitch.id).map_or(0, |taken| {
                let single = taken.ipv4.range(first..=last.max(first)).count();
                single + taken.ipv4_prefixes.len() * 16
            });
            usize::try_from(usable).unwrap_or(usize::MAX).saturating_sub(taken)
        };
        vswitches.iter().map(free).collect()
    }

    /// Picks the lowest free IPv4 addresses, all of them or none.
    pub(crate) fn pick_ipv4s(&self, vswitch: &VSwitch, count: usize) -> Result<Vec<Ipv4Addr>, Refusal> {
        let taken = self.taken(&vswitch.id);
        let (first, last) = vswitch.usable_ipv4();
        let free =
            (u32::from(first)..=u32::from(last)).map(Ipv4Addr::from).filter(|it| !taken.holds_ipv4(*it));
        enough(vswitch, count, free.take(count).collect())
    }

    /// Picks the lowest free IPv6 addresses.
    pub(crate) fn pick_ipv6s(&self, vswitch: &VSwitch, count: usize) -> Result<Vec<Ipv6Addr>, Refusal> {
        let (first, last) = vswitch.usable_ipv6().ok_or_else(|| no_ipv6(vswitch))?;
        let taken = self.taken(&vswitch.id);
        let mut next = u128::from(first);
        let mut found = Vec::new();
        while found.len() < count && next <= u128::from(last) {
            let address = Ipv6Addr::from(next);
            if taken.holds_ipv6(address) {
                next += 1;
                continue;
            }
            found.push(address);
            next += 1;
        }
        enough(vswitch, count, found)
    }

    /// Picks the lowest free /28 blocks that hold no reserved and no taken address.
    pub(crate) fn pick_ipv4_prefixes(
        &self,
        vswitch: &VSwitch,
        count: usize,
    ) -> Result<Vec<Ipv4Net>, Refusal> {
        let taken = self.taken(&vswitch.id);
        if vswitch.cidr.prefix_len() > IPV4_PREFIX {
            return enough(vswitch, count, Vec::new());
        }
        let blocks = vswitch.cidr.subnets(IPV4_PREFIX).into_iter().flatten();
        let free = blocks.filter(|block| is_free_ipv4_prefix(vswitch, &taken, *block));
        enough(vswitch, count, free.take(count).collect())
    }

    /// Picks the lowest free /80 blocks.
    pub(crate) fn pick_ipv6_prefixes(
        &self,
        vswitch: &VSwitch,
        count: usize,
    ) -> Result<Vec<Ipv6Net>, Refusal> {
        let cidr = vswitch.ipv6_cidr.ok_or_else(|| no_ipv6(vswitch))?;
        let taken = self.taken(&vswitch.id);
        // The first block holds the reserved first address.
        let blocks = cidr.subnets(IPV6_PREFIX).into_iter().flatten().skip(1);
        let free = blocks.filter(|block| is_free_ipv6_prefix(&taken, *block));
        enough(vswitch, count, free.take(count).collect())
    }

    /// Checks addresses that the caller chose: inside, not reserved, not taken, not named twice.
    pub(crate) fn check_ips(&self, vswitch: &VSwitch, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let taken = self.taken(&vswitch.id);
        let mut seen = BTreeSet::new();
        for address in addresses {
            if !seen.insert(address) {
                let message = format!("The specified IP \"{address}\" is repeated.");
                return Err(Refusal::new("InvalidIp.IpRepeated", message));
            }
            if address.is_ipv6() && vswitch.ipv6_cidr.is_none() {
                return Err(no_ipv6(vswitch));
            }
            if !vswitch.may_hold(*address) {
                return Err(outside(vswitch, &address.to_string()));
            }
            let held = match address {
                IpAddr::V4(address) => taken.holds_ipv4(*address),
                IpAddr::V6(address) => taken.holds_ipv6(*address),
            };
            if held {
                let message = format!("The specified IP \"{address}\" is already assigned.");
                return Err(Refusal::new("InvalidIp.IpAssigned", message));
            }
        }
        Ok(())
    }

    /// Checks /28 blocks that the caller chose.
    pub(crate) fn check_ipv4_prefixes(&self, vswitch: &VSwitch, blocks: &[Ipv4Net]) -> Result<(), Refusal> {
        let taken = self.taken(&vswitch.id);
        for block in blocks {
            let shaped = block.prefix_len() == IPV4_PREFIX && block.trunc() == *block;
            if !shaped || !vswitch.cidr.contains(block) {
                return Err(outside(vswitch, &block.to_string()));
            }
            if !is_free_ipv4_prefix(vswitch, &taken, *block) {
                return Err(prefix_taken(&block.to_string()));
            }
        }
        Ok(())
    }

    /// Checks /80 blocks that the caller chose.
    pub(crate) fn check_ipv6_prefixes(&self, vswitch: &VSwitch, blocks: &[Ipv6Net]) -> Result<(), Refusal> {
        let cidr = vswitch.ipv6_cidr.ok_or_else(|| no_ipv6(vswitch))?;
        let taken = self.taken(&vswitch.id);
        for block in blocks {
            let shaped = block.prefix_len() == IPV6_PREFIX && block.trunc() == *block;
            if !shaped || !cidr.contains(block) {
                return Err(outside(vswitch, &block.to_string()));
            }
            if !is_free_ipv6_prefix(&taken, *block) {
                return Err(prefix_taken(&block.to_string()));
            }
        }
        Ok(())
    }
}

fn is_free_ipv4_prefix(vswitch: &VSwitch, taken: &Taken, block: Ipv4Net) -> bool {
    let (first, last) = vswitch.usable_ipv4();
    block.network() >= first
        && block.broadcast() <= last
        && !taken.ipv4_prefixes.contains(&block)
        && taken.ipv4.range(block.network()..=block.broadcast()).next().is_none()
}

fn is_free_ipv6_prefix(taken: &Taken, block: Ipv6Net) -> bool {
    !taken.ipv6_prefixes.contains(&block)
        && taken.ipv6.range(block.network()..=block.broadcast()).next().is_none()
}

fn enough<T>(vswitch: &VSwitch, count: usize, found: Vec<T>) -> Result<Vec<T>, Refusal> {
    if found.len() == count {
        return Ok(found);
    }
    Err(Refusal::new(
        "InvalidVSwitchId.IpNotEnough",
        format!("The specified VSwitch \"{}\" has not enough IpAddress.", vswitch.id),
    ))
}

fn no_ipv6(vswitch: &VSwitch) -> Refusal {
    Refusal::new(
        "InvalidVSwitch.Ipv6NotTurnOn",
        format!("The VSwitch \"{}\" has IPv6 turned off.", vswitch.id),
    )
}

fn outside(vswitch: &VSwitch, what: &str) -> Refusal {
    Refusal::new(
        "InvalidVSwitchId.IpInvalid",
        format!("The specified IP \"{what}\" is not valid in VSwitch \"{}\".", vswitch.id),
    )
}

fn prefix_taken(what: &str) -> Refusal {
    Refusal::new("InvalidIp.IpAssigned", format!("The specified prefix \"{what}\" is already assigned."))
}
