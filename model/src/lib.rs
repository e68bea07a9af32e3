//! The domain: NICs, subnets, address sets, inventories and the pool plan. Pure: no I/O, no Kubernetes, no cloud.

mod address;
mod address_set;
mod holder;
mod intervals;
mod inventory;
pub mod ledger;
mod moment;
mod nic;
mod node;
mod plan;
mod pool;
mod reading;
pub mod reclaim;
mod report;
pub mod select;
mod subnet;
mod template;

pub use address::{AddressRange, Family, RangeError};
pub use address_set::AddressSet;
pub use holder::{Holder, PodName, short_container};
pub use inventory::{Inventory, Scope};
pub use moment::Moment;
pub use nic::{InstanceId, Mac, MacError, Nic, NicId, NicUse, ProviderName, SubnetId};
pub use node::{Claim, Match, Node};
pub use plan::{
    Change, Coordinator, Input, Memory, MultusTarget, Phase, Plan, Policy, ProviderPolicy, Step, plan,
};
pub use pool::{Origin, Owner, Pool, PoolSpec, PoolTarget, pool_name};
pub use reading::{Failure, Reading, Sight};
pub use report::{NicReport, NodeReport, Truth, Verdict};
pub use subnet::Subnet;
pub use template::{InterfaceTemplate, MultusName, MultusTemplate, TemplateError, check_interface};
