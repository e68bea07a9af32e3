//! Kubernetes types: the upstream CRDs and `SpiderNode`, their labels and annotations, and the objects that a plan becomes.
//!
//! One file a kind. Each spec and status has upstream's JSON shape; what a single object can show to be wrong is refused
//! by the API server through the CEL rules in [`mod@rules`], and what those cannot afford is found by whoever reads the
//! object ([`SpiderIPPoolSpec::addresses`]).

mod allocation;
pub mod annotations;
pub mod attachment;
mod candidate;
mod coordinator;
mod crd;
mod endpoint;
mod ip_pool;
pub mod labels;
mod multus_config;
mod node;
mod optional_spec;
pub mod reclaim;
pub mod render;
mod reserved_ip;
mod route;
mod rules;
mod selector;
mod subnet;
pub mod view;

pub use allocation::{Allocation, AllocationsError, allocations, allocations_text};
pub use attachment::{NetworkAttachmentDefinition, NetworkAttachmentDefinitionSpec};
pub use candidate::{candidate, selector as label_selector};
pub use coordinator::{
    CoordinatorMode, OVERLAY_POD_CIDR_KNOWN, PodCidrType, SERVICE_CIDR_KNOWN, SpiderCoordinator,
    SpiderCoordinatorSpec, SpiderCoordinatorStatus, service_replies, service_replies_of,
};
pub use crd::{crd_files, crds};
pub use endpoint::{EndpointAllocation, EndpointIp, SpiderEndpoint, SpiderEndpointStatus};
pub use ip_pool::{PoolAddresses, SpiderIPPool, SpiderIPPoolSpec, SpiderIPPoolStatus};
pub use multus_config::{
    Bond, CniType, DefaultPools, IbSriovConfig, IpoibConfig, IpvlanConfig, LinkState, MacvlanConfig,
    OvsConfig, OvsTrunk, READY, SpiderMultusConfig, SpiderMultusConfigSpec, SpiderMultusConfigStatus,
    SriovConfig, VlanConfig, VlanMode,
};
pub use node::{
    DISCOVERED, NodeNic, NodeSource, SUFFICIENT_IPS, SYNCED, SpiderNode, SpiderNodeSpec, SpiderNodeStatus,
    clamped_count,
};
pub use reserved_ip::{SpiderReservedIP, SpiderReservedIPSpec};
pub use route::Route;
pub use subnet::{SpiderSubnet, SpiderSubnetSpec, SpiderSubnetStatus};

/// The API group of every kind.
pub const GROUP: &str = "spiderpool.spidernet.io";

/// The only version of every kind.
pub const VERSION: &str = "v2beta1";
