//! The allocation protocol in all its courses: agents and their production ledgers, conflicts, lost replies, crashes,
//! cancelled requests, sandboxes made anew, reclaim, and a controller that takes an address out of the offer.
//!
//! Each walk looks at every state that its pods, addresses and faults can lead to, and asserts that what it is about was
//! met. Each rule is shown to be able to fail: a protocol with one step left out breaks it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::single_match_else,
    reason = "a test that cannot go on ends, and the model names states as the protocol does"
)]

#[path = "allocation/desk.rs"]
mod desk;
#[path = "allocation/explore.rs"]
mod explore;
#[path = "allocation/world.rs"]
mod world;

use explore::{Found, explore};
use world::{Budget, Mutation, World};

/// As many states as two cores walk through in some minutes.
const LIMIT: usize = 8_000_000;
const CALM: Budget = Budget { crashes: 0, losses: 0, cancels: 0, denials: 0, renewals: 0, tries: 1 };
const ONE: &str = "10.0.0.1";
const TWO: &str = "10.0.0.1-10.0.0.2";

/// Walks through all states, says how many there are, and meets all `events`.
fn keeps_all_rules(nodes: &[usize], offer: &str, budget: Budget, events: &[&str]) {
    println!("pods on nodes {nodes:?} of a pool {offer}, {budget:?}:");
    match explore(&World::new(nodes, &[offer], budget, Mutation::None), LIMIT, "") {
        Found::Nothing { met, .. } => {
            for event in events {
                assert!(met.contains_key(event), "never met: {event}; only {met:#?}");
            }
        }
        Found::Broken { rule, steps } => panic!("{rule}: {steps:#?}"),
    }
}

fn is_found(nodes: &[usize], offer: &str, budget: Budget, mutation: Mutation, rule: &str) {
    match explore(&World::new(nodes, &[offer], budget, mutation), LIMIT, rule) {
        Found::Nothing { states, .. } => panic!("{mutation:?} does not break {rule:?} in {states} states"),
        Found::Broken { rule, steps } => {
            println!("{mutation:?}: {rule}, after {} steps: {steps:?}", steps.len());
        }
    }
}

#[test]
fn two_pods_on_two_nodes_without_faults() {
    let events = ["refuses a write for its version", "gives up what it was given", "reclaim frees"];
    keeps_all_rules(&[0, 1], TWO, CALM, &events);
}

#[test]
fn two_pods_that_want_one_address() {
    keeps_all_rules(&[0, 1], ONE, CALM, &["refuses", "refuses a write for its version"]);
}

#[test]
fn two_pods_of_one_node_and_one_of_another_for_two_addresses() {
    keeps_all_rules(&[0, 0, 1], TWO, CALM, &["refuses", "writes several requests at once"]);
}

#[test]
fn a_crash() {
    let events = [
        "loses the reply to a write that was carried out",
        "carries out what its agent does not wait for",
        "refuses what its agent does not wait for",
    ];
    keeps_all_rules(&[0, 1], TWO, Budget { crashes: 1, tries: 2, ..CALM }, &events);
}

#[test]
fn a_lost_reply() {
    let events = [
        "loses the reply to a write that was carried out",
        "loses the reply to a write that was refused",
        "loses a write on its way",
        "finds what a lost write gave",
        "carries out what its agent has given up",
        "refuses what its agent does not wait for",
        "write never arrives of agent",
    ];
    keeps_all_rules(&[0, 1], TWO, Budget { losses: 1, ..CALM }, &events);
}

#[test]
fn a_lost_reply_and_a_crash() {
    let events = ["carries out what its agent has given up", "finds what a lost write gave"];
    keeps_all_rules(&[0, 0], TWO, Budget { losses: 1, crashes: 1, ..CALM }, &events);
}

#[test]
fn a_cancelled_request_that_is_made_again() {
    let events = [
        "gives up what it was given",
        "gives up and leaves what it had",
        "skips who has gone",
        "answers who has gone",
        "pod asks again",
    ];
    keeps_all_rules(&[0, 1], TWO, Budget { cancels: 1, tries: 2, ..CALM }, &events);
}

#[test]
fn two_cancelled_requests_of_one_pod() {
    let events = ["gives a record to two requests"];
    keeps_all_rules(&[0], TWO, Budget { cancels: 2, tries: 3, ..CALM }, &events);
}

#[test]
fn a_cancelled_request_whose_reply_is_lost() {
    let events = ["frees what a lost write may have given", "finds what a lost write gave"];
    keeps_all_rules(&[0, 0], TWO, Budget { cancels: 1, losses: 1, ..CALM }, &events);
    keeps_all_rules(&[0], TWO, Budget { cancels: 1, losses: 1, tries: 2, ..CALM }, &events);
}

#[test]
fn a_sandbox_that_is_made_anew() {
    let events = ["DEL arrives late of pod", "pod asks again"];
    keeps_all_rules(&[0, 1], TWO, Budget { renewals: 1, tries: 2, ..CALM }, &events);
}

#[test]
fn an_address_that_is_taken_out_of_the_offer() {
    let events = ["controller takes away the first address", "refuses", "refuses a write for its version"];
    keeps_all_rules(&[0, 1], TWO, Budget { denials: 1, ..CALM }, &events);
}

