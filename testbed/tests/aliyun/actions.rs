//! What the actions answer and change.

use std::time::Duration;

use serde_json::json;
use testbed::aliyun::{Delays, EmptyLists, LastToken, NicSpec, NicStatus, Simulator, Topology};

use super::client::{Ask, all_nics, listed, seed};

const NIC: &str = "eni-bp1worker1";

type Query = &'static [(&'static str, &'static str)];

async fn nics(sim: &Simulator, query: &[(&str, &str)]) -> Vec<String> {
    all_nics(sim, query)
        .await
        .iter()
        .map(|nic| nic["NetworkInterfaceId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_seed_shows_two_nodes_with_two_nics_each_and_the_seeds_addresses() {
    let sim = seed().await;
    assert_eq!(
        nics(&sim, &[("VpcId", "vpc-bp1seed")]).await,
        ["eni-bp1master0", "eni-bp1master1", "eni-bp1worker0", "eni-bp1worker1"]
    );
    let ends =
        |list: Vec<String>| (list.len(), list.first().cloned().unwrap(), list.last().cloned().unwrap());
    let expected = [
        ("eni-bp1master0", "172.31.199.185", "172.31.199.189"),
        ("eni-bp1master1", "192.168.0.156", "192.168.0.160"),
        ("eni-bp1worker0", "172.31.199.190", "172.31.199.194"),
        ("eni-bp1worker1", "192.168.0.161", "192.168.0.165"),
    ];
    for (nic, first, last) in expected {
        assert_eq!(ends(listed(&sim, nic).await), (5, first.to_owned(), last.to_owned()));
    }
    let master = &all_nics(&sim, &[("InstanceId", "i-bp1master"), ("Type", "Primary")]).await[0];
    assert_eq!(master["PrivateIpAddress"], "172.31.199.183");
    assert_eq!(master["Attachment"]["DeviceIndex"], 0);
    assert_eq!(master["Ipv6Sets"]["Ipv6Set"][0]["Ipv6Address"], "2001:db8:31:c0ac::185");
}

#[tokio::test]
async fn every_filter_narrows_the_listing() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.tag_nic(NIC, "owner", "us")?;
        cloud.add_nic(NicSpec::secondary("eni-free", "vsw-bp1seed1"))
    })
    .unwrap();
    let cases: [(Query, &[&str]); 9] = [
        (&[("InstanceId", "i-bp1worker")], &["eni-bp1worker0", NIC]),
        (&[("VSwitchId", "vsw-bp1seed0")], &["eni-bp1master0", "eni-bp1worker0"]),
        (&[("Type", "Primary")], &["eni-bp1master0", "eni-bp1worker0"]),
        (&[("Status", "Available")], &["eni-free"]),
        (&[("NetworkInterfaceId.1", NIC), ("NetworkInterfaceId.2", "eni-gone")], &[NIC]),
        (&[("Tag.1.Key", "owner"), ("Tag.1.Value", "us")], &[NIC]),
        (&[("Tag.1.Key", "owner"), ("Tag.1.Value", "them")], &[]),
        (&[("PrivateIpAddress.1", "192.168.0.161")], &[NIC]),
        (&[("VpcId", "vpc-other")], &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(nics(&sim, query).await, expected, "{query:?}");
    }
}

#[tokio::test]
async fn a_thousand_nodes_are_listed_in_eight_pages_with_every_nic_once() {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| Topology::large(1_000, 4, 2).build(cloud)).unwrap();
    let mut seen = nics(&sim, &[("VpcId", "vpc-bp1large")]).await;
    seen.dedup();
    assert_eq!(seen.len(), 4_000);
    assert_eq!(sim.calls().of("DescribeNetworkInterfaces"), 8);
}

