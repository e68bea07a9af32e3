//! The simulated cloud, its network and its guests, below any Kubernetes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::wanted;
use crate::aliyun::{Addresses, Cloud, Nic, Refusal, Simulator, Topology, VSwitch, World};
use crate::error::Error;
use crate::guest::{Guest, GuestNic, GuestSpec, Software};
use crate::netns::Netns;
use crate::node_programs::NodePrograms;
use crate::scratch::Scratch;
use crate::vpc::{Families, Filter, Outside, Port, Switches, Vpc, ports};

/// Where a node's own IPv6 addresses begin in its subnet: beyond those that ready-made clouds give their NICs.
const OWN_V6: u128 = 0x1000;

/// The simulated cloud, with threads of its own to answer from.
pub(super) struct Sky {
    sim: Arc<Simulator>,
    runtime: Option<Runtime>,
    families: Families,
}

impl Sky {
    /// Starts the cloud, and gives every instance an IPv6 address for the node itself if nodes have IPv6.
    pub(super) fn start(topology: Topology, families: Families) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cloud")
            .enable_all()
            .build()
            .map_err(|source| Error::Network { action: "start the simulated cloud".to_owned(), source })?;
        let control = Some(([127, 0, 0, 1], 0).into());
        // On a thread of its own, for a caller may be in a runtime that must not be blocked from inside.
        let sim = std::thread::scope(|scope| {
            let start =
                || runtime.block_on(Simulator::start_on(Addresses { control, ..Addresses::default() }));
            scope.spawn(start).join()
        });
        let sim = match sim {
            Ok(Ok(sim)) => sim,
            Ok(Err(error)) => return Err(Error::Cloud { reason: error.to_string() }),
            Err(_) => return Err(Error::Cloud { reason: "its thread panicked".to_owned() }),
        };
        let built = sim.edit(|cloud| {
            topology.build(cloud)?;
            if families.has_v6() { assign_own(cloud) } else { Ok(()) }
        });
        built.map_err(|refusal| Error::Cloud { reason: refusal.to_string() })?;
        Ok(Self { sim: Arc::new(sim), runtime: Some(runtime), families })
    }

    fn serve_metadata(&mut self, vpc: &Vpc) -> Result<(), Error> {
        let (Some(sim), Some(runtime)) = (Arc::get_mut(&mut self.sim), &self.runtime) else {
            return Err(Error::Cloud { reason: "it is shared already".to_owned() });
        };
        let _entered = runtime.enter();
        for listener in vpc.listen_metadata()? {
            sim.serve_metadata(listener).map_err(|source| Error::Network {
                action: "serve metadata in the VPC".to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn world(&self) -> World {
        self.sim.edit(|cloud| cloud.world().clone())
    }
}

impl Drop for Sky {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The caller may be in a runtime, in which waiting for another one is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Sky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sky").field("endpoints", self.sim.endpoints()).finish_non_exhaustive()
    }
}

/// The guests of a simulated cloud without Kubernetes: ended, without trace, on drop and when this process ends.
#[derive(Debug)]
pub struct Machines {
    // In the order in which they must end: each needs those after it.
    guests: Vec<Guest>,
    plugged: Vec<(String, Vec<Port>)>,
    filter: Arc<Filter>,
    _outside: Outside,
    vpc: Arc<Vpc>,
    sky: Sky,
    programs: NodePrograms,
    scratch: Option<Scratch>,
}

impl Machines {
    /// Boots a guest per instance, with the addresses of its NICs and nothing on it (about 2 s).
    ///
    /// # Errors
    /// When a program cannot be had, the network cannot be made (it needs root), or a guest does not come up.
    pub fn start(topology: Topology, families: Families) -> Result<Self, Error> {
        let scratch = Scratch::temporary()?;
        let mut machines = Self::prepare(Sky::start(topology, families)?, Switches::Cloud)?;
        machines.boot(&scratch.path().join("nodes"), |_, _| None)?;
        machines.scratch = Some(scratch);
        Ok(machines)
    }

    /// Makes the network, without guests.
    pub(super) fn prepare(mut sky: Sky, switches: Switches) -> Result<Self, Error> {
        let programs = NodePrograms::ensure()?;
        let vpc = Arc::new(Vpc::create(&programs, &sky.world(), switches)?);
        let outside = Outside::create(&vpc)?;
        sky.serve_metadata(&vpc)?;
        let sim = Arc::clone(&sky.sim);
        let filter = Filter::start(Arc::clone(&vpc), move || sim.edit(|cloud| cloud.world().clone()));
        let (guests, plugged) = (Vec::new(), Vec::new());
        Ok(Self { guests, plugged, filter, _outside: outside, vpc, sky, programs, scratch: None })
    }

    /// Boots the guests, each with its files in a folder of `home`, and waits until all are up.
    pub(super) fn boot<'a>(
        &mut self,
        home: &Path,
        software: impl Fn(&str, usize) -> Option<Software<'a>>,
    ) -> Result<(), Error> {
        let world = self.sky.world();
        for (number, instance) in world.instances().enumerate() {
            let ports = ports(&world, &instance.id, number);
            let mut nics = Vec::new();
            for port in &ports {
                self.filter.plug(port)?;
                let nic = world.nic(&port.nic);
                let vswitch = self.vpc.vswitch(&port.vswitch);
                let (Some(nic), Some(vswitch)) = (nic, vswitch) else { continue };
                nics.push(guest_nic(port, nic, vswitch, self.sky.families, nics.is_empty()));
            }
            let software = software(&instance.id, number);
            let spec = GuestSpec { name: instance.name.clone(), nics, software };
            let folder = home.join(&instance.name);
            self.guests.push(Guest::boot(&spec, &folder, &self.programs, self.vpc.netns())?);
            self.plugged.push((instance.id.clone(), ports));
        }
        self.guests.iter().try_for_each(Guest::wait_up)
    }

    /// Cuts a node's power and boots it again.
    pub(super) fn reboot(&self, guest: &Guest) -> Result<(), Error> {
        guest.reboot(&self.programs, self.vpc.netns())
    }

    /// Puts a load balancer before nodes.
    pub(super) fn balance(&self, address: SocketAddr, nodes: &[SocketAddr]) -> Result<(), Error> {
        self.vpc.balance(address, nodes)
    }

    /// Lets the first subnets of two clouds reach each other.
    pub(super) fn join(&self, other: &Self) -> Result<(), Error> {
        self.vpc.join(&other.vpc)
    }

    /// What the switches between nodes let in.
    pub(super) fn switches(&self) -> Switches {
        self.vpc.switches()
    }

    /// The VPC's namespace.
    pub(super) fn netns(&self) -> &Netns {
        self.vpc.netns()
    }

    /// The gateway of the first instance's primary NIC, IPv4 if there is IPv4: the address of the VPC that everything can reach.
    pub(super) fn gateway(&self, families: Families) -> Result<IpAddr, Error> {
        let world = self.sky.world();
        let vswitch = world.instances().next().and_then(|instance| self.vpc.vswitch(&instance.vswitch));
        let gateway = vswitch.and_then(|vswitch| {
            let v6 = vswitch.ipv6_gateway().map(IpAddr::V6);
            if families.has_v4() { Some(IpAddr::V4(vswitch.gateway())) } else { v6 }
        });
        gateway.ok_or_else(|| Error::Cloud { reason: "there is no instance with a gateway".to_owned() })
    }

    /// The guests, in the order of their instances' ids.
    #[must_use]
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    /// One guest.
    ///
    /// # Panics
    /// When no node has that name: a mistake in the test.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that names a node which it did not make can only fail")]
    pub fn guest(&self, name: &str) -> &Guest {
        match self.guests.iter().find(|guest| guest.name() == name) {
            Some(guest) => guest,
            None => panic!("there is no node {name}"),
        }
    }

    /// The simulated cloud. The wire follows its changes within 200 ms; [`Machines::edit`] does not return before it has.
    #[must_use]
    pub fn cloud(&self) -> &Simulator {
        &self.sky.sim
    }

    /// Changes the cloud, and makes the wire agree before it returns.
    ///
    /// # Errors
    /// When the virtual switch does not take the change.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Cloud) -> R) -> Result<R, Error> {
        let result = self.sky.sim.edit(change);
        self.filter.sync()?;
        Ok(result)
    }
}

