//! Objects as large as they get.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use api::{Allocation, SpiderIPPool, SpiderIPPoolSpec};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::server::{Intent, object, with_server};

/// The longest list of ranges that the schema takes.
const RANGES: u32 = 4096;

/// Disjoint IPv4 ranges that do not touch.
fn ipv4_ranges() -> Vec<String> {
    let base = u32::from(Ipv4Addr::new(10, 100, 100, 100));
    (0..RANGES)
        .map(|n| format!("{}-{}", Ipv4Addr::from(base + 16 * n), Ipv4Addr::from(base + 16 * n + 7)))
        .collect()
}

#[test]
fn a_pool_of_4096_ranges_is_accepted_and_one_bad_range_in_it_refused() {
    with_server(async |server| {
        let mut pool = object("SpiderIPPool", &testbed::unique("size"));
        pool["spec"] = json!({
            "subnet": "10.0.0.0/8", "gateway": "10.0.0.1", "ips": ipv4_ranges(), "excludeIPs": ipv4_ranges(),
        });
        server.create(Intent::Ask, &pool).await.unwrap();

        pool["spec"]["ips"][4095] = "10.255.255.250-11.0.0.5".into();
        let message = server.create(Intent::Ask, &pool).await.unwrap_err();
        assert!(message.contains("outside subnet 10.0.0.0/8: 10.255.255.250-11.0.0.5"), "{message}");

        pool["spec"]["ips"][4095] = "10.0.0.1-10.0.0.9".into();
        let message = server.create(Intent::Ask, &pool).await.unwrap_err();
        assert!(message.contains("gateway is among ips"), "{message}");

        pool["spec"]["ips"][4095] = pool["spec"]["ips"][7].clone();
        let message = server.create(Intent::Ask, &pool).await.unwrap_err();
        assert!(message.contains("spec.ips[4095]: Duplicate value"), "{message}");
    });
}

#[test]
fn an_ipv6_pool_of_4096_ranges_in_their_longest_form_is_accepted() {
    with_server(async |server| {
        let ranges: Vec<String> = (0..RANGES)
            .map(|n| {
                format!(
                    "fd00:1111:2222:3333:4444:5555:{n:04x}:0000-fd00:1111:2222:3333:4444:5555:{n:04x}:00ff"
                )
            })
            .collect();
        let mut pool = object("SpiderIPPool", &testbed::unique("size"));
        pool["spec"] = json!({
            "subnet": "fd00:1111:2222:3333::/64", "gateway": "fd00:1111:2222:3333::1",
            "ips": ranges, "excludeIPs": ranges,
        });
        server.create(Intent::Ask, &pool).await.unwrap();

        pool["spec"]["ips"][4095] = "fd00:1111:2222:3333:0000:0000:0000:0001".into();
        let message = server.create(Intent::Ask, &pool).await.unwrap_err();
        assert!(message.contains("gateway is among ips"), "{message}");
    });
}

#[test]
fn a_status_of_5000_allocations_is_kept() {
    with_server(async |server| {
        let pools: Api<SpiderIPPool> = Api::all(server.client());
        let name = testbed::unique("size");
        let spec = SpiderIPPoolSpec {
            subnet: "10.0.0.0/16".into(),
            ips: vec!["10.0.0.1-10.0.255.254".into()],
            ..SpiderIPPoolSpec::default()
        };
        pools.create(&PostParams::default(), &SpiderIPPool::new(&name, spec)).await.unwrap();
        let base = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let held: BTreeMap<IpAddr, Allocation> = (0..5000)
            .map(|n| {
                let allocation = Allocation {
                    pod: format!("a-namespace-of-some-length/a-deployment-7f9c6d5b8-{n:05}"),
                    pod_uid: format!("5c0d4bd2-59a6-4c6b-8f36-{n:012}"),
                    ..Allocation::default()
                };
                (IpAddr::V4(Ipv4Addr::from(base + n)), allocation)
            })
            .collect();
        let status = json!({"status": {
            "allocatedIPs": api::allocations_text(&held).unwrap(), "allocatedIPCount": 5000, "totalIPCount": 65534,
        }});
        pools.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        let read = pools.get(&name).await.unwrap().status.unwrap();
        pools.delete(&name, &DeleteParams::default()).await.unwrap();
        assert_eq!(api::allocations(read.allocated_ips.as_deref()).unwrap(), held);
        assert_eq!((read.allocated_ip_count, read.total_ip_count), (Some(5000), Some(65534)));
    });
}
