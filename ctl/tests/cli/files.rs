//! The forms in which nodes may be given.

use testbed::aliyun::Topology;

use crate::bench::{Bench, CTL, run};

fn nodes() -> Vec<String> {
    let node = |(name, id): (String, String)| {
        format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\nspec:\n  providerID: {id}\n")
    };
    Topology::seed().nodes().into_iter().map(node).collect()
}

#[test]
fn a_list_documents_json_and_stdin_give_the_same_plan() {
    let bench = Bench::seed();
    let wanted = |text: String| {
        // Only the time of the reading may differ.
        let same =
            text.lines().filter(|line| !line.contains("observedAt") && !line.contains("TransitionTime"));
        same.collect::<Vec<_>>().join("\n")
    };
    let list = wanted(bench.ctl("plan --config cloud.yaml --nodes nodes.yaml").ok());
    assert!(list.contains("kind: SpiderIPPool"), "{list}");
    let documents = format!("---\n{}", nodes().join("---\n"));
    let json = serde_json::json!({"apiVersion": "v1", "kind": "NodeList", "items": nodes().iter().map(|node|
        serde_saphyr::from_str::<serde_json::Value>(node).unwrap()).collect::<Vec<_>>()});
    for text in [documents, format!("{json:#}"), json.to_string()] {
        bench.write("other", &text);
        assert_eq!(wanted(bench.ctl("plan --config cloud.yaml --nodes other").ok()), list);
        let mut command = bench.command(CTL);
        command.args(["plan", "--config", "cloud.yaml", "--nodes", "-"]);
        assert_eq!(wanted(run(command, &text).ok()), list);
    }
}

#[test]
fn what_is_no_list_of_nodes_is_wrong_usage_with_its_place() {
    let bench = Bench::seed();
    let cases = [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", "nodes.yaml: document 1 is \"v1\" \"Pod\""),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret}]\n", "document 1, item 1"),
        ("kind: [Node\n", "nodes.yaml:"),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: a, labels: 7}\n", "is no valid Node"),
        ("", "holds no Node"),
    ];
    for (text, part) in cases {
        bench.write("nodes.yaml", text);
        let sentence = bench.ctl("plan --config cloud.yaml --nodes nodes.yaml").failed(2);
        assert!(sentence.contains(part) && sentence.lines().count() == 1, "{sentence}");
    }
    let sentence = bench.ctl("plan --config cloud.yaml --nodes missing.yaml").failed(2);
    assert!(sentence.contains("missing.yaml"), "{sentence}");
    assert_eq!(bench.sim.calls().total(), 0, "nothing is asked before the files are read");
}
