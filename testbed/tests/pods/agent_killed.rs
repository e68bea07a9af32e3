//! The agent killed with -9 in the middle of its work: nothing is lost, and nothing doubled.

use std::thread;
use std::time::{Duration, Instant};

use crate::oracle::Oracle;
use crate::pod::Draft;
use crate::space::Space;
use crate::stage::{PATIENCE, Stage, stage_alone};

const NODE: &str = "worker";
const PODS: usize = 8;
const KILLS: usize = 3;
/// When nothing more is given out for so long, the next kill comes all the same.
const BETWEEN: Duration = Duration::from_secs(4);
/// Where the plugin keeps what it could not tell.
const QUEUE: &str = "/var/lib/spidernet/cni/del";

fn kill(stage: &Stage) {
    stage.guest(NODE).run("kill -9 $(cat /run/agent.pid)").unwrap();
}

#[test]
fn an_agent_killed_in_the_middle_of_creations_loses_and_doubles_nothing() {
    let stage = stage_alone();
    let space = Space::new(&stage, "killed");
    let oracle = Oracle::start(&stage);
    let drafts: Vec<_> = (0..PODS).map(|n| Draft::new(&format!("p{n}"), NODE)).collect();
    space.create(&drafts);
    let mut held = stage.eventually("the first addresses are given out", || match space.held().len() {
        0 => Err("none is".to_owned()),
        held => Ok(held),
    });
    // Each kill hits another moment: between two are as many ADDs as a node manages meanwhile.
    for _ in 0..KILLS {
        kill(&stage);
        let begun = Instant::now();
        while begun.elapsed() < BETWEEN && space.held().len() == held {
            thread::sleep(Duration::from_millis(30));
        }
        held = space.held().len();
    }
    let pods = space.all_running(PODS, PATIENCE + PATIENCE, || oracle.pods(&space.name));
    assert!(pods.iter().all(|pod| pod.ips.len() == 2), "{pods:?}");
    stage.eventually("two addresses a pod are held, and no more", || {
        let held = space.held();
        if held.len() == 2 * PODS { Ok(()) } else { Err(format!("{} are: {held:?}", held.len())) }
    });

    // Deleted while there is no agent at all: the plugin keeps what it cannot tell.
    stage.guest(NODE).end("agent").unwrap();
    space.delete(&drafts.iter().take(PODS / 2).map(|draft| draft.name.as_str()).collect::<Vec<_>>());
    stage.eventually("pods go without an agent", || match space.pods().len() {
        left if left <= PODS / 2 => Ok(()),
        left => Err(format!("{left} are left")),
    });
    let queue = format!("ls -A {QUEUE} | wc -l");
    let queued: usize = stage.guest(NODE).sh(&queue).unwrap().trim().parse().unwrap();
    assert!(queued >= PODS / 2, "{queued} DELs are kept");
    assert_eq!(space.held().len(), 2 * PODS, "there is nobody who could free anything");
    stage.nodes.start_agent(stage.guest(NODE)).unwrap();
    stage.eventually("what was kept is told", || {
        let (held, left) = (space.held().len(), stage.guest(NODE).sh(&queue).unwrap());
        if held == PODS && left.trim() == "0" {
            Ok(())
        } else {
            Err(format!("{held} held, {} kept", left.trim()))
        }
    });
    kill(&stage);
    space.clear(PATIENCE);
    assert_eq!(oracle.wrongs(), Vec::<String>::new());
}
