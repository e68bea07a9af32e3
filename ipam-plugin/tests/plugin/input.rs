use serde_json::{Value, json};

use crate::agent::{ScriptedAgent, both_families, http};
use crate::call::{Call, Told};

/// Runs it before an agent that would say yes to all, and makes sure that it is not asked.
fn refused(call: &Call, verb: &str, stdin: &[u8]) -> Told {
    let agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    let told = call.run_with(verb, stdin);
    assert!(!told.succeeded, "{told:?}");
    assert!(told.stdout["cniVersion"].is_string(), "{told:?}");
    agent.nothing_more();
    told
}

#[test]
fn a_broken_environment_is_named_and_reaches_no_agent() {
    for (verb, call, name) in [
        ("ADD", Call::new().without("CNI_CONTAINERID"), "CNI_CONTAINERID"),
        ("ADD", Call::new().with("CNI_CONTAINERID", "../../etc"), "CNI_CONTAINERID"),
        ("DEL", Call::new().with("CNI_CONTAINERID", "-rf"), "CNI_CONTAINERID"),
        ("ADD", Call::new().without("CNI_IFNAME"), "CNI_IFNAME"),
        ("ADD", Call::new().with("CNI_IFNAME", "sixteen-letters-"), "CNI_IFNAME"),
        ("DEL", Call::new().with("CNI_IFNAME", ".."), "CNI_IFNAME"),
        ("DEL", Call::new().with("CNI_IFNAME", "a/b"), "CNI_IFNAME"),
        ("ADD", Call::new().without("CNI_NETNS"), "CNI_NETNS"),
        ("ADD", Call::new().with("CNI_NETNS", "/proc/4194305/ns/net"), "/proc/4194305/ns/net"),
        ("CHECK", Call::new().without("CNI_NETNS"), "CNI_NETNS"),
        ("ADD", Call::new().with("CNI_ARGS", "K8S_POD_NAMESPACE"), "CNI_ARGS"),
        ("ADD", Call::new().with("CNI_ARGS", "K8S_POD_NAMESPACE=default"), "K8S_POD_NAME"),
        ("ADD", Call::new().without("CNI_ARGS"), "K8S_POD_NAMESPACE"),
        ("", Call::new(), "CNI_COMMAND"),
        ("add", Call::new(), "CNI_COMMAND"),
        ("UPDATE", Call::new(), "CNI_COMMAND"),
    ] {
        let told = refused(&call, verb, call.network.to_string().as_bytes());
        assert_eq!(told.code(), 4, "{told:?}");
        assert!(told.message().contains(name), "{told:?}");
    }
}

#[test]
fn a_configuration_that_is_no_configuration_is_code_6() {
    for stdin in ["", "{", "[]", "null", "\u{feff}{}", "{\"a\":1}{", "\0"] {
        assert_eq!(refused(&Call::new(), "ADD", stdin.as_bytes()).code(), 6, "{stdin:?}");
    }
    assert_eq!(refused(&Call::new(), "ADD", &[0xff, 0xfe]).code(), 6);
    assert_eq!(refused(&Call::new(), "ADD", "{\"a\":".repeat(50_000).as_bytes()).code(), 6);
    assert_eq!(
        refused(&Call::new(), "ADD", format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20)).as_bytes()).code(),
        6
    );
}

#[test]
fn versions_and_verbs_that_do_not_go_together_are_code_1() {
    for (verb, version) in [
        ("ADD", json!("0.1.0")),
        ("ADD", json!("0.2.0")),
        ("ADD", json!("2.0.0")),
        ("ADD", json!("")),
        ("ADD", json!(1.0)),
        ("ADD", Value::Null),
        ("CHECK", json!("0.3.1")),
        ("STATUS", json!("1.0.0")),
        ("GC", json!("1.0.0")),
    ] {
        let call = Call::new().set("cniVersion", version.clone());
        let told = refused(&call, verb, call.network.to_string().as_bytes());
        assert_eq!(told.code(), 1, "{verb} {version}: {told:?}");
    }
}

#[test]
fn a_wrong_key_is_named_with_what_it_must_be() {
    for (call, key) in [
        (Call::new().set("name", Value::Null), "name"),
        (Call::new().set("name", "a b"), "name"),
        (Call::new().set("ipam", "spiderpool"), "ipam"),
        (Call::new().set_ipam("log_level", "loud"), "ipam.log_level"),
        (Call::new().set_ipam("log_file_max_size", -1), "ipam.log_file_max_size"),
        (Call::new().set_ipam("log_file_max_age", "30"), "ipam.log_file_max_age"),
        (Call::new().set_ipam("log_file_path", "relative.log"), "ipam.log_file_path"),
        (Call::new().set_ipam("default_ipv4_ippool", "a"), "ipam.default_ipv4_ippool"),
        (Call::new().set_ipam("default_ipv6_ippool", json!([1])), "ipam.default_ipv6_ippool"),
        (Call::new().set_ipam("clean_gateway", "yes"), "ipam.clean_gateway"),
        (Call::new().set_ipam("match_master_subnet", 1), "ipam.match_master_subnet"),
        (Call::new().set_ipam("ipam_unix_socket_path", 5), "ipam.ipam_unix_socket_path"),
    ] {
        let told = refused(&call, "ADD", call.network.to_string().as_bytes());
        assert_eq!(told.code(), 7, "{told:?}");
        assert!(told.message().contains(key), "{told:?}");
    }
}

#[test]
fn keys_that_we_do_not_know_do_no_harm() {
    let call = Call::new()
        .set_ipam("ranges", json!([[]]))
        .set("runtimeConfig", json!({ "ips": [] }))
        .set_ipam("default_ipv4_ippool", Value::Null);
    let _agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    assert!(call.run("ADD").succeeded);
}

#[test]
fn a_check_without_its_result_is_code_7() {
    let call = Call::new();
    assert_eq!(refused(&call, "CHECK", call.network.to_string().as_bytes()).code(), 7);
    let call = Call::new().set("prevResult", json!({ "ips": [{ "address": "nowhere" }] }));
    assert_eq!(refused(&call, "CHECK", call.network.to_string().as_bytes()).code(), 6);
}

#[test]
fn a_socket_path_too_long_for_the_kernel_is_an_error() {
    let call = Call::new().set_ipam("ipam_unix_socket_path", format!("/{}", "x".repeat(200)));
    let told = call.run("ADD");
    assert_eq!(told.code(), 100);
}
