//! A cluster and a cloud in memory: readings are taken from the one, plans are applied to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::inventory::Inventory;
use crate::plan::*;
use crate::{
    AddressSet, Family, InstanceId, Nic, NicId, NicUse, NodeReport, Origin, Owner, Pool, PoolSpec, Subnet,
};

pub(super) const RESYNC: Duration = Duration::from_mins(1);

pub(super) fn set(text: &str) -> AddressSet {
    AddressSet::parse(&text.split(',').filter(|t| !t.is_empty()).collect::<Vec<_>>()).unwrap()
}

pub(super) fn spec(pool: &Pool) -> &PoolSpec {
    match &pool.owner {
        Owner::Ours(_, spec) => spec,
        Owner::Foreign => panic!("{} is not ours", pool.name),
    }
}

pub(super) fn origin(pool: &Pool) -> &Origin {
    match &pool.owner {
        Owner::Ours(origin, _) => origin,
        Owner::Foreign => panic!("{} is not ours", pool.name),
    }
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) policy: Policy,
    pub(super) nodes: BTreeMap<String, (Node, Match)>,
    pub(super) readings: BTreeMap<ProviderName, Reading>,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) cloud: Inventory,
    pub(super) memory: Memory,
    pub(super) last: Plan,
}

impl World {
    pub(super) fn new() -> Self {
        let provider = ProviderPolicy {
            interface: "eth{index}".parse().unwrap(),
            multus: "kube-system/ipvlan-{interface}".parse().unwrap(),
            default: true,
            coordinator: Coordinator::Absent,
            source: "test".into(),
        };
        let providers = BTreeMap::from([("hz".into(), provider)]);
        let policy = Policy { providers, resync: RESYNC, max_share: 25 };
        let subnet = |id: &str, v4: &str, v4_gateway: &str, v6: &str| Subnet {
            id: id.into(),
            v4: Some(v4.parse().unwrap()),
            v4_gateway: Some(v4_gateway.parse().unwrap()),
            v6: Some(v6.parse().unwrap()),
            v6_gateway: None,
            zone: String::new(),
        };
        let subnets = BTreeMap::from([
            ("vsw-0".into(), subnet("vsw-0", "172.31.192.0/20", "172.31.207.253", "fd00:16::/64")),
            ("vsw-1".into(), subnet("vsw-1", "192.168.0.0/24", "192.168.0.253", "fd00:32::/64")),
        ]);
        let empty = Plan {
            steps: Vec::new(),
            pools: BTreeMap::new(),
            multus: BTreeMap::new(),
            nodes: BTreeMap::new(),
            notes: Vec::new(),
            held_back: 0,
            in_use: BTreeSet::new(),
            memory: Memory::default(),
        };
        Self {
            now: Moment(Duration::from_secs(1000)),
            policy,
            nodes: BTreeMap::new(),
            readings: BTreeMap::from([("hz".into(), Reading::default())]),
            pools: BTreeMap::new(),
            cloud: Inventory { subnets, ..Inventory::default() },
            memory: Memory::default(),
            last: empty,
        }
    }

    /// The topology of the Alibaba Cloud walkthrough, with IPv6 on the first NICs.
    pub(super) fn seed() -> Self {
        let mut world = Self::new();
        for (name, zero) in [("master", "m"), ("worker", "w")] {
            world.join(name, "uid-1", &format!("i-{name}"));
            let (own, eth0, eth1) = match zero {
                "m" => ("172.31.199.183", "172.31.199.185-172.31.199.189,fd00:16::10-fd00:16::13", 156),
                _ => ("172.31.199.184", "172.31.199.190-172.31.199.194,fd00:16::20-fd00:16::23", 161),
            };
            world.attach(&format!("i-{name}"), &format!("eni-{zero}0"), 0, own, eth0);
            let range = format!("192.168.0.{eth1}-192.168.0.{}", eth1 + 4);
            world.attach(
                &format!("i-{name}"),
                &format!("eni-{zero}1"),
                1,
                &format!("192.168.0.{}", eth1 - 40),
                &range,
            );
        }
        let (node, _) = world.nodes.get_mut("master").unwrap();
        node.addresses = vec!["172.31.199.183".parse().unwrap(), "fd00:16::1".parse().unwrap()];
        world
    }

