//! A VPC on one machine: a bridge per vSwitch with its gateways, routing, NAT to a "world", and the virtual switch's anti-spoofing.

mod balancer;
mod filter;
mod line;
mod outside;
mod ports;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use crate::aliyun::{VSwitch, World};
use crate::error::{Error, tail};
use crate::netns::Netns;
use crate::node_programs::NodePrograms;

pub(crate) use filter::Filter;
pub(crate) use outside::Outside;
pub use outside::{NAT_V4, WORLD_V4, WORLD_V6};
pub(crate) use ports::{Port, ports};

/// Which families of addresses nodes, pods and services have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only. NICs keep their IPv4 addresses in the cloud, as every NIC there has one.
    V6,
    /// Both, IPv4 first.
    #[default]
    Dual,
}

impl Families {
    /// Whether there is IPv4.
    #[must_use]
    pub fn has_v4(self) -> bool {
        self != Self::V6
    }

    /// Whether there is IPv6.
    #[must_use]
    pub fn has_v6(self) -> bool {
        self != Self::V4
    }
}

/// What the switches between nodes let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switches {
    /// What a cloud's virtual switch does: frames with a NIC's own MAC and an address that is assigned to this NIC.
    #[default]
    Cloud,
    /// Everything, as those of a data centre: pods may have MACs and addresses of their own.
    DataCentre,
}

/// Both addresses at which clouds' metadata services answer: Alibaba's, and everybody else's.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(169, 254, 169, 254)];

/// A host of another network that the VPC is connected with: nothing is translated between them. It is where
/// [`Nodes::place_on_router`](crate::Nodes::place_on_router) places programs, if they use this address.
pub const PEER_V4: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 9);
/// Its IPv6 address.
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x7, 0, 0, 0, 0, 0x9);

/// The MAC address of every gateway, as Alibaba Cloud has it. Fixed, for a bridge otherwise changes its own with its ports.
const GATEWAY_MAC: &str = "ee:ff:ff:ff:ff:ff";

/// The network of one world. It is gone when the last process in it is.
#[derive(Debug)]
pub(crate) struct Vpc {
    netns: Netns,
    programs: NodePrograms,
    bridges: Vec<(String, VSwitch)>,
    switches: Switches,
}

