//! The verbs on two real network namespaces, looked at with iproute2.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "../neighbours/pair.rs"]
mod pair;

use std::net::IpAddr;

use netlink::xtables::Own;
use netlink::{
    Address, Block, Chain, Change, Family, Hook, Listener, MAIN, Mac, Neighbour, Netns, News, Nftables,
    Outcome, PROTOCOL, Route, Rtnetlink, Rule, Statement, Table, Veth, xtables,
};
use pair::{End, Pair};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(text: &str) -> Block {
    let (address, prefix) = text.split_once('/').unwrap();
    Block::holding(ip(address), prefix.parse().unwrap()).unwrap()
}

fn inside<T: Send>(end: &End, work: impl FnOnce(&mut Rtnetlink) -> T + Send) -> T {
    Netns::open(&end.path()).unwrap().run(|| work(&mut Rtnetlink::open().unwrap())).unwrap()
}

fn made(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done)), "{outcomes:?}");
}

fn repeated(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Already)), "{outcomes:?}");
}

/// Both families on the pod's interface.
fn addressed() -> Pair {
    let pair = Pair::new();
    pair.pod.ip("address add 10.9.0.5/24 dev pod");
    pair.pod.ip("address add fd00:9::5/64 dev pod nodad");
    pair
}

#[test]
fn a_batch_of_everything_is_made_listed_repeated_and_taken_back() {
    let pair = addressed();
    inside(&pair.pod, |netlink| {
        let device = netlink.link("pod").unwrap().unwrap().index;
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let mut changes = Vec::new();
        for (host, gateway, own, far) in [
            ("192.0.2.1/32", "192.0.2.1", "10.9.0.5", "10.96.0.0/12"),
            ("2001:db8::1/128", "2001:db8::1", "fd00:9::5", "fd00:96::/112"),
        ] {
            let family = Family::of(ip(gateway));
            changes.push(Change::AddRoute(Route::direct(block(host), device, 101)));
            changes.push(Change::AddRoute(Route::direct(block(host), device, MAIN).from(Some(ip(own)))));
            changes.push(Change::AddRoute(
                Route::via(block(far), ip(gateway), device, MAIN).from(Some(ip(own))),
            ));
            changes.push(Change::AddRoute(Route::via(Block::all(family), ip(gateway), device, 1000)));
            let mut rule = Rule::lookup(family, 2000, 101);
            rule.from = Some(Block::one(ip(own)));
            changes.push(Change::AddRule(rule));
            let mut rule = Rule::lookup(family, 1000, 1000);
            rule.mark = Some((0x2000_0000, 0x2000_0000));
            changes.push(Change::AddRule(rule));
            let mut rule = Rule::lookup(family, 1001, 1000);
            rule.input = Some("pod".to_owned());
            changes.push(Change::AddRule(rule));
            changes.push(Change::SetNeighbour(Neighbour { device, address: ip(gateway), mac }));
        }
        made(&netlink.apply(&changes).unwrap());

        let (routes, rules, neighbours) =
            (netlink.routes().unwrap(), netlink.rules().unwrap(), netlink.neighbours(None).unwrap());
        for change in &changes {
            match change {
                Change::AddRoute(route) => assert!(routes.contains(route), "{route:?} not in {routes:#?}"),
                Change::AddRule(rule) => assert!(rules.contains(rule), "{rule:?} not in {rules:#?}"),
                Change::SetNeighbour(it) => assert!(neighbours.contains(it), "{it:?} not in {neighbours:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(netlink.routes_of_table(1000).unwrap().len(), 2);
        assert_eq!(netlink.routes_of_table(77_777).unwrap(), []);
        assert_eq!(netlink.neighbours(Some(device)).unwrap().len(), 2);
        let mut adds = changes.clone();
        // A neighbour is set anew each time.
        adds.retain(|change| !matches!(change, Change::SetNeighbour(_)));
        repeated(&netlink.apply(&adds).unwrap());

        let undo: Vec<_> = changes.iter().rev().filter_map(Change::inverse).collect();
        made(&netlink.apply(&undo).unwrap());
        repeated(&netlink.apply(&undo).unwrap());
        assert!(netlink.routes().unwrap().iter().all(|route| route.protocol != PROTOCOL));
        assert!(netlink.rules().unwrap().iter().all(|rule| rule.protocol != PROTOCOL));
        assert_eq!(netlink.neighbours(None).unwrap(), []);
    });
    for what in ["-4 rule", "-6 rule"] {
        assert!(!pair.pod.ip(what).contains("101"), "{}", pair.pod.ip(what));
    }
}

#[test]
fn what_iproute2_made_is_read() {
    let pair = addressed();
    pair.pod.ip("route add 10.50.0.0/16 via 10.9.0.1 dev pod mtu 1400 metric 7 table 300");
    pair.pod.ip("rule add from 10.9.0.5/32 priority 50 lookup 300");
    pair.pod.ip("rule add to 10.9.0.6/32 priority 51 lookup 301");
    inside(&pair.pod, |netlink| {
        let route = netlink.routes_of_table(300).unwrap().pop().unwrap();
        assert_eq!(
            (route.to, route.gateway, route.priority),
            (block("10.50.0.0/16"), Some(ip("10.9.0.1")), 7)
        );
        assert!(!route.metrics.is_empty() && route.protocol == 3);
        // A copy keeps what we do not understand.
        made(&netlink.apply(&[Change::AddRoute(Route { table: 302, ..route })]).unwrap());
        let rules = netlink.rules().unwrap();
        let find = |priority| rules.iter().find(|rule| rule.priority == priority).unwrap();
        assert_eq!((find(50).from, find(50).table), (Some(Block::one(ip("10.9.0.5"))), 300));
        assert!(!find(50).has_more && find(51).has_more && !find(32766).has_more);
    });
    assert!(pair.pod.ip("route show table 302").contains("mtu 1400"));
}

#[test]
fn ipv6_routes_of_several_gateways_are_several_routes() {
    let pair = addressed();
    pair.pod.ip("-6 route add default via fd00:9::1 dev pod");
    pair.pod.ip("-6 route append default via fd00:9::2 dev pod");
    inside(&pair.pod, |netlink| {
        let defaults = |netlink: &mut Rtnetlink| {
            let all = netlink.routes().unwrap().into_iter();
            let mut found: Vec<_> = all.filter(|route| route.to == Block::all(Family::V6)).collect();
            found.sort_by_key(|route| route.gateway);
            found
        };
        let both = defaults(netlink);
        assert_eq!(
            both.iter().map(|route| route.gateway).collect::<Vec<_>>(),
            [Some(ip("fd00:9::1")), Some(ip("fd00:9::2"))]
        );
        made(&netlink.apply(&[Change::RemoveRoute(both[0].clone())]).unwrap());
        assert_eq!(defaults(netlink), both[1..]);
    });
}

#[test]
fn one_refusal_of_a_batch_says_what_and_why_and_the_rest_is_made() {
    let pair = addressed();
    let outcomes = inside(&pair.pod, |netlink| {
        let device = netlink.link("pod").unwrap().unwrap().index;
        let mut wrong = Route::via(block("10.60.0.0/16"), ip("172.16.9.9"), device, MAIN);
        wrong.onlink = false;
        let right = Route::direct(block("10.61.0.0/16"), device, MAIN);
        netlink.apply(&[Change::AddRoute(wrong), Change::AddRoute(right)]).unwrap()
    });
    let [Outcome::Refused(error), Outcome::Done] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    let text = error.to_string();
    assert!(text.contains("10.60.0.0/16 via 172.16.9.9 dev pod"), "{text}");
    assert!(text.contains("Nexthop has invalid gateway"), "{text}");
}

#[test]
fn a_batch_larger_than_the_sockets_buffer_is_told_of_one_by_one() {
    let pair = addressed();
    inside(&pair.pod, |netlink| {
        let device = netlink.link("pod").unwrap().unwrap().index;
        let route = |n: u16| {
            let [a, b] = n.to_be_bytes();
            Change::AddRoute(Route::direct(Block::one(IpAddr::from([10, 70, a, b])), device, 400))
        };
        let changes: Vec<_> = (0..1000).map(route).collect();
        made(&netlink.apply(&changes).unwrap());
        repeated(&netlink.apply(&changes).unwrap());
        assert_eq!(netlink.routes_of_table(400).unwrap().len(), 1000);
    });
}

#[test]
fn a_cable_into_another_namespace_has_both_names_macs_and_mtu_and_is_up() {
    let pair = Pair::new();
    let peer = Netns::open(&pair.peer.path()).unwrap();
    let veth = Veth {
        name: "cable".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        peer_name: "veth0".to_owned(),
        peer_mac: Mac([2, 0, 0, 0, 0, 2]),
        mtu: 9001,
    };
    inside(&pair.pod, |netlink| {
        netlink.create_veth(&veth, &peer).unwrap();
        let here = netlink.link("cable").unwrap().unwrap();
        assert_eq!((here.mac, here.mtu, here.kind.as_str()), (Some(veth.mac), 9001, "veth"));
        assert!(here.is_up());
        let error = netlink.create_veth(&veth, &peer).unwrap_err().to_string();
        assert!(error.contains("cable") && error.contains("veth0"), "{error}");
        let there = peer.run(|| Rtnetlink::open().unwrap().link("veth0").unwrap().unwrap()).unwrap();
        assert_eq!((there.mac, there.peer, there.mtu), (Some(veth.peer_mac), Some(here.index), 9001));
        assert_eq!(here.peer, Some(there.index));
        assert!(!there.is_up());
        let up = || Rtnetlink::open().unwrap().apply(&[Change::SetUp(there.index)]).unwrap();
        made(&peer.run(up).unwrap());
        assert!(netlink.remove_link("cable").unwrap() && !netlink.remove_link("cable").unwrap());
        assert_eq!(netlink.link("cable").unwrap(), None);
    });
}

#[test]
fn an_interfaces_mac_queue_and_addresses_are_changed_and_changed_back() {
    let pair = addressed();
    inside(&pair.pod, |netlink| {
        let link = netlink.link("pod").unwrap().unwrap();
        let device = link.index;
        let changes = [
            Change::SetMac { device, mac: Mac([2, 1, 2, 3, 4, 5]), before: link.mac.unwrap() },
            Change::SetTxQueueLen { device, length: 77, before: link.tx_queue_len },
            Change::AddAddress(Address { device, address: ip("169.254.9.9"), prefix: 32, usable: true }),
        ];
        made(&netlink.apply(&changes).unwrap());
        let now = netlink.link("pod").unwrap().unwrap();
        assert_eq!((now.mac, now.tx_queue_len), (Some(Mac([2, 1, 2, 3, 4, 5])), 77));
        let has = |netlink: &mut Rtnetlink| {
            netlink.addresses().unwrap().iter().any(|it| it.address == ip("169.254.9.9"))
        };
        assert!(has(netlink));
        made(&netlink.apply(&changes.iter().rev().filter_map(Change::inverse).collect::<Vec<_>>()).unwrap());
        assert_eq!(netlink.link("pod").unwrap().unwrap(), link);
        assert!(!has(netlink));
    });
}

#[test]
fn the_address_that_a_host_would_send_from_is_told() {
    let pair = addressed();
    inside(&pair.pod, |netlink| {
        assert_eq!(netlink.source_toward(ip("10.9.0.77")).unwrap(), Some(ip("10.9.0.5")));
        assert_eq!(netlink.source_toward(ip("fd00:9::77")).unwrap(), Some(ip("fd00:9::5")));
        assert_eq!(netlink.source_toward(ip("203.0.113.1")).unwrap(), None);
        assert_eq!(netlink.source_toward(ip("2001:db8::77")).unwrap(), None);
    });
}

#[test]
fn a_thread_that_visits_a_namespace_comes_back() {
    let pair = Pair::new();
    let (pod, peer) = (Netns::open(&pair.pod.path()).unwrap(), Netns::open(&pair.peer.path()).unwrap());
    pod.run(|| {
        let home = Netns::current().unwrap();
        let mut there = peer.visit(&home, || Rtnetlink::open().unwrap()).unwrap();
        assert!(Rtnetlink::open().unwrap().link("pod").unwrap().is_some());
        // A socket stays where it was opened.
        assert!(there.link("peer").unwrap().is_some() && there.link("pod").unwrap().is_none());
    })
    .unwrap();
}

#[test]
fn an_nftables_table_is_replaced_counted_and_removed() {
    let pair = Pair::new();
    let chain = |rules: Vec<Vec<Statement>>| Chain { name: "in".to_owned(), hook: Hook::Prerouting, rules };
    let rule = || {
        vec![
            Statement::CameThrough("pod".to_owned()),
            Statement::BeginsConnection,
            Statement::MarkConnection(0x2000_0000),
        ]
    };
    let out = Chain {
        name: "out".to_owned(),
        hook: Hook::Output,
        rules: vec![vec![Statement::ConnectionHas(0x2000_0000), Statement::MarkPacket(0x2000_0000)]],
    };
    let table = |rules| Table { name: "ours".to_owned(), chains: vec![chain(rules), out.clone()] };
    Netns::open(&pair.pod.path())
        .unwrap()
        .run(|| {
            let mut nftables = Nftables::open().unwrap().unwrap();
            assert_eq!(nftables.rules("ours").unwrap(), None);
            if !nftables.replace(&table(vec![rule(), rule()])).unwrap() {
                // A kernel without internet packets in its nftables says so, and nothing was made.
                assert_eq!(nftables.rules("ours").unwrap(), None);
                return;
            }
            assert_eq!(nftables.rules("ours").unwrap(), Some(3));
            assert!(nftables.replace(&table(vec![rule()])).unwrap());
            assert_eq!(nftables.rules("ours").unwrap(), Some(2));
            nftables.remove("ours").unwrap();
            nftables.remove("ours").unwrap();
            assert_eq!(nftables.rules("ours").unwrap(), None);
        })
        .unwrap();
}

#[test]
fn the_older_packet_filter_of_a_new_namespace_is_told_without_being_asked() {
    let pair = Pair::new();
    let marks = xtables::Marks::Replies { input: "veth0", mark: 0x2000_0000 };
    let others = xtables::Marks::Replies { input: "eth0", mark: 0x1000_0000 };
    Netns::open(&pair.pod.path())
        .unwrap()
        .run(|| {
            for family in Family::BOTH {
                let is = |marks| xtables::is_marked(family, marks).unwrap();
                assert!(!xtables::is_in_use(family), "nobody has made the table");
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(true));
                assert!(xtables::is_in_use(family));
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(false), "it is there already");
                // As many of the same size, and others.
                assert_eq!((is(&marks), is(&others)), (Some(true), Some(false)));
                assert_eq!(xtables::mark(family, &others).unwrap(), Some(true));
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(false));
                assert_eq!((is(&marks), is(&others)), (Some(true), Some(true)));
                xtables::unmark(family, &marks).unwrap();
                xtables::unmark(family, &others).unwrap();
                assert_eq!((is(&marks), is(&others)), (Some(false), Some(false)));
                assert!(xtables::is_in_use(family), "its table stays, as it was in the beginning");
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(true));
            }
        })
        .unwrap();
}

