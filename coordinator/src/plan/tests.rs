//! Both families, every mode, any number of interfaces, without a kernel.

use std::net::IpAddr;

use netlink::{Address, Block, Change, Family, Link, MAIN, Mac, Route, Rule};

use super::*;
use crate::config::{Config, Mode, PolicyRoute};
use crate::scene::{Node, Pod, reachable};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(text: &str) -> Block {
    let (address, prefix) = text.split_once('/').unwrap();
    Block::holding(ip(address), prefix.parse().unwrap()).unwrap()
}

fn config() -> Config {
    Config {
        mode: Mode::Auto,
        first_nic: "eth0".to_owned(),
        through_node: vec![block("10.96.0.0/12"), block("fd00:96::/112")],
        policy_routes: Vec::new(),
        tune_routes: true,
        default_nic: None,
        host_table: 500,
        rp_filter: Some(0),
        tx_queue_len: None,
        mac_prefix: None,
        link_address: None,
        mtu: None,
    }
}

/// A pod, its node, and the cable, which a test plans for and then changes as planned.
struct Scene {
    config: Config,
    cable: Cable,
    pod: Pod,
    node: Node,
}

impl Scene {
    /// A pod with a cable and nothing else; the node speaks both families.
    fn new() -> Self {
        let mut end = Link::plain(100, "veth0");
        end.mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        let cable = Cable { pod: end.clone(), node: Link::plain(200, "vethabc") };
        let pod = Pod { links: vec![end], ..Pod::default() };
        let addresses = vec![ip("10.9.0.2"), ip("fd00:9::2"), ip("10.9.1.2")];
        Self { config: config(), cable, pod, node: Node { addresses, ..Node::default() } }
    }

    /// An interface with addresses and default routes, as the plugin before makes it.
    fn attach(&mut self, name: &str, n: u8, families: &[Family]) {
        let device = 10 + u32::from(n);
        self.pod.links.push(Link::plain(device, name));
        for family in families {
            let (address, prefix, gateway) = match family {
                Family::V4 => (ip(&format!("10.9.{n}.5")), 24, ip(&format!("10.9.{n}.1"))),
                Family::V6 => (ip(&format!("fd00:9:{n}::5")), 64, ip(&format!("fd00:9:{n}::1"))),
            };
            self.pod.addresses.push(Address { device, address, prefix, usable: true });
            let mut connected = Route::direct(Block::holding(address, prefix).unwrap(), device, MAIN);
            connected.protocol = 2;
            let mut default = Route::via(Block::all(*family), gateway, device, MAIN);
            (default.protocol, default.onlink) = (3, false);
            default.priority += u32::from(n);
            self.pod.routes.extend([connected, default]);
        }
    }

    fn detach(&mut self, name: &str) {
        let device = self.pod.link(name).unwrap().index;
        self.pod.rules.retain(|rule| {
            !self
                .pod
                .addresses
                .iter()
                .any(|it| it.device == device && rule.from == Some(Block::one(it.address)))
        });
        self.pod.links.retain(|link| link.index != device);
        self.pod.addresses.retain(|it| it.device != device);
        self.pod.routes.retain(|route| route.device != device);
    }

    fn plan(&self, nic: &str, way: Way) -> Result<Plan, Unfit> {
        let Self { config, cable, pod, node } = self;
        plan(&Situation { config, way, nic, cable, pod, node })
    }

