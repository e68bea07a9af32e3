//! Which pools may hold records that nobody else looks after, as far as the watches show it: a pure look at the index.

use std::collections::BTreeMap;

use model::Owner;
use model::reclaim::NodeSight;

use crate::world::World;

/// A pool to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Suspect {
    /// It serves one node, which is gone.
    NodeGone {
        /// The pool.
        pool: String,
        /// The node.
        node: String,
    },
    /// People wrote it: whom it serves and who holds what is in it.
    Foreign {
        /// The pool.
        pool: String,
        /// The version that the watch showed.
        version: String,
    },
}

impl Suspect {
    /// Returns the pool's name.
    pub(super) fn pool(&self) -> &str {
        match self {
            Self::NodeGone { pool, .. } | Self::Foreign { pool, .. } => pool,
        }
    }
}

/// What a pass begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    /// The pools, by name.
    pub(super) pools: Vec<Suspect>,
    /// The nodes that the cluster has, and whether they report. Empty when no pool needs it.
    pub(super) nodes: BTreeMap<String, NodeSight>,
}

/// Returns the pools that hold addresses and may hold some for nobody.
pub(super) fn of(world: &World) -> Suspects {
    let pools: Vec<Suspect> = world
        .pools()
        .values()
        .filter(|pool| !pool.allocated.is_empty())
        .filter_map(|pool| match &pool.owner {
            Owner::Ours(_, spec) => match &spec.nodes[..] {
                [node] if world.node_sight(node) == NodeSight::Absent => {
                    Some(Suspect::NodeGone { pool: pool.name.clone(), node: node.clone() })
                }
                [_] => None,
                _ => Some(Suspect::Foreign { pool: pool.name.clone(), version: pool.version.clone() }),
            },
            Owner::Foreign => {
                Some(Suspect::Foreign { pool: pool.name.clone(), version: pool.version.clone() })
            }
        })
        .collect();
    let foreign = pools.iter().any(|suspect| matches!(suspect, Suspect::Foreign { .. }));
    let nodes = if foreign { world.node_sights() } else { BTreeMap::new() };
    Suspects { pools, nodes }
}
