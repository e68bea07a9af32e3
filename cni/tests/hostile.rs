//! Whatever the runtime sends, the answer is one JSON object of the protocol, and no panic.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use cni::{Answer, Attachment, Code, Error, Network, Plugin, Success, Verb, Version, answer};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Carries the chain's result through, as a plugin in the middle of a chain does, and reads all that it can.
#[derive(Default)]
struct Through {
    seen: RefCell<Vec<String>>,
}

impl Through {
    fn saw(&self, text: &str) {
        self.seen.borrow_mut().push(text.to_owned());
    }
}

impl Plugin for Through {
    fn add(&self, attachment: &Attachment) -> Result<Success, Error> {
        self.saw(attachment.args.get("K8S_POD_NAME").unwrap_or("ADD"));
        Ok(attachment.network.prev_result()?.unwrap_or_default())
    }

    fn del(&self, _: &Attachment) -> Result<(), Error> {
        self.saw("DEL");
        Ok(())
    }

    fn check(&self, _: &Attachment, _: &Success) -> Result<(), Error> {
        self.saw("CHECK");
        Ok(())
    }

    fn status(&self, _: &Network) -> Result<(), Error> {
        self.saw("STATUS");
        Err(Error::new(Code::NotAvailable, "not now").with_details("later"))
    }

    fn gc(&self, network: &Network) -> Result<(), Error> {
        self.saw(&format!("GC {}", network.valid_attachments()?.len()));
        Ok(())
    }
}

fn call(verb: &str, environment: &[(&str, OsString)], stdin: &[u8]) -> (Answer, Vec<String>) {
    let plugin = Through::default();
    let lookup = |name: &str| {
        if name == "CNI_COMMAND" {
            return Some(verb.into());
        }
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
    };
    let answer = answer(&plugin, &lookup, || Ok(stdin.to_vec()));
    (answer, plugin.seen.into_inner())
}

fn environment() -> Vec<(&'static str, OsString)> {
    [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/x"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", "A=b;C=d=e")]
        .map(|(key, value)| (key, value.into()))
        .to_vec()
}

fn network(version: Version) -> Value {
    json!({
        "cniVersion": version.as_str(), "name": "net", "type": "x", "ipam": { "type": "y" },
        "cni.dev/valid-attachments": [{ "containerID": "c1", "ifname": "eth0" }],
        "prevResult": {
            "cniVersion": version.as_str(), "new": { "a": 1 },
            "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x", "mtu": 1500, "own": 1 }],
            "ips": [{ "address": "10.0.0.1/24", "gateway": "10.0.0.254", "interface": 0, "own": [] }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.0.0.254", "mtu": 1400, "table": 5, "own": "x" }],
            "dns": { "nameservers": ["10.0.0.9"], "own": 2 },
        },
    })
}

/// What a runtime can rely on.
fn well_formed(answer: &Answer) -> Result<(), TestCaseError> {
    match answer {
        Answer::Done(None) => {}
        Answer::Done(Some(text)) => {
            prop_assert!(serde_json::from_str::<Value>(text).unwrap()["cniVersion"].is_string());
        }
        Answer::Failed(text) => {
            let error: Value = serde_json::from_str(text).unwrap();
            prop_assert!(error["code"].as_u64().unwrap() > 0 && !error["msg"].as_str().unwrap().is_empty());
            prop_assert!(error["cniVersion"].is_string());
        }
    }
    Ok(())
}

