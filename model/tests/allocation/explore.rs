//! A breadth-first walk through all states of a model, which remembers states by their hash of 64 bits: the chance that two
//! of a million states share one, so that the second is not looked at, is one in thirty million.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What happens, and to which one.
pub(crate) type Step = (&'static str, usize);

/// Where a step leads.
pub(crate) struct Next<M> {
    pub(crate) step: Step,
    pub(crate) state: M,
    /// What else is worth to be counted in it.
    pub(crate) events: Vec<&'static str>,
}

/// Something with states, steps between them, and rules that hold in each state.
pub(crate) trait Model: Clone + Hash {
    /// Returns all steps from here.
    fn steps(&self) -> Vec<Next<Self>>;
    /// Returns the rules that are broken here.
    fn broken(&self) -> Vec<String>;
}

/// What a walk found.
pub(crate) enum Found {
    /// Every state keeps every rule.
    Nothing {
        states: usize,
        /// How often each step and event was met.
        met: BTreeMap<&'static str, usize>,
    },
    /// A rule is broken after these steps: the fewest that break one.
    Broken { rule: String, steps: Vec<Step> },
}

/// Walks until all states are seen or a rule is broken; only those rules count whose sentence contains `rules`.
///
/// # Panics
/// When there are more than `limit` states: what was not seen was not shown.
pub(crate) fn explore<M: Model>(start: &M, limit: usize, rules: &str) -> Found {
    let begun = Instant::now();
    let hash = |state: &M| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    // By hash: where a state was reached from, and how.
    let mut seen: HashMap<u64, (u64, Step)> = HashMap::from([(hash(start), (0, ("", 0)))]);
    let mut queue = VecDeque::from([(hash(start), start.clone())]);
    let mut met: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut transitions = 0_usize;
    while let Some((from, state)) = queue.pop_front() {
        if let Some(rule) = state.broken().into_iter().find(|rule| rule.contains(rules)) {
            let mut steps = Vec::new();
            let mut at = from;
            while let Some((before, step)) = seen.get(&at).filter(|(_, step)| !step.0.is_empty()) {
                steps.push(*step);
                at = *before;
            }
            steps.reverse();
            return Found::Broken { rule, steps };
        }
        for Next { step, state, events } in state.steps() {
            transitions += 1;
            for event in events.into_iter().chain([step.0]) {
                *met.entry(event).or_default() += 1;
            }
            let to = hash(&state);
            seen.entry(to).or_insert_with(|| {
                queue.push_back((to, state));
                (from, step)
            });
        }
        assert!(seen.len() <= limit, "more than {limit} states, {} of them not looked at", queue.len());
    }
    println!("{} states, {transitions} steps, {:.1} s", seen.len(), begun.elapsed().as_secs_f64());
    Found::Nothing { states: seen.len(), met }
}
