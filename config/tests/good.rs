//! Configurations that are accepted, and what comes out of them.

#![expect(clippy::panic, reason = "helpers of tests end the test")]

use std::time::Duration;

use config::{Config, Share};
use model::{Claim, Coordinator, Node};
use providers::Provider;

const RACK: &str = r#"
providers:
  - name: rack
    type: static
    nodes:
      node-a:
        - {interface: eth0, subnet: 192.0.2.0/24, gateway: 192.0.2.1, ips: ["192.0.2.10-192.0.2.19"]}
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, "cloud.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn node(name: &str) -> Node {
    Node { name: name.to_owned(), uid: String::new(), provider_id: None, addresses: Vec::new() }
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(RACK);
    assert_eq!(config.resync, Duration::from_mins(1));
    assert_eq!(config.join_window, Duration::from_millis(500));
    assert_eq!(config.max_removal, Share::QUARTER);
    assert!(config.node_selector.is_empty());
    let rack = &config.providers[0];
    assert_eq!(rack.name.as_str(), "rack");
    assert_eq!(rack.settings.kind(), "static");
    assert_eq!(rack.multus.render("eth0").unwrap().to_string(), "kube-system/ipvlan-eth0");
    assert!(rack.default);
    assert_eq!(rack.coordinator, Coordinator::Chained);
}

#[test]
fn what_is_given_is_taken() {
    let config = parse(&format!(
        "resync: 1m30s\njoinWindow: 0s\nnodeSelector: pool=cloud,!virtual\nremoval: {{maxShare: 10%}}\n{RACK}    \
         multusName: net/{{interface}}\n    default: false\n    enableCoordinator: false\n"
    ));
    assert_eq!(config.resync, Duration::from_secs(90));
    assert_eq!(config.join_window, Duration::ZERO);
    assert_eq!(config.max_removal.to_string(), "10%");
    assert_eq!(config.node_selector.to_string(), "pool=cloud,!virtual");
    let rack = &config.providers[0];
    assert_eq!(rack.multus.render("eth1").unwrap().to_string(), "net/eth1");
    assert!(!rack.default);
    assert_eq!(rack.coordinator, Coordinator::Absent);
}

#[test]
fn the_plans_policy_is_what_the_file_says() {
    let policy = parse(&format!("resync: 5s\nremoval: {{maxShare: 3%}}\n{RACK}")).policy();
    assert_eq!((policy.resync, policy.max_share), (Duration::from_secs(5), 3));
    let rack = &policy.providers[&"rack".into()];
    assert!(rack.default);
    assert_eq!(rack.source, "configuration");
    assert_eq!(rack.multus.to_string(), "kube-system/ipvlan-{interface}");
}

#[tokio::test]
async fn a_static_provider_opens_and_lists_what_the_file_says() {
    let clouds = parse(RACK).open().unwrap();
    let inventory = clouds[0].list().await.unwrap();
    assert_eq!(clouds[0].name().as_str(), "rack");
    assert_eq!(inventory.instances[&"node-a".into()][0].addresses.to_string(), "192.0.2.10-192.0.2.19");
}

/// The scale of docs/architecture.md: 5,000 nodes with 4 dual-stack NICs.
fn large() -> String {
    let four = |node: u32, nic: u32| {
        let (base, low) = (format!("10.{}.{}", nic * 32 + node / 4096, node / 16 % 256), node % 16 * 16);
        let ips = format!("{base}.{}-{base}.{}, {base}.{}", low + 1, low + 9, low + 11);
        format!("    - {{interface: eth{nic}, subnet: 10.{}.0.0/11, ips: [{ips}]}}", nic * 32)
    };
    let six = |node: u32, nic: u32| {
        let ips = format!("'fd00:{nic}::{node}:1-fd00:{nic}::{node}:ff'");
        format!("    - {{interface: eth{nic}, subnet: 'fd00:{nic}::/64', ips: [{ips}]}}")
    };
    let lines = (0..5_000).flat_map(|node| {
        let entries = (0..4).flat_map(move |nic| [four(node, nic), six(node, nic)]);
        [format!("    node-{node}:")].into_iter().chain(entries)
    });
    let head = ["providers:", "- name: rack", "  type: static", "  nodes:"].map(str::to_owned);
    head.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_of_the_largest_cluster_is_accepted() {
    let config = parse(&large());
    let config::Settings::Static(rack) = &config.providers[0].settings else { panic!("a static provider") };
    assert!(matches!(rack.claim(&node("node-4999")), Claim::Instance(_)));
}

#[test]
fn a_file_is_read_from_disk() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), RACK).unwrap();
    assert_eq!(Config::read(file.path()).unwrap(), parse(RACK));
}

#[cfg(feature = "aliyun")]
#[test]
fn the_contracts_example_is_accepted_as_it_is_written() {
    let config = parse(
        r#"
resync: 60s                          # how often the whole of each cloud's scope is listed; absence twice, one resync apart, is absence
providers:
  - name: hz                         # unique in the cluster; recorded on everything it creates
    type: aliyun                     # aliyun | static (aws follows)
    region: cn-hangzhou              # default: from metadata
    vpcID: vpc-0abc                  # default: from metadata
    endpoints: {ecs: "https://ecs.example", vpc: "https://vpc.example:8443", sts: "https://sts.example", metadata: "http://127.0.0.1:1"}
    interfaceName: "eth{index}"      # index 0 is the primary NIC
    multusName: "kube-system/ipvlan-{interface}"
  - name: rack
    type: static
    nodes:
      node-a: [{interface: eth0, subnet: 192.0.2.0/24, gateway: 192.0.2.1, ips: ["192.0.2.10-192.0.2.19"]}]
"#,
    );
    let [hz, rack] = config.providers.as_slice() else { panic!("two providers, not {:?}", config.providers) };
    assert_eq!((hz.settings.kind(), rack.settings.kind()), ("aliyun", "static"));
    let config::Settings::Aliyun(aliyun) = &hz.settings else { panic!("{:?}", hz.settings) };
    assert_eq!(aliyun.region.as_deref(), Some("cn-hangzhou"));
    assert_eq!(aliyun.vpc_id.as_deref(), Some("vpc-0abc"));
    assert_eq!(aliyun.endpoints.vpc.as_ref().unwrap().to_string(), "https://vpc.example:8443");
}

#[cfg(feature = "aliyun")]
#[test]
fn an_aliyun_provider_needs_no_more_than_a_name() {
    let config = parse("providers: [{name: hz, type: aliyun, unmanagedTag: {key: mine, value: ''}}]");
    let config::Settings::Aliyun(aliyun) = &config.providers[0].settings else { panic!("{config:?}") };
    assert_eq!((&aliyun.region, &aliyun.endpoints.ecs), (&None, &None));
    assert_eq!(aliyun.unmanaged_tag.to_string(), "mine=");
}
