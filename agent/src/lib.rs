//! Gives out this node's addresses: the allocator behind the CNI plugins.

pub mod desk;
pub mod namespaces;
pub mod node;
pub mod pods;
pub mod pools;
pub mod sandboxes;
pub mod settings;
