//! What the cluster holds, kept from watches: an index with no client in it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use api::view::PoolView;
use api::{NetworkAttachmentDefinition, SpiderCoordinator, SpiderMultusConfig, SpiderNode};
use config::NodeSelector;
use model::reclaim::NodeSight;
use model::{Match, Node, Pool};

use crate::coordinator::News;
use crate::shelf::{Delta, Shelf};

/// One thing that a watch told.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "each lives only from the watch to the index")]
pub(crate) enum Seen {
    /// Of nodes.
    Node(Delta<NodeFacts>),
    /// Of pools.
    Pool(Delta<PoolView>),
    /// Of attachments.
    Multus(Delta<SpiderMultusConfig>),
    /// Of our own nodes.
    SpiderNode(Delta<SpiderNode>),
    /// Of the definitions that attachments led to.
    Definition(Delta<NetworkAttachmentDefinition>),
    /// That the cluster does not know definitions as a kind.
    NoDefinitions,
    /// Of the one SpiderCoordinator that is looked after.
    Coordinator(Delta<SpiderCoordinator>),
}

/// A node and the labels that select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// What the plan looks at.
    pub(crate) node: Node,
    /// `metadata.labels`.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether its kubelet reports: of no matter to the plan.
    pub(crate) sight: NodeSight,
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct World {
    nodes: Shelf<NodeFacts>,
    pools: Shelf<Pool>,
    /// What cannot be read of pools, by pool.
    flaws: BTreeMap<String, Vec<String>>,
    multus: Shelf<SpiderMultusConfig>,
    spider_nodes: Shelf<SpiderNode>,
    definitions: Shelf<NetworkAttachmentDefinition>,
    /// Whether the cluster said that it does not know definitions.
    definitions_missing: bool,
    /// Whether attachments or definitions changed since [`World::definitions_seen`].
    definitions_news: bool,
    coordinator: Shelf<SpiderCoordinator>,
    /// What changed of it since [`World::coordinator_news`].
    coordinator_news: Option<News>,
    /// Pools whose allocations the last plan waited for: only there does a changed allocation matter.
    in_use: BTreeSet<String>,
}

impl World {
    /// Takes in what a watch told, and returns whether the plan may differ now.
    pub(crate) fn take(&mut self, seen: Seen) -> bool {
        match seen {
            Seen::Node(delta) => self.nodes.take(delta, |a, b| (&a.node, &a.labels) != (&b.node, &b.labels)),
            Seen::Pool(delta) => {
                let mut flaws_changed = false;
                let delta = match delta {
                    Delta::Here(key, PoolView { pool, problems }) => {
                        flaws_changed = self.flaws.get(&key).map_or(&[][..], Vec::as_slice) != problems;
                        if problems.is_empty() {
                            self.flaws.remove(&key);
                        } else {
                            self.flaws.insert(key.clone(), problems);
                        }
                        Delta::Here(key, pool)
                    }
                    Delta::Begin => Delta::Begin,
                    Delta::End => Delta::End,
                    Delta::Gone(key) => Delta::Gone(key),
                };
                let in_use = &self.in_use;
                let changed = self.pools.take(delta, |before, after| {
                    (&before.owner, &before.ips, before.terminating)
                        != (&after.owner, &after.ips, after.terminating)
                        || (in_use.contains(&after.name) && before.allocated != after.allocated)
                });
                let there = &self.pools.items;
                self.flaws.retain(|pool, _| there.contains_key(pool));
                changed || flaws_changed
            }
            Seen::Multus(delta) => {
                let other = Cell::new(false);
                let changed = self.multus.take(delta, |before, after| {
                    other.set(before != after);
                    before.spec != after.spec
                });
                self.definitions_news |= changed || other.get();
                changed
            }
            Seen::Definition(delta) => {
                // A listing begins before it is known to fail.
                if delta == Delta::End {
                    self.definitions_news |= std::mem::take(&mut self.definitions_missing);
                }
                self.definitions_news |= self.definitions.take(delta, |before, after| before != after);
                false
            }
            Seen::NoDefinitions => {
                self.definitions = Shelf::default();
                self.definitions_news |= !std::mem::replace(&mut self.definitions_missing, true);
                false
            }
            Seen::Coordinator(delta) => {
                let news = Cell::new(News::Spec);
                let changed = self.coordinator.take(delta, |before, after| {
                    if before.spec == after.spec
                        && before.metadata.deletion_timestamp == after.metadata.deletion_timestamp
                    {
                        news.set(News::Status);
                    }
                    before.status != after.status || news.get() == News::Spec
                });
                if changed {
                    self.coordinator_news = self.coordinator_news.max(Some(news.get()));
                }
                false
            }
            Seen::SpiderNode(delta) => self.spider_nodes.take(delta, |before, after| {
                before.status != after.status
                    || before.metadata.owner_references != after.metadata.owner_references
            }),
        }
    }

