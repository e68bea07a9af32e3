use std::net::IpAddr;

use netlink::{Block, Change, Family, Link, MAIN, Mac, Neighbour, Route, Rule};

use super::difference::Wanted;
use super::tables::Tables;
use super::{FIRST_TABLE, Plan, REPLY_MARK, Situation, Unfit, Way, is_ours};

/// The rule for replies; upstream's number.
const REPLY_PRIORITY: u32 = 1000;
/// The rules for the interfaces' own addresses: behind the one for replies, before main.
const SOURCE_PRIORITY: u32 = 2000;

/// Plans all that the interface needs.
pub fn plan(situation: &Situation<'_>) -> Result<Plan, Unfit> {
    let Situation { config, way, nic, cable: _, pod, node: _ } = *situation;
    let own = pod.link(nic).ok_or_else(|| {
        Unfit(format!(
            "the pod has no interface {nic}: the plugin before the coordinator in the chain must make it"
        ))
    })?;
    let first = pod.link(&config.first_nic).ok_or_else(|| {
        Unfit(format!(
            "the pod has no interface {}: say the first interface's name as podDefaultCniNic, or make one",
            config.first_nic
        ))
    })?;
    if pod.addresses_of(own.index).next().is_none() {
        return Err(Unfit(format!(
            "the interface {nic} has no address: the plugin before the coordinator must give it one; see its IPAM"
        )));
    }
    let mut planner = Planner {
        situation,
        own,
        first,
        tables: Tables::of(pod),
        wanted: Wanted::default(),
        plan: Plan::default(),
    };
    planner.link_itself()?;
    planner.neighbours();
    if way != Way::UnderlayLater {
        planner.ways_to_node(MAIN, first);
    }
    if way != Way::Overlay {
        planner.replies();
    }
    if way == Way::UnderlayFirst {
        planner.policies(MAIN);
    } else if config.tune_routes {
        planner.tables_of_interfaces();
    } else {
        planner.policies(MAIN);
    }
    planner.node_side();
    let Planner { wanted, mut plan, .. } = planner;
    let (changes, foreign) = wanted.changes(&pod.routes, &pod.rules, &pod.neighbours);
    // Tables are filled before rules lead to them and before routes leave main.
    let moves = std::mem::replace(&mut plan.pod, changes);
    plan.pod.extend(moves);
    plan.warnings.extend(foreign.into_iter().map(|route| {
        format!(
            "left the pod's route to {} in table {} as it was: somebody else made it",
            route.to, route.table
        )
    }));
    Ok(plan)
}

struct Planner<'a> {
    situation: &'a Situation<'a>,
    /// The interface that the runtime calls for.
    own: &'a Link,
    first: &'a Link,
    tables: Tables<'a>,
    wanted: Wanted,
    /// What is certain already.
    plan: Plan,
}

