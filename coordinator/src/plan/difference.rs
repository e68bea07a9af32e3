//! From what is wanted and what there is to what must change.

use netlink::{Change, Family, Neighbour, Route, Rule};

use super::is_ours;

/// What shall be there, of one namespace.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<Rule>,
    pub(super) neighbours: Vec<Neighbour>,
}

impl Wanted {
    /// The first that wants a route to a destination in a table has it.
    pub(super) fn route(&mut self, route: Route) {
        if !self.routes.iter().any(|other| is_same_place(other, &route)) {
            self.routes.push(route);
        }
    }

    pub(super) fn rule(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    pub(super) fn neighbour(&mut self, neighbour: Neighbour) {
        if !self.neighbours.contains(&neighbour) {
            self.neighbours.push(neighbour);
        }
    }

    /// What must change. Somebody else's route at a place of ours stays, and comes back as the second part.
    pub(super) fn changes<'a>(
        self,
        routes: &'a [Route],
        rules: &[Rule],
        neighbours: &[Neighbour],
    ) -> (Vec<Change>, Vec<&'a Route>) {
        let (mut changes, mut foreign) = (Vec::new(), Vec::new());
        // Before the routes: what is sent as soon as there is one finds its way.
        for neighbour in self.neighbours {
            if !neighbours.contains(&neighbour) {
                changes.push(Change::SetNeighbour(neighbour));
            }
        }
        for route in self.routes {
            match routes.iter().find(|held| is_same_place(held, &route)) {
                None => changes.push(Change::AddRoute(route)),
                Some(held) if leads_the_same_way(held, &route) => {}
                Some(held) if is_ours(held) => {
                    changes.push(Change::RemoveRoute(held.clone()));
                    changes.push(Change::AddRoute(route));
                }
                Some(held) => foreign.push(held),
            }
        }
        for rule in self.rules {
            if !rules.iter().any(|held| held.says_the_same(&rule)) {
                changes.push(Change::AddRule(rule));
            }
        }
        (changes, foreign)
    }
}

/// Whether the kernel would have only one of both.
fn is_same_place(a: &Route, b: &Route) -> bool {
    (a.table, a.to, a.priority) == (b.table, b.to, b.priority)
}

fn leads_the_same_way(held: &Route, wanted: &Route) -> bool {
    // An IPv6 address cannot be a source for the second in which the kernel asks whether it is free.
    let unsourced = held.source.is_none() && held.to.family() == Family::V6;
    (held.device, held.gateway) == (wanted.device, wanted.gateway)
        && (unsourced || held.source == wanted.source)
}
