use serde_json::{Value, json};

use super::*;
use crate::vswitches::subnet;
use crate::wire::{NicPage, VSwitchPage};

const NODE: &str = "i-bp1node00000000000001";
const SECOND: &str = "eni-bp1seco0000000000002";

fn page() -> Value {
    serde_json::from_str(include_str!("../tests/data/DescribeNetworkInterfaces.json")).unwrap()
}

fn vswitches() -> VSwitches {
    let page: VSwitchPage =
        serde_json::from_str(include_str!("../tests/data/DescribeVSwitches.json")).unwrap();
    let mut first = page.v_switches.items;
    let mut other: VSwitchPage =
        serde_json::from_str(include_str!("../tests/data/DescribeVSwitches.json")).unwrap();
    let mut own = other.v_switches.items.remove(0);
    own.v_switch_id = "vsw-bp1bbbbbbbbbbbbbbbbbb".to_owned();
    own.cidr_block = "172.16.0.0/20".to_owned();
    first.push(own);
    let subnets = first.into_iter().filter_map(|shape| subnet(shape, &mut Vec::new()));
    subnets.map(|subnet| (subnet.id.clone(), subnet)).collect()
}

/// Reads the documented page after `change` was made to its second NIC.
fn read(change: impl FnOnce(&mut Value)) -> Inventory {
    let mut page = page();
    change(&mut page["NetworkInterfaceSets"]["NetworkInterfaceSet"][1]);
    read_page(page, Scope::Whole)
}

fn read_page(page: Value, scope: Scope) -> Inventory {
    let page: NicPage = serde_json::from_value(page).unwrap();
    let tag = Tag::default();
    let rules = Rules { vpc_id: "vpc-bp1aaaaaaaaaaaaaaaaaa", unmanaged: &tag };
    inventory(scope, BTreeSet::new(), page.network_interface_sets.items, &vswitches(), rules)
}

fn second(inventory: &Inventory) -> &Nic {
    let nics = inventory.instances.values().flatten();
    nics.into_iter().find(|nic| nic.id.as_str() == SECOND).unwrap()
}

fn reason(inventory: &Inventory) -> &str {
    match &second(inventory).use_ {
        NicUse::LeftAlone(reason) | NicUse::Unclear(reason) => reason,
        NicUse::Pods => panic!("the NIC is not left alone"),
    }
}

