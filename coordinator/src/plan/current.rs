//! What must change for a running pod when its node's addresses have, or when somebody took away what we had made on the node.
//!
//! What the pod was given is read from what we left in it: nobody need remember its configuration.

use std::net::IpAddr;

use netlink::{Block, Change, Family, MAIN, Neighbour, Route, Rule};

use super::difference::Wanted;
use super::{Cable, Plan, is_ours};
use crate::scene::{Node, Pod};

/// A pod that runs.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The pod's namespace.
    pub pod: &'a Pod,
    /// What there is of its node.
    pub node: &'a Node,
    /// Between both.
    pub cable: &'a Cable,
    /// The name of the pod's first interface.
    pub first_nic: &'a str,
    /// The table on the node in which the ways to pods are.
    pub host_table: u32,
}

impl Running<'_> {
    /// Plans.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut pod = self.stale();
        let (added, _) = self.wanted().changes(&self.without(&pod), &self.pod.rules, &self.pod.neighbours);
        // New ways come before old ones go, but for those at the same place.
        let (replaced, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut pod).into_iter().partition(|change| {
            let place = |route: &Route| (route.table, route.to);
            let Change::RemoveRoute(old) = change else { return false };
            added.iter().any(|change| matches!(change, Change::AddRoute(new) if place(new) == place(old)))
        });
        pod.extend(replaced);
        pod.extend(added);
        pod.extend(gone);
        let node = &self.node;
        let (node, _) = self.wanted_on_node().changes(&node.routes, &node.rules, &node.neighbours);
        Plan { pod, node, warnings: Vec::new() }
    }

    fn through_cable(&self) -> impl Iterator<Item = &Route> {
        self.pod.routes.iter().filter(|route| is_ours(route) && route.device == self.cable.pod.index)
    }

    /// To one address of the node.
    fn directly(&self) -> impl Iterator<Item = &Route> {
        self.through_cable().filter(|route| {
            route.gateway.is_none() && route.to.prefix() == route.to.family().bits() && !self.is_copy(route)
        })
    }

    /// An overlay's own route, which the first interface's table has, too.
    fn is_copy(&self, route: &Route) -> bool {
        self.pod.routes.iter().any(|original| {
            original.table == MAIN
                && !is_ours(original)
                && (original.to, original.device) == (route.to, route.device)
        })
    }

    fn is_of_node(&self, address: IpAddr) -> bool {
        self.node.addresses.contains(&address)
    }

    fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.node.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }

    /// A default route through the cable that is not for replies is an overlay's own, in a copy.
    fn is_by_node(&self, route: &Route) -> bool {
        let replies = |rule: &Rule| rule.mark.is_some() && rule.table == route.table;
        route.to.prefix() > 0 || self.pod.rules.iter().any(replies)
    }

    /// What leads to addresses that the node has no more. A family of which it has none left is left alone: it may come back,
    /// and there is no other way.
    fn stale(&self) -> Vec<Change> {
        let has = |address: IpAddr| self.gateway(Family::of(address)).is_some();
        let is_stale = |address: IpAddr| has(address) && !self.is_of_node(address);
        let through = |route: &&Route| {
            self.is_by_node(route) && route.gateway.is_some_and(is_stale) && !self.is_copy(route)
        };
        let direct = self.directly().filter(|route| is_stale(route.to.first()));
        let routes = direct.chain(self.through_cable().filter(through));
        let neighbours = self.pod.neighbours.iter().filter(|it| {
            it.device == self.cable.pod.index && Some(it.mac) == self.cable.node.mac && is_stale(it.address)
        });
        let routes = routes.cloned().map(Change::RemoveRoute);
        routes.chain(neighbours.copied().map(Change::RemoveNeighbour)).collect()
    }

    fn without(&self, stale: &[Change]) -> Vec<Route> {
        let is_stale =
            |held: &Route| stale.iter().any(|it| matches!(it, Change::RemoveRoute(gone) if gone == held));
        self.pod.routes.iter().filter(|held| !is_stale(held)).cloned().collect()
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        let device = self.cable.pod.index;
        let mut tables: Vec<(u32, Family, Option<IpAddr>)> = Vec::new();
        for route in self.directly() {
            let family = route.to.family();
            if !tables.iter().any(|(table, known, _)| (*table, *known) == (route.table, family)) {
                tables.push((route.table, family, route.source));
            }
        }
        for (table, family, source) in tables {
            for address in self.node.addresses.iter().copied().filter(|it| Family::of(*it) == family) {
                wanted.route(Route::direct(Block::one(address), device, table).from(source));
                if let Some(mac) = self.cable.node.mac {
                    wanted.neighbour(Neighbour { device, address, mac });
                }
            }
        }
        for route in self.through_cable().filter(|route| self.is_by_node(route) && !self.is_copy(route)) {
            let Some(held) = route.gateway else { continue };
            let gateway = if self.is_of_node(held) { Some(held) } else { self.gateway(Family::of(held)) };
            wanted.route(Route { gateway: gateway.or(Some(held)), ..route.clone() });
        }
        wanted
    }

    /// The addresses that we gave ways: those of the first interface, unless it is an overlay's, and those that have a table.
    /// A pod may have others that are nobody else's business, such as those of a container network inside.
    fn wanted_on_node(&self) -> Wanted {
        let mut wanted = Wanted::default();
        let has_table =
            |address: IpAddr| self.pod.rules.iter().any(|rule| rule.from == Some(Block::one(address)));
        for link in self.pod.links.iter().filter(|link| link.index != self.cable.pod.index) {
            for address in self.pod.addresses_of(link.index).map(|it| it.address) {
                let is_spoken = self.gateway(Family::of(address)).is_some();
                if address.is_loopback() || !is_spoken || !(link.name == self.first_nic || has_table(address))
                {
                    continue;
                }
                if let Some(mac) = self.cable.pod.mac {
                    wanted.neighbour(Neighbour { device: self.cable.node.index, address, mac });
                }
                wanted.route(Route::direct(Block::one(address), self.cable.node.index, self.host_table));
                wanted.rule(super::pods_rule(Family::of(address), self.host_table));
            }
        }
        wanted
    }
}
