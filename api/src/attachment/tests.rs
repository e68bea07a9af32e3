//! Every type's chain, and every way in which an object can be wrong.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn config(spec: &Value) -> SpiderMultusConfig {
    serde_json::from_value(json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1",
        "kind": "SpiderMultusConfig",
        "metadata": {"name": "net", "namespace": "team", "uid": "u-1"},
        "spec": spec,
    }))
    .unwrap()
}

fn annotated(spec: &Value, annotations: &[(&str, &str)]) -> SpiderMultusConfig {
    let mut config = config(spec);
    let items = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    config.metadata.annotations = Some(items.collect());
    config
}

/// The configuration of a spec, to be read by people.
#[track_caller]
fn list(spec: &Value) -> Value {
    let definition = definition(&config(spec)).unwrap();
    serde_json::from_str(&definition.spec.config.unwrap()).unwrap()
}

#[track_caller]
fn plugins(spec: &Value) -> Vec<Value> {
    list(spec)["plugins"].as_array().unwrap().clone()
}

#[track_caller]
fn types(spec: &Value) -> Vec<String> {
    plugins(spec).iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn refused(config: &SpiderMultusConfig) -> String {
    definition(config).unwrap_err().to_string()
}

/// One object of each type, with all that its block can say.
fn every_type() -> Vec<(&'static str, SpiderMultusConfig)> {
    let pools = json!({"ipv4": ["a", "b-*"], "ipv6": ["c"]});
    [
        ("macvlan", json!({"cniType": "macvlan", "macvlan": {"master": ["eth0"], "mtu": 1400, "ippools": pools}})),
        ("macvlan_on_a_vlan", json!({"cniType": "macvlan", "macvlan": {"master": ["eth0"], "vlanID": 100}})),
        (
            "ipvlan_as_the_controller_writes_it",
            json!({"cniType": "ipvlan", "enableCoordinator": false, "ipvlan": {"master": ["eth0"], "mtu": 0}}),
        ),
        (
            "ipvlan_on_a_vlan_on_a_bond",
            json!({"cniType": "ipvlan", "ipvlan": {
                "master": ["eth0", "eth1"], "vlanID": 7, "ippools": pools,
                "bond": {"name": "bond0", "mode": 1, "options": "miimon=100"},
            }}),
        ),
        (
            "vlan_on_a_bond",
            json!({"cniType": "vlan", "vlan": {
                "master": ["eth0", "eth1"], "vlanID": 7, "mtu": 1400, "bond": {"name": "bond0", "mode": 0},
            }}),
        ),
        ("vlan_that_comes_with_the_address", json!({"cniType": "vlan", "vlan": {"master": ["eth0"], "vlanMode": "auto"}})),
        (
            "sriov",
            json!({"cniType": "sriov", "chainCNIJsonData": ["{\"type\":\"sbr\"}"], "sriov": {
                "resourceName": "spidernet.io/vf", "vlanID": 5, "mtu": 1400, "minTxRateMbps": 10, "maxTxRateMbps": 20,
                "rdmaIsolation": true, "ippools": {"ipv4": ["a"], "matchMasterSubnet": true},
            }}),
        ),
        (
            "ib_sriov",
            json!({"cniType": "ib-sriov", "ibsriov": {
                "resourceName": "spidernet.io/ib", "pkey": "0x8001", "linkState": "auto", "rdmaIsolation": true,
                "enableIbKubernetes": false, "ippools": pools,
            }}),
        ),
        ("ipoib", json!({"cniType": "ipoib", "ipoib": {"master": "ibs5f0", "ippools": pools}})),
        (
            "ovs",
            json!({"cniType": "ovs", "ovs": {
                "bridge": "br1", "vlan": 5, "trunk": [{"minID": 1, "maxID": 10}, {"id": 42}],
                "deviceID": "0000:00:02.1", "ippools": pools,
            }}),
        ),
        ("custom", json!({"cniType": "custom", "customCNI": "{ \"cniVersion\": \"0.3.1\", \"type\": \"calico\" }"})),
        ("custom_without_a_configuration", json!({})),
    ]
    .map(|(name, spec)| (name, config(&spec)))
    .into()
}

#[test]
fn every_type_becomes_its_chain() {
    for (name, config) in every_type() {
        let mut shown = serde_json::to_value(definition(&config).unwrap()).unwrap();
        if let Some(text) = shown["spec"]["config"].as_str().map(str::to_owned)
            && config.spec.custom_cni.is_none()
        {
            // Read by people, and compared as JSON anyway.
            shown["spec"]["config"] = serde_json::from_str(&text).unwrap();
        }
        insta::assert_yaml_snapshot!(name, shown);
    }
}

#[test]
fn the_coordinator_gets_its_own_spelling_of_what_the_object_says() {
    let coordinator = json!({
        "mode": "disabled", "podCIDRType": "cluster", "hijackCIDR": ["169.254.0.0/16"],
        "policyRoutes": [{"dst": "10.0.0.0/8", "gw": "10.1.0.1"}], "podMACPrefix": "0a:1b", "tunePodRoutes": false,
        "podDefaultRouteNIC": "net1", "hostRuleTable": 600, "podRPFilter": 2, "txQueueLen": 1000,
        "vethLinkAddress": "169.254.100.1", "vethMTU": 1400, "serviceCIDR": ["10.96.0.0/12"], "overlayPodCIDR": ["10.244.0.0/16"],
    });
    let spec = json!({"cniType": "ipvlan", "ipvlan": {"master": ["eth0"]}, "coordinator": coordinator});
    insta::assert_yaml_snapshot!("coordinator", plugins(&spec)[1]);
}

#[test]
fn what_the_api_server_fills_in_does_not_overrule_the_clusters_rule_table_and_filter() {
    let filled = json!({"mode": "auto", "hostRuleTable": 500, "podRPFilter": 0, "tunePodRoutes": true, "txQueueLen": 0});
    let spec = json!({"cniType": "ipvlan", "ipvlan": {"master": ["eth0"]}, "coordinator": filled});
    let expected = json!({"type": "coordinator", "mode": "auto", "tunePodRoutes": true, "txQueueLen": 0});
    assert_eq!(plugins(&spec)[1], expected);
}

#[test]
fn user_plugins_stand_between_the_main_plugin_and_the_coordinator() {
    let spec = json!({
        "cniType": "macvlan",
        "macvlan": {"master": ["eth0"], "vlanID": 5},
        "chainCNIJsonData": ["{\"type\":\"tuning\",\"mtu\":9}", "{\"type\":\"sbr\"}"],
    });
    assert_eq!(types(&spec), ["ifacer", "macvlan", "tuning", "sbr", "coordinator"]);
}

#[test]
fn without_ipam_the_main_plugin_has_none() {
    let spec = json!({"cniType": "macvlan", "disableIPAM": true, "macvlan": {"master": ["eth0"], "ippools": {"ipv4": ["a"]}}});
    assert_eq!(plugins(&spec)[0], json!({"type": "macvlan", "mode": "bridge", "master": "eth0"}));
}

#[test]
fn one_master_needs_no_bond_whatever_is_said_of_one() {
    let spec = json!({"cniType": "ipvlan", "enableCoordinator": false, "ipvlan": {
        "master": ["eth0"], "bond": {"name": "bond0", "mode": 1},
    }});
    assert_eq!(types(&spec), ["ipvlan"]);
}

#[test]
fn the_controllers_own_objects_have_their_nic_set_up_and_hand_written_ones_are_as_upstreams() {
    let text = |config: &SpiderMultusConfig| definition(config).unwrap().spec.config.unwrap();
    let plugins = |config: &SpiderMultusConfig| -> Vec<Value> {
        let list: Value = serde_json::from_str(&text(config)).unwrap();
        list["plugins"].as_array().unwrap().clone()
    };
    let target = model::MultusTarget {
        name: "net/ipvlan-eth1".parse().unwrap(),
        interface: "eth1".to_owned(),
        coordinator: model::Coordinator::Chained,
    };
    let mut generated = crate::render::multus_config(&target);
    assert_eq!(plugins(&generated)[0], json!({"type": "ifacer", "interfaces": ["eth1"]}));
    assert_eq!(plugins(&generated)[1]["master"], "eth1");
    // People may add to what the controller writes.
    generated.spec.ipvlan.as_mut().unwrap().mtu = Some(8500);
    assert_eq!(plugins(&generated)[0], json!({"type": "ifacer", "interfaces": ["eth1"], "mtu": 8500}));
    assert_eq!(plugins(&generated)[1]["mtu"], 8500);
    generated.spec.ipvlan.as_mut().unwrap().vlan_id = Some(7);
    let on_vlan = json!({"type": "ifacer", "interfaces": ["eth1"], "vlanID": 7, "mtu": 8500});
    assert_eq!((&plugins(&generated)[0], &plugins(&generated)[1]["master"]), (&on_vlan, &json!("eth1.7")));
    generated.metadata.labels = None;
    assert_eq!(plugins(&generated)[0], json!({"type": "ifacer", "interfaces": ["eth1"], "vlanID": 7}));
    generated.spec.ipvlan.as_mut().unwrap().vlan_id = None;
    assert_eq!(plugins(&generated)[0]["type"], "ipvlan");
}

#[test]
fn the_annotations_name_the_definition_its_network_and_its_version() {
    let spec = json!({"cniType": "ipvlan", "ipvlan": {"master": ["eth0"]}});
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let config = annotated(
            &spec,
            &[
                (labels::MULTUS_CR_NAME, "other"),
                (labels::MULTUS_CNI_VERSION, version),
                (labels::CNI_CONFIG_NAME, "My_Net"),
            ],
        );
        let definition = definition(&config).unwrap();
        assert_eq!(definition.name_any(), "other");
        let list: Value = serde_json::from_str(&definition.spec.config.unwrap()).unwrap();
        assert_eq!((&list["name"], &list["cniVersion"]), (&json!("My_Net"), &json!(version)));
    }
}

