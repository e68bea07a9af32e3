//! What a scrape shows.

use model::{Family as AddressFamily, ProviderName, Truth};
use prometheus_client::encoding::text::encode;
use tokio::time::Instant;

use super::*;

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("text");
    text
}

fn setup() -> (Registry, Metrics) {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    (registry, metrics)
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
}

#[test]
fn every_metric_has_the_prefix_and_a_help_text() {
    let (registry, metrics) = setup();
    metrics.step(Change::Create, Outcome::Done);
    metrics.write(Kind::Node, Verb::Status, Outcome::Done);
    metrics.pass(PassOutcome::Done, Duration::ZERO);
    metrics.reload(ReloadOutcome::Applied);
    metrics.attachments(&BTreeMap::from([("Generated", 3)]));
    let text = scrape(&registry);
    let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    assert_eq!(named.len(), 14, "{text}");
    for line in named {
        assert!(line.starts_with("spiderpool_cloud_") && line.ends_with('.'), "{line}");
    }
}

#[test]
fn what_happens_is_counted_by_its_labels() {
    let (registry, metrics) = setup();
    metrics.step(Change::Delete, Outcome::Skipped);
    metrics.write(Kind::Pool, Verb::Create, Outcome::Done);
    metrics.write(Kind::Pool, Verb::Create, Outcome::Done);
    metrics.pass(PassOutcome::Done, Duration::from_millis(3));
    metrics.event_dropped();
    let text = scrape(&registry);
    assert_line(&text, r#"spiderpool_cloud_steps_total{change="delete",outcome="skipped"} 1"#);
    let writes = r#"spiderpool_cloud_writes_total{kind="SpiderIPPool",verb="create",outcome="done"} 2"#;
    assert_line(&text, writes);
    assert_line(&text, r#"spiderpool_cloud_passes_total{outcome="done"} 1"#);
    assert_line(&text, "spiderpool_cloud_pass_duration_seconds_count 1");
    assert_line(&text, "spiderpool_cloud_events_dropped_total 1");
}

#[test]
fn a_refused_configuration_shows_until_a_good_one_comes() {
    let (registry, metrics) = setup();
    for (outcome, shown) in [
        (ReloadOutcome::Applied, 1),
        (ReloadOutcome::Invalid, 0),
        (ReloadOutcome::Unreadable, 0),
        (ReloadOutcome::Unchanged, 1),
    ] {
        metrics.reload(outcome);
        let line = format!("spiderpool_cloud_config_last_reload_successful {shown}");
        assert_line(&scrape(&registry), &line);
    }
    assert_line(&scrape(&registry), r#"spiderpool_cloud_config_reloads_total{outcome="invalid"} 1"#);
}

fn census() -> Census {
    let (hz, mut census) = (ProviderName::from("hz"), Census::default());
    census.pool(&hz, AddressFamily::V4);
    census.pool(&hz, AddressFamily::V4);
    census.addresses(&hz, AddressFamily::V4, AddressState::Offered, 10);
    census.addresses(&hz, AddressFamily::V4, AddressState::Offered, 9);
    census.addresses(&hz, AddressFamily::V6, AddressState::InUseAbsent, 1 << 48);
    census.node(Condition::SufficientIps, Truth::Unknown);
    census.held_back(7);
    census.unsynced_for(Duration::from_secs(90));
    census.unsynced_for(Duration::from_secs(30));
    census
}

#[test]
fn a_census_shows_sums_and_the_longest_wait() {
    let (registry, metrics) = setup();
    metrics.publish(&census());
    let text = scrape(&registry);
    assert_line(&text, r#"spiderpool_cloud_pools{provider="hz",family="ipv4"} 2.0"#);
    let offered = r#"spiderpool_cloud_addresses{provider="hz",family="ipv4",state="offered"} 19.0"#;
    assert_line(&text, offered);
    let absent =
        r#"spiderpool_cloud_addresses{provider="hz",family="ipv6",state="in_use_absent"} 281474976710656.0"#;
    assert_line(&text, absent);
    assert_line(&text, r#"spiderpool_cloud_nodes{condition="SufficientIPs",status="Unknown"} 1.0"#);
    assert_line(&text, "spiderpool_cloud_held_back 7.0");
    assert_line(&text, "spiderpool_cloud_oldest_unsynced_node_seconds 90.0");
}

#[test]
fn a_provider_that_is_gone_leaves_no_gauge_behind() {
    let (registry, metrics) = setup();
    metrics.publish(&census());
    let mut next = Census::default();
    next.pool(&ProviderName::from("rack"), AddressFamily::V4);
    metrics.publish(&next);
    let text = scrape(&registry);
    assert!(!text.contains(r#"provider="hz""#), "{text}");
    assert_line(&text, r#"spiderpool_cloud_pools{provider="rack",family="ipv4"} 1.0"#);
}

#[test]
fn a_standby_shows_nothing_of_the_time_it_led() {
    let (registry, metrics) = setup();
    let role = Role::Leader(crate::lease::Leadership::for_test(Instant::now()));
    metrics.follow(&role);
    metrics.publish(&census());
    assert_line(&scrape(&registry), "spiderpool_cloud_leader 1");
    metrics.follow(&Role::Standby);
    let text = scrape(&registry);
    assert_line(&text, "spiderpool_cloud_leader 0");
    assert!(!text.contains("provider="), "{text}");
}
