//! What is measured of the upkeep of the node's network.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::OutcomeLabel;

/// What came of a look after something of the node's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It was as it must be, or none of ours.
    Unchanged,
    /// It was changed.
    Changed,
    /// It could not be.
    Failed,
}

/// What came of asking kube-proxy to masquerade what pods send to services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// It is asked.
    Done,
    /// The kernel cannot.
    Impossible,
    /// It failed, and is tried again.
    Failed,
}

/// The counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    refreshes: Family<OutcomeLabel, Counter>,
    interfaces: Family<OutcomeLabel, Counter>,
    masquerades: Family<OutcomeLabel, Counter>,
}

impl NodeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { refreshes, interfaces, masquerades } = self.clone();
        registry.register("node_refreshes", "Looks after one pod's ways to and from its node", refreshes);
        let help = "Looks after one of the interfaces that pods' networks stand on";
        registry.register("node_interfaces", help, interfaces);
        let help = "Times that kube-proxy was asked to masquerade what pods send to services";
        registry.register("node_masquerades", help, masquerades);
    }

    /// Counts a look after one pod's ways.
    pub fn refresh(&self, outcome: Look) {
        self.refreshes.get_or_create(&outcome.label()).inc();
    }

    /// Counts a look after one of the interfaces that pods' networks stand on.
    pub fn interface(&self, outcome: Look) {
        self.interfaces.get_or_create(&outcome.label()).inc();
    }

    /// Counts an asking of kube-proxy.
    pub fn masquerade(&self, outcome: Masquerade) {
        let outcome = match outcome {
            Masquerade::Done => "done",
            Masquerade::Impossible => "impossible",
            Masquerade::Failed => "failed",
        };
        self.masquerades.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl Look {
    const fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Failed => "failed",
        };
        OutcomeLabel { outcome }
    }
}