#[test]
fn annotations_are_copied_but_for_those_that_speak_of_the_object_itself() {
    let config = annotated(
        &json!({}),
        &[("team.example/owner", "web"), ("kubectl.kubernetes.io/last-applied-configuration", "{}")],
    );
    let definition = definition(&config).unwrap();
    let expected = [(labels::COPIED, "team.example/owner"), ("team.example/owner", "web")];
    let found: Vec<_> = definition.annotations().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn bad_annotations_are_named() {
    let bad = [
        (labels::MULTUS_CR_NAME, "Upper"),
        (labels::MULTUS_CR_NAME, ""),
        (labels::MULTUS_CR_NAME, "-a"),
        (labels::MULTUS_CNI_VERSION, "2.0.0"),
        (labels::CNI_CONFIG_NAME, "a/b"),
        (labels::CNI_CONFIG_NAME, ""),
    ];
    for (key, value) in bad {
        let config =
            annotated(&json!({"cniType": "ipvlan", "ipvlan": {"master": ["eth0"]}}), &[(key, value)]);
        let message = refused(&config);
        assert!(message.contains(key) && message.contains(&format!("{value:?}")), "{message}");
    }
}

#[test]
fn what_is_wrong_in_a_spec_is_named_with_what_to_do() {
    let long = "ens1234567890";
    let cases = [
        (json!({"cniType": "ipvlan"}), "spec.ipvlan is missing"),
        (json!({"cniType": "ib-sriov"}), "spec.ibsriov is missing: cniType ib-sriov"),
        (json!({"cniType": "macvlan", "macvlan": {"master": []}}), "spec.macvlan.master is missing"),
        (
            json!({"cniType": "macvlan", "macvlan": {"master": ["a", "b"]}}),
            "spec.macvlan.bond is missing: 2 interfaces",
        ),
        (json!({"cniType": "vlan", "vlan": {"master": ["a"]}}), "spec.vlan.vlanID is missing"),
        (json!({"cniType": "sriov", "sriov": {}}), "spec.sriov.resourceName is missing"),
        (
            json!({"cniType": "ib-sriov", "ibsriov": {"resourceName": ""}}),
            "spec.ibsriov.resourceName is missing",
        ),
        (json!({"cniType": "ipoib", "ipoib": {}}), "spec.ipoib.master is missing"),
        (json!({"cniType": "ovs", "ovs": {"bridge": ""}}), "spec.ovs.bridge is missing"),
        (
            json!({"cniType": "ipvlan", "ipvlan": {"master": [long], "vlanID": 4094}}),
            "the interface ens1234567890.4094 cannot be made: its name has 18 bytes, the kernel takes 15 at most",
        ),
        (
            json!({"cniType": "ipvlan", "ipvlan": {"master": ["a", "b"], "bond": {"name": "a-bond-with-a-name", "mode": 1}}}),
            "give the bond a shorter name",
        ),
        (json!({"customCNI": "{type: calico}"}), "spec.customCNI is no JSON object"),
        (json!({"customCNI": "[]"}), "spec.customCNI is no JSON object (it is JSON of another kind)"),
        (
            json!({"cniType": "ipvlan", "ipvlan": {"master": ["a"]}, "chainCNIJsonData": ["{\"type\":\"sbr\"}", "{,}"]}),
            "spec.chainCNIJsonData[1] is no JSON object",
        ),
        (
            json!({"cniType": "ipvlan", "ipvlan": {"master": ["a"]}, "chainCNIJsonData": ["{}"]}),
            "spec.chainCNIJsonData[0] has no text under \"type\"",
        ),
    ];
    for (spec, fragment) in cases {
        let message = refused(&config(&spec));
        assert!(message.contains(fragment), "{spec}: {message}");
    }
}

#[test]
fn the_same_json_in_another_order_is_the_same() {
    let wanted = definition(&every_type()[0].1).unwrap();
    let mut there = wanted.clone();
    let value: Value = serde_json::from_str(wanted.spec.config.as_deref().unwrap()).unwrap();
    there.spec.config = Some(serde_json::to_string_pretty(&value).unwrap());
    assert_ne!(there.spec.config, wanted.spec.config);
    assert!(says(&there, &wanted));
    there.spec.config = Some(there.spec.config.unwrap().replace("1400", "1401"));
    assert!(!says(&there, &wanted));
}

#[test]
fn what_others_add_is_no_difference_and_what_is_no_longer_asked_for_is() {
    let wanted = definition(&annotated(&json!({}), &[("a", "1")])).unwrap();
    let mut there = wanted.clone();
    there.annotations_mut().insert("k8s.ovn.org/network-id".into(), "7".into());
    there.labels_mut().insert("seen".into(), "yes".into());
    assert!(says(&there, &wanted));

    let later = definition(&annotated(&json!({}), &[("b", "1")])).unwrap();
    assert_eq!(stale_annotations(&there, &later).collect::<Vec<_>>(), ["a"]);
    let none = definition(&annotated(&json!({}), &[])).unwrap();
    assert_eq!(stale_annotations(&there, &none).collect::<Vec<_>>(), ["a", labels::COPIED]);
    assert!(!says(&there, &none));
}

#[test]
fn an_empty_configuration_is_none() {
    let wanted = definition(&config(&json!({"customCNI": "  "}))).unwrap();
    assert_eq!(wanted.spec.config, None);
    let mut there = wanted.clone();
    there.spec.config = Some(String::new());
    assert!(says(&there, &wanted));
}

proptest! {
    #[test]
    fn whatever_an_object_says_it_becomes_a_configuration_or_a_sentence(
        kind in prop::sample::select(vec!["macvlan", "ipvlan", "vlan", "custom"]),
        master in prop::collection::vec(any::<String>(), 0..3),
        vlan in prop::option::of(any::<i32>()),
        custom in prop::option::of("\\{.*|[\\[{\"}a:1,]*"),
        chain in prop::collection::vec("\\{\"type\":\".?\"\\}|[\\[{\"}a:1,]*", 0..3),
        annotation in prop::option::of(any::<String>()),
    ) {
        let mut spec = json!({"cniType": kind, "chainCNIJsonData": chain, "customCNI": custom});
        spec[kind] = json!({"master": master, "vlanID": vlan, "bond": {"name": "bond0", "mode": 1}});
        let keys = [labels::MULTUS_CR_NAME, labels::MULTUS_CNI_VERSION, labels::CNI_CONFIG_NAME];
        let annotation = annotation.unwrap_or_else(|| "0.4.0".to_owned());
        match definition(&annotated(&spec, &keys.map(|key| (key, annotation.as_str())))) {
            Ok(definition) => {
                prop_assert!(says(&definition, &definition));
                if let Some(text) = definition.spec.config {
                    prop_assert!(serde_json::from_str::<Value>(&text).unwrap().is_object());
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