#[tokio::test]
async fn without_paging_parameters_only_ten_nics_come() {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| Topology::large(20, 1, 0).build(cloud)).unwrap();
    let answer = Ask::ecs(&sim, "DescribeNetworkInterfaces", &[]).answer().await;
    assert_eq!(answer.list("/NetworkInterfaceSets/NetworkInterfaceSet").len(), 10);
    assert_eq!(answer.json["TotalCount"], 20);
    let answer = Ask::ecs(&sim, "DescribeNetworkInterfaces", &[("MaxResults", "15")]).answer().await;
    assert_eq!(answer.list("/NetworkInterfaceSets/NetworkInterfaceSet").len(), 15);
    assert_eq!(answer.json["TotalCount"], 0, "useless in token mode");
}

#[tokio::test]
async fn a_listing_by_tag_ends_after_a_thousand_nics() {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| {
        Topology::large(1_100, 1, 0).build(cloud)?;
        (0..1_100).try_for_each(|node| cloud.tag_nic(&format!("eni-bp1large{node:05}x0"), "a", "b"))
    })
    .unwrap();
    assert_eq!(nics(&sim, &[("Tag.1.Key", "a")]).await.len(), 1_000);
}

#[tokio::test]
async fn the_last_page_and_empty_lists_are_written_as_set() {
    let sim = seed().await;
    let ask = || Ask::ecs(&sim, "DescribeNetworkInterfaces", &[("MaxResults", "100")]);
    assert_eq!(ask().answer().await.json["NextToken"], "");
    sim.edit(|cloud| {
        cloud.style.last_token = LastToken::Absent;
        cloud.style.empty_lists = EmptyLists::Absent;
    });
    let answer = ask().answer().await;
    assert!(answer.json.get("NextToken").is_none());
    assert!(answer.json.pointer("/NetworkInterfaceSets/NetworkInterfaceSet/0/Ipv4PrefixSets").is_none());
    sim.edit(|cloud| cloud.style.empty_lists = EmptyLists::EmptyWrapper);
    assert_eq!(
        ask().answer().await.json.pointer("/NetworkInterfaceSets/NetworkInterfaceSet/0/Ipv4PrefixSets"),
        Some(&json!({}))
    );
}

#[tokio::test]
async fn mixed_empty_lists_are_drawn_alike_from_one_seed() {
    let draw = async |start| {
        let sim = seed().await;
        sim.edit(|cloud| cloud.style.empty_lists = EmptyLists::Mixed(start));
        let nics = all_nics(&sim, &[]).await;
        nics.iter().map(|nic| nic.get("Ipv4PrefixSets").cloned()).collect::<Vec<_>>()
    };
    let first = draw(7).await;
    assert_eq!(first, draw(7).await);
    let mut others = Vec::new();
    for start in 8..12 {
        others.push(draw(start).await);
    }
    assert!(others.iter().any(|other| *other != first), "{others:?}");
    assert!(others.iter().flatten().any(Option::is_none) && others.iter().flatten().any(Option::is_some));
}

#[tokio::test]
async fn instances_come_by_a_json_list_of_ids_and_never_by_a_repeat_list() {
    let sim = seed().await;
    let ids = [("InstanceIds", "[\"i-bp1worker\",\"i-gone\"]")];
    let answer = Ask::ecs(&sim, "DescribeInstances", &ids).answer().await;
    let found = answer.list("/Instances/Instance");
    assert_eq!(found.len(), 1, "{}", answer.text);
    assert_eq!(found[0]["VpcAttributes"]["PrivateIpAddress"]["IpAddress"][0], "172.31.199.184");
    assert_eq!(found[0]["NetworkInterfaces"]["NetworkInterface"][1]["PrimaryIpAddress"], "192.168.0.155");
    let answer = Ask::ecs(&sim, "DescribeInstances", &[("InstanceIds.1", "i-bp1worker")]).answer().await;
    assert_eq!(answer.code(), "InvalidParameter");
}

