use model::select::Network;
use proptest::prelude::*;

use super::*;

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn of_pod(key: &str, text: &str) -> Wishes {
    pod(&given(&[(key, text)]), "default", "kube-system")
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn no_annotation_asks_for_nothing() {
    assert_eq!(pod(&BTreeMap::new(), "default", "kube-system"), Wishes::default());
    assert_eq!(of_pod(IPPOOL, " \n"), Wishes::default());
    assert_eq!(namespace(&BTreeMap::new()), None);
    assert_eq!(namespace(&given(&[(DEFAULT_IPV4_IPPOOL, "[]")])), None);
}

#[test]
fn pools_of_one_nic() {
    let wishes = of_pod(IPPOOL, r#"{"ipv4": ["a", "b*"], "ipv6": null, "later": 1}"#);
    assert_eq!(wishes.ippool, Some(Ok(PoolNames { v4: list(&["a", "b*"]), v6: vec![] })));
}

#[test]
fn pools_of_named_nics() {
    let text = r#"[{"interface": "eth0", "IPv4": ["a"], "cleangateway": true}, {"interface": "net1", "ipv6": ["b"]}]"#;
    let item = |nic: &str, v4: &[&str], v6: &[&str], clean_gateway| NicPools {
        nic: Some(nic.to_owned()),
        names: PoolNames { v4: list(v4), v6: list(v6) },
        clean_gateway,
    };
    let items = vec![item("eth0", &["a"], &[], Some(true)), item("net1", &[], &["b"], None)];
    assert_eq!(of_pod(IPPOOLS, text).ippools, Some(Ok(items)));
}

#[test]
fn pools_of_nics_without_names() {
    let wishes = of_pod(IPPOOLS, r#"[{"ipv4": ["a"]}, {"interface": "", "ipv4": ["b"]}]"#);
    let items = wishes.ippools.unwrap().unwrap();
    assert!(items.len() == 2 && items.iter().all(|item| item.nic.is_none()), "{items:?}");
}

#[test]
fn routes_of_both_families() {
    let text = r#"[{"dst": "10.0.0.7/8", "gw": "192.168.0.1"}, {"dst": "::/0", "gw": "2001:db8::1"}]"#;
    let routes = of_pod(ROUTES, text).routes.unwrap().unwrap();
    let route = |dst: &str, gw: &str| PodRoute { dst: dst.parse().unwrap(), gw: gw.parse().unwrap() };
    assert_eq!(routes, [route("10.0.0.0/8", "192.168.0.1"), route("::/0", "2001:db8::1")]);
}

#[test]
fn default_pools_of_a_namespace() {
    let names =
        namespace(&given(&[(DEFAULT_IPV4_IPPOOL, r#"["a"]"#), (DEFAULT_IPV6_IPPOOL, r#"["b", "c?"]"#)]));
    assert_eq!(names, Some(Ok(PoolNames { v4: list(&["a"]), v6: list(&["b", "c?"]) })));
}

#[test]
fn an_automatic_pool_is_noticed() {
    assert_eq!(of_pod(SUBNET, "{}").subnet, Some(SUBNET));
    assert_eq!(of_pod(SUBNETS, "[]").subnet, Some(SUBNETS));
}

#[test]
fn networks_in_both_forms() {
    let network = |name: &str, interface: Option<&str>| Network {
        name: name.parse().unwrap(),
        interface: interface.map(str::to_owned),
    };
    for (text, networks) in [
        ("a", vec![network("default/a", None)]),
        (
            " kube-system/a , b@data ",
            vec![network("kube-system/a", None), network("default/b", Some("data"))],
        ),
        (r#"[{"name": "a"}]"#, vec![network("default/a", None)]),
        (
            r#"[{"name":"a","namespace":"x","interface":"data","ips":["10.0.0.1"],"mac":"c2:b0:57:49:47:f1"},{"name":"b","interfaceRequest":"old"}]"#,
            vec![network("x/a", Some("data")), network("default/b", Some("old"))],
        ),
    ] {
        assert_eq!(of_pod(NETWORKS, text).networks.further, Some(Ok(networks)), "{text}");
    }
}

#[test]
fn the_default_network_without_namespace_is_spiderpools() {
    for (text, name) in [
        ("ipvlan-eth0", "kube-system/ipvlan-eth0"),
        ("x/a@eth0", "x/a"),
        (r#"[{"name": "a", "namespace": "x"}]"#, "x/a"),
    ] {
        let networks = of_pod(DEFAULT_NETWORK, text).networks;
        assert_eq!(networks.default, Some(Ok(name.parse().unwrap())), "{text}");
    }
}

/// A00003: what cannot be read is said with its place and with what would be right.
#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let bad = |key: &str, text: &str| {
        let Wishes { ippools, ippool, routes, networks, subnet: _ } = of_pod(key, text);
        let errors = [
            ippools.and_then(Result::err),
            ippool.and_then(Result::err),
            routes.and_then(Result::err),
            networks.default.and_then(Result::err),
            networks.further.and_then(Result::err),
        ];
        errors.into_iter().flatten().next().unwrap_or_else(|| panic!("{key}: {text}"))
    };
    for (key, text, at, part) in [
        (IPPOOL, r#"{"ipv4": ["a",]}"#, "at line 1 column 15", "no JSON: trailing comma"),
        (IPPOOL, "{\n \"ipv4\": [a]}", "at line 2 column 11", "no JSON"),
        (IPPOOL, r#"["a"]"#, "at its top", r#"expected {"ipv4": ["POOL", …]"#),
        (IPPOOL, "{}", "at its top", "names no pool"),
        (IPPOOL, r#"{"ipv4": "a"}"#, "at ipv4", "expected a list of pool names, [\"POOL\", …], found a text"),
        (IPPOOL, r#"{"ipv4": ["a", 3]}"#, "at ipv4[1]", "found a number"),
        (IPPOOL, r#"{"ipv4": [""]}"#, "at ipv4[0]", "empty"),
        (IPPOOLS, "[]", "at its top", "the list is empty"),
        (IPPOOLS, r#"{"ipv4": ["a"]}"#, "at its top", "expected a list"),
        (IPPOOLS, r#"[{"interface": "eth0"}]"#, "at [0]", "names no pool"),
        (
            IPPOOLS,
            r#"[{"ipv4": ["a"], "cleangateway": "no"}]"#,
            "at [0].cleangateway",
            "expected true or false",
        ),
        (IPPOOLS, r#"[{"interface": "a/b", "ipv4": ["a"]}]"#, "at [0].interface", "no interface name"),
        (
            IPPOOLS,
            r#"[{"interface": "eth0", "ipv4": ["a"]}, {"interface": "eth0", "ipv4": ["b"]}]"#,
            "at [1].interface",
            "\"eth0\" has an item already",
        ),
        (
            IPPOOLS,
            r#"[{"interface": "eth0", "ipv4": ["a"]}, {"ipv4": ["b"]}]"#,
            "at [1]",
            "in every item or in none",
        ),
        (ROUTES, r#"[{"dst": "10.0.0.0/8"}]"#, "at [0]", "no gw"),
        (ROUTES, r#"[{"dst": "10.0.0.0", "gw": "10.1.1.1"}]"#, "at [0].dst", "is not a block of addresses"),
        (ROUTES, r#"[{"dst": "10.0.0.0/8", "gw": "here"}]"#, "at [0].gw", "\"here\" is not an address"),
        (ROUTES, r#"[{"dst": "10.0.0.0/8", "gw": "fd00::1"}]"#, "at [0]", "different families"),
        (NETWORKS, "a,,b", "at item 2", "names no network"),
        (NETWORKS, "a@x/y", "at item 1", "no interface name"),
        (NETWORKS, "A", "at item 1", "\"A\" is no object name"),
        (NETWORKS, r#"[{"namespace": "x"}]"#, "at [0]", "no name"),
        (DEFAULT_NETWORK, "a,b", "at its top", "2 networks"),
        (DEFAULT_NETWORK, "[]", "at its top", "no network"),
    ] {
        let error = bad(key, text);
        assert_eq!((error.annotation.as_str(), error.at.as_str()), (key, at), "{text}: {error}");
        assert!(error.why.contains(part), "{text}: {error}");
    }
    let error = namespace(&given(&[(DEFAULT_IPV6_IPPOOL, "a")])).unwrap().unwrap_err();
    assert_eq!((error.annotation.as_str(), error.owner), (DEFAULT_IPV6_IPPOOL, "the namespace"));
}

#[test]
fn an_annotation_nested_a_thousand_deep_is_no_end_of_the_program() {
    let text = "[".repeat(100_000);
    assert!(of_pod(IPPOOLS, &text).ippools.unwrap().is_err());
    assert!(of_pod(NETWORKS, &text).networks.further.unwrap().is_err());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.:/@*-]{0,12}".prop_map(Value::from),
    ];
    let key = proptest::sample::select(vec![
        "ipv4",
        "ipv6",
        "interface",
        "cleangateway",
        "dst",
        "gw",
        "name",
        "namespace",
    ]);
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_never_panics(text in any::<String>()) {
        for key in [IPPOOLS, IPPOOL, ROUTES, NETWORKS, DEFAULT_NETWORK] {
            let _ = of_pod(key, &text);
        }
        let _ = namespace(&given(&[(DEFAULT_IPV4_IPPOOL, &text)]));
    }

    #[test]
    fn any_json_is_read_or_refused_and_never_panics(value in json()) {
        let text = value.to_string();
        for key in [IPPOOLS, IPPOOL, ROUTES, NETWORKS, DEFAULT_NETWORK] {
            let _ = of_pod(key, &text);
        }
    }

    /// What is read keeps what it promises to whoever chooses.
    #[test]
    fn what_is_read_of_ippools_names_pools_and_all_nics_or_none(value in json()) {
        if let Some(Ok(items)) = of_pod(IPPOOLS, &value.to_string()).ippools {
            prop_assert!(!items.is_empty() && items.iter().all(|item| !item.names.is_empty()));
            let nics: BTreeSet<_> = items.iter().filter_map(|item| item.nic.clone()).collect();
            prop_assert!(nics.is_empty() || nics.len() == items.len());
        }
    }
}