#[test]
fn the_older_packet_filter_is_told_the_same_beside_whatever_it_holds() {
    let pair = Pair::new();
    let marks = xtables::Marks::Replies { input: "veth0", mark: 0x2000_0000 };
    let blocks = [block("10.96.0.0/12"), block("fd00:96::/112"), block("192.0.2.0/24")];
    let destinations = |blocks, own| xtables::Marks::Destinations { group: 83, blocks, own, mark: 0x4000 };
    let others = destinations(&blocks[..], Own::Left);
    let fewer = destinations(&blocks[..2], Own::Left);
    let with_host = destinations(&blocks[..2], Own::Marked);
    Netns::open(&pair.pod.path())
        .unwrap()
        .run(|| {
            for family in Family::BOTH {
                let is = |marks| xtables::is_marked(family, marks).unwrap();
                assert_eq!(is(&marks), Some(false));
                assert_eq!(xtables::mark(family, &others).unwrap(), Some(true));
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(true));
                assert_eq!(xtables::mark(family, &marks).unwrap(), Some(false), "it is there already");
                assert_eq!((is(&marks), is(&others)), (Some(true), Some(true)));
                xtables::unmark(family, &marks).unwrap();
                xtables::unmark(family, &marks).unwrap();
                assert_eq!((is(&marks), is(&others)), (Some(false), Some(true)));
                // Another list takes the place of the first.
                assert_eq!(xtables::mark(family, &fewer).unwrap(), Some(family == Family::V4));
                assert_eq!(is(&others), Some(family == Family::V6));
                // So does the host itself beside the blocks.
                assert_eq!(xtables::mark(family, &with_host).unwrap(), Some(true));
                assert_eq!(xtables::mark(family, &with_host).unwrap(), Some(false));
                assert_eq!((is(&with_host), is(&fewer)), (Some(true), Some(false)));
                assert_eq!(xtables::mark(family, &fewer).unwrap(), Some(true));
                assert_eq!((is(&with_host), is(&fewer)), (Some(false), Some(true)));
            }
        })
        .unwrap();
}