#[tokio::test]
async fn vswitches_come_by_pages_of_at_most_fifty() {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| Topology::large(3_000, 4, 0).build(cloud)).unwrap();
    let ask = |query: &[(&str, &str)]| Ask::vpc(&sim, "DescribeVSwitches", query);
    let answer = ask(&[]).answer().await;
    assert_eq!((answer.list("/VSwitches/VSwitch").len(), &answer.json["TotalCount"]), (10, &json!(120)));
    let answer = ask(&[("PageSize", "50"), ("PageNumber", "3")]).answer().await;
    assert_eq!(answer.list("/VSwitches/VSwitch").len(), 20);
    assert_eq!(ask(&[("PageSize", "51")]).answer().await.code(), "InvalidParameter");
}

#[tokio::test]
async fn a_vswitch_counts_its_free_addresses() {
    let sim = seed().await;
    let answer = Ask::vpc(&sim, "DescribeVSwitches", &[("VSwitchId", "vsw-bp1seed1")]).answer().await;
    let vswitch = &answer.list("/VSwitches/VSwitch")[0];
    assert_eq!(vswitch["CidrBlock"], "192.168.0.0/24");
    assert_eq!(vswitch["Ipv6CidrBlock"], "2001:db8:31:c0c0::/64");
    // 256 less the 4 reserved, 10 secondary and 2 primary ones.
    assert_eq!(vswitch["AvailableIpAddressCount"], 240);
}

#[tokio::test]
async fn assigning_answers_only_what_is_new_and_a_client_token_repeats_it() {
    let sim = seed().await;
    let query =
        [("NetworkInterfaceId", NIC), ("SecondaryPrivateIpAddressCount", "2"), ("ClientToken", "t-1")];
    let pointer = "/AssignedPrivateIpAddressesSet/PrivateIpSet/PrivateIpAddress";
    let first = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await;
    let again = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await;
    assert_eq!(first.texts(pointer), ["192.168.0.1", "192.168.0.2"]);
    assert_eq!(again.texts(pointer), first.texts(pointer));
    assert_eq!(listed(&sim, NIC).await.len(), 7);
    let other =
        [("NetworkInterfaceId", NIC), ("SecondaryPrivateIpAddressCount", "3"), ("ClientToken", "t-1")];
    let other = Ask::ecs(&sim, "AssignPrivateIpAddresses", &other).answer().await;
    assert_eq!(other.code(), "IdempotentParameterMismatch");
}

#[tokio::test]
async fn bad_wishes_for_ipv4_addresses_are_refused_with_their_codes() {
    let sim = seed().await;
    let cases: [(Query, &str); 8] = [
        (&[("SecondaryPrivateIpAddressCount", "0")], "InvalidParameter"),
        (&[], "MissingParameter"),
        (&[("SecondaryPrivateIpAddressCount", "1"), ("Ipv4PrefixCount", "1")], "InvalidParameter.Conflict"),
        (&[("SecondaryPrivateIpAddressCount", "20")], "InvalidOperation.Ipv4CountExceeded"),
        (&[("PrivateIpAddress.1", "192.168.0.161")], "InvalidIp.IpAssigned"),
        (&[("PrivateIpAddress.1", "192.168.0.254")], "InvalidVSwitchId.IpInvalid"),
        (
            &[("PrivateIpAddress.1", "192.168.0.9"), ("PrivateIpAddress.2", "192.168.0.9")],
            "InvalidIp.IpRepeated",
        ),
        (&[("PrivateIpAddress.1", "300.1.1.1")], "InvalidIp.Address"),
    ];
    for (query, code) in cases {
        let mut query = query.to_vec();
        query.push(("NetworkInterfaceId", NIC));
        let answer = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await;
        assert_eq!(answer.code(), code, "{query:?}");
    }
    assert_eq!(listed(&sim, NIC).await.len(), 5, "nothing was changed");
}

