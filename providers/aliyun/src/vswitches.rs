//! The vSwitches of the VPC, kept for hours: they hardly ever change, and every reading needs them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{Ipv4Net, Ipv6Net};
use model::{Subnet, SubnetId};

use crate::wire::VSwitchShape;

/// How long a listing is good.
const KEPT: Duration = Duration::from_hours(6);

/// The shortest time between two listings that NICs with an unknown vSwitch ask for.
const PAUSE: Duration = Duration::from_mins(1);

/// The vSwitches of a VPC, by id.
pub(crate) type VSwitches = BTreeMap<SubnetId, Subnet>;

/// What was listed last.
#[derive(Default)]
pub(crate) struct VSwitchCache(Mutex<Option<Held>>);

struct Held {
    vswitches: Arc<VSwitches>,
    listed: Instant,
    tried: Instant,
}

/// What to do about the vSwitches before a reading is made of NICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// These are good.
    Nothing(Arc<VSwitches>),
    /// List them; these may serve when that fails.
    Listing(Option<Arc<VSwitches>>),
}

impl VSwitchCache {
    /// Tells what is needed, now that NICs need something that `complete` looks for.
    pub(crate) fn need(&self, now: Instant, complete: impl Fn(&VSwitches) -> bool) -> Need {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = guard.as_mut() else {
            return Need::Listing(None);
        };
        let age = now.saturating_duration_since(held.listed);
        let rested = now.saturating_duration_since(held.tried) >= PAUSE;
        if rested && (age >= KEPT || !complete(&held.vswitches)) {
            held.tried = now;
            return Need::Listing(Some(Arc::clone(&held.vswitches)));
        }
        Need::Nothing(Arc::clone(&held.vswitches))
    }

    /// Keeps a fresh listing.
    pub(crate) fn keep(&self, vswitches: VSwitches, now: Instant) -> Arc<VSwitches> {
        let vswitches = Arc::new(vswitches);
        let held = Held { vswitches: Arc::clone(&vswitches), listed: now, tried: now };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        vswitches
    }
}

/// Reads one vSwitch; what cannot be read is left out, with a sentence about it.
pub(crate) fn subnet(shape: VSwitchShape, warnings: &mut Vec<String>) -> Option<Subnet> {
    let VSwitchShape { v_switch_id, zone_id, cidr_block, ipv6_cidr_block } = shape;
    if v_switch_id.is_empty() {
        warnings.push("a vSwitch without an id is left out".to_owned());
        return None;
    }
    let mut bad =
        |block: &str| warnings.push(format!("vSwitch {v_switch_id}: {block:?} is no address block"));
    let v4 = cidr_block.parse::<Ipv4Net>().inspect_err(|_| bad(&cidr_block)).ok().map(|net| net.trunc());
    let v6 = if ipv6_cidr_block.is_empty() {
        None
    } else {
        ipv6_cidr_block.parse::<Ipv6Net>().inspect_err(|_| bad(&ipv6_cidr_block)).ok().map(|net| net.trunc())
    };
    Some(Subnet {
        id: SubnetId::from(v_switch_id),
        v4,
        v4_gateway: v4.and_then(v4_gateway),
        v6,
        v6_gateway: v6.and_then(v6_gateway),
        zone: zone_id,
    })
}

/// The cloud keeps the last three addresses of a vSwitch; the gateway is the lowest of them.
fn v4_gateway(net: Ipv4Net) -> Option<Ipv4Addr> {
    let gateway = Ipv4Addr::from(u32::from(net.broadcast()).checked_sub(2)?);
    net.contains(&gateway).then_some(gateway)
}

/// The cloud keeps the last nine addresses of a vSwitch; its documentation shows the lowest of them,
/// `…:ffff:ffff:ffff:fff7`, as gateway.
fn v6_gateway(net: Ipv6Net) -> Option<Ipv6Addr> {
    let gateway = Ipv6Addr::from(u128::from(net.broadcast()).checked_sub(8)?);
    net.contains(&gateway).then_some(gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(v4: &str, v6: &str) -> VSwitchShape {
        VSwitchShape {
            v_switch_id: "vsw-1".to_owned(),
            zone_id: "z".to_owned(),
            cidr_block: v4.to_owned(),
            ipv6_cidr_block: v6.to_owned(),
        }
    }

    #[test]
    fn gateways_are_derived_as_the_vendor_reserves_them() {
        let mut warnings = Vec::new();
        for (block, gateway) in
            [("192.168.1.0/24", "192.168.1.253"), ("10.0.8.0/21", "10.0.15.253"), ("10.0.0.0/29", "10.0.0.5")]
        {
            let subnet = subnet(shape(block, "2001:db8:10:5::/64"), &mut warnings).unwrap();
            assert_eq!(subnet.v4_gateway.unwrap().to_string(), gateway);
            assert_eq!(subnet.v6_gateway.unwrap().to_string(), "2001:db8:10:5:ffff:ffff:ffff:fff7");
        }
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_block_that_cannot_be_read_is_reported_and_the_other_family_stays() {
        let mut warnings = Vec::new();
        let subnet = subnet(shape("10.0.0.0/40", "2001:db8::/64"), &mut warnings).unwrap();
        assert!(subnet.v4.is_none() && subnet.v6.is_some());
        assert_eq!(warnings, ["vSwitch vsw-1: \"10.0.0.0/40\" is no address block"]);
    }

    #[test]
    fn a_listing_is_kept_for_hours_and_renewed_early_at_most_once_a_minute() {
        let cache = VSwitchCache::default();
        let start = Instant::now();
        assert_eq!(cache.need(start, |_| true), Need::Listing(None));
        cache.keep(VSwitches::new(), start);
        let after = |seconds| start + Duration::from_secs(seconds);
        let asks = |need| matches!(need, Need::Listing(Some(_)));
        assert!(!asks(cache.need(after(3600), |_| true)));
        assert!(!asks(cache.need(after(30), |_| false)));
        assert!(asks(cache.need(after(61), |_| false)));
        assert!(!asks(cache.need(after(90), |_| false)));
        assert!(asks(cache.need(after(6 * 3600), |_| true)));
    }
}