#[test]
fn a_listener_hears_of_addresses_and_of_rules_that_go_and_of_little_else() {
    let pair = Pair::new();
    let open = || Netns::open(&pair.pod.path()).unwrap().run(Listener::open).unwrap().unwrap();
    let (mut listener, mut other) = (open(), open());
    let mut hears = |does: &str| {
        pair.pod.ip(does);
        let heard = listener.news().unwrap();
        assert_eq!(other.news().unwrap(), heard, "each hears all");
        assert_eq!(listener.news().unwrap(), News::Nothing, "once");
        heard
    };
    hears("link show");
    for (does, expected) in [
        ("link set pod mtu 1400", News::Nothing),
        ("address add fe80::99/64 dev pod nodad", News::Nothing),
        ("address del fe80::99/64 dev pod", News::Nothing),
        ("address add 10.9.0.5/24 dev pod", News::Addresses),
        ("address add fd00:9::5/64 dev pod nodad", News::Addresses),
        ("route add 10.96.0.0/12 dev pod", News::Nothing),
        ("rule add to 10.96.0.0/12 lookup 77", News::Nothing),
        ("-6 rule add to fd00:96::/112 lookup 77", News::Nothing),
        ("rule del lookup 77", News::Anything),
        ("-6 rule del lookup 77", News::Anything),
        ("address del fd00:9::5/64 dev pod", News::Addresses),
        ("address del 10.9.0.5/24 dev pod", News::Addresses),
    ] {
        assert_eq!(hears(does), expected, "{does}");
    }
    pair.peer.ip("address add 10.9.0.6/24 dev peer");
    assert_eq!(hears("link show"), News::Nothing, "that is another namespace");
}

