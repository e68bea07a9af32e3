use std::fs;

use serde_json::Value;

use crate::agent::{ScriptedAgent, both_families, http};
use crate::call::Call;

#[test]
fn every_line_says_which_pod_and_interface_it_is_about() {
    let call = Call::new();
    let _agent = ScriptedAgent::saying(call.path(), http(500, "\"pool is empty\""));
    assert_eq!(call.run("ADD").code(), 101);
    let line: Value = serde_json::from_str(call.log().lines().next().unwrap()).unwrap();
    for (key, value) in [
        ("verb", "ADD"),
        ("level", "error"),
        ("container", "sandbox-1"),
        ("interface", "pod"),
        ("namespace", "default"),
        ("pod", "web-0"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line["code"], 101);
    assert!(
        line["msg"].as_str().unwrap().contains("pool is empty")
            && line["ts"].as_str().unwrap().ends_with('Z'),
        "{line}"
    );
}

#[test]
fn the_level_silences_what_is_below_it() {
    let call = Call::new().set_ipam("log_level", "error");
    let _agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    assert!(call.run("ADD").succeeded);
    assert_eq!(call.log(), "");
}

#[test]
fn a_log_that_cannot_be_written_costs_no_address() {
    let call = Call::new().set_ipam("log_file_path", "/proc/nowhere/spiderpool.log");
    let _agent = ScriptedAgent::saying(call.path(), http(200, &both_families().to_string()));
    assert!(call.run("ADD").succeeded);
    assert!(call.run("DEL").succeeded);
}

#[test]
fn a_full_log_is_put_aside_and_only_so_many_are_kept() {
    let call = Call::new().set_ipam("log_file_max_size", 1).set_ipam("log_file_max_count", 2);
    let folder = call.path().join("log");
    let full = "x".repeat(1 << 20);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("spiderpool-notes.txt"), "not ours").unwrap();
    for _ in 0..4 {
        fs::write(folder.join("spiderpool.log"), &full).unwrap();
        assert!(call.run("DEL").succeeded);
        assert!(call.log().lines().count() == 1 && call.log().contains("kept the DEL"));
    }
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 4, "two put aside, the log, and what is not ours: {names:?}");
    assert!(names.contains(&"spiderpool-notes.txt".to_owned()));
}

#[test]
fn a_log_that_is_too_old_is_removed_when_another_is_put_aside() {
    let call = Call::new().set_ipam("log_file_max_size", 1).set_ipam("log_file_max_age", 30);
    let folder = call.path().join("log");
    fs::create_dir(&folder).unwrap();
    let old = folder.join("spiderpool-2020-01-01T00-00-00.000Z.log");
    let file = fs::File::create(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(31 * 24)).unwrap();
    let young = folder.join("spiderpool-2020-01-02T00-00-00.000Z.log");
    fs::write(&young, "young").unwrap();
    fs::write(folder.join("spiderpool.log"), "x".repeat(1 << 20)).unwrap();
    assert!(call.run("DEL").succeeded);
    assert!(!old.exists() && young.exists());
}