/// The kubelet's name for an instance, as Alibaba's cloud controller writes it.
pub(super) fn regions_provider_id(instance: &str) -> String {
    format!("cn-hangzhou.{instance}")
}

fn guest_nic(port: &Port, nic: &Nic, vswitch: &VSwitch, families: Families, primary: bool) -> GuestNic {
    let mut addresses = Vec::new();
    if let Some(own) = nic.primary {
        addresses.push((IpAddr::V4(own), vswitch.cidr.prefix_len()));
    }
    let own_v6 = nic.ipv6.iter().filter(|address| primary && is_own(**address, vswitch));
    addresses.extend(own_v6.map(|address| (IpAddr::V6(*address), 64)));
    addresses.retain(|(address, _)| wanted(families, *address));
    let gateways = [Some(IpAddr::V4(vswitch.gateway())), vswitch.ipv6_gateway().map(IpAddr::V6)];
    let gateways = gateways.into_iter().flatten().filter(|gateway| wanted(families, *gateway));
    GuestNic { tap: port.tap.clone(), mac: nic.mac.clone(), gateways: gateways.collect(), addresses }
}

/// Gives the primary NIC of every instance an IPv6 address for the node itself: the cloud marks none of a NIC's as its own.
fn assign_own(cloud: &mut Cloud) -> Result<(), Refusal> {
    let world = cloud.world().clone();
    for (number, instance) in world.instances().enumerate() {
        let nic = world.nics_of(&instance.id).first().map(|nic| nic.id.clone());
        let cidr = world.vswitch(&instance.vswitch).and_then(|vswitch| vswitch.ipv6_cidr);
        if let (Some(nic), Some(cidr)) = (nic, cidr) {
            let own = u128::from(cidr.network()) + OWN_V6 + number as u128;
            cloud.assign(&nic, &[IpAddr::V6(Ipv6Addr::from(own))])?;
        }
    }
    Ok(())
}

fn is_own(address: Ipv6Addr, vswitch: &VSwitch) -> bool {
    let Some(cidr) = vswitch.ipv6_cidr else { return false };
    let host = u128::from(address).wrapping_sub(u128::from(cidr.network()));
    (OWN_V6..OWN_V6 + 0x1000).contains(&host)
}
