//! The controller: observe, plan, apply.

fn main() {}