#[test]
fn a_listener_that_listens_too_late_is_told_to_look_at_everything() {
    let pair = Pair::new();
    let mut listener = Netns::open(&pair.pod.path()).unwrap().run(Listener::open).unwrap().unwrap();
    inside(&pair.pod, |netlink| {
        let device = netlink.link("pod").unwrap().unwrap().index;
        let address = |n: u16| {
            let [high, low] = n.to_be_bytes();
            let address = IpAddr::from([10, 8, high, low]);
            Change::AddAddress(Address { device, address, prefix: 32, usable: true })
        };
        made(&netlink.apply(&(1..2000).map(address).collect::<Vec<_>>()).unwrap());
    });
    assert_eq!(listener.news().unwrap(), News::Anything);
}

#[test]
fn an_interface_that_goes_down_and_gets_another_mtu_gets_back_what_it_had() {
    let pair = addressed();
    inside(&pair.pod, |netlink| {
        let before = netlink.link("pod").unwrap().unwrap();
        let (device, mtu) = (before.index, before.mtu);
        let changes = [Change::SetMtu { device, mtu: 1400, before: mtu }, Change::SetDown(device)];
        made(&netlink.apply(&changes).unwrap());
        let between = netlink.link("pod").unwrap().unwrap();
        assert!(!between.is_up() && between.mtu == 1400, "{between:?}");
        let back: Vec<_> = changes.iter().rev().filter_map(Change::inverse).collect();
        made(&netlink.apply(&back).unwrap());
        let after = netlink.link("pod").unwrap().unwrap();
        assert!(after.is_up() && after.mtu == mtu && !after.is_loopback(), "{after:?}");
        assert!(netlink.link("lo").unwrap().unwrap().is_loopback());
    });
}
