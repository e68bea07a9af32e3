//! Time and memory of one plan: 5,000 nodes, 4 NICs each, both families, 10 addresses a NIC and family.
//!
//! Addresses are scattered, as a cloud hands them out: no two of a NIC are neighbours, so every one is a range of its
//! own, which is the most that an address set can be made to hold.
//!
//! `SPIDERPOOL_BENCH=brief` plans for a tenth of the nodes, and asserts the same.

#![expect(clippy::unwrap_used, reason = "a bench's own functions may fail it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use model::{
    AddressRange, AddressSet, Coordinator, Family, Input, InstanceId, Inventory, Match, Memory, Moment, Nic,
    NicUse, Node, Origin, Owner, Plan, Policy, Pool, PoolSpec, ProviderName, ProviderPolicy, Reading, Subnet,
    plan, pool_name,
};

const NICS: u8 = 4;
/// Addresses of each family on each NIC.
const ADDRESSES: u32 = 10;
/// How often each plan is made; the median counts.
const RUNS: usize = 5;
const RESYNC: Duration = Duration::from_mins(1);

/// The argument with which this program starts itself, so that each measurement of memory has a process of its own.
const MEMORY_OF: &str = "--memory-of";

/// How many nodes there are.
fn nodes() -> u32 {
    let brief = std::env::var("SPIDERPOOL_BENCH").is_ok_and(|size| size == "brief");
    if brief { 500 } else { 5_000 }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == MEMORY_OF) {
        return memory_of(&arguments[at + 1]);
    }
    let nodes = nodes();
    let pools = usize::try_from(nodes).unwrap() * usize::from(NICS) * 2;
    println!("== plan: {nodes} nodes, {NICS} NICs each, both families: {pools} pools");
    let cold = time(&World::new(nodes), "plan, nothing exists", pools, None);
    let mut applied = World::applied(nodes);
    time(&applied, "plan, nothing to do", 0, Some(cold));
    applied.change_one_percent();
    // Each of these pools first denies an address, then gains one.
    let changed = pools / 100 * 2;
    time(&applied, "plan, 1 % of the NICs changed", changed, Some(cold));
    let mut other = World::applied(nodes);
    other.serve_nobody_by_default();
    time(&other, "plan, every pool changed", pools, Some(cold));
    let fifth = time(&World::new(nodes / 5), "plan, nothing exists, a fifth of the nodes", pools / 5, None);
    row(
        "plan, all nodes to a fifth of them",
        &format!("{:.1} x", cold.as_secs_f64() / fifth.as_secs_f64()),
        "5 is linear",
    );
    memory("cold", "nothing exists", pools);
    memory("steady", "nothing to do", pools);
}

/// Plans some times over, checks the number of steps, prints the median.
fn time(world: &World, what: &str, steps: usize, beside: Option<Duration>) -> Duration {
    let mut took: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            let plan = world.plan();
            let took = begun.elapsed();
            assert_eq!(plan.steps.len(), steps, "{what}: {:?}", plan.steps.first());
            took
        })
        .collect();
    took.sort();
    let (fastest, median, slowest) = (took[0], took[RUNS / 2], took[RUNS - 1]);
    let pools = world.nodes.len() * usize::from(NICS) * 2;
    let each = median.as_secs_f64() * 1e6 / number(pools);
    let ratio = beside.map_or_else(String::new, |beside| {
        format!(", {:.2} of the cold plan", median.as_secs_f64() / beside.as_secs_f64())
    });
    let spread = format!("{:.0} to {:.0} ms", milliseconds(fastest), milliseconds(slowest));
    row(what, &format!("{:.0} ms", milliseconds(median)), &format!("{each:.1} us a pool, {spread}{ratio}"));
    median
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn row(what: &str, figure: &str, note: &str) {
    println!("| {what:<52} | {figure:>12} | {note}");
}

