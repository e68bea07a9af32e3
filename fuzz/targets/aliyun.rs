//! Replies of Alibaba Cloud's API and of its metadata service, up to the reading that the plan gets. Takes the modules of the
//! provider as they are, because between its client and its reading there is no interface.
//!
//! Input: one JSON text, which is tried as each of the replies; NICs and vSwitches may so be in one.

#![no_main]
#![allow(dead_code, unreachable_pub, clippy::pedantic)]

#[path = "../../providers/aliyun/src/fault.rs"]
mod fault;
#[path = "../../providers/aliyun/src/inventory.rs"]
mod inventory;
#[path = "../../providers/aliyun/src/secret.rs"]
mod secret;
#[path = "../../providers/aliyun/src/settings.rs"]
mod settings;
#[path = "../../providers/aliyun/src/vswitches.rs"]
mod vswitches;
#[path = "../../providers/aliyun/src/wire.rs"]
mod wire;

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use model::{InstanceId, Scope, SubnetId};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(fault) = serde_json::from_slice::<fault::Fault>(bytes) {
        assert!(!fault.words().contains('\n'));
        drop(fault.denied_detail());
        if let Some(code) = fault.code() {
            let (_, _) = (fault::class(code), fault::is_stale_credential(code));
        }
    }
    drop(serde_json::from_slice::<wire::AssumedRole>(bytes));
    if let Ok(key) = serde_json::from_slice::<wire::TemporaryKey>(bytes) {
        drop(secret::mask(&key.access_key_id));
        assert_eq!(format!("{:?}", key.access_key_secret), "***");
    }
    if let Ok(text) = str::from_utf8(bytes) {
        drop(text.parse::<settings::Endpoint>());
    }
    let known: BTreeSet<InstanceId> = match serde_json::from_slice::<wire::InstancePage>(bytes) {
        Ok(page) => {
            page.instances.items.iter().map(|item| InstanceId::from(item.instance_id.as_str())).collect()
        }
        Err(_) => BTreeSet::new(),
    };
    let mut warnings = Vec::new();
    let switches: vswitches::VSwitches = match serde_json::from_slice::<wire::VSwitchPage>(bytes) {
        Ok(page) => page
            .v_switches
            .items
            .into_iter()
            .filter_map(|shape| {
                let id = SubnetId::from(shape.v_switch_id.as_str());
                vswitches::subnet(shape, &mut warnings).map(|subnet| (id, subnet))
            })
            .collect(),
        Err(_) => vswitches::VSwitches::default(),
    };
    let Ok(page) = serde_json::from_slice::<wire::NicPage>(bytes) else { return };
    let shapes = page.network_interface_sets.items;
    let (explained, attached) = (
        inventory::explained(&shapes, &switches),
        shapes.iter().filter(|nic| inventory::instance_of(nic).is_some()).count(),
    );
    let unmanaged = settings::Tag::default();
    let rules = inventory::Rules { vpc_id: "vpc-1", unmanaged: &unmanaged };
    let read = inventory::inventory(Scope::Whole, known, shapes, &switches, rules);
    let nics = read.instances.values().flatten().count();
    assert!(nics <= attached, "no NIC comes out of nothing");
    for nic in read.instances.values().flatten() {
        assert!(
            !nic.primary.iter().any(|address| nic.addresses.contains(*address)),
            "the node's own is no pod's"
        );
        if explained && let Some(subnet) = read.subnets.get(&nic.subnet) {
            for range in nic.addresses.ranges() {
                assert!(subnet.block(range.family()).is_some(), "no address outside its vSwitch");
            }
        }
    }
});