#[test]
fn an_address_that_is_taken_out_of_the_offer_between_two_sandboxes() {
    let budget = Budget { denials: 1, renewals: 1, cancels: 1, tries: 3, ..CALM };
    keeps_all_rules(&[0], TWO, budget, &["leaves an address that is not offered any more"]);
}

#[test]
fn two_pods_of_one_node_with_a_cancelled_request_and_a_lost_reply() {
    let budget = Budget { cancels: 1, losses: 1, tries: 2, ..CALM };
    keeps_all_rules(
        &[0, 0],
        TWO,
        budget,
        &["gives up what it was given", "loses the reply to a write that was carried out"],
    );
}

#[test]
fn two_pods_of_one_node_with_a_crash_and_a_lost_reply() {
    let budget = Budget { crashes: 1, losses: 1, tries: 2, ..CALM };
    keeps_all_rules(
        &[0, 0],
        TWO,
        budget,
        &["finds what a lost write gave", "loses the reply to a write that was carried out"],
    );
}

#[test]
fn two_pods_on_two_nodes_with_a_cancelled_request_and_a_denial() {
    let budget = Budget { cancels: 1, denials: 1, ..CALM };
    keeps_all_rules(
        &[0, 1],
        TWO,
        budget,
        &["gives up what it was given", "controller takes away the first address"],
    );
}

#[test]
fn a_write_without_version_is_found() {
    is_found(&[0, 1], TWO, CALM, Mutation::WriteWithoutVersion, "which is not recorded");
    is_found(&[0, 1], TWO, CALM, Mutation::WriteWithoutVersion, "which is recorded for another");
    is_found(&[0, 1], TWO, CALM, Mutation::WriteWithoutVersion, "both live with");
    is_found(
        &[0, 1],
        TWO,
        Budget { denials: 1, ..CALM },
        Mutation::WriteWithoutVersion,
        "not offered any more",
    );
}

#[test]
fn an_answer_before_the_write_is_found() {
    is_found(&[0, 1], TWO, CALM, Mutation::AnswerBeforeWrite, "which is not recorded");
}

#[test]
fn a_refusal_from_memory_is_found() {
    is_found(
        &[0, 1],
        ONE,
        Budget { tries: 2, ..CALM },
        Mutation::BelieveMemory,
        "although an address is free",
    );
}

#[test]
fn a_release_that_finds_nothing_in_memory_only_is_found() {
    let budget = Budget { losses: 1, cancels: 1, ..CALM };
    is_found(&[0], TWO, budget, Mutation::BelieveMemory, "although its record is there");
}

#[test]
fn a_lost_write_that_is_not_looked_after_is_found() {
    is_found(&[0, 1], TWO, Budget { losses: 1, ..CALM }, Mutation::ForgetPerhaps, "left without a pod");
}

#[test]
fn a_request_that_is_forgotten_with_its_reply_is_found() {
    is_found(&[0, 1], TWO, Budget { losses: 1, ..CALM }, Mutation::ForgetRequests, "is forgotten");
}

#[test]
fn a_cancelled_request_that_is_not_undone_is_found() {
    is_found(&[0, 1], TWO, CALM, Mutation::NoUndo, "left without a pod");
}

#[test]
fn giving_up_what_another_request_got_as_well_is_found() {
    let budget = Budget { cancels: 1, tries: 2, ..CALM };
    is_found(&[0, 1], TWO, budget, Mutation::UndoWithoutCounting, "which is not recorded");
}

#[test]
fn giving_up_a_later_record_of_the_same_address_is_found() {
    let budget = Budget { cancels: 1, ..CALM };
    is_found(&[0, 0], ONE, budget, Mutation::UndoWithoutBirth, "which is not recorded");
}

#[test]
fn a_del_that_frees_the_address_of_a_newer_sandbox_is_found() {
    let budget = Budget { renewals: 1, tries: 2, ..CALM };
    is_found(&[0, 1], TWO, budget, Mutation::DelOfAnySandbox, "which is not recorded");
}

#[test]
fn a_record_of_an_older_sandbox_is_found() {
    let budget = Budget { renewals: 1, tries: 2, ..CALM };
    is_found(&[0, 1], TWO, budget, Mutation::ClaimWithoutSandbox, "recorded for another sandbox");
}

#[test]
fn a_reclaim_that_does_not_look_again_is_found() {
    is_found(&[0, 1], TWO, CALM, Mutation::ReclaimWithoutReread, "which is not recorded");
}

#[test]
fn a_reclaim_by_address_alone_is_found() {
    is_found(&[0, 1], ONE, CALM, Mutation::ReclaimByAddress, "which is not recorded");
}

#[test]
fn a_reclaim_that_looks_at_its_memory_only_is_found() {
    is_found(&[0, 1], TWO, Budget { losses: 1, ..CALM }, Mutation::ReclaimFromMemory, "left without a pod");
}

#[test]
fn what_a_crash_leaves_is_found_without_a_reclaim() {
    is_found(&[0, 1], TWO, Budget { crashes: 1, ..CALM }, Mutation::NoReclaim, "left without a pod");
}
