use netlink::Link;
use proptest::prelude::*;

use super::*;
use crate::request::{Asked, AskedBond};

fn request(interfaces: &[&str], vlan: u64, mtu: u64, bond: Option<(&str, &str)>) -> Request {
    let bond = bond.map(|(mode, options)| AskedBond {
        name: "bond0".to_owned(),
        mode: mode.to_owned(),
        options: options.to_owned(),
    });
    let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    Request::new(&Asked { interfaces, vlan, mtu, bond }).unwrap()
}

/// A node with a loopback and four NICs, of which the first is the node's own.
fn node() -> Scene {
    let mut lo = Link::plain(1, "lo");
    lo.mac = None;
    let mut links = vec![lo];
    for (index, name) in (10..).zip(["eth0", "eth1", "eth2", "eth3"]) {
        let mut link = Link::plain(index, name);
        link.mac = Some(Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]));
        links.push(link);
    }
    Scene { links, addresses: vec![(10, IpAddr::from([10, 0, 0, 1]))], defaults: vec![10] }
}

fn with(mut scene: Scene, index: u32, name: &str, change: impl FnOnce(&mut Link)) -> Scene {
    let mut link = Link::plain(index, name);
    change(&mut link);
    scene.links.push(link);
    scene
}

fn change(mut scene: Scene, name: &str, change: impl FnOnce(&mut Link)) -> Scene {
    change(scene.links.iter_mut().find(|link| link.name == name).unwrap());
    scene
}

fn vlan(link: &mut Link, id: u16, parent: u32) {
    link.kind = "vlan".to_owned();
    link.stacked = Some(Stacked::Vlan { id, is_plain: true });
    link.peer = Some(parent);
}

fn bond(link: &mut Link, mode: u8, options: Vec<(u16, Vec<u8>)>) {
    link.kind = "bond".to_owned();
    link.stacked = Some(Stacked::Bond { mode, options });
}

fn steps(request: &Request, scene: &Scene) -> Vec<String> {
    plan(request, scene).unwrap().steps.iter().map(Step::to_string).collect()
}

fn refused(request: &Request, scene: &Scene, words: &[&str]) {
    let Unfit(why) = plan(request, scene).unwrap_err();
    assert!(words.iter().all(|word| why.contains(word)), "{words:?} in {why}");
}

/// Does what the kernel would.
fn done(mut scene: Scene, plan: &Plan) -> Scene {
    for step in &plan.steps {
        let next = scene.links.iter().map(|link| link.index).max().unwrap() + 1;
        let number = |scene: &Scene, name: &str| scene.link(name).unwrap().index;
        scene = match step {
            Step::SetUp(device) => change(scene, device, |link| {
                let mut up = Link::plain(link.index, &link.name);
                (up.mac, up.mtu, up.kind) = (link.mac, link.mtu, link.kind.clone());
                (up.peer, up.master, up.stacked) = (link.peer, link.master, link.stacked.clone());
                *link = up;
            }),
            Step::RaiseMtu { device, mtu } => change(scene, device, |link| link.mtu = *mtu),
            Step::AddBond { name, mode, mac, mtu, .. } => with(scene, next, name, |link| {
                bond(link, *mode, Vec::new());
                (link.mac, link.mtu) = (*mac, *mtu);
            }),
            Step::Enslave { part, bond } => {
                let (master, mtu) = (number(&scene, bond), scene.link(bond).unwrap().mtu);
                change(scene, part, |link| (link.master, link.mtu) = (Some(master), mtu))
            }
            Step::Prefer { .. } => scene,
            Step::AddVlan { name, parent, id, mtu } => {
                let parent = scene.link(parent).unwrap().clone();
                assert!(parent.is_up() && mtu.is_none_or(|mtu| mtu <= parent.mtu), "{parent:?}");
                with(scene, next, name, |link| {
                    vlan(link, *id, parent.index);
                    link.mtu = mtu.unwrap_or(parent.mtu);
                })
            }
        };
    }
    scene
}

#[test]
fn one_interface_without_vlan_is_only_set_up() {
    assert_eq!(steps(&request(&["eth1"], 0, 0, None), &node()), [""; 0]);
    let down = change(node(), "eth1", |link| *link = link.clone().down());
    assert_eq!(steps(&request(&["eth1"], 0, 0, None), &down), ["set eth1 up"]);
    assert_eq!(steps(&request(&["eth1"], 0, 9000, None), &node()), ["raise the MTU of eth1 to 9000"]);
    assert_eq!(steps(&request(&["eth1"], 0, 1400, None), &node()), [""; 0]);
    // The node's own may be one, too: nothing is taken from it.
    assert_eq!(steps(&request(&["eth0"], 5, 0, None), &node()), ["create eth0.5, VLAN 5 of eth0"]);
}

