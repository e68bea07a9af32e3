//! Gives out this node's addresses: the allocator behind the CNI plugins.

pub mod namespaces;
pub mod node;
pub mod pods;
pub mod sandboxes;
pub mod settings;