#[tokio::test]
async fn a_full_vswitch_says_so() {
    let sim = seed().await;
    sim.edit(|cloud| {
        cloud.add_vswitch("vsw-tiny", "vpc-bp1seed", "cn-hangzhou-i", "10.9.0.0/29".parse().unwrap(), None);
        cloud.add_nic(NicSpec::secondary("eni-tiny", "vsw-tiny"))
    })
    .unwrap();
    let query = [("NetworkInterfaceId", "eni-tiny"), ("SecondaryPrivateIpAddressCount", "3")];
    assert_eq!(Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await.status, 200);
    let query = [("NetworkInterfaceId", "eni-tiny"), ("SecondaryPrivateIpAddressCount", "1")];
    let answer = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await;
    assert_eq!((answer.status, answer.code()), (403, "InvalidVSwitchId.IpNotEnough"));
    let query = [("NetworkInterfaceId", "eni-tiny"), ("Ipv6AddressCount", "1")];
    let answer = Ask::ecs(&sim, "AssignIpv6Addresses", &query).answer().await;
    assert_eq!(answer.code(), "InvalidVSwitch.Ipv6NotTurnOn");
}

#[tokio::test]
async fn unassigning_spares_the_primary_address_and_tells_what_is_gone_already() {
    let sim = seed().await;
    let unassign = |address: &str| {
        Ask::ecs(
            &sim,
            "UnassignPrivateIpAddresses",
            &[("NetworkInterfaceId", NIC), ("PrivateIpAddress.1", address)],
        )
    };
    assert_eq!(unassign("192.168.0.161").answer().await.status, 200);
    assert_eq!(unassign("192.168.0.161").answer().await.code(), "InvalidIp.IpUnassigned");
    assert_eq!(unassign("192.168.0.155").answer().await.code(), "InvalidIp.Address");
    assert_eq!(listed(&sim, NIC).await.len(), 4);
}

#[tokio::test]
async fn prefixes_of_both_families_are_aligned_and_free() {
    let sim = seed().await;
    let query = [("NetworkInterfaceId", NIC), ("Ipv4PrefixCount", "2")];
    let answer = Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await;
    assert_eq!(
        answer.texts("/AssignedPrivateIpAddressesSet/Ipv4PrefixSet/Ipv4Prefixes"),
        ["192.168.0.16/28", "192.168.0.32/28"]
    );
    let query = [("NetworkInterfaceId", NIC), ("Ipv6PrefixCount", "1"), ("Ipv6AddressCount", "1")];
    let answer = Ask::ecs(&sim, "AssignIpv6Addresses", &query).answer().await;
    assert_eq!(answer.texts("/Ipv6PrefixSets/Ipv6Prefix"), ["2001:db8:31:c0c0:1::/80"]);
    assert_eq!(answer.texts("/Ipv6Sets/Ipv6Address"), ["2001:db8:31:c0c0::1"]);
    let query = [("NetworkInterfaceId", NIC), ("Ipv4Prefix.1", "192.168.0.16/28")];
    assert_eq!(Ask::ecs(&sim, "UnassignPrivateIpAddresses", &query).answer().await.status, 200);
    let nic = &all_nics(&sim, &[("NetworkInterfaceId.1", NIC)]).await[0];
    assert_eq!(nic["Ipv4PrefixSets"]["Ipv4PrefixSet"], json!([{ "Ipv4Prefix": "192.168.0.32/28" }]));
    assert_eq!(nic["Ipv6PrefixSets"]["Ipv6PrefixSet"], json!([{ "Ipv6Prefix": "2001:db8:31:c0c0:1::/80" }]));
}

