//! `spiderpool-agent`.
fn main() {}
