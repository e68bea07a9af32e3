//! A breadth-first walk through all states of a model, which remembers states by their hash.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What happens, and to which one.
pub(crate) type Step = (&'static str, usize);

/// Something with states, steps between them, and rules that hold in each state.
pub(crate) trait Model: Clone + Hash {
    /// Returns all steps from here by name, and where they lead.
    fn steps(&self) -> Vec<(Step, Self)>;
    /// Returns the rule that is broken here.
    fn broken(&self) -> Option<String>;
}

/// What a walk found.
pub(crate) enum Found {
    /// Every state keeps every rule.
    Nothing { states: usize },
    /// A rule is broken after these steps: the fewest that break one.
    Broken { rule: String, steps: Vec<Step> },
}

/// Walks until all states are seen or a rule is broken.
///
/// # Panics
/// When there are more than `limit` states: what was not seen was not shown.
pub(crate) fn explore<M: Model>(start: &M, limit: usize) -> Found {
    let begun = Instant::now();
    let hash = |state: &M| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    // By hash: where a state was reached from, and how.
    let mut seen: HashMap<u64, (u64, Step)> = HashMap::from([(hash(start), (0, ("", 0)))]);
    let mut queue = VecDeque::from([start.clone()]);
    let mut transitions = 0_usize;
    while let Some(state) = queue.pop_front() {
        let from = hash(&state);
        if let Some(rule) = state.broken() {
            let mut steps = Vec::new();
            let mut at = from;
            while let Some((before, step)) = seen.get(&at).filter(|(_, step)| !step.0.is_empty()) {
                steps.push(*step);
                at = *before;
            }
            steps.reverse();
            return Found::Broken { rule, steps };
        }
        for (step, next) in state.steps() {
            transitions += 1;
            seen.entry(hash(&next)).or_insert_with(|| {
                queue.push_back(next);
                (from, step)
            });
        }
        assert!(seen.len() <= limit, "more than {limit} states, {} of them not looked at", queue.len());
    }
    println!("{} states, {transitions} steps, {:.1} s", seen.len(), begun.elapsed().as_secs_f64());
    Found::Nothing { states: seen.len() }
}
