//! What the guides show holds: their examples can be read, and the tests that they name are there.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

use std::collections::BTreeMap;
use std::path::Path;

use api::{SpiderIPPool, annotations, candidate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde::de::DeserializeOwned;
use serde_json::Value;

const GUIDE: &str = include_str!("../../docs/annotations.md");
const TABLE: &str = include_str!("../../docs/upstream-tests.md");

/// Returns the guide's blocks of one language, each with the last heading before it.
fn blocks(language: &str) -> Vec<(&'static str, &'static str)> {
    let (mut heading, mut found) = ("", Vec::new());
    for (at, part) in GUIDE.split("\n```").enumerate() {
        if at % 2 == 0 {
            heading = part.lines().rfind(|line| line.starts_with('#')).unwrap_or(heading);
            continue;
        }
        let (own, text) = part.split_once('\n').unwrap();
        if own == language {
            found.push((heading, text));
        }
    }
    found
}

/// Reads all that an object's annotations say, and that something was said.
#[track_caller]
fn reads(text: &BTreeMap<String, String>) {
    let wishes = annotations::pod(text, "default", "kube-system");
    let mut said = 0;
    said += usize::from(wishes.ippools.transpose().unwrap().is_some());
    said += usize::from(wishes.ippool.transpose().unwrap().is_some());
    said += usize::from(wishes.routes.transpose().unwrap().is_some());
    said += usize::from(wishes.networks.default.transpose().unwrap().is_some());
    said += usize::from(wishes.networks.further.transpose().unwrap().is_some());
    let names = annotations::namespace(text).transpose().unwrap();
    let lists = text.keys().filter(|key| key.contains("/default-ipv")).count();
    assert_eq!(said + lists, text.len(), "{text:?}");
    assert_eq!(names.is_some(), lists > 0, "{text:?}");
}

#[test]
fn every_json_example_is_what_its_heading_says() {
    let blocks = blocks("json");
    assert!(blocks.len() >= 6, "{} examples", blocks.len());
    for (heading, text) in blocks {
        let key = heading.split('`').nth(1).unwrap_or_else(|| panic!("an annotation in {heading:?}"));
        reads(&[(key.to_owned(), text.to_owned())].into());
    }
}

/// Reads an object, and that its kind knows all its keys.
#[track_caller]
fn typed<T: DeserializeOwned + serde::Serialize>(value: &Value) -> T {
    let object: T = serde_json::from_value(value.clone()).unwrap();
    let again = serde_json::to_value(&object).unwrap();
    assert!(holds(&again, value), "{value} became {again}");
    object
}

/// Whether all of `part` is in `whole`.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|own| holds(own, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn every_yaml_example_is_an_object_that_can_be_read() {
    let blocks = blocks("yaml");
    assert!(blocks.len() >= 5, "{} examples", blocks.len());
    for (_, text) in blocks {
        let value: Value = serde_saphyr::from_str(text).unwrap();
        match value["kind"].as_str().unwrap() {
            "Pod" => reads(&typed::<Pod>(&value).metadata.annotations.unwrap()),
            "Namespace" => reads(&typed::<Namespace>(&value).metadata.annotations.unwrap()),
            "Deployment" => {
                let template = typed::<Deployment>(&value).spec.unwrap().template;
                reads(&template.metadata.unwrap().annotations.unwrap());
            }
            "SpiderIPPool" => {
                let pool = candidate(&typed::<SpiderIPPool>(&value));
                assert_eq!((pool.problem, pool.offered > 0), (None, true), "{text}");
            }
            kind => panic!("{kind} has no example here"),
        }
    }
}

#[test]
fn the_sentence_that_the_guide_quotes_is_the_one_that_is_said() {
    let text = [(annotations::IPPOOL.to_owned(), r#"{"ipv4": ["shop", 3]}"#.to_owned())].into();
    let bad = annotations::pod(&text, "default", "kube-system").ippool.unwrap().unwrap_err();
    let guide: Vec<&str> = GUIDE.split_whitespace().collect();
    assert!(guide.join(" ").contains(&format!("`{bad}`")), "{bad}");
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut source, mut file, mut named) = (String::new(), "", 0);
    for row in TABLE.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`")) {
        for word in row.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                source = std::fs::read_to_string(root.join(word))
                    .unwrap_or_else(|error| panic!("{word}: {error}"));
                file = word;
                continue;
            }
            assert!(source.contains(&format!("fn {word}(")), "{file} has no test {word}: {row}");
            named += 1;
        }
    }
    assert!(named >= 30, "{named} tests");
}

#[test]
fn every_case_of_upstreams_list_is_in_the_table_once() {
    let cases = |prefix: char, count: u32| (1..=count).map(move |at| format!("{prefix}{at:05}"));
    let all = cases('A', 18).chain(cases('L', 9)).chain(cases('E', 10)).chain(cases('D', 17));
    let all = all.chain(cases('S', 4)).chain(cases('G', 12));
    let all = all.chain(cases('C', 23)).chain(cases('N', 6)).chain(cases('V', 11));
    let firsts: Vec<&str> =
        TABLE.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    let covers = |cell: &str, case: &str| {
        cell.split(", ").any(|part| match part.split_once('–') {
            Some((first, last)) => (first..=last).contains(&case),
            None => part == case,
        })
    };
    for case in all {
        let rows = firsts.iter().filter(|cell| covers(cell, &case)).count();
        assert_eq!(rows, 1, "{case}");
    }
}
