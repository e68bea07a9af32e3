//! Which number the table of each interface has.
//!
//! A table is known by what we left in it, and a new one takes a number that nobody uses. Counting interfaces, as upstream does,
//! gives a number twice as soon as one of them has gone.

use std::net::IpAddr;

use netlink::{PROTOCOL, Route, Rule};

use super::REPLY_MARK;
use crate::scene::Pod;

/// The table of packets that answer what came through the cable.
pub const REPLIES: u32 = 100;
/// The table of a pod's first interface; those of others follow.
pub(crate) const FIRST_TABLE: u32 = 101;
/// The kernel's own: default, main, local.
const KERNELS: std::ops::RangeInclusive<u32> = 253..=255;

/// Whether we made a route.
pub(crate) const fn is_ours(route: &Route) -> bool {
    route.protocol == PROTOCOL
}

/// The tables of a pod that are spoken for.
pub(crate) struct Tables<'a> {
    pod: &'a Pod,
    given: Vec<(u32, u32)>,
}

impl<'a> Tables<'a> {
    pub(crate) const fn of(pod: &'a Pod) -> Self {
        Self { pod, given: Vec::new() }
    }

    /// That of an interface, which it had before or gets now, at this number or the next that is free.
    pub(crate) fn of_device(&mut self, device: u32, from: u32) -> u32 {
        if let Some((_, table)) = self.given.iter().find(|(known, _)| *known == device) {
            return *table;
        }
        let table = self.known(device).unwrap_or_else(|| self.free(from));
        self.given.push((device, table));
        table
    }

    /// That of an interface by what we left: a rule of one of its addresses, or a route.
    pub(crate) fn known(&self, device: u32) -> Option<u32> {
        let addresses: Vec<IpAddr> = self.pod.addresses_of(device).map(|it| it.address).collect();
        let names = |rule: &&Rule| {
            rule.protocol == PROTOCOL
                && rule.from.is_some_and(|from| {
                    from.prefix() == from.family().bits() && addresses.contains(&from.first())
                })
        };
        let ruled = self.pod.rules.iter().find(names).map(|rule| rule.table);
        let held = |route: &&Route| {
            is_ours(route)
                && route.device == device
                && route.table >= FIRST_TABLE
                && !KERNELS.contains(&route.table)
        };
        ruled.or_else(|| self.pod.routes.iter().find(held).map(|route| route.table))
    }

    /// That of replies.
    pub(crate) fn of_replies(&self) -> u32 {
        let ours = |rule: &&Rule| rule.protocol == PROTOCOL && rule.mark == Some((REPLY_MARK, REPLY_MARK));
        let known = self.pod.rules.iter().find(ours).map(|rule| rule.table);
        known.unwrap_or_else(|| if self.is_free(REPLIES) { REPLIES } else { self.free(1000) })
    }

    fn free(&self, from: u32) -> u32 {
        // There are more numbers than rules and routes.
        (from..u32::MAX).find(|table| self.is_free(*table)).unwrap_or(from)
    }

    fn is_free(&self, table: u32) -> bool {
        !KERNELS.contains(&table)
            && !self.given.iter().any(|(_, given)| *given == table)
            && !self.pod.rules.iter().any(|rule| rule.table == table)
            && !self.pod.routes.iter().any(|route| route.table == table)
    }
}
