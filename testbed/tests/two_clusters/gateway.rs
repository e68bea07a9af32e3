//! What Submariner does on a cluster's gateway node, by hand.

use std::fmt::Write as _;

use crate::site::{A, Cluster, NODE, Site};

/// A key of AES-GCM and its salt, from which nobody has to keep anything here.
const KEY: &str = "0x00112233445566778899aabbccddeeff01020304";

/// What marks the packets of one direction.
fn spi(from: &Site) -> &'static str {
    if from.name == A.name { "0xa" } else { "0xb" }
}

/// Makes this end of the tunnel: what goes from any of the blocks here to any of those there is encrypted and sent to the other node, and
/// nothing comes the other way that was not. Sources are kept, whatever kube-proxy thinks of strangers.
pub(crate) fn connect(here: &Cluster, there: &Cluster) {
    let (own, other) = (here.site, there.site);
    let ends = |from: &Site, to: &Site| format!("src {} dst {} proto esp", from.nics[0], to.nics[0]);
    // Writing into a String cannot fail.
    let mut script = "set -e\n".to_owned();
    for (from, to) in [(own, other), (other, own)] {
        let _ = writeln!(
            script,
            "ip xfrm state add {} spi {} reqid 1 mode tunnel aead 'rfc4106(gcm(aes))' {KEY} 128",
            ends(from, to),
            spi(from)
        );
        for source in [from.services(), from.pods()] {
            for destination in [to.services(), to.pods()] {
                let directions: &[&str] = if from.name == own.name { &["out"] } else { &["in", "fwd"] };
                for direction in directions {
                    let _ = writeln!(
                        script,
                        "ip xfrm policy add src {source} dst {destination} dir {direction} tmpl {} reqid 1 mode tunnel",
                        ends(from, to)
                    );
                }
            }
        }
    }
    let chain = "SUBMARINER-POSTROUTING";
    let _ = writeln!(script, "iptables -w -t nat -N {chain}\niptables -w -t nat -I POSTROUTING -j {chain}");
    for remote in [other.services(), other.pods()] {
        for (source, destination) in [(own.pods(), remote), (remote, own.pods())] {
            let _ = writeln!(script, "iptables -w -t nat -A {chain} -s {source} -d {destination} -j ACCEPT");
        }
    }
    here.stage.guest(NODE).sh(&script).unwrap();
}

/// Makes sure that packets went through the tunnel, both ways.
pub(crate) fn was_used(cluster: &Cluster) {
    let said = cluster.stage.guest(NODE).sh("ip -s xfrm state").unwrap();
    let counts: Vec<u64> = said
        .lines()
        .filter(|line| line.contains("(bytes)") && line.contains("(packets)"))
        .filter_map(|line| line.split(['(', ',']).find_map(|part| part.trim().parse().ok()))
        .collect();
    assert!(counts.len() == 2 && counts.iter().all(|bytes| *bytes > 0), "{}: {said}", cluster.site.name);
}
