//! Configurations that are refused, each with the place and the words that lead a person to the mistake.

#![expect(clippy::panic, reason = "helpers of tests end the test")]

use config::{Config, Error};

fn refusal(text: &str) -> String {
    match Config::parse(text, "cloud.yaml") {
        Ok(config) => panic!("accepted: {text}\n{config:?}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn refuses(cases: &[(&str, &str, &[&str])]) {
    for (text, place, words) in cases {
        let message = refusal(text);
        let line = message.lines().find(|line| line.starts_with(&format!("cloud.yaml:{place}: ")));
        let line = line.unwrap_or_else(|| panic!("no mistake at {place} of\n{text}\nbut\n{message}"));
        for word in *words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
    }
}

const END: &str = "providers: [{name: r, type: static, nodes: {n: [{interface: e, subnet: 192.0.2.0/24}]}}]";

#[test]
fn what_is_no_yaml_or_of_the_wrong_shape_is_refused_where_it_stands() {
    refuses(&[
        (
            "resync: 60s\nresinc: 1s\nproviders: []\n",
            "2:1",
            &["unknown key \"resinc\"", "did you mean \"resync\"", "joinWindow"],
        ),
        (
            "providers:\n  - name: hz\n    type: aliyun\n    regoin: x\n",
            "4:5",
            &["\"regoin\"", "did you mean \"region\""],
        ),
        (
            "providers:\n  - name: hz\n    type: aliyun\n    endpoints: {slb: http://h}\n",
            "4:17",
            &["\"slb\"", "ecs, vpc, sts, metadata"],
        ),
        (
            "providers:\n  - name: r\n    type: static\n    nodes:\n      n:\n        - {interface: e, sbnet: x}\n",
            "6:26",
            &["\"sbnet\"", "\"subnet\""],
        ),
        ("removal: {maxshare: 5%}\nproviders: []\n", "1:11", &["did you mean \"maxShare\""]),
        ("# nothing\n", "2:1", &["\"providers\" is missing"]),
        ("", "1:1", &["\"providers\" is missing"]),
        ("[]", "1:1", &["a mapping of keys to values is expected here"]),
        (&format!("{END}\n---\n{END}\n"), "3:1", &["document"]),
        ("resync: 60s\n", "1:1", &["\"providers\" is missing"]),
        ("providers:\n  - type: static\n", "2:5", &["\"name\" is missing"]),
        ("resync: 1s\nresync: 2s\nproviders: []\n", "2:1", &["duplicate", "resync"]),
        ("providers: {a: b}\n", "1:12", &["a list is expected here"]),
        ("providers:\n  - [\n", "2:5", &["unclosed bracket"]),
        ("providers:\n  - name: r\n    type: static\n    default: maybe\n", "4:14", &["bool"]),
    ]);
}

#[test]
fn top_level_values_are_checked() {
    let cases = [
        ("resync: 0s", "1:9", "0s is too short, at least 1s"),
        ("resync: 999ms", "1:9", "999ms is too short, at least 1s"),
        ("resync: 60", "1:9", "\"60\" has no unit; write 60s"),
        ("resync: soon", "1:9", "\"soon\" is not a duration like"),
        ("joinWindow: 2m", "1:13", "2m is too long, at most 60s"),
        ("removal: {maxShare: 0%}", "1:21", "\"0%\" is not a share from 1% to 100%"),
        ("nodeSelector: a in (b)", "1:15", "is not a label condition"),
    ];
    for (line, place, words) in cases {
        refuses(&[(&format!("{line}\n{END}\n"), place, &[words])]);
    }
    refuses(&[("providers: []", "1:12", &["at least one provider"])]);
}

#[test]
fn providers_are_checked() {
    let named = |name: &str| END.replace("name: r", &format!("name: {name}"));
    refuses(&[
        (&named("''"), "1:20", &["providers[0].name: \"\" is not a name"]),
        (&named("Rack_1"), "1:20", &["\"Rack_1\" is not a name"]),
        (&named(&"a".repeat(64)), "1:20", &["at most 63 bytes"]),
        (&END.replace("static", "statik"), "1:29", &["\"statik\"", "did you mean \"static\"", "Known: "]),
        (&END.replace("static", "gce"), "1:29", &["unknown provider type \"gce\". Known: "]),
        (
            &END.replace("nodes:", "region: x, nodes:"),
            "1:45",
            &["providers[0].region: type static has no such key", "nodes"],
        ),
        (
            &END.replace("nodes:", "interfaceName: 'eth{index}', nodes:"),
            "1:52",
            &["type static has no such key"],
        ),
        (&END.replace("nodes:", "multusName: a, nodes:"), "1:49", &["has no {interface}"]),
        ("providers: [{name: r, type: static}]", "1:13", &["type static needs the key \"nodes\""]),
        (&END.replace("interface: e", "interface: E_0"), "1:61", &["\"ipvlan-E_0\" is no object name"]),
    ]);
}

#[test]
fn two_providers_with_one_name_are_refused() {
    let entry = "  - {name: r, type: static, nodes: {n: [{interface: e, subnet: 192.0.2.0/24}]}}\n";
    refuses(&[(&format!("providers:\n{entry}{entry}"), "3:12", &["\"r\" is the name of providers[0] too"])]);
}

#[test]
fn entries_of_static_nodes_are_refused_at_the_value() {
    let text = "
providers:
  - name: rack
    type: static
    nodes:
      node-a.example:
        - interface: eth0
          subnet: 192.0.2.0/24
          ips: [192.0.2.7, 192.0.2.8, 198.51.100.1]
";
    let words = "providers[0].nodes.node-a.example[0].ips[2]: 198.51.100.1 is outside subnet 192.0.2.0/24";
    refuses(&[(text, "9:39", &[words])]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let message = refusal(&format!("resync: never\njoinWindow: 5\n{}", END.replace("name: r", "name: ''")));
    let places: Vec<&str> = message.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["cloud.yaml:1:9", "cloud.yaml:2:13", "cloud.yaml:3:20"]);
}

#[test]
fn a_text_that_is_made_to_hurt_is_refused() {
    let deep = format!("providers: {}", "[".repeat(100_000));
    let level = |level: u32| format!("k{level}: &a{level} [*a{0}, *a{0}, *a{0}]", level - 1);
    let aliases =
        ["resync: &a0 x".to_owned()].into_iter().chain((1..30).map(level)).collect::<Vec<_>>().join("\n");
    for text in [deep.as_str(), &aliases, "\0", "providers: !!binary x", "\u{feff}", "- - - -", "&a *a"] {
        assert!(!refusal(text).is_empty());
    }
}

#[test]
fn a_missing_file_and_an_unreadable_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Config::read(&folder.path().join("none.yaml")).unwrap_err();
    assert!(
        matches!(missing, Error::Missing { .. }) && missing.to_string().ends_with("none.yaml does not exist")
    );
    let unreadable = Config::read(folder.path()).unwrap_err();
    assert!(matches!(unreadable, Error::Unreadable { .. }), "{unreadable}");
}

#[cfg(feature = "aliyun")]
#[test]
fn sections_of_alibaba_cloud_are_checked() {
    let with = |key: &str| format!("providers:\n- name: hz\n  type: aliyun\n  {key}\n");
    refuses(&[
        (&with("interfaceName: eth0"), "4:18", &["\"eth0\" has no {index}"]),
        (&with("interfaceName: 'a-longer-name-{index}'"), "4:18", &["1 to 15 bytes"]),
        (&with("multusName: 'Kube/ipvlan-{interface}'"), "4:15", &["\"Kube\" is no namespace"]),
        (&with("nodes: {}"), "4:10", &["type aliyun has no such key", "interfaceName, region"]),
        (&with("region: ''"), "4:11", &["leave it out"]),
        (&with("region: Hang Zhou"), "4:11", &["\"Hang Zhou\" is not like cn-hangzhou"]),
        (&with("vpcID: [x]"), "4:10", &["a single text or number"]),
        (&with("vpcID: vpc/1"), "4:10", &["\"vpc/1\" is not like vpc-0abc"]),
        (&with("endpoints: {ecs: 'ftp://h'}"), "4:20", &["providers[0].endpoints.ecs", "http or https"]),
        (&with("endpoints: {vpc: nonsense}"), "4:20", &["not an endpoint"]),
        (&with("unmanagedTag: {key: '', value: x}"), "4:23", &["is empty"]),
    ]);
}

#[cfg(feature = "aliyun")]
#[test]
fn a_password_in_a_url_is_not_repeated() {
    let text = "providers: [{name: hz, type: aliyun, endpoints: {ecs: 'http://me:hunter2@h'}}]";
    assert!(!refusal(text).contains("hunter2"));
}