#[test]
fn a_vlan_stands_on_a_parent_that_is_up_and_takes_its_packets() {
    let down = change(node(), "eth1", |link| *link = link.clone().down());
    assert_eq!(
        steps(&request(&["eth1"], 5, 9000, None), &down),
        ["raise the MTU of eth1 to 9000", "set eth1 up", "create eth1.5, VLAN 5 of eth1"]
    );
    let there = with(node(), 20, "eth1.5", |link| vlan(link, 5, 11));
    assert_eq!(steps(&request(&["eth1"], 5, 0, None), &there), [""; 0]);
    let down = change(there, "eth1.5", |link| *link = link.clone().down());
    assert_eq!(steps(&request(&["eth1"], 5, 0, None), &down), ["set eth1.5 up"]);
}

#[test]
fn another_interface_in_the_place_of_a_vlan_is_named_with_what_is_asked_for() {
    let asked = request(&["eth1"], 5, 0, None);
    let place = |fill: fn(&mut Link)| with(node(), 20, "eth1.5", fill);
    let wants = ["eth1.5", "VLAN 5 of eth1 is asked for"];
    for (scene, is) in [
        (place(|link| vlan(link, 7, 11)), "VLAN 7 of eth1,"),
        (place(|link| vlan(link, 5, 12)), "VLAN 5 of eth2,"),
        (place(|link| link.kind = "veth".to_owned()), "an interface of kind veth"),
        (place(|link| bond(link, 1, Vec::new())), "a bond of mode 1 (active-backup)"),
        (
            place(|link| {
                vlan(link, 5, 11);
                link.stacked = Some(Stacked::Vlan { id: 5, is_plain: false });
            }),
            "802.1ad",
        ),
        (
            place(|link| {
                vlan(link, 5, 11);
                link.peer_is_elsewhere = true;
            }),
            "another namespace",
        ),
    ] {
        refused(&asked, &scene, &[wants[0], wants[1], is]);
    }
    let named = with(node(), 20, "lan", |link| vlan(link, 5, 11));
    refused(&asked, &named, &["VLAN 5 of eth1 is there already under the name lan", "eth1.5 is asked for"]);
    // The same number on another NIC is another VLAN.
    let other = with(node(), 20, "eth2.5", |link| vlan(link, 5, 12));
    assert_eq!(steps(&asked, &other), ["create eth1.5, VLAN 5 of eth1"]);
    refused(&request(&["eth9"], 5, 0, None), &node(), &["no interface eth9"]);
}

#[test]
fn a_bond_takes_the_address_and_mtu_of_its_parts_and_is_watched() {
    let jumbo = change(change(node(), "eth1", |link| link.mtu = 9001), "eth2", |link| link.mtu = 8001);
    let asked = request(&["eth1", "eth2"], 5, 0, Some(("1", "active_slave=eth2;primary=eth1")));
    let plan = plan(&asked, &jumbo).unwrap();
    assert_eq!(
        plan.steps.iter().map(Step::to_string).collect::<Vec<_>>(),
        [
            "create the bond bond0 of mode 1 (active-backup)",
            "make eth1 a part of bond0",
            "make eth2 a part of bond0",
            "set active_slave of bond0",
            "create bond0.5, VLAN 5 of bond0",
        ]
    );
    let Some(Step::AddBond { mac, mtu, settings, .. }) = plan.steps.first() else { panic!() };
    assert_eq!((*mac, *mtu), (Some(Mac([2, 0, 0, 0, 0, 11])), 8001));
    assert_eq!(settings.iter().map(|it| it.name).collect::<Vec<_>>(), ["miimon", "primary"]);
}

