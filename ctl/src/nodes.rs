//! Nodes from a file: what `kubectl get nodes -o yaml` or `-o json` prints, or several documents.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use api::view;
use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use model::Node;
use serde_json::Value;
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::failure::Failure;

/// A node and the labels that select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// What the plan looks at.
    pub(crate) node: Node,
    /// `metadata.labels`.
    pub(crate) labels: BTreeMap<String, String>,
}

impl From<&v1::Node> for NodeFacts {
    fn from(node: &v1::Node) -> Self {
        Self { node: view::node(node), labels: node.labels().clone() }
    }
}

/// Reads the nodes of a file; `-` is stdin.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, NodeFacts>, Failure> {
    let mut text = String::new();
    let (origin, outcome) = if path.as_os_str() == "-" {
        ("stdin".to_owned(), std::io::stdin().read_to_string(&mut text).map(|_| ()))
    } else {
        let read = std::fs::read_to_string(path).map(|content| text = content);
        (path.display().to_string(), read)
    };
    outcome.map_err(|error| Failure::Usage(format!("cannot read the nodes from {origin}: {error}")))?;
    parse(&text, &origin).map_err(Failure::Usage)
}

/// Reads the nodes of a text; the error names the place in it.
fn parse(text: &str, origin: &str) -> Result<BTreeMap<String, NodeFacts>, String> {
    let mut nodes = BTreeMap::new();
    for (at, document) in documents(text, origin)?.into_iter().enumerate() {
        let place = format!("{origin}: document {}", at + 1);
        let Value::Object(mut fields) = document else {
            return Err(format!(
                "{place} is no Kubernetes object: give what `kubectl get nodes -o yaml` prints"
            ));
        };
        let is_list = matches!(fields.get("kind").and_then(Value::as_str), Some("List" | "NodeList"));
        match fields.remove("items") {
            Some(Value::Array(items)) if is_list => {
                for (at, item) in items.into_iter().enumerate() {
                    take(item, &format!("{place}, item {}", at + 1), &mut nodes)?;
                }
            }
            _ => take(Value::Object(fields), &place, &mut nodes)?,
        }
    }
    if nodes.is_empty() {
        return Err(format!("{origin} holds no Node: give what `kubectl get nodes -o yaml` prints"));
    }
    Ok(nodes)
}

fn take(object: Value, place: &str, nodes: &mut BTreeMap<String, NodeFacts>) -> Result<(), String> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Node") {
        let (version, kind) = (text("apiVersion"), text("kind"));
        return Err(format!("{place} is {version:?} {kind:?}, but only \"v1\" \"Node\" objects belong here"));
    }
    let node: v1::Node =
        serde_json::from_value(object).map_err(|error| format!("{place} is no valid Node: {error}"))?;
    let name = node.name_any();
    if name.is_empty() {
        return Err(format!("{place} is a Node without metadata.name"));
    }
    if nodes.insert(name.clone(), NodeFacts::from(&node)).is_some() {
        return Err(format!("{place} is a second Node {name}: names are unique in a cluster"));
    }
    Ok(())
}

/// Splits a text into its documents, JSON or YAML; empty ones are left out.
fn documents(text: &str, origin: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('{')
        && let Ok(documents) = serde_json::Deserializer::from_str(text).into_iter().collect()
    {
        return Ok(documents);
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        // 5,000 nodes as kubectl prints them are some 50 MB and a million values, or 5,000 documents; the reader's own
        // limits are meant for texts of strangers. Depth and aliases stay limited.
        budget: serde_saphyr::budget! {
            max_nodes: 50_000_000,
            max_events: 200_000_000,
            max_documents: 100_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location().map(|place| format!(":{}:{}", place.line(), place.column()));
        let message = UserMessageFormatter.format_message(error).into_owned();
        format!("{origin}{}: {message}", place.unwrap_or_default())
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nspec: {providerID: x.i-1}\n";

    fn names(text: &str) -> Vec<String> {
        parse(text, "nodes.yaml").unwrap().into_keys().collect()
    }

    fn refusal(text: &str) -> String {
        parse(text, "nodes.yaml").unwrap_err()
    }

    #[test]
    fn lists_documents_and_json_are_all_read() {
        let two = ONE.replace("name: a", "name: b");
        assert_eq!(names(&format!("---\n{ONE}---\n{two}---\n")), ["a", "b"]);
        let json = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "c"}}"#;
        assert_eq!(names(json), ["c"]);
        assert_eq!(names(&format!("{json}\n{}", json.replace("\"c\"", "\"d\""))), ["c", "d"]);
        for kind in ["List", "NodeList"] {
            let list = format!("apiVersion: v1\nkind: {kind}\nitems: [{json}]\n");
            assert_eq!(names(&list), ["c"]);
        }
    }

    #[test]
    fn a_document_for_each_node_of_a_large_cluster_is_fine() {
        let node = |at| format!("---\n{}", ONE.replace("name: a", &format!("name: n{at}")));
        assert_eq!(names(&(0..5000).map(node).collect::<Vec<_>>().concat()).len(), 5000);
    }

    #[test]
    fn what_is_no_node_is_refused_with_its_place() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
        assert!(refusal(&format!("{ONE}---\n{pod}")).starts_with("nodes.yaml: document 2 is \"v1\" \"Pod\""));
        let list = "kind: List\nitems: [{kind: ConfigMap, apiVersion: v1}]\n";
        assert!(refusal(list).starts_with("nodes.yaml: document 1, item 1 is "), "{}", refusal(list));
        assert!(refusal("- a\n").contains("no Kubernetes object"));
        assert!(refusal("apiVersion: v1\nkind: Node\n").contains("without metadata.name"));
        assert!(refusal(&format!("{ONE}---\n{ONE}")).contains("second Node a"));
        assert!(refusal("").contains("holds no Node"));
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_line_and_column() {
        let text = refusal("apiVersion: v1\nkind: [Node\n");
        let place = text.strip_prefix("nodes.yaml:").and_then(|rest| rest.split(':').next());
        assert!(place.is_some_and(|line| line.parse::<u32>().is_ok()), "{text}");
    }

    #[test]
    fn a_node_keeps_what_the_plan_looks_at() {
        let labelled = "apiVersion: v1\nkind: Node\nmetadata: {name: a, labels: {pool: cloud}}\n\
                        status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: Hostname, address: a}]}\n";
        let facts = parse(labelled, "x").unwrap().remove("a").unwrap();
        assert_eq!(facts.labels["pool"], "cloud");
        assert_eq!(facts.node.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!((facts.node.uid.as_str(), facts.node.provider_id), ("", None));
    }
}