    /// Plans, does it, and makes sure that nothing is left to do.
    fn add(&mut self, nic: &str, way: Way) -> Vec<String> {
        let made = self.plan(nic, way).unwrap();
        for change in &made.pod {
            let Pod { routes, rules, neighbours, addresses, links } = &mut self.pod;
            match change.clone() {
                Change::AddRoute(route) => routes.push(route),
                Change::RemoveRoute(route) => routes.retain(|held| *held != route),
                Change::AddRule(rule) => rules.push(rule),
                Change::SetNeighbour(neighbour) => neighbours.push(neighbour),
                Change::AddAddress(address) => addresses.push(address),
                Change::SetMac { device, mac, .. } => {
                    links
                        .iter_mut()
                        .filter(|link| link.index == device)
                        .for_each(|link| link.mac = Some(mac));
                }
                other => unreachable!("{other:?}"),
            }
        }
        for change in &made.node {
            match change.clone() {
                Change::AddRoute(route) => self.node.routes.push(route),
                Change::RemoveRoute(route) => self.node.routes.retain(|held| *held != route),
                Change::AddRule(rule) => self.node.rules.push(rule),
                Change::SetNeighbour(neighbour) => self.node.neighbours.push(neighbour),
                other => unreachable!("{other:?}"),
            }
        }
        let again = self.plan(nic, way).unwrap();
        assert_eq!((again.pod, again.node), (Vec::new(), Vec::new()), "{nic}: done once is done");
        made.warnings
    }

    fn defaults(&self, family: Family) -> Vec<(u32, u32)> {
        let mut defaults: Vec<_> = self
            .pod
            .routes
            .iter()
            .filter(|route| route.to == Block::all(family) && route.device != 100)
            .map(|route| (route.table, route.device))
            .collect();
        defaults.sort_unstable();
        defaults
    }

    fn table_from(&self, address: &str) -> Option<u32> {
        let from = |rule: &&Rule| rule.from == Some(Block::one(ip(address)));
        self.pod.rules.iter().find(from).map(|rule| rule.table)
    }
}

#[test]
fn whatever_families_a_pod_speaks_only_those_are_planned_for() {
    for families in [vec![Family::V4], vec![Family::V6], Family::BOTH.to_vec()] {
        let mut scene = Scene::new();
        scene.attach("eth0", 0, &families);
        assert_eq!(scene.add("eth0", Way::UnderlayFirst), Vec::<String>::new());
        for family in Family::BOTH {
            let spoken = families.contains(&family);
            assert_eq!(scene.pod.rules.iter().any(|rule| rule.family == family), spoken);
            assert_eq!(scene.node.rules.iter().any(|rule| rule.family == family), spoken);
            assert_eq!(scene.pod.routes.iter().any(|route| route.to.family() == family), spoken);
            assert_eq!(scene.node.routes.iter().any(|route| route.to.family() == family), spoken);
            assert_eq!(scene.pod.neighbours.iter().any(|it| Family::of(it.address) == family), spoken);
        }
    }
}

#[test]
fn any_number_of_interfaces_coming_and_going_have_a_table_each() {
    for way in [Way::UnderlayLater, Way::Overlay] {
        let mut scene = Scene::new();
        scene.attach("eth0", 0, &Family::BOTH);
        if way == Way::UnderlayLater {
            scene.add("eth0", Way::UnderlayFirst);
        } else {
            scene.cable.pod = scene.pod.link("eth0").unwrap().clone();
        }
        let mut there: Vec<u8> = Vec::new();
        for step in 0..200_u16 {
            let n = u8::try_from(1 + step * 7 % 40).unwrap();
            if let Some(at) = there.iter().position(|known| *known == n) {
                scene.detach(&format!("net{n}"));
                there.remove(at);
            } else {
                scene.attach(&format!("net{n}"), n, &Family::BOTH);
                scene.add(&format!("net{n}"), way);
                there.push(n);
            }
            let mut tables: Vec<u32> = there
                .iter()
                .map(|n| {
                    let table = scene.table_from(&format!("10.9.{n}.5")).unwrap();
                    assert_eq!(scene.table_from(&format!("fd00:9:{n}::5")), Some(table));
                    table
                })
                .collect();
            tables.sort_unstable();
            tables.dedup();
            assert_eq!(tables.len(), there.len(), "one each");
            assert!(tables.iter().all(|table| *table > 101 && !(253..=255).contains(table)), "{tables:?}");
            assert_eq!(scene.defaults(Family::V4).iter().filter(|(table, _)| *table == MAIN).count(), 1);
        }
    }
}

