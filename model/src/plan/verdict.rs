//! What to say of each node.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::address::Family;
use crate::plan::Input;
use crate::plan::settle::{Settled, existing};
use crate::plan::wanted::Draft;
use crate::report::{NodeReport, Truth, Verdict};

/// Longest condition message that Kubernetes takes: 32,768 bytes (metav1.Condition); far below it a person stops reading.
const LONGEST: usize = 2048;

pub(super) fn reports(
    input: &Input<'_>,
    drafts: BTreeMap<String, Draft>,
    settled: &Settled,
) -> BTreeMap<String, NodeReport> {
    drafts
        .into_iter()
        .filter_map(|(name, draft)| {
            let (node, _) = input.nodes.get(&name)?;
            let Draft { provider, instance, mut nics, discovered, mut problems } = draft;
            problems.extend(settled.delays.get(&name).into_iter().flatten().cloned());
            for nic in &mut nics {
                nic.pools =
                    existing(&settled.pools, &nic.pools).into_iter().map(|pool| pool.name.clone()).collect();
            }
            let mut report = NodeReport {
                node: name,
                node_uid: node.uid.clone(),
                provider,
                instance,
                nics,
                synced: synced(&discovered, &problems),
                sufficient: Verdict::new(Truth::Unknown, discovered.reason, discovered.message.clone()),
                discovered,
            };
            // A node of which nothing was ever read may have everything.
            if report.discovered.status != Truth::Unknown || !report.nics.is_empty() {
                report.sufficient = sufficient(&report, settled);
            }
            Some((report.node.clone(), report))
        })
        .collect()
}

fn synced(discovered: &Verdict, problems: &[String]) -> Verdict {
    if discovered.status != Truth::True {
        return Verdict::new(Truth::Unknown, discovered.reason, discovered.message.clone());
    }
    if problems.is_empty() {
        return Verdict::new(Truth::True, "UpToDate", "every pool says what the provider showed");
    }
    Verdict::new(Truth::False, "Differs", shorten(&problems.join("; ")))
}

fn sufficient(report: &NodeReport, settled: &Settled) -> Verdict {
    let (mut text, mut empty, mut any) = (String::new(), false, false);
    for nic in report.nics.iter().filter(|nic| nic.multus.is_some()) {
        let pools = existing(&settled.pools, &nic.pools);
        let count = |family| {
            pools
                .iter()
                .filter(|pool| pool.spec.family() == family)
                .fold(0, |sum: u128, pool| sum.saturating_add(pool.spec.offered().count()))
        };
        let (v4, v6) = (count(Family::V4), count(Family::V6));
        any = true;
        empty |= v4 == 0 && v6 == 0;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{}{}: {v4} IPv4, {v6} IPv6",
            if text.is_empty() { "" } else { "; " },
            nic.interface
        );
    }
    match (any, empty) {
        (false, _) => Verdict::new(Truth::False, "NoNic", "no NIC of this node serves pods"),
        (true, true) => Verdict::new(
            Truth::False,
            "NoAddresses",
            shorten(&format!("a NIC has no secondary address for pods, assign some in the cloud: {text}")),
        ),
        (true, false) => Verdict::new(Truth::True, "Addresses", shorten(&text)),
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{} …", text.get(..cut).unwrap_or_default())
}
