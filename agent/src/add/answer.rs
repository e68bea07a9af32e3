//! What a plugin is told: addresses, gateways and routes.

use std::collections::BTreeSet;

use api::{EndpointIp, Route};
use ipnet::IpNet;
use model::select::{Networks, PodRoute, Selection, routes_by_nic};
use model::{Family, Holder};
use tracing::debug;
use wire::{AddReply, Ip};

use crate::agent::Agent;
use crate::desk::{Held, Taken};
use crate::pods::Pod;
use crate::settings::Detection;

/// Annotation of a pool: whether plugins look for somebody else who answers for its addresses; `true` or `false`.
const CONFLICT_DETECTION: &str = "ipam.spidernet.io/ip-conflict-detection";
/// Annotation of a pool: whether plugins make sure that its gateway answers; `true` or `false`.
const GATEWAY_DETECTION: &str = "ipam.spidernet.io/gateway-detection";
/// Annotation of a pod that takes a virtual machine over from another one, which has the same address until then.
const MIGRATION: &str = "kubevirt.io/migrationJobName";

impl Agent {
    /// Puts the answer together; `own` are the routes that the pod itself asks for.
    pub(super) fn answer(
        &self,
        nic: &str,
        pod: &Pod,
        selection: &Selection,
        held: &[Held],
        own: Vec<Route>,
    ) -> AddReply {
        let migrates = pod.annotations.contains_key(MIGRATION);
        let ips = held.iter().map(Held::taken).map(|taken| Ip {
            version: if taken.address.is_ipv4() { 4 } else { 6 },
            address: cidr(taken),
            nic: nic.to_owned(),
            ip_pool: taken.pool.clone(),
            gateway: taken.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            vlan: 0,
            mac: String::new(),
            enable_gateway_detection: said(taken, GATEWAY_DETECTION, self.settings.gateway_detection),
            enable_ip_conflict_detection: !migrates
                && said(taken, CONFLICT_DETECTION, self.settings.conflict_detection),
        });
        let ips = ips.collect();
        let mut places = BTreeSet::new();
        let routes = held
            .iter()
            .map(Held::taken)
            .flat_map(|taken| routes(taken, selection))
            .chain(own)
            // Two routes to one place would fail in the pod: the pod's own wish comes after the pool's.
            .filter(|route| places.insert(route.dst.clone()))
            .map(|Route { dst, gw }| wire::Route { if_name: nic.to_owned(), dst, gw })
            .collect();
        AddReply { ips, routes }
    }

    /// Returns the routes of the pod's own annotation that leave through this NIC.
    pub(super) fn own_routes(
        &self,
        nic: &str,
        holder: &Holder,
        wanted: &[PodRoute],
        networks: &Networks,
        held: &[Held],
    ) -> Vec<Route> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let subnets = held.iter().map(|held| held.taken().subnet).collect();
        let mut nics = vec![(nic.to_owned(), subnets)];
        for ip in self.endpoints.of(&holder.pod).into_iter().flat_map(|holds| holds.ips) {
            if ip.interface != nic {
                let nets = [ip.ipv4, ip.ipv6].into_iter().flatten();
                nics.push((ip.interface, nets.filter_map(|net| net.parse::<IpNet>().ok()).collect()));
            }
        }
        // In the order in which the pod has them, whichever comes first now: each route leaves through one NIC.
        nics.sort_by_key(|(nic, _)| (networks.position(nic).unwrap_or(usize::MAX), nic.clone()));
        let (taken, left) = routes_by_nic(wanted, &nics);
        for route in left {
            debug!(pod = %holder.pod, nic, dst = %route.dst, gw = %route.gw, "the next hop of a route is near no NIC yet");
        }
        let at = nics.iter().position(|(name, _)| name == nic);
        let own = at.and_then(|at| taken.into_iter().nth(at)).unwrap_or_default();
        own.into_iter().map(|route| Route { dst: route.dst.to_string(), gw: route.gw.to_string() }).collect()
    }
}

/// The routes of a pool, the default route first.
fn routes(taken: &Taken, selection: &Selection) -> Vec<Route> {
    let gateway = taken.gateway.filter(|_| !selection.clean_gateway);
    let default = gateway.map(|gateway| Route {
        dst: if gateway.is_ipv4() { "0.0.0.0/0".to_owned() } else { "::/0".to_owned() },
        gw: gateway.to_string(),
    });
    default.into_iter().chain(taken.routes.iter().cloned()).collect()
}

fn cidr(taken: &Taken) -> String {
    format!("{}/{}", taken.address, taken.subnet.prefix_len())
}

/// Whether to probe: as the pool says, or else as the settings do.
fn said(taken: &Taken, annotation: &str, setting: Detection) -> bool {
    match taken.annotations.get(annotation).map(String::as_str) {
        Some("true") => true,
        Some("false") => false,
        _ => setting.is_on(),
    }
}

/// Returns what the pod's endpoint says of a NIC.
pub(super) fn endpoint_ip(nic: &str, selection: &Selection, taken: &[Taken]) -> EndpointIp {
    let of = |family| taken.iter().find(|taken| Family::of(taken.address) == family);
    let (v4, v6) = (of(Family::V4), of(Family::V6));
    let gateway = |taken: &Taken| taken.gateway.map(|gateway| gateway.to_string());
    let pool = |taken: &Taken| taken.pool.clone();
    EndpointIp {
        interface: nic.to_owned(),
        ipv4: v4.map(cidr),
        ipv6: v6.map(cidr),
        ipv4_pool: v4.map(pool),
        ipv6_pool: v6.map(pool),
        vlan: Some(0),
        ipv4_gateway: v4.and_then(gateway),
        ipv6_gateway: v6.and_then(gateway),
        clean_gateway: Some(selection.clean_gateway),
        routes: taken.iter().flat_map(|taken| taken.routes.clone()).collect(),
        mac: None,
    }
}