#[test]
fn the_named_interface_takes_the_default_route_and_gives_it_back_to_the_named() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &Family::BOTH);
    scene.add("eth0", Way::UnderlayFirst);
    scene.config.default_nic = Some("net2".to_owned());
    scene.attach("net1", 1, &Family::BOTH);
    let warnings = scene.add("net1", Way::UnderlayLater);
    assert!(warnings.len() == 1 && warnings[0].contains("net2"), "{warnings:?}");
    scene.attach("net2", 2, &Family::BOTH);
    assert_eq!(scene.add("net2", Way::UnderlayLater), Vec::<String>::new());
    for family in Family::BOTH {
        assert_eq!(scene.defaults(family), [(101, 10), (102, 11), (103, 12), (MAIN, 12)]);
    }
    // Another word, and the first has it again.
    scene.config.default_nic = None;
    scene.add("net2", Way::UnderlayLater);
    for family in Family::BOTH {
        assert_eq!(scene.defaults(family), [(101, 10), (102, 11), (103, 12), (MAIN, 10)]);
    }
}

#[test]
fn a_default_route_stays_where_it_is_when_the_keeper_has_none_of_its_family() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &[Family::V4]);
    scene.add("eth0", Way::UnderlayFirst);
    scene.attach("net1", 1, &Family::BOTH);
    scene.add("net1", Way::UnderlayLater);
    assert_eq!(scene.defaults(Family::V4), [(101, 10), (102, 11), (MAIN, 10)]);
    assert_eq!(scene.defaults(Family::V6), [(102, 11), (MAIN, 11)]);
}

#[test]
fn without_tuning_no_table_is_made_and_nothing_moves() {
    let mut scene = Scene::new();
    scene.config.tune_routes = false;
    scene.config.policy_routes = vec![PolicyRoute { to: block("192.0.2.0/24"), gateway: ip("10.9.1.1") }];
    scene.attach("eth0", 0, &Family::BOTH);
    scene.add("eth0", Way::UnderlayFirst);
    scene.attach("net1", 1, &Family::BOTH);
    scene.add("net1", Way::UnderlayLater);
    assert_eq!(scene.defaults(Family::V4), [(MAIN, 10), (MAIN, 11)]);
    assert!(scene.pod.rules.iter().all(|rule| rule.from.is_none()));
    // The node knows its way to it all the same.
    assert!(scene.node.routes.iter().any(|route| route.to == Block::one(ip("10.9.1.5"))));
}

#[test]
fn the_policies_of_a_further_interface_are_in_its_table() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &[Family::V4]);
    scene.add("eth0", Way::UnderlayFirst);
    scene.config.policy_routes = vec![PolicyRoute { to: block("192.0.2.0/24"), gateway: ip("10.9.1.1") }];
    scene.attach("net1", 1, &[Family::V4]);
    scene.add("net1", Way::UnderlayLater);
    let found: Vec<_> = scene
        .pod
        .routes
        .iter()
        .filter(|route| route.to == block("192.0.2.0/24"))
        .map(|it| it.table)
        .collect();
    assert_eq!(found, [102]);
}

#[test]
fn a_node_without_a_family_is_told_of_and_the_other_family_works() {
    let mut scene = Scene::new();
    scene.node.addresses.retain(IpAddr::is_ipv4);
    scene.attach("eth0", 0, &Family::BOTH);
    let warnings = scene.add("eth0", Way::UnderlayFirst);
    assert!(warnings.len() == 1 && warnings[0].contains("no IPv6 address"), "{warnings:?}");
    assert!(scene.pod.routes.iter().any(|route| route.to == block("10.96.0.0/12")));
}

#[test]
fn an_address_that_is_not_free_yet_is_no_source() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &[Family::V6]);
    scene.pod.addresses.iter_mut().for_each(|address| address.usable = false);
    scene.add("eth0", Way::UnderlayFirst);
    assert!(scene.pod.routes.iter().all(|route| route.source.is_none()));
    // When it is, CHECK sees nothing wrong.
    scene.pod.addresses.iter_mut().for_each(|address| address.usable = true);
    assert_eq!(scene.plan("eth0", Way::UnderlayFirst).unwrap(), Plan::default());
}

