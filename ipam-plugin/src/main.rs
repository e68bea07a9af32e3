//! The CNI plugin `spiderpool`: asks this node's agent for addresses.
fn main() {}
