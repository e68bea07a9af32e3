//! The questions that a provider answers.

use std::collections::BTreeSet;
use std::future::Future;

use model::{Claim, InstanceId, Inventory, Node, ProviderName};

use crate::Error;

/// Reads the instances and NICs of one cloud account, or of one hand-written inventory. Never writes to it.
///
/// The contract, checked by [`conformance`](crate::conformance):
/// - An `Ok` reading is complete for its scope. Whatever was cut short, throttled or not understood is an `Err`;
///   an empty reading means "there is nothing", never "nothing was heard".
/// - Every call ends within the provider's own deadline.
/// - Nothing that is secret is in any value, error or log line.
pub trait Provider: Send + Sync {
    /// Returns the name that the configuration gave this provider.
    fn name(&self) -> &ProviderName;

    /// Tells which of its instances a node is. Pure: looks at the node only, and makes no call.
    fn claim(&self, node: &Node) -> Claim;

    /// Reads the whole scope, every page of it. What is not in the reading did not exist at that time.
    fn list(&self) -> impl Future<Output = Result<Inventory, Error>> + Send;

    /// Reads some instances, for nodes that joined between two listings: as few calls as the cloud affords, shared by
    /// all of `instances`. One that the cloud positively does not know is absent from the reading, and not an error.
    fn describe(
        &self,
        instances: &BTreeSet<InstanceId>,
    ) -> impl Future<Output = Result<Inventory, Error>> + Send;
}