    /// So many nodes with one NIC of four addresses each.
    pub(super) fn cluster(nodes: u8) -> Self {
        let mut world = Self::new();
        for n in 0..nodes {
            world.join(&format!("n{n}"), "uid-1", &format!("i-{n}"));
            let first = u32::from(n) * 8;
            let range = format!("172.31.200.{}-172.31.200.{}", first + 1, first + 4);
            world.attach(&format!("i-{n}"), &format!("eni-{n}"), 0, &format!("172.31.200.{first}"), &range);
        }
        world
    }

    pub(super) fn join(&mut self, name: &str, uid: &str, instance: &str) {
        let node = Node {
            name: name.into(),
            uid: uid.into(),
            provider_id: Some(format!("cn-hangzhou.{instance}")),
            addresses: Vec::new(),
        };
        let matched = Match::Instance { provider: "hz".into(), instance: instance.into() };
        self.nodes.insert(name.into(), (node, matched));
    }

    pub(super) fn attach(&mut self, instance: &str, id: &str, index: u32, own: &str, addresses: &str) {
        let subnet = if own.starts_with("192.168.0.") { "vsw-1" } else { "vsw-0" };
        let nic = Nic {
            id: id.into(),
            mac: None,
            index: Some(index),
            interface: None,
            subnet: subnet.into(),
            primary: vec![own.parse().unwrap()],
            addresses: set(addresses),
            use_: NicUse::Pods,
        };
        self.cloud.instances.entry(InstanceId::from(instance)).or_default().push(nic);
    }

    pub(super) fn detach(&mut self, id: &str) {
        for nics in self.cloud.instances.values_mut() {
            nics.retain(|nic| nic.id.as_str() != id);
        }
    }

    pub(super) fn empty_cloud(&mut self) {
        self.cloud.instances.clear();
    }

    pub(super) fn nic(&mut self, id: &str) -> &mut Nic {
        self.cloud.instances.values_mut().flatten().find(|nic| nic.id.as_str() == id).unwrap()
    }

    pub(super) fn take(&mut self, nic: &str, addresses: &str) {
        let nic = self.nic(nic);
        nic.addresses = nic.addresses.difference(&set(addresses));
    }

    pub(super) fn give(&mut self, nic: &str, addresses: &str) {
        let nic = self.nic(nic);
        nic.addresses = nic.addresses.union(&set(addresses));
    }

    pub(super) fn reading(&mut self) -> &mut Reading {
        self.readings.get_mut(&"hz".into()).unwrap()
    }

    /// Lets one resync pass.
    pub(super) fn wait(&mut self) {
        self.now = self.now.after(RESYNC);
    }

    /// Lets one resync pass and reads the whole cloud.
    pub(super) fn read(&mut self) {
        self.wait();
        let (cloud, now) = (self.cloud.clone(), self.now);
        self.reading().absorb(cloud, now);
    }

    /// Plans and applies once; returns the number of writes.
    pub(super) fn pass(&mut self) -> usize {
        self.pass_with(|_| true)
    }