#[test]
fn a_bond_that_is_there_gets_what_it_lacks() {
    let asked = request(&["eth1", "eth2"], 0, 0, Some(("1", "miimon=100;updelay=150;active_slave=eth2")));
    let there =
        with(node(), 20, "bond0", |link| bond(link, 1, vec![(3, vec![100, 0, 0, 0]), (4, vec![0; 4])]));
    let one = change(there.clone(), "eth1", |link| link.master = Some(20));
    assert_eq!(plan(&asked, &one).unwrap().warnings, [""; 0]);
    assert_eq!(steps(&asked, &one), ["make eth2 a part of bond0"]);
    let both = change(one, "eth2", |link| (*link, link.master) = (link.clone().down(), Some(20)));
    assert_eq!(steps(&asked, &both), ["set eth2 up"]);
    // The node's own is not looked at any more once it is in.
    let own = change(there, "eth0", |link| link.master = Some(20));
    let own = change(own, "eth1", |link| link.master = Some(20));
    assert_eq!(steps(&request(&["eth0", "eth1"], 0, 0, Some(("1", ""))), &own), [""; 0]);
    let other = with(node(), 20, "bond0", |link| bond(link, 1, vec![(3, vec![0; 4])]));
    let warnings = plan(&asked, &other).unwrap().warnings;
    assert!(matches!(warnings.as_slice(), [one] if one.contains("without miimon=100")), "{warnings:?}");
}

#[test]
fn another_interface_in_the_place_of_a_bond_is_named_with_what_is_asked_for() {
    let asked = request(&["eth1", "eth2"], 0, 0, Some(("4", "")));
    let other = with(node(), 20, "bond0", |link| bond(link, 1, Vec::new()));
    refused(&asked, &other, &["bond0", "mode 1 (active-backup)", "mode 4 (802.3ad) is asked for"]);
    let idle = change(other, "bond0", |link| *link = link.clone().down());
    refused(&asked, &idle, &["bond0", "no parts", "remove it"]);
    let other = with(node(), 20, "bond0", |link| link.kind = "dummy".to_owned());
    refused(&asked, &other, &["bond0", "kind dummy", "a bond is asked for"]);
}

#[test]
fn the_node_is_never_cut_off_by_a_bond() {
    let asked = |part: &str| request(&[part, "eth2"], 0, 0, Some(("1", "")));
    refused(&asked("eth0"), &node(), &["eth0", "default route", "bond0"]);
    let mut addressed = node();
    addressed.addresses.push((11, IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])));
    refused(&asked("eth1"), &addressed, &["eth1", "fd00::1"]);
    let mut local = node();
    local.addresses.push((11, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1])));
    assert_eq!(steps(&asked("eth1"), &local).len(), 3);
    refused(&asked("lo"), &node(), &["lo", "no Ethernet"]);
    let carries = with(node(), 20, "eth1.9", |link| vlan(link, 9, 11));
    refused(&asked("eth1"), &carries, &["eth1.9 (VLAN 9 of eth1) stands on it"]);
    let other = with(node(), 20, "bond7", |link| bond(link, 1, Vec::new()));
    let other = change(other, "eth1", |link| link.master = Some(20));
    refused(&asked("eth1"), &other, &["eth1 is a part of bond7 already", "bond0"]);
    refused(&asked("eth9"), &node(), &["no interface eth9"]);
}

proptest! {
    #[test]
    fn what_was_done_is_not_done_again(
        down in prop::collection::vec(any::<bool>(), 3),
        mtus in prop::collection::vec(prop::sample::select(vec![1280u32, 1500, 9001]), 3),
        parts in 1usize..=3,
        vlan in prop::sample::select(vec![0u64, 1, 4094]),
        mtu in prop::sample::select(vec![0u64, 1400, 9000]),
        mode in 0u8..7,
    ) {
        let names = ["eth1", "eth2", "eth3"];
        let mut scene = node();
        for ((name, down), mtu) in names.iter().zip(down).zip(mtus) {
            scene = change(scene, name, |link| {
                link.mtu = mtu;
                if down {
                    *link = link.clone().down();
                }
            });
        }
        let mode = mode.to_string();
        let asked = request(&names[..parts], vlan, mtu, Some((&mode, "")));
        let first = plan(&asked, &scene).unwrap();
        // The kernel sets a part up as it takes it.
        let mut after = done(scene, &first);
        for link in &mut after.links {
            if link.master.is_some() {
                let (master, mtu) = (link.master, link.mtu);
                *link = Link::plain(link.index, &link.name.clone());
                (link.master, link.mtu) = (master, mtu);
            }
        }
        prop_assert_eq!(plan(&asked, &after).unwrap(), Plan::default());
        let device = after.link(asked.device()).unwrap();
        prop_assert!(device.is_up() && u64::from(device.mtu) >= mtu);
    }
}