#[test]
fn the_documented_page_becomes_two_nics_of_one_node() {
    let inventory = read(|_| ());
    assert_eq!(inventory.warnings, Vec::<String>::new());
    assert_eq!(inventory.instances.len(), 1);
    let nics = &inventory.instances[&InstanceId::from(NODE)];
    assert_eq!(nics.iter().map(|nic| nic.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(nics.iter().map(|nic| nic.use_.clone()).collect::<Vec<_>>(), [NicUse::Pods, NicUse::Pods]);
    assert!(nics[0].addresses.is_empty());
    assert_eq!(nics[1].primary, ["172.16.16.20".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        nics[1].addresses.to_strings(),
        [
            "172.16.16.21-172.16.16.22",
            "172.16.16.64-172.16.16.79",
            "2001:db8:10:5::a1",
            "2001:db8:10:5:1::-2001:db8:10:5:1:ffff:ffff:ffff"
        ]
    );
    assert_eq!(inventory.subnets.len(), 2);
}

#[test]
fn nics_that_are_not_plain_attached_ones_are_left_alone_and_stay_in_the_reading() {
    for (change, expected) in [
        (json!({"Type": "Trunk"}), "type Trunk"),
        (json!({"Type": "Member"}), "type Member"),
        (json!({"Type": "Novel"}), "type Novel"),
        (json!({"Status": "Attaching"}), "status Attaching"),
        (json!({"Status": "Detaching"}), "status Detaching"),
        (json!({"Status": "Novel"}), "status Novel"),
        (json!({"Status": null}), "status not shown"),
        (json!({"ServiceManaged": true}), "managed by a cloud service"),
        (json!({"NetworkInterfaceTrafficMode": "HighPerformance"}), "RDMA (traffic mode HighPerformance)"),
        (json!({"Attachment": {"TrunkNetworkInterfaceId": "eni-t"}}), "member of trunk eni-t"),
        (
            json!({"Tags": {"Tag": [{"TagKey": "cloud.spidernet.io/unmanaged", "TagValue": "true"}]}}),
            "tag cloud.spidernet.io/unmanaged=true",
        ),
    ] {
        let inventory = read(|nic| {
            for (key, value) in change.as_object().unwrap() {
                nic[key] = value.clone();
            }
        });
        assert_eq!(reason(&inventory), expected);
        assert_eq!(second(&inventory).addresses.ranges().len(), 4, "{expected}: the addresses stay in sight");
    }
}

#[test]
fn a_tag_with_another_value_does_not_count() {
    let tags = json!({"Tag": [{"TagKey": "cloud.spidernet.io/unmanaged", "TagValue": "false"}]});
    assert_eq!(second(&read(|nic| nic["Tags"] = tags)).use_, NicUse::Pods);
}

#[test]
fn detached_nics_and_nics_of_other_vpcs_are_left_out() {
    let inventory = read(|nic| {
        nic["InstanceId"] = json!("");
        nic["Attachment"] = json!({});
        nic["Status"] = json!("Available");
    });
    assert_eq!(inventory.nic_count(), 1);
    assert_eq!(read(|nic| nic["VpcId"] = json!("vpc-other")).nic_count(), 1);
}

#[test]
fn the_instance_may_be_named_in_the_attachment_only() {
    let inventory = read(|nic| nic["InstanceId"] = json!(""));
    assert_eq!(inventory.instances[&InstanceId::from(NODE)].len(), 2);
}

#[test]
fn a_missing_type_is_secondary_and_a_missing_or_zero_index_is_unknown() {
    let inventory = read(|nic| {
        nic["Type"] = json!(null);
        nic["Attachment"]["DeviceIndex"] = json!(0);
    });
    assert_eq!((&second(&inventory).use_, second(&inventory).index), (&NicUse::Pods, None));
    let inventory = read(|nic| drop(nic.as_object_mut().unwrap().remove("Attachment")));
    assert_eq!(second(&inventory).index, None);
}

#[test]
fn the_primary_address_is_recognised_without_its_mark() {
    let inventory = read(|nic| nic["PrivateIpSets"]["PrivateIpSet"][0]["Primary"] = json!(false));
    let primary: IpAddr = "172.16.16.20".parse().unwrap();
    assert_eq!(second(&inventory).primary, [primary]);
    assert!(!second(&inventory).addresses.contains(primary));
}

#[test]
fn a_prefix_never_brings_the_primary_address_in() {
    let inventory =
        read(|nic| nic["Ipv4PrefixSets"]["Ipv4PrefixSet"][0]["Ipv4Prefix"] = json!("172.16.16.16/28"));
    assert!(!second(&inventory).addresses.contains("172.16.16.20".parse().unwrap()));
    assert!(second(&inventory).addresses.contains("172.16.16.19".parse().unwrap()));
}

#[test]
fn a_nic_whose_primary_address_is_unknown_is_left_alone() {
    let inventory = read(|nic| {
        nic["PrivateIpAddress"] = json!("");
        nic["PrivateIpSets"]["PrivateIpSet"][0]["Primary"] = json!(false);
    });
    assert_eq!(reason(&inventory), "no primary address shown");
}

#[test]
fn a_nic_without_addresses_exists() {
    let inventory = read(|nic| {
        for key in ["PrivateIpAddress", "PrivateIpSets", "Ipv6Sets", "Ipv4PrefixSets", "Ipv6PrefixSets"] {
            nic.as_object_mut().unwrap().remove(key);
        }
    });
    assert!(second(&inventory).addresses.is_empty() && second(&inventory).use_ == NicUse::Pods);
    assert_eq!(inventory.warnings, Vec::<String>::new());
}

#[test]
fn items_that_are_wrong_are_left_out_and_named_and_the_rest_stays() {
    let inventory = read(|nic| {
        let items = nic["PrivateIpSets"]["PrivateIpSet"].as_array_mut().unwrap();
        for text in ["172.16.16.21", "10.9.9.9", "172.16.16.300"] {
            items.push(json!({"PrivateIpAddress": text}));
        }
        nic["Ipv6Sets"]["Ipv6Set"][0]["Ipv6Address"] = json!("2001:db8:bad::1");
        nic["Ipv6PrefixSets"]["Ipv6PrefixSet"][0]["Ipv6Prefix"] = json!("2001:db8:10:5:1::/800");
        nic["MacAddress"] = json!("00:16:3e");
    });
    let nic = second(&inventory);
    assert_eq!(nic.addresses.to_strings(), ["172.16.16.21-172.16.16.22", "172.16.16.64-172.16.16.79"]);
    assert_eq!(nic.mac, None);
    assert_eq!(inventory.warnings.len(), 6, "{:#?}", inventory.warnings);
    for item in ["172.16.16.21", "10.9.9.9", "172.16.16.300", "2001:db8:bad::1", "1::/800", "00:16:3e"] {
        assert!(inventory.warnings.iter().any(|w| w.contains(item) && w.contains(SECOND)), "{item}");
    }
}

#[test]
fn an_address_on_two_nics_stays_on_both_and_is_reported() {
    let mut page = page();
    let nics = &mut page["NetworkInterfaceSets"]["NetworkInterfaceSet"];
    let mut twin = nics[1].clone();
    twin["NetworkInterfaceId"] = json!("eni-twin");
    twin["PrivateIpAddress"] = json!("172.16.16.99");
    twin["PrivateIpSets"] = json!({"PrivateIpSet": [{"PrivateIpAddress": "172.16.16.22"}]});
    twin["Ipv6Sets"] = json!({});
    twin["Ipv4PrefixSets"] = json!({});
    twin["Ipv6PrefixSets"] = json!({});
    nics.as_array_mut().unwrap().push(twin);
    let inventory = read_page(page, Scope::Whole);
    assert_eq!(inventory.warnings, [format!("NICs {SECOND} and eni-twin both show 172.16.16.22")]);
    let shared: IpAddr = "172.16.16.22".parse().unwrap();
    let holders = inventory.instances.values().flatten().filter(|nic| nic.addresses.contains(shared));
    assert_eq!(holders.count(), 2);
}

#[test]
fn a_nic_on_an_unknown_vswitch_is_kept_and_reported() {
    let inventory = read(|nic| nic["VSwitchId"] = json!("vsw-new"));
    assert_eq!(second(&inventory).addresses.ranges().len(), 4);
    assert_eq!(inventory.warnings.len(), 1);
    assert!(inventory.warnings[0].contains("vsw-new"), "{:?}", inventory.warnings);
}

#[test]
fn vswitches_that_do_not_explain_the_nics_are_noticed() {
    let shapes = |page: Value| serde_json::from_value::<NicPage>(page).unwrap().network_interface_sets.items;
    let mut known = vswitches();
    assert!(explained(&shapes(page()), &known));
    known.get_mut(&SubnetId::from("vsw-bp1eeeeeeeeeeeeeeeeee")).unwrap().v6 = None;
    assert!(!explained(&shapes(page()), &known));
    assert!(!explained(&shapes(page()), &VSwitches::new()));
}

#[test]
fn a_reading_of_some_instances_holds_no_other() {
    let scope = Scope::Instances([InstanceId::from("i-other")].into());
    assert_eq!(read_page(page(), scope).nic_count(), 0);
}

#[test]
fn warnings_are_bounded() {
    let items: Vec<Value> = (0..500).map(|n| json!({"PrivateIpAddress": format!("bad-{n}")})).collect();
    let inventory = read(|nic| nic["PrivateIpSets"] = json!({"PrivateIpSet": items}));
    assert_eq!(inventory.warnings.len(), MOST_WARNINGS + 1);
    assert!(inventory.warnings[MOST_WARNINGS].contains("300"));
}