/// Measures memory in a process of its own.
fn memory(case: &str, what: &str, pools: usize) {
    let output = Command::new(std::env::current_exe().unwrap()).args([MEMORY_OF, case]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let kib: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let each = |kib: u64| format!("{:.1} KiB a pool", number(usize::try_from(kib).unwrap()) / number(pools));
    row(&format!("memory of the plan's input, {what}"), &format!("{} MiB", kib[0] / 1024), &each(kib[0]));
    row(
        &format!("memory that planning adds at most, {what}"),
        &format!("{} MiB", kib[1] / 1024),
        &each(kib[1]),
    );
}

/// Prints how much resident memory the input takes, and how much more a plan takes at its peak, in KiB.
fn memory_of(case: &str) {
    let begun = status("VmRSS:");
    let world = if case == "cold" { World::new(nodes()) } else { World::applied(nodes()) };
    let built = status("VmRSS:");
    let plan = world.plan();
    let peak = status("VmHWM:");
    assert_eq!(plan.steps.is_empty(), case != "cold");
    println!("{} {}", built - begun, peak - built);
}

/// A figure of this process, in KiB.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A cluster and what a cloud showed of it.
struct World {
    policy: Policy,
    nodes: BTreeMap<String, (Node, Match)>,
    readings: BTreeMap<ProviderName, Reading>,
    pools: BTreeMap<String, Pool>,
    cloud: Inventory,
}

impl World {
    /// A cluster without pools.
    fn new(nodes: u32) -> Self {
        let provider = ProviderPolicy {
            interface: "eth{index}".parse().unwrap(),
            multus: "kube-system/ipvlan-{interface}".parse().unwrap(),
            default: true,
            coordinator: Coordinator::Absent,
            source: "bench".into(),
        };
        let policy =
            Policy { providers: BTreeMap::from([("hz".into(), provider)]), resync: RESYNC, max_share: 25 };
        let mut cloud = Inventory::default();
        for nic in 0..NICS {
            let id = format!("vsw-{nic}");
            let subnet = Subnet {
                id: id.as_str().into(),
                v4: Some(format!("10.{nic}.0.0/16").parse().unwrap()),
                v4_gateway: Some(format!("10.{nic}.255.253").parse().unwrap()),
                v6: Some(format!("fd00:0:0:{nic}::/64").parse().unwrap()),
                v6_gateway: None,
                zone: String::new(),
            };
            cloud.subnets.insert(id.as_str().into(), subnet);
        }
        let mut members = BTreeMap::new();
        for at in 0..nodes {
            let (name, instance) = (format!("node-{at:05}"), InstanceId::from(format!("i-bp1{at:05}")));
            let node = Node {
                name: name.clone(),
                uid: format!("2d6f0b5e-0000-4000-8000-{at:012}"),
                provider_id: Some(format!("cn-hangzhou.{}", instance.as_str())),
                addresses: vec![address4(0, nodes, at, 0)],
            };
            let matched = Match::Instance { provider: "hz".into(), instance: instance.clone() };
            members.insert(name, (node, matched));
            cloud.instances.insert(instance, (0..NICS).map(|nic| card(nodes, at, nic)).collect());
        }
        let mut world =
            Self { policy, nodes: members, readings: BTreeMap::new(), pools: BTreeMap::new(), cloud };
        world.read();
        world
    }

    /// The same cluster with all its pools.
    fn applied(nodes: u32) -> Self {
        let mut world = Self::new(nodes);
        for (node, matched) in world.nodes.values() {
            let Match::Instance { instance, .. } = matched else { continue };
            for nic in &world.cloud.instances[instance] {
                for family in Family::ALL {
                    let pool = pool(node, instance, nic, family, &world.cloud);
                    world.pools.insert(pool.name.clone(), pool);
                }
            }
        }
        world
    }

    /// On every hundredth NIC one address of each family gives way to another.
    fn change_one_percent(&mut self) {
        for (at, nic) in self.cloud.instances.values_mut().flatten().enumerate() {
            if at % 100 == 0 {
                let both = |addresses: &AddressSet| {
                    let [four, six] = Family::ALL.map(|family| addresses.of(family));
                    [four.ranges()[1].first(), six.ranges()[1].first()].map(AddressRange::from)
                };
                let leaving: AddressSet = both(&nic.addresses).into_iter().collect();
                let coming: AddressSet = leaving.ranges().iter().map(|range| beyond(range.first())).collect();
                nic.addresses = nic.addresses.difference(&leaving).union(&coming);
            }
        }
        self.read();
    }

    /// A setting changes that every pool bears.
    fn serve_nobody_by_default(&mut self) {
        for provider in self.policy.providers.values_mut() {
            provider.default = false;
        }
    }

    fn read(&mut self) {
        let reading = self.readings.entry("hz".into()).or_default();
        reading.absorb(self.cloud.clone(), Moment(RESYNC));
    }

    fn plan(&self) -> Plan {
        let Self { policy, nodes, readings, pools, cloud: _ } = self;
        plan(&Input { now: Moment(RESYNC), policy, nodes, readings, pools }, Memory::default())
    }
}

/// The address `k` of a NIC: `k` steps of the whole cluster's width apart.
fn host(nodes: u32, at: u32, k: u32) -> u32 {
    1 + at + k * nodes
}

fn address4(nic: u8, nodes: u32, at: u32, k: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, nic, 0, 0).to_bits() + host(nodes, at, k)))
}

