//! Gives out this node's addresses: the allocator behind the CNI plugins.

pub mod add;
pub mod agent;
pub mod coordinator;
pub mod del;
pub mod desk;
pub mod endpoints;
pub mod health;
pub mod http;
pub mod metrics;
pub mod namespaces;
pub mod node;
pub mod owners;
pub mod pods;
pub mod pools;
pub mod queue;
pub mod reclaim;
pub mod routes;
pub mod run;
pub mod sandboxes;
pub mod server;
pub mod settings;
pub mod socket;
pub mod upkeep;