    /// Plans once, and applies those steps that `works` lets through.
    pub(super) fn pass_with(&mut self, mut works: impl FnMut(&Change) -> bool) -> usize {
        let input = Input {
            now: self.now,
            policy: &self.policy,
            nodes: &self.nodes,
            readings: &self.readings,
            pools: &self.pools,
        };
        let plan = plan(&input, std::mem::take(&mut self.memory));
        self.memory = plan.memory.clone();
        let mut failed = std::collections::BTreeSet::new();
        for step in &plan.steps {
            let pool = step.change.pool().to_owned();
            if failed.contains(&pool) || !step.needs.is_disjoint(&failed) || !works(&step.change) {
                failed.insert(pool);
                continue;
            }
            self.apply(&step.change);
        }
        self.last = plan;
        self.last.steps.len()
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(target) => {
                assert!(!self.pools.contains_key(&target.name), "created twice");
                let pool = Pool {
                    name: target.name.clone(),
                    uid: String::new(),
                    version: String::new(),
                    owner: Owner::Ours(target.origin.clone(), target.spec.clone()),
                    ips: target.spec.ips.clone(),
                    allocated: AddressSet::new(),
                    total: None,
                    terminating: false,
                };
                self.pools.insert(target.name.clone(), pool);
            }
            Change::Update(target) => {
                let pool = self.pools.get_mut(&target.name).unwrap();
                pool.owner = Owner::Ours(target.origin.clone(), target.spec.clone());
                pool.ips = target.spec.ips.clone();
            }
            Change::Delete { name, gone, .. } => {
                assert!(gone.as_ref().is_none_or(|node| !self.nodes.contains_key(node)), "its node is there");
                self.pools.remove(name).unwrap();
            }
        }
    }

    /// Reads and plans until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            self.read();
            if self.pass() == 0 {
                return;
            }
        }
        panic!("the plan does not settle: {:#?}", self.last.steps);
    }

    fn pool_of(&self, nic: &str, family: Family) -> Option<&Pool> {
        self.pools.values().find(|pool| {
            matches!(&pool.owner, Owner::Ours(o, s) if o.nic == NicId::from(nic) && s.family() == family)
        })
    }

    fn both(&self, nic: &str, part: impl Fn(&Pool) -> AddressSet) -> AddressSet {
        let pools = Family::ALL.into_iter().filter_map(|family| self.pool_of(nic, family));
        pools.fold(AddressSet::new(), |sum, pool| sum.union(&part(pool)))
    }

    pub(super) fn ips(&self, nic: &str) -> AddressSet {
        self.both(nic, |pool| pool.ips.clone())
    }

    pub(super) fn offered(&self, nic: &str) -> AddressSet {
        self.both(nic, |pool| spec(pool).offered())
    }

    pub(super) fn excluded(&self, nic: &str) -> AddressSet {
        self.both(nic, |pool| spec(pool).excluded.clone())
    }

    pub(super) fn interface(&self, nic: &str) -> String {
        origin(self.pool_of(nic, Family::V4).unwrap()).interface.clone()
    }

    fn holder(&mut self, address: &str) -> &mut Pool {
        let address = address.parse().unwrap();
        self.pools.values_mut().find(|pool| pool.ips.contains(address)).unwrap()
    }

    pub(super) fn allocate(&mut self, nic: &str, address: &str) {
        assert!(self.offered(nic).contains(address.parse().unwrap()));
        let pool = self.holder(address);
        pool.allocated = pool.allocated.union(&set(address));
    }

    pub(super) fn free(&mut self, address: &str) {
        let pool = self.holder(address);
        pool.allocated = pool.allocated.difference(&set(address));
    }

    pub(super) fn exclude(&mut self, nic: &str, address: &str) {
        assert!(self.ips(nic).contains(address.parse().unwrap()));
        if let Owner::Ours(_, spec) = &mut self.holder(address).owner {
            spec.excluded = spec.excluded.union(&set(address));
        }
    }

    pub(super) fn foreign(&mut self, name: &str, ips: &str) {
        let pool = Pool {
            name: name.into(),
            uid: String::new(),
            version: String::new(),
            owner: Owner::Foreign,
            ips: set(ips),
            allocated: AddressSet::new(),
            total: None,
            terminating: false,
        };
        self.pools.insert(name.into(), pool);
    }

    pub(super) fn report(&self, node: &str) -> &NodeReport {
        &self.last.nodes[node]
    }
}
