//! What the cloud's virtual switch enforces: a frame enters only with the NIC's MAC and an address assigned to that NIC.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use super::{Port, Switches, Vpc};
use crate::aliyun::{Nic, NicStatus, World};
use crate::error::Error;
use crate::progress::say;

/// How often the cloud is looked at. A look compares a few addresses; what is wanted is that the wire follows within 200 ms.
const LOOK: Duration = Duration::from_millis(50);

/// Makes the chain of a tap, through which nothing comes yet.
///
/// IPv6 needs its link-local addresses, and the unspecified one to find out whether an address is taken.
pub(super) fn guard(vpc: &Vpc, tap: &str) -> Result<(), Error> {
    let name = tap.replace('-', "_");
    vpc.nft(&format!(
        "table netdev vswitch {{
  set mac_{name} {{ type ether_addr; }}
  set v4_{name} {{ type ipv4_addr; flags interval; auto-merge; }}
  set v6_{name} {{ type ipv6_addr; flags interval; auto-merge; }}
  chain {name} {{
    type filter hook ingress device \"{tap}\" priority 0; policy drop;
    ether saddr != @mac_{name} counter drop
    ether type arp arp saddr ether @mac_{name} arp saddr ip @v4_{name} counter accept
    ether type ip ip saddr @v4_{name} counter accept
    ether type ip6 ip6 saddr {{ ::, fe80::/10 }} counter accept
    ether type ip6 ip6 saddr @v6_{name} counter accept
    counter
  }}
}}
"
    ))
}

/// What may come out of one NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Allowed {
    mac: Option<String>,
    nets: BTreeSet<IpNet>,
}

impl Allowed {
    fn of(nic: Option<&Nic>) -> Self {
        let Some(nic) = nic.filter(|nic| nic.status == NicStatus::InUse) else { return Self::default() };
        let single = nic.addresses().into_iter().map(IpNet::from);
        let prefixes = nic.ipv4_prefixes.iter().copied().map(IpNet::V4);
        let prefixes6 = nic.ipv6_prefixes.iter().copied().map(IpNet::V6);
        Self { mac: Some(nic.mac.clone()), nets: single.chain(prefixes).chain(prefixes6).collect() }
    }
}

type Read = Box<dyn Fn() -> World + Send + Sync>;

/// The virtual switch of one world, as the cloud has it: follows by itself, and at once when asked.
pub(crate) struct Filter {
    vpc: Arc<Vpc>,
    read: Read,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ports: Vec<Port>,
    applied: BTreeMap<String, Allowed>,
}

impl Filter {
    /// Starts to follow the cloud that `read` returns.
    pub(crate) fn start(vpc: Arc<Vpc>, read: impl Fn() -> World + Send + Sync + 'static) -> Arc<Self> {
        let filter = Arc::new(Self { vpc, read: Box::new(read), state: Mutex::default() });
        let weak = Arc::downgrade(&filter);
        thread::spawn(move || follow(&weak));
        filter
    }

    /// Makes a NIC's port, and lets in what the cloud says, if it is a cloud's.
    pub(crate) fn plug(&self, port: &Port) -> Result<(), Error> {
        self.vpc.plug(port)?;
        if self.vpc.switches() == Switches::DataCentre {
            return Ok(());
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ports.push(port.clone());
        self.sync()
    }

    /// Makes the wire agree with the cloud, now.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let cloud = (self.read)();
        let (mut rules, mut moved, mut wanted) = (String::new(), Vec::new(), BTreeMap::new());
        for port in &state.ports {
            let allowed = Allowed::of(cloud.nic(&port.nic));
            let before = state.applied.get(&port.tap);
            if before != Some(&allowed) {
                write_rules(&mut rules, &port.tap, &allowed);
                let before = before.map(|before| before.nets.clone()).unwrap_or_default();
                moved.extend(before.symmetric_difference(&allowed.nets).map(IpNet::addr));
            }
            wanted.insert(port.tap.clone(), allowed);
        }
        if !rules.is_empty() {
            self.vpc.nft(&rules)?;
            self.vpc.forget(&moved);
        }
        state.applied = wanted;
        Ok(())
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("vpc", &self.vpc).finish_non_exhaustive()
    }
}

fn follow(filter: &Weak<Filter>) {
    let mut said = false;
    while let Some(filter) = filter.upgrade() {
        match filter.sync() {
            Ok(()) => said = false,
            Err(error) if !said => {
                said = true;
                say(&format!("the virtual switch does not follow the cloud: {error}"));
            }
            Err(_) => {}
        }
        drop(filter);
        thread::sleep(LOOK);
    }
}

/// Replaces what a tap lets in. All of it takes effect in one moment, so no frame meets an empty set.
fn write_rules(rules: &mut String, tap: &str, allowed: &Allowed) {
    let name = tap.replace('-', "_");
    for kind in ["mac", "v4", "v6"] {
        let _ = writeln!(rules, "flush set netdev vswitch {kind}_{name}");
    }
    if let Some(mac) = &allowed.mac {
        let _ = writeln!(rules, "add element netdev vswitch mac_{name} {{ {mac} }}");
    }
    let is_v4 = |net: &&IpNet| matches!(net.addr(), IpAddr::V4(_));
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = allowed.nets.iter().partition(is_v4);
    for (kind, nets) in [("v4", v4), ("v6", v6)] {
        if !nets.is_empty() {
            let nets: Vec<String> = nets.into_iter().map(ToString::to_string).collect();
            let _ = writeln!(rules, "add element netdev vswitch {kind}_{name} {{ {} }}", nets.join(", "));
        }
    }
}