#[test]
fn a_mac_prefix_is_for_interfaces_that_have_a_mac_of_their_own() {
    let mut scene = Scene::new();
    scene.config.mac_prefix = Some([0x0a, 0x1b]);
    scene.attach("eth0", 0, &Family::BOTH);
    scene.pod.links[1].kind = "ipvlan".to_owned();
    let Unfit(why) = scene.plan("eth0", Way::UnderlayFirst).unwrap_err();
    assert!(why.contains("podMACPrefix") && why.contains("ipvlan"), "{why}");
    scene.pod.links[1].kind = "macvlan".to_owned();
    scene.add("eth0", Way::UnderlayFirst);
    assert_eq!(scene.pod.links[1].mac, Some(Mac([0x0a, 0x1b, 10, 9, 0, 5])));
}

#[test]
fn somebody_elses_route_to_a_service_stays_and_is_told_of() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &[Family::V4]);
    let mut foreign = Route::via(block("10.96.0.0/12"), ip("10.9.0.1"), 10, MAIN);
    foreign.protocol = 4;
    scene.pod.routes.push(foreign.clone());
    let warnings = scene.add("eth0", Way::UnderlayFirst);
    assert!(warnings.len() == 1 && warnings[0].contains("10.96.0.0/12"), "{warnings:?}");
    assert!(scene.pod.routes.contains(&foreign));
}

#[test]
fn what_a_former_owner_of_the_address_left_on_the_node_gives_way() {
    let mut scene = Scene::new();
    scene.attach("eth0", 0, &[Family::V4]);
    let stale = |protocol, device| {
        let mut route = Route::direct(Block::one(ip("10.9.0.5")), device, 500);
        route.protocol = protocol;
        route
    };
    for held in [stale(netlink::PROTOCOL, 7), stale(3, 7)] {
        scene.node.routes = vec![held];
        scene.node.rules.clear();
        scene.node.neighbours.clear();
        let planned = scene.plan("eth0", Way::UnderlayFirst).unwrap();
        let removes =
            planned.node.iter().any(|change| matches!(change, Change::RemoveRoute(it) if it.device == 7));
        let adds =
            planned.node.iter().any(|change| matches!(change, Change::AddRoute(it) if it.device == 200));
        assert!(removes && adds, "{planned:?}");
    }
}

#[test]
fn the_mode_follows_from_the_pods_interfaces() {
    let modes = |nic, cable| {
        [Mode::Auto, Mode::Underlay, Mode::Overlay, Mode::Disabled]
            .map(|mode| way(mode, nic, "eth0", cable).ok())
    };
    let first = Some(Some(Way::UnderlayFirst));
    assert_eq!(modes("eth0", false), [first, first, None, Some(None)]);
    assert_eq!(modes("eth0", true), [first, first, None, Some(None)]);
    assert_eq!(modes("net1", false), [Some(Some(Way::Overlay)), None, Some(Some(Way::Overlay)), Some(None)]);
    let later = Some(Some(Way::UnderlayLater));
    assert_eq!(modes("net1", true), [later, later, None, Some(None)]);
}

#[test]
fn a_nodes_addresses_are_those_of_no_container_network_the_nearest_first() {
    let names =
        ["lo", "eth0", "docker0", "cali12", "vethabc", "eth1", "nodelocaldns", "cilium_host", "bond0.5"];
    let links: Vec<_> = (0..).zip(names).map(|(index, name)| Link::plain(index, name)).collect();
    let mut addresses: Vec<_> = (0..9_u8)
        .map(|n| Address { device: n.into(), address: IpAddr::from([10, 0, 0, n]), prefix: 24, usable: true })
        .collect();
    addresses.push(Address { device: 1, address: ip("fe80::1"), prefix: 64, usable: true });
    let found = reachable(&[ip("10.0.0.5")], &links, &addresses);
    assert_eq!(found, ["10.0.0.5", "10.0.0.1", "10.0.0.6", "10.0.0.8"].map(ip));
}