impl Planner<'_> {
    fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.situation.node.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }

    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let pod = self.situation.pod;
        let (own, first) = (self.own.index, self.first.index);
        let spoken = Family::BOTH.map(|family| pod.speaks(own, family) || pod.speaks(first, family));
        Family::BOTH.into_iter().zip(spoken).filter(|(_, spoken)| *spoken).map(|(family, _)| family)
    }

    /// The interface's own MAC address and queue, and the address of the cable.
    fn link_itself(&mut self) -> Result<(), Unfit> {
        let Situation { config, way, cable, pod, .. } = *self.situation;
        let Link { index: device, mac, .. } = *self.own;
        if let (Some(prefix), Some(before)) = (config.mac_prefix, mac) {
            if self.own.kind == "ipvlan" {
                return Err(Unfit(format!(
                    "podMACPrefix cannot be used for {}: an ipvlan interface has its parent's MAC address, and a cloud forwards no other: remove podMACPrefix, or use macvlan",
                    self.own.name
                )));
            }
            let mac = mac_of(prefix, pod.addresses_of(device).map(|it| it.address));
            if mac != before {
                self.plan.pod.push(Change::SetMac { device, mac, before });
            }
        }
        if let Some(length) = config.tx_queue_len.filter(|length| *length != self.own.tx_queue_len) {
            self.plan.pod.push(Change::SetTxQueueLen { device, length, before: self.own.tx_queue_len });
        }
        let link =
            config.link_address.filter(|_| way != Way::Overlay && pod.speaks(self.first.index, Family::V4));
        if let Some(address) = link.map(IpAddr::from) {
            let device = cable.pod.index;
            if !pod.addresses.iter().any(|it| it.device == device && it.address == address) {
                let address = netlink::Address { device, address, prefix: 32, usable: true };
                self.plan.pod.push(Change::AddAddress(address));
            }
        }
        Ok(())
    }

    /// The pod asks nobody for the node's MAC address.
    fn neighbours(&mut self) {
        let Situation { cable, node, .. } = *self.situation;
        let Some(mac) = cable.node.mac else { return };
        let families: Vec<Family> = self.families().collect();
        for address in node.addresses.iter().copied().filter(|it| families.contains(&Family::of(*it))) {
            self.wanted.neighbour(Neighbour { device: cable.pod.index, address, mac });
        }
    }

    /// Through the cable: to each address of the node, and by one of them to services and the like.
    fn ways_to_node(&mut self, table: u32, from: &Link) {
        let Situation { config, cable, node, pod, .. } = *self.situation;
        let device = cable.pod.index;
        let families: Vec<Family> = self.families().collect();
        for family in families {
            let source = pod.source(from.index, family).or_else(|| {
                // Main serves all interfaces; a table, those who send from its own.
                (table == MAIN).then(|| pod.source(self.own.index, family)).flatten()
            });
            for address in node.addresses.iter().copied().filter(|it| Family::of(*it) == family) {
                self.wanted.route(Route::direct(Block::one(address), device, table).from(source));
            }
            let blocks = config.through_node.iter().copied().filter(|block| block.family() == family);
            let Some(gateway) = self.gateway(family) else {
                if blocks.count() > 0 {
                    self.plan.warnings.push(format!(
                        "the node has no {family} address, so the pod has no way to {family} services through it"
                    ));
                }
                continue;
            };
            for block in blocks {
                self.wanted.route(Route::via(block, gateway, device, table).from(source));
            }
        }
    }

    /// What came through the cable is answered through it.
    fn replies(&mut self) {
        let table = self.tables.of_replies();
        let device = self.situation.cable.pod.index;
        for family in self.families() {
            let Some(gateway) = self.gateway(family) else { continue };
            self.wanted.route(Route::via(Block::all(family), gateway, device, table));
            let mut rule = Rule::lookup(family, REPLY_PRIORITY, table);
            rule.mark = Some((REPLY_MARK, REPLY_MARK));
            self.wanted.rule(rule);
        }
    }

    fn policies(&mut self, table: u32) {
        for route in &self.situation.config.policy_routes {
            self.wanted.route(Route::via(route.to, route.gateway, self.own.index, table));
        }
    }

    /// Each interface gets a table for what is sent from its addresses, and main keeps one default route a family.
    fn tables_of_interfaces(&mut self) {
        let Situation { config, cable, pod, .. } = *self.situation;
        let named = config.default_nic.as_deref().filter(|name| *name != config.first_nic);
        let keeper = match named.map(|name| (name, pod.link(name))) {
            None => self.first,
            Some((_, Some(link))) => link,
            Some((name, None)) => {
                self.plan.warnings.push(format!(
                    "the default route stays with {} as long as the pod has no interface {name}",
                    self.first.name
                ));
                self.first
            }
        };
        // All that have a default route in main, and those of this call.
        let mut links = vec![self.first, self.own];
        for route in pod.routes.iter().filter(|route| is_default_of_main(route)) {
            let known =
                links.iter().any(|link| link.index == route.device) || route.device == cable.pod.index;
            if let Some(link) = pod.links.iter().find(|link| link.index == route.device).filter(|_| !known) {
                links.push(link);
            }
        }
        links.dedup_by_key(|link| link.index);
        for link in links {
            let from = if link.index == self.first.index { FIRST_TABLE } else { FIRST_TABLE + 1 };
            let table = self.tables.of_device(link.index, from);
            self.table_of(link, table);
        }
        for family in Family::BOTH {
            self.keep_default(keeper, family);
        }
    }

    /// All of main's routes that lead through an interface, and the ways to the node, for what is sent from its addresses.
    fn table_of(&mut self, link: &Link, table: u32) {
        let Situation { cable, pod, .. } = *self.situation;
        let is_own = link.index == self.own.index;
        if is_own {
            self.policies(table);
        }
        for route in pod.routes.iter().filter(|route| route.table == MAIN && route.device == link.index) {
            if !has_meaning_elsewhere(route) {
                continue;
            }
            self.wanted.route(copy(route, table));
        }
        if is_own || cable.pod.index == link.index {
            self.ways_to_node(table, link);
        } else {
            // Those of its own configuration, as they stand in main.
            let through =
                |route: &&Route| route.table == MAIN && is_ours(route) && route.device == cable.pod.index;
            for route in pod.routes.iter().filter(through) {
                let source = pod.source(link.index, route.to.family());
                self.wanted.route(Route { table, ..route.clone() }.from(source));
            }
        }
        for address in pod.addresses_of(link.index) {
            let mut rule = Rule::lookup(Family::of(address.address), SOURCE_PRIORITY, table);
            rule.from = Some(Block::one(address.address));
            self.wanted.rule(rule);
        }
    }

    /// One interface's default route is in main; those of others are in their tables alone.
    fn keep_default(&mut self, keeper: &Link, family: Family) {
        let pod = self.situation.pod;
        let defaults = || pod.routes.iter().filter(|route| route.to == Block::all(family));
        let kept = defaults().find(|route| route.table == MAIN && route.device == keeper.index);
        let aside = self.tables.known(keeper.index);
        let back = defaults().find(|route| Some(route.table) == aside && route.device == keeper.index);
        let others = defaults().filter(|route| route.table == MAIN && route.device != keeper.index);
        if kept.is_none() && back.is_none() {
            // Better the way of another than none.
            if self.situation.config.default_nic.is_some() && others.count() > 0 {
                self.plan.warnings.push(format!(
                    "{} has no {family} default route, so that of another interface stays",
                    keeper.name
                ));
            }
            return;
        }
        self.plan.pod.extend(others.cloned().map(Change::RemoveRoute));
        if let (None, Some(back)) = (kept, back) {
            self.plan.pod.push(Change::AddRoute(copy(back, MAIN)));
        }
    }

    /// The node's ways to the pod.
    fn node_side(&mut self) {
        let Situation { config, cable, pod, node, way, .. } = *self.situation;
        let mut wanted = Wanted::default();
        let mut links = vec![self.own];
        if way == Way::UnderlayLater {
            links.push(self.first);
        }
        for address in links.iter().flat_map(|link| pod.addresses_of(link.index)).map(|it| it.address) {
            let family = Family::of(address);
            // A node that does not speak the family has it switched off, perhaps.
            if self.gateway(family).is_none() {
                continue;
            }
            if let Some(mac) = cable.pod.mac {
                wanted.neighbour(Neighbour { device: cable.node.index, address, mac });
            }
            wanted.route(Route::direct(Block::one(address), cable.node.index, config.host_table));
            wanted.rule(super::pods_rule(family, config.host_table));
        }
        // The address is this pod's now, so whatever a former owner left leads nowhere.
        let stale: Vec<Change> = node
            .routes
            .iter()
            .filter(|held| !is_ours(held) && held.device != cable.node.index)
            .filter(|held| {
                wanted.routes.iter().any(|route| (route.to, route.priority) == (held.to, held.priority))
            })
            .map(|held| Change::RemoveRoute(held.clone()))
            .collect();
        let routes: Vec<Route> = node
            .routes
            .iter()
            .filter(|held| {
                !stale.iter().any(|change| matches!(change, Change::RemoveRoute(gone) if gone == *held))
            })
            .cloned()
            .collect();
        let (changes, _) = wanted.changes(&routes, &node.rules, &node.neighbours);
        self.plan.node = stale;
        self.plan.node.extend(changes);
    }
}