impl Vpc {
    /// Makes bridges, gateways, routing and NAT for what exists in the simulated cloud.
    pub(crate) fn create(programs: &NodePrograms, cloud: &World, switches: Switches) -> Result<Self, Error> {
        let netns = Netns::create()?;
        let bridges = cloud.vswitches().enumerate().map(|(n, vswitch)| (format!("vsw{n}"), vswitch.clone()));
        let vpc = Self { netns, programs: programs.clone(), bridges: bridges.collect(), switches };
        vpc.set(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            // Two hosts of one vSwitch never need it, and it would teach routes that a cloud does not.
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
        ])?;
        vpc.ip(&vpc.plan())?;
        Ok(vpc)
    }

    /// What `ip -batch` makes of it.
    fn plan(&self) -> String {
        let mut plan = "link set lo up\n".to_owned();
        for address in METADATA {
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(plan, "addr add {address}/32 dev lo");
        }
        let _ = writeln!(plan, "addr add {PEER_V4}/32 dev lo\naddr add {PEER_V6}/128 dev lo nodad");
        for (bridge, vswitch) in &self.bridges {
            let _ = writeln!(plan, "link add {bridge} address {GATEWAY_MAC} type bridge mcast_snooping 0");
            let _ = writeln!(plan, "link set {bridge} up alias {}", vswitch.id);
            let _ =
                writeln!(plan, "addr add {}/{} dev {bridge}", vswitch.gateway(), vswitch.cidr.prefix_len());
            if let (Some(gateway), Some(cidr)) = (vswitch.ipv6_gateway(), vswitch.ipv6_cidr) {
                let _ = writeln!(plan, "addr add {gateway}/{} dev {bridge} nodad", cidr.prefix_len());
            }
        }
        plan
    }

    /// Its namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Lets what is in the first vSwitches of two VPCs reach each other.
    pub(crate) fn join(&self, other: &Self) -> Result<(), Error> {
        line::join(self, other)
    }

    /// A vSwitch.
    pub(crate) fn vswitch(&self, id: &str) -> Option<&VSwitch> {
        self.bridges.iter().find(|(_, vswitch)| vswitch.id == id).map(|(_, vswitch)| vswitch)
    }

    /// What its switches let in.
    pub(crate) fn switches(&self) -> Switches {
        self.switches
    }

    /// Makes a NIC's port: a tap on its vSwitch's bridge, that of a cloud lets nothing in before the filter says what.
    pub(crate) fn plug(&self, port: &Port) -> Result<(), Error> {
        let Port { tap, nic, vswitch } = port;
        let bridge = self.bridges.iter().find(|(_, held)| held.id == *vswitch).map(|(bridge, _)| bridge);
        let bridge = bridge.ok_or_else(|| Error::Cloud { reason: format!("{nic} is in no vSwitch") })?;
        self.ip(&format!("tuntap add {tap} mode tap\nlink set {tap} alias {nic}\n"))?;
        if self.switches == Switches::Cloud {
            filter::guard(self, tap)?;
        }
        self.ip(&format!("link set {tap} master {bridge}\nlink set {tap} up\n"))
    }

    /// Listens at both metadata addresses.
    pub(crate) fn listen_metadata(&self) -> Result<Vec<TcpListener>, Error> {
        METADATA.into_iter().map(|ip| self.netns.listen(SocketAddr::from((ip, 80)))).collect()
    }

    /// Forgets which MAC addresses have these addresses: the cloud's own router knows at once when one moves.
    pub(crate) fn forget(&self, addresses: &[IpAddr]) {
        let plan: String = self
            .bridges
            .iter()
            .flat_map(|(bridge, _)| {
                addresses.iter().map(move |ip| format!("neigh flush to {ip} dev {bridge}\n"))
            })
            .collect();
        if !plan.is_empty() {
            // An entry that is not there is as good.
            drop(self.ip(&plan));
        }
    }

    /// Puts a load balancer with this address before nodes, each with its port, for clients at the router.
    pub(crate) fn balance(&self, address: SocketAddr, nodes: &[SocketAddr]) -> Result<(), Error> {
        balancer::balance(self, address, nodes)
    }

    /// Runs `ip -batch` inside.
    pub(crate) fn ip(&self, plan: &str) -> Result<(), Error> {
        let mut ip = self.programs.ip();
        ip.args(["-batch", "-"]);
        self.feed(ip, plan)
    }

    /// Runs `nft -f` inside: all of it or nothing.
    pub(crate) fn nft(&self, rules: &str) -> Result<(), Error> {
        let mut nft = self.programs.nft();
        nft.args(["-f", "-"]);
        self.feed(nft, rules)
    }

    fn feed(&self, command: Command, input: &str) -> Result<(), Error> {
        feed(&self.netns, command, input)
    }

    fn set(&self, settings: &[(&str, &str)]) -> Result<(), Error> {
        set(&self.netns, settings)
    }
}

/// Runs a command inside a namespace with `input` on its stdin.
fn feed(netns: &Netns, mut command: Command, input: &str) -> Result<(), Error> {
    let program = command.get_program().display().to_string();
    let start = |source| Error::Start { program: program.clone(), source };
    netns.place(&mut command);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that fails early does not read on; its exit status tells why.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = tail(&String::from_utf8_lossy(&output.stderr), 10);
    Err(Error::Command { command: program, status: output.status, tail: format!("{said}\nin\n{input}") })
}

/// Writes network settings of a namespace: which one `/proc/sys/net` shows depends on who looks.
fn set(netns: &Netns, settings: &[(&str, &str)]) -> Result<(), Error> {
    let written = netns.run(|| {
        settings.iter().try_for_each(|(name, value)| std::fs::write(format!("/proc/sys/net/{name}"), value))
    });
    written
        .and_then(|written| written)
        .map_err(|source| Error::Network { action: "set up routing".to_owned(), source })
}
