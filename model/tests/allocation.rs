//! The allocation protocol in all its courses: two agents and their production ledgers, conflicts, lost replies, crashes,
//! cancelled requests, reclaim, and a controller that takes an address out of the offer.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::similar_names,
    clippy::single_match_else,
    reason = "a test that cannot go on ends, and the model names things as the protocol does"
)]

#[path = "allocation/explore.rs"]
mod explore;
#[path = "allocation/world.rs"]
mod world;

use explore::{Found, explore};
use world::{Budget, Mutation, World};

const LIMIT: usize = 1_000_000;
const CALM: Budget = Budget { crashes: 0, losses: 0, cancels: 0, denials: 0, tries: 1 };

fn walk(nodes: &[usize], budget: Budget, mutation: Mutation) -> Found {
    explore(&World::new(nodes, &["10.0.0.1-10.0.0.2"], budget, mutation), LIMIT)
}

fn keeps_all_rules(nodes: &[usize], budget: Budget) {
    println!("pods on nodes {nodes:?}, {budget:?}:");
    match walk(nodes, budget, Mutation::None) {
        Found::Nothing { states } => assert!(states > 1000, "only {states} states"),
        Found::Broken { rule, steps } => panic!("{rule}: {steps:#?}"),
    }
}

fn is_found(budget: Budget, mutation: Mutation, expected: &str) {
    match walk(&[0, 1], budget, mutation) {
        Found::Nothing { states } => panic!("{mutation:?} breaks nothing in {states} states"),
        Found::Broken { rule, steps } => {
            println!("{mutation:?}: {rule}, after {} steps: {steps:?}", steps.len());
            assert!(rule.contains(expected), "{rule}");
        }
    }
}

#[test]
fn two_pods_on_two_nodes_without_faults() {
    keeps_all_rules(&[0, 1], CALM);
}

#[test]
fn a_write_without_version_is_found() {
    is_found(CALM, Mutation::WriteWithoutVersion, "not recorded");
}

#[test]
fn an_answer_before_the_write_is_found() {
    is_found(CALM, Mutation::AnswerBeforeWrite, "not recorded");
}

#[test]
fn a_reclaim_that_does_not_look_again_is_found() {
    is_found(CALM, Mutation::ReclaimWithoutReread, "not recorded");
}

#[test]
fn a_reclaim_by_address_alone_is_found() {
    is_found(CALM, Mutation::ReclaimByAddress, "not recorded");
}

#[test]
fn a_cancelled_request_that_is_not_undone_is_found() {
    is_found(Budget { cancels: 1, ..CALM }, Mutation::NoUndo, "left without a pod");
}

#[test]
fn giving_up_what_another_request_got_as_well_is_found() {
    is_found(Budget { cancels: 1, tries: 2, ..CALM }, Mutation::UndoWithoutCounting, "not recorded");
}