#[tokio::test]
async fn a_nic_lives_from_creation_to_deletion_through_its_transitional_states() {
    let sim = seed().await;
    let second = Duration::from_secs(1);
    sim.edit(|cloud| {
        cloud.clock.stop();
        cloud.delays = Delays { attach: second, detach: second, delete: second, ..Delays::default() };
    });
    let query =
        [("VSwitchId", "vsw-bp1seed1"), ("SecurityGroupId", "sg-a"), ("SecondaryPrivateIpAddressCount", "2")];
    let made = Ask::ecs(&sim, "CreateNetworkInterface", &query).answer().await;
    let id = made.json["NetworkInterfaceId"].as_str().unwrap().to_owned();
    assert_eq!(made.list("/PrivateIpSets/PrivateIpSet").len(), 3);
    let on = [("NetworkInterfaceId", id.as_str()), ("InstanceId", "i-bp1worker")];
    let status = || sim.edit(|cloud| cloud.world().nic(&id).map(|nic| nic.status.clone()));
    let tick = || sim.edit(|cloud| cloud.clock.advance(second));
    for (action, during, after) in [
        ("AttachNetworkInterface", NicStatus::Attaching, Some(NicStatus::InUse)),
        ("DetachNetworkInterface", NicStatus::Detaching, Some(NicStatus::Available)),
        ("DeleteNetworkInterface", NicStatus::Deleting, None),
    ] {
        assert_eq!(Ask::ecs(&sim, action, &on).answer().await.status, 200, "{action}");
        assert_eq!(status(), Some(during));
        let early = [("NetworkInterfaceId", id.as_str()), ("SecondaryPrivateIpAddressCount", "1")];
        let early = Ask::ecs(&sim, "AssignPrivateIpAddresses", &early).answer().await;
        assert_eq!(early.code(), "InvalidOperation.InvalidEniState");
        tick();
        nics(&sim, &[]).await;
        assert_eq!(status(), after);
    }
    let gone = Ask::ecs(&sim, "DeleteNetworkInterface", &on).answer().await;
    assert_eq!((gone.status, gone.code()), (404, "InvalidEniId.NotFound"));
}

#[tokio::test]
async fn attaching_obeys_the_types_limit_and_detaching_spares_the_primary_nic() {
    let sim = seed().await;
    for n in 0..3 {
        let id = format!("eni-more{n}");
        sim.edit(|cloud| cloud.add_nic(NicSpec::secondary(&id, "vsw-bp1seed1"))).unwrap();
        let on = [("NetworkInterfaceId", id.as_str()), ("InstanceId", "i-bp1worker")];
        let answer = Ask::ecs(&sim, "AttachNetworkInterface", &on).answer().await;
        assert_eq!(answer.code(), if n < 2 { "" } else { "EniPerInstanceLimitExceeded" });
    }
    let on = [("NetworkInterfaceId", "eni-bp1worker0"), ("InstanceId", "i-bp1worker")];
    let answer = Ask::ecs(&sim, "DetachNetworkInterface", &on).answer().await;
    assert_eq!(answer.code(), "InvalidOperation.DetachPrimaryEniNotAllowed");
}

#[tokio::test]
async fn two_changes_of_one_nic_at_once_conflict() {
    let sim = seed().await;
    sim.edit(|cloud| cloud.delays.busy = Duration::from_mins(1));
    let query = [("NetworkInterfaceId", NIC), ("SecondaryPrivateIpAddressCount", "1")];
    assert_eq!(Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await.status, 200);
    assert_eq!(
        Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await.code(),
        "Operation.Conflict"
    );
    sim.edit(|cloud| cloud.clock.advance(Duration::from_secs(61)));
    assert_eq!(Ask::ecs(&sim, "AssignPrivateIpAddresses", &query).answer().await.status, 200);
}

#[tokio::test]
async fn instance_types_say_their_limits() {
    let sim = seed().await;
    let query = [("InstanceTypes.1", "ecs.g7.xlarge")];
    let answer = Ask::ecs(&sim, "DescribeInstanceTypes", &query).without("RegionId").answer().await;
    let kinds = answer.list("/InstanceTypes/InstanceType");
    assert_eq!(kinds.len(), 1);
    assert_eq!((&kinds[0]["EniQuantity"], &kinds[0]["EniPrivateIpAddressQuantity"]), (&json!(4), &json!(15)));
}
