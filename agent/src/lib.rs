//! Gives out this node's addresses: the allocator behind the CNI plugins.
