//! What docs/configuration.md shows is true.

use config::Config;

const GUIDE: &str = include_str!("../../docs/configuration.md");

/// Returns the guide's blocks of a language, without their fences.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn refusal(text: &str) -> String {
    Config::parse(text, "cloud.yaml").map_or_else(|error| error.to_string(), |_| String::new())
}

#[cfg(feature = "aliyun")]
#[test]
fn every_example_is_accepted() {
    let examples = blocks("yaml");
    assert_eq!(examples.len(), 3);
    for example in examples {
        assert_eq!(refusal(example), "", "{example}");
    }
}

#[cfg(feature = "aliyun")]
#[test]
fn the_full_example_shows_the_defaults() {
    let full = blocks("yaml")[2];
    let (hz, _) = full.split_once("  - name: rack").unwrap();
    let full = Config::parse(hz, "cloud.yaml").unwrap();
    let least = Config::parse("providers: [{name: hz, type: aliyun}]", "cloud.yaml").unwrap();
    assert_eq!(
        (full.resync, full.join_window, full.max_removal),
        (least.resync, least.join_window, least.max_removal)
    );
    let (full, least) = (&full.providers[0], &least.providers[0]);
    assert_eq!((&full.interface, &full.multus), (&least.interface, &least.multus));
    assert_eq!((full.default, full.coordinator), (least.default, least.coordinator));
    let config::Settings::Aliyun(full) = &full.settings else { panic!("{full:?}") };
    let config::Settings::Aliyun(least) = &least.settings else { panic!("{least:?}") };
    assert_eq!(full.unmanaged_tag, least.unmanaged_tag);
}

#[test]
fn every_key_that_is_known_is_explained() {
    let known = refusal("x: 1") + &refusal("removal: {x: 1}") + &refusal("providers: [{x: 1}]");
    let known = known.clone()
        + &refusal("providers: [{endpoints: {x: 1}}]")
        + &refusal("providers: [{nodes: {a: [{x: 1}]}}]");
    let lists = known.split("Known here: ").skip(1);
    let keys: Vec<&str> =
        lists.filter_map(|list| list.split("cloud.yaml").next()).flat_map(|list| list.split(", ")).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        let explained = GUIDE.lines().filter(|line| line.starts_with("| `") || line.starts_with("`nodes`"));
        let names = |line: &str| line.split('`').any(|word| word.split('.').any(|part| part == key));
        assert!(explained.clone().any(names), "{key} is in no table");
    }
}

#[test]
fn the_mistakes_are_shown_as_they_are() {
    let [located, unknown] = blocks("text")[..] else { panic!("two blocks of mistakes") };
    let text = "resync: 0s
providers:
  - name: rack
    type: static
    nodes:
      node-a:
        - {interface: eth0, subnet: 192.0.2.0/24,
           ips: [192.0.2.10,          198.51.100.1]}
";
    assert_eq!(refusal(text), located.trim_end());
    assert_eq!(refusal("resync: 1s\nresinc: 1s\n"), unknown.trim_end());
}