    /// Remembers which pools' allocations matter from now on.
    pub(crate) fn wait_for(&mut self, in_use: BTreeSet<String>) {
        self.in_use = in_use;
    }

    /// Returns whether every kind was listed whole once: before that nothing may be concluded.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.nodes.complete && self.pools.complete && self.multus.complete && self.spider_nodes.complete
    }

    /// Returns the nodes, each with the provider that claims it; one that is not selected is claimed by none.
    pub(crate) fn nodes(
        &self,
        selector: &NodeSelector,
        claim: impl Fn(&Node) -> Match,
    ) -> BTreeMap<String, (Node, Match)> {
        let matched = |facts: &NodeFacts| {
            if selector.matches(&facts.labels) {
                claim(&facts.node)
            } else {
                Match::None(format!("nodeSelector {selector} does not select it"))
            }
        };
        let nodes = self.nodes.items.iter();
        nodes.map(|(name, facts)| (name.clone(), (facts.node.clone(), matched(facts)))).collect()
    }

    /// Returns whether a node is selected; one that is gone is not.
    #[must_use]
    pub(crate) fn selects(&self, selector: &NodeSelector, node: &str) -> bool {
        self.nodes.items.get(node).is_some_and(|facts| selector.matches(&facts.labels))
    }

    /// Returns what the watch last said of a node.
    #[must_use]
    pub(crate) fn node_sight(&self, node: &str) -> NodeSight {
        self.nodes.items.get(node).map_or(NodeSight::Absent, |facts| facts.sight)
    }

    /// Returns the names of the nodes, once all were listed.
    #[must_use]
    pub(crate) fn node_names(&self) -> Option<BTreeSet<String>> {
        self.nodes.complete.then(|| self.nodes.items.keys().cloned().collect())
    }

    /// Returns the nodes that are there, and whether they report.
    #[must_use]
    pub(crate) fn node_sights(&self) -> BTreeMap<String, NodeSight> {
        self.nodes.items.iter().map(|(name, facts)| (name.clone(), facts.sight)).collect()
    }

    /// Returns all pools by name.
    #[must_use]
    pub(crate) fn pools(&self) -> &BTreeMap<String, Pool> {
        &self.pools.items
    }

    /// Returns what cannot be read of pools, with the pool: to be said in an Event.
    pub(crate) fn flaws(&self) -> impl Iterator<Item = (&Pool, &[String])> {
        self.flaws.iter().filter_map(|(name, flaws)| Some((self.pools.items.get(name)?, flaws.as_slice())))
    }

    /// Returns an attachment by `namespace/name`.
    #[must_use]
    pub(crate) fn multus(&self, key: &str) -> Option<&SpiderMultusConfig> {
        self.multus.items.get(key)
    }

    /// Returns all attachments.
    pub(crate) fn multus_configs(&self) -> impl Iterator<Item = &SpiderMultusConfig> {
        self.multus.items.values()
    }

    /// Returns whether enough is known to judge definitions: that there are none by their kind is knowledge too.
    #[must_use]
    pub(crate) fn definitions_known(&self) -> bool {
        self.multus.complete && (self.definitions.complete || self.definitions_missing)
    }

    /// Returns whether the cluster does not know definitions as a kind.
    #[must_use]
    pub(crate) fn definitions_missing(&self) -> bool {
        self.definitions_missing
    }

    /// Returns all definitions that carry our label.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &NetworkAttachmentDefinition> {
        self.definitions.items.values()
    }

    /// Returns a definition that carries our label, by `namespace/name`.
    #[must_use]
    pub(crate) fn definition(&self, key: &str) -> Option<&NetworkAttachmentDefinition> {
        self.definitions.items.get(key)
    }

    /// Returns whether attachments or definitions changed since this was last asked.
    pub(crate) fn definitions_seen(&mut self) -> bool {
        std::mem::take(&mut self.definitions_news)
    }

    /// Returns whether the SpiderCoordinator was asked for: it may be that there is none.
    #[must_use]
    pub(crate) fn coordinator_known(&self) -> bool {
        self.coordinator.complete
    }

    /// Returns the SpiderCoordinator that is looked after.
    #[must_use]
    pub(crate) fn coordinator(&self) -> Option<&SpiderCoordinator> {
        self.coordinator.items.values().next()
    }

    /// Returns what changed of the SpiderCoordinator since this was last asked.
    pub(crate) fn coordinator_news(&mut self) -> Option<News> {
        self.coordinator_news.take()
    }

    /// Returns what we said of a node before.
    #[must_use]
    pub(crate) fn spider_node(&self, name: &str) -> Option<&SpiderNode> {
        self.spider_nodes.items.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &[(&str, &str)]) -> Delta<NodeFacts> {
        let node = Node { name: name.into(), uid: "u".into(), provider_id: None, addresses: Vec::new() };
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Delta::Here(name.into(), NodeFacts { node, labels, sight: NodeSight::Ready })
    }

    fn names(world: &World) -> Vec<String> {
        world.nodes(&NodeSelector::default(), |_| Match::None(String::new())).into_keys().collect()
    }

    #[test]
    fn a_fresh_listing_drops_what_it_does_not_name_only_at_its_end() {
        let mut world = World::default();
        for name in ["a", "b"] {
            world.take(Seen::Node(node(name, &[])));
        }
        world.take(Seen::Node(Delta::Begin));
        assert!(!world.take(Seen::Node(node("b", &[]))), "nothing changed");
        assert_eq!(names(&world), ["a", "b"]);
        assert!(world.take(Seen::Node(Delta::End)));
        assert_eq!(names(&world), ["b"]);
    }

    #[test]
    fn a_heartbeat_does_not_matter() {
        let mut world = World::default();
        assert!(world.take(Seen::Node(node("a", &[]))));
        assert!(!world.take(Seen::Node(node("a", &[]))));
        assert!(world.take(Seen::Node(node("a", &[("zone", "1")]))));
    }

    #[test]
    fn nodes_that_are_not_selected_are_claimed_by_nobody() {
        let mut world = World::default();
        world.take(Seen::Node(node("a", &[("pool", "cloud")])));
        world.take(Seen::Node(node("b", &[])));
        let claim =
            |node: &Node| Match::Instance { provider: "p".into(), instance: node.name.as_str().into() };
        let nodes = world.nodes(&"pool=cloud".parse().unwrap(), claim);
        assert!(matches!(nodes["a"].1, Match::Instance { .. }));
        assert!(matches!(&nodes["b"].1, Match::None(why) if why.contains("pool=cloud")));
    }

    #[test]
    fn nothing_is_concluded_before_every_kind_was_listed() {
        let mut world = World::default();
        world.take(Seen::Node(Delta::End));
        world.take(Seen::Pool(Delta::End));
        world.take(Seen::Multus(Delta::End));
        assert!(!world.is_complete());
        world.take(Seen::SpiderNode(Delta::End));
        assert!(world.is_complete());
    }
}
