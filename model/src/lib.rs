//! The domain: NICs, subnets, address sets, inventories and the pool plan. Pure: no I/O, no Kubernetes, no cloud.

mod address;
mod address_set;
mod inventory;
mod nic;
mod node;
mod subnet;
mod template;

pub use address::{AddressRange, Family, RangeError};
pub use address_set::AddressSet;
pub use inventory::{Inventory, Scope};
pub use nic::{InstanceId, Mac, MacError, Nic, NicId, NicUse, ProviderName, SubnetId};
pub use node::{Claim, Match, Node};
pub use subnet::Subnet;
pub use template::{InterfaceTemplate, MultusName, MultusTemplate, TemplateError, check_interface};
