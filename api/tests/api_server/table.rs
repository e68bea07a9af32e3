//! The table of good and bad objects in `tests/table`, one file a kind.

use serde_json::{Map, Value};

use crate::server::{Intent, Server, object, with_server};

const TABLE: [(&str, &str); 6] = [
    ("SpiderIPPool", include_str!("../table/SpiderIPPool.yaml")),
    ("SpiderSubnet", include_str!("../table/SpiderSubnet.yaml")),
    ("SpiderReservedIP", include_str!("../table/SpiderReservedIP.yaml")),
    ("SpiderCoordinator", include_str!("../table/SpiderCoordinator.yaml")),
    ("SpiderMultusConfig", include_str!("../table/SpiderMultusConfig.yaml")),
    ("SpiderEndpoint", include_str!("../table/SpiderEndpoint.yaml")),
];

#[test]
fn good_objects_are_accepted_and_bad_ones_refused_with_field_and_reason() {
    with_server(async |server| {
        let mut failures = Vec::new();
        let mut count = 0;
        for (kind, text) in TABLE {
            let cases: Vec<Map<String, Value>> = serde_saphyr::from_multiple(&with_long_texts(text)).unwrap();
            count += cases.len();
            for case in cases {
                if let Err(failure) = judge(&server, kind, &case).await {
                    failures.push(format!("{kind}, {}: {failure}", case["case"]));
                }
            }
        }
        assert!(count >= 120, "only {count} cases were read");
        assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
    });
}

/// Sends the case's object, and what it becomes `then`; compares the outcome with `refused`.
async fn judge(server: &Server, kind: &str, case: &Map<String, Value>) -> Result<(), String> {
    for key in case.keys() {
        if !["case", "spec", "status", "then", "refused"].contains(&key.as_str()) {
            return Err(format!("the case has an unknown key {key}"));
        }
    }
    let mut sent = object(kind, &testbed::unique("table"));
    for part in ["spec", "status"] {
        if let Some(value) = case.get(part) {
            sent[part] = value.clone();
        }
    }
    let outcome = match case.get("then") {
        None => server.create(Intent::Ask, &sent).await,
        Some(then) => {
            let mut kept = server.create(Intent::Write, &sent).await?;
            match then {
                Value::Null => drop(kept.as_object_mut().and_then(|kept| kept.remove("spec"))),
                spec => kept["spec"] = spec.clone(),
            }
            let outcome = server.replace(Intent::Ask, &kept).await;
            server.delete(&sent).await;
            outcome
        }
    };
    match (case.get("refused"), outcome) {
        (None, Ok(_)) => Ok(()),
        (None, Err(message)) => Err(format!("refused: {message}")),
        (Some(_), Ok(_)) => Err("accepted".to_owned()),
        (Some(fragments), Err(message)) => {
            let fragments = fragments.as_array().ok_or("refused is no list")?;
            let missing =
                fragments.iter().filter_map(Value::as_str).find(|fragment| !message.contains(fragment));
            missing.map_or(Ok(()), |fragment| Err(format!("no {fragment:?} in: {message}")))
        }
    }
}

/// Expands `LONG(n)` to a text of n letters.
fn with_long_texts(text: &str) -> String {
    let mut parts = text.split("LONG(");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (length, rest) = part.split_once(')').unwrap();
        expanded.push_str(&"a".repeat(length.parse().unwrap()));
        expanded.push_str(rest);
    }
    expanded
}