fn address6(nic: u8, nodes: u32, at: u32, k: u32) -> IpAddr {
    let net = Ipv6Addr::new(0xfd00, 0, 0, nic.into(), 0, 0, 0, 0);
    IpAddr::V6(Ipv6Addr::from_bits(net.to_bits() + u128::from(host(nodes, at, k))))
}

/// An address that no NIC has: the upper half of the subnet of IPv6, the upper end of that of IPv4.
fn beyond(address: IpAddr) -> AddressRange {
    let other = match address {
        IpAddr::V4(address) => {
            let [a, b, _, _] = address.octets();
            let nth = address.to_bits() & 0xffff;
            IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(a, b, 0, 0).to_bits() + 55_100 + nth % 5_000))
        }
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() | 1 << 60)),
    };
    AddressRange::from(other)
}

fn card(nodes: u32, at: u32, nic: u8) -> Nic {
    let addresses = (1..=ADDRESSES).flat_map(|k| [address4(nic, nodes, at, k), address6(nic, nodes, at, k)]);
    Nic {
        id: format!("eni-bp1{at:05}x{nic}").as_str().into(),
        mac: Some(format!("00:16:3e:{nic:02x}:{:02x}:{:02x}", at >> 8, at & 0xff).parse().unwrap()),
        index: Some(nic.into()),
        interface: None,
        subnet: format!("vsw-{nic}").as_str().into(),
        primary: vec![address4(nic, nodes, at, 0)],
        addresses: addresses.map(AddressRange::from).collect(),
        use_: NicUse::Pods,
    }
}

fn pool(node: &Node, instance: &InstanceId, nic: &Nic, family: Family, cloud: &Inventory) -> Pool {
    let subnet = &cloud.subnets[&nic.subnet];
    let block = subnet.block(family).unwrap();
    let interface = format!("eth{}", nic.index.unwrap());
    let spec = PoolSpec {
        subnet: block,
        gateway: subnet.gateway(family),
        ips: nic.addresses.of(family),
        excluded: AddressSet::new(),
        denied: AddressSet::new(),
        default: true,
        nodes: vec![node.name.clone()],
        multus: vec![format!("kube-system/ipvlan-{interface}")],
    };
    let name = pool_name(&node.name, &interface, &nic.id, block);
    let origin = Origin {
        provider: "hz".into(),
        node: node.name.clone(),
        node_uid: node.uid.clone(),
        instance: instance.clone(),
        nic: nic.id.clone(),
        mac: nic.mac,
        interface,
        subnet: nic.subnet.clone(),
        source: "bench".into(),
    };
    Pool {
        uid: format!("uid-of-{name}"),
        version: "123456".into(),
        ips: spec.ips.clone(),
        owner: Owner::Ours(origin, spec),
        allocated: AddressSet::new(),
        total: None,
        terminating: false,
        name,
    }
}
