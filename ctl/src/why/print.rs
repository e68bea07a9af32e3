//! The explanation for people.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1;

use super::{Considered, Held, Nic, Report};
use crate::arguments::Extent;
use crate::table;

/// How many Events are shown: the last attempts say the same again and again.
const EVENTS: usize = 3;

/// Returns the last warnings about a pod, the latest last, each in one line.
pub(super) fn events(events: &[v1::Event]) -> Vec<String> {
    let warnings = events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
    let mut warnings: Vec<(String, String)> = warnings
        .map(|event| {
            let when = event.last_timestamp.as_ref().map(|time| time.0.to_string());
            let when =
                when.or_else(|| event.event_time.as_ref().map(|time| time.0.to_string())).unwrap_or_default();
            let (reason, message) = (event.reason.as_deref(), event.message.as_deref());
            let message: Vec<&str> = message.unwrap_or_default().split_whitespace().collect();
            (when, format!("{}: {}", reason.unwrap_or_default(), message.join(" ")))
        })
        .collect();
    warnings.sort();
    let from = warnings.len().saturating_sub(EVENTS);
    warnings.into_iter().skip(from).map(|(when, text)| format!("{when} {text}")).collect()
}

/// Writes a report.
pub(super) fn text(report: &Report, extent: Extent) -> String {
    let Report { pod, nics, other_addresses, events, notes: _ } = report;
    let on = if pod.node.is_empty() { "on no node".to_owned() } else { format!("on node {}", pod.node) };
    let mut text = format!("Pod {}/{}, {}, {on}\n", pod.namespace, pod.name, pod.phase);
    for nic in nics {
        text.push('\n');
        one(&mut text, nic, extent);
    }
    if !other_addresses.is_empty() {
        text.push_str("\nNo NIC is known to hold\n");
        addresses(&mut text, other_addresses);
    }
    if !events.is_empty() {
        text.push_str("\nLast warnings\n");
    }
    for event in events {
        line(&mut text, &format!("  {event}"));
    }
    text
}

fn one(text: &mut String, nic: &Nic, extent: Extent) {
    let network = nic.network.as_deref().unwrap_or("unknown");
    line(text, &format!("NIC {}, network {network}", nic.name));
    if let Some(ipam) = &nic.ipam {
        line(text, &format!("  not Spiderpool's: the IPAM of the network is {ipam}"));
    }
    if let Some(rule) = &nic.rule {
        line(text, &format!("  decided by {rule}"));
    }
    if let Some(error) = &nic.error {
        line(text, &format!("  {error}"));
    }
    for family in &nic.without {
        line(text, &format!("  {family}"));
    }
    let shown = nic.pools.iter().filter(|pool| extent == Extent::All || !pool.elsewhere);
    let rows: Vec<_> = shown.map(row).collect();
    let hidden = nic.pools.len() - rows.len();
    if !rows.is_empty() {
        for row in table::text(["TURN", "POOL", "FAMILY", "FREE", "WHY"], rows).lines() {
            line(text, &format!("  {row}"));
        }
    }
    if hidden > 0 {
        line(text, &format!("  and {hidden} default pools of other nodes (--all shows them)"));
    }
    if nic.addresses.is_empty() && nic.ipam.is_none() {
        line(text, "  holds no address");
    } else if !nic.addresses.is_empty() {
        line(text, "  holds");
        addresses(text, &nic.addresses);
    }
}

fn row(pool: &Considered) -> [String; 5] {
    [
        pool.turn.map(|turn| turn.to_string()).unwrap_or_default(),
        pool.pool.clone(),
        format!("IPv{}", pool.family),
        pool.free.clone().unwrap_or_default(),
        pool.why.clone(),
    ]
}

fn addresses(text: &mut String, held: &[Held]) {
    for Held { address, pool, nic: _, current } in held {
        let whose = if *current { "" } else { ", recorded for an earlier pod of the name" };
        line(text, &format!("    {address} of pool {pool}{whose}"));
    }
}

fn line(text: &mut String, line: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{line}");
}