fn verbs() -> impl Strategy<Value = &'static str> {
    prop::sample::select(Verb::ALL.map(Verb::as_str).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_on_stdin_are_answered(verb in verbs(), stdin in prop::collection::vec(any::<u8>(), 0..200)) {
        well_formed(&call(verb, &environment(), &stdin).0)?;
    }

    /// Cuts, doubles, swaps and replaces pieces of a good configuration: most of these are still JSON.
    #[test]
    fn a_damaged_configuration_is_answered(
        verb in verbs(),
        version in prop::sample::select(Version::ALL.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, prop::sample::select(vec!["", "null", "0", "-1", "1e999", "\"\"", "[]", "{}", "true", "\"\\u0000\"", "\"::/129\"", ","])), 1..4),
    ) {
        let mut text = network(version).to_string();
        for (at, length, with) in damage {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, with);
        }
        well_formed(&call(verb, &environment(), text.as_bytes()).0)?;
    }

    /// Puts anything where something belongs.
    #[test]
    fn a_value_of_the_wrong_kind_is_answered(
        verb in verbs(),
        pointer in prop::sample::select(vec![
            "/cniVersion", "/name", "/ipam", "/prevResult", "/prevResult/interfaces", "/prevResult/interfaces/0", "/prevResult/interfaces/0/name",
            "/prevResult/interfaces/0/mac", "/prevResult/ips", "/prevResult/ips/0", "/prevResult/ips/0/address", "/prevResult/ips/0/interface",
            "/prevResult/routes/0/dst", "/prevResult/routes/0/gw", "/prevResult/dns", "/cni.dev~1valid-attachments", "/cni.dev~1valid-attachments/0/ifname",
        ]),
        value in prop::sample::select(vec![json!(null), json!(0), json!(-1), json!(1.5), json!(""), json!("x"), json!("10.0.0.1/240"), json!([]), json!([[]]), json!({}), json!(true)]),
    ) {
        let mut network = network(Version::V1_1_0);
        *network.pointer_mut(pointer).unwrap() = value;
        well_formed(&call(verb, &environment(), network.to_string().as_bytes()).0)?;
    }

    #[test]
    fn any_environment_is_answered(
        verb in prop_oneof![verbs().prop_map(str::to_owned), ".{0,8}"],
        values in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            "[a-zA-Z0-9_.;=/-]{0,20}".prop_map(String::into_bytes),
        ], 4),
    ) {
        let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"];
        let environment: Vec<_> = names.into_iter().zip(values.into_iter().map(OsString::from_vec)).collect();
        let (answer, seen) = call(&verb, &environment, network(Version::V1_1_0).to_string().as_bytes());
        well_formed(&answer)?;
        // What reaches the plugin can be part of a file's name.
        if seen.first().is_some_and(|verb| verb == "DEL") {
            for (name, value) in environment.iter().filter(|(name, _)| ["CNI_CONTAINERID", "CNI_IFNAME"].contains(name)) {
                let value = value.to_str().unwrap();
                prop_assert!(!value.is_empty() && !value.contains('/') && value != "..", "{} {}", name, value);
            }
        }
    }
}

#[test]
fn a_result_is_carried_through_in_its_version_with_every_key() {
    for version in Version::ALL {
        let (answer, _) = call("ADD", &environment(), network(version).to_string().as_bytes());
        let Answer::Done(Some(text)) = answer else { panic!("{answer:?}") };
        let mut wanted = network(version)["prevResult"].clone();
        if version < Version::V1_0_0 {
            wanted["ips"][0]["version"] = "4".into();
        }
        if version < Version::V1_1_0 {
            wanted["interfaces"][0].as_object_mut().unwrap().remove("mtu");
            for key in ["mtu", "table"] {
                wanted["routes"][0].as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted, "{version}");
    }
}

#[test]
fn a_result_of_one_version_is_read_in_every_other() {
    for from in Version::ALL {
        let made = Success::from_json(&network(Version::V1_1_0)["prevResult"]).unwrap();
        let read = Success::from_json(&made.to_json(from)).unwrap();
        assert_eq!(read.to_json(Version::V0_3_1), made.to_json(Version::V0_3_1));
        if from == Version::V1_1_0 {
            assert_eq!(read, made);
        }
    }
}

#[test]
fn each_verb_exists_from_its_version_on() {
    for verb in Verb::ALL {
        for version in Version::ALL {
            let (answer, seen) = call(verb.as_str(), &environment(), network(version).to_string().as_bytes());
            let too_old = matches!(&answer, Answer::Failed(text) if text.contains("\"code\":1,"));
            assert_eq!(too_old, version < verb.since(), "{verb} {version}: {answer:?}");
            assert_eq!(seen.len(), usize::from(!too_old && verb != Verb::Version));
        }
    }
    let since: Vec<_> = Verb::ALL.iter().map(|verb| verb.since().as_str()).collect();
    assert_eq!(since, ["0.3.0", "0.3.0", "0.4.0", "1.1.0", "1.1.0", "0.3.0"]);
}

#[test]
fn an_error_says_its_version_code_message_and_details() {
    let (answer, _) = call("STATUS", &environment(), network(Version::V1_1_0).to_string().as_bytes());
    let Answer::Failed(text) = answer else { panic!("{answer:?}") };
    let wanted = json!({ "cniVersion": "1.1.0", "code": 50, "msg": "not now", "details": "later" });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
}

#[test]
fn arguments_are_pairs_and_the_last_of_a_key_counts() {
    let args = cni::Args::parse("A=1;;B=x=y;A=2;C=").unwrap();
    assert_eq!(
        (args.get("A"), args.get("B"), args.get("C"), args.get("D")),
        (Some("2"), Some("x=y"), Some(""), None)
    );
    for wrong in ["A", "=1", "A=1;B"] {
        assert_eq!(cni::Args::parse(wrong).unwrap_err().code, Code::InvalidEnvironment);
    }
}

#[test]
fn a_stdin_that_breaks_is_code_5() {
    let lookup = |name: &str| (name == "CNI_COMMAND").then(|| "ADD".into());
    let answer = answer(&Through::default(), &lookup, || Err(std::io::ErrorKind::BrokenPipe.into()));
    assert!(matches!(&answer, Answer::Failed(text) if text.contains("\"code\":5,")), "{answer:?}");
}