fn is_default_of_main(route: &Route) -> bool {
    route.table == MAIN && route.to.prefix() == 0
}

/// Multicast and link-local routes are of their interface, whatever the table.
fn has_meaning_elsewhere(route: &Route) -> bool {
    match route.to.first() {
        IpAddr::V4(_) => true,
        IpAddr::V6(first) => {
            route.to.prefix() == 0 || (!first.is_multicast() && !first.is_unicast_link_local())
        }
    }
}

/// The same route in another table, as ours. Its gateway is believed to be there: the route that says so is in the old table.
fn copy(route: &Route, table: u32) -> Route {
    let mut copy = Route { table, protocol: netlink::PROTOCOL, ..route.clone() };
    copy.onlink = copy.gateway.is_some();
    copy
}

/// The prefix, and four bytes of the first address, an IPv4 address if there is one.
fn mac_of(prefix: [u8; 2], addresses: impl Iterator<Item = IpAddr>) -> Mac {
    let [first, second] = prefix;
    let mut last = None;
    for address in addresses {
        match address {
            IpAddr::V4(address) => {
                last = Some(address.octets());
                break;
            }
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.octets();
                last = last.or(Some([a, b, c, d]));
            }
        }
    }
    let [a, b, c, d] = last.unwrap_or_default();
    Mac([first, second, a, b, c, d])
}
