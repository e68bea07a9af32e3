//! How demo and tour talk: numbered steps, what was done with the time it took, commands before their output.

use std::time::Duration;

/// Where the times end: the widest table that the demo prints is about as wide.
const WIDTH: usize = 100;

/// Begins a step.
pub(crate) fn step(number: u32, title: &str) {
    println!("\n{number}. {title}\n");
}

/// Says what was done.
pub(crate) fn note(text: &str) {
    println!("   {text}");
}

/// Says what became true, and after how long, at the right margin.
pub(crate) fn timed(text: &str, took: Duration) {
    let took = format!("{:.2} s", took.as_secs_f64());
    let dots = ".".repeat(WIDTH.saturating_sub(text.len() + took.len() + 5));
    println!("   {text} {dots} {took}");
}

/// Shows a command as one would type it, and what it printed.
pub(crate) fn command(typed: &str, printed: &str) {
    println!("\n   $ {typed}");
    for line in printed.lines() {
        println!("   {}", line.trim_end());
    }
}

/// Sets what follows apart from a table.
pub(crate) fn gap() {
    println!();
}
