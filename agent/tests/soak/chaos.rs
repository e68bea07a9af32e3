//! Whoever kills: an agent every few seconds, and the API server a few times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use testbed::Signal;
use tokio::time::sleep;

use crate::agents::Agent;
use crate::world::World;

/// How many of the last ADDs and DELs are left in peace: then what was left before is found while pods still come and go.
const CALM: u64 = 200;

/// Kills agents, and pauses some, until nearly all ADDs and DELs are done.
pub(crate) async fn agents(world: Arc<World>, agents: Vec<Arc<Agent>>) {
    let last = world.tally.total - CALM.min(world.tally.total / 3);
    while world.tally.done() < last && !world.is_broken() {
        sleep(millis(500..2500)).await;
        let agent = &agents[fastrand::usize(0..agents.len())];
        if fastrand::u8(0..5) == 0 {
            agent.signal(Signal::STOP);
            world.tally.agents_paused.add();
            sleep(millis(100..3000)).await;
            agent.signal(Signal::CONT);
        } else {
            if let Err(why) = agent.kill() {
                world.oracle().wrong(why);
            }
            world.tally.agents_killed.add();
            sleep(millis(0..2000)).await;
            agent.launch();
        }
    }
}

/// Kills the API server so many times, evenly over the work.
pub(crate) async fn servers(world: Arc<World>, times: u64) {
    for time in 0..times {
        let due = world.tally.total * (2 * time + 1) / (2 * times);
        while world.tally.done() < due {
            if world.is_broken() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let (plane, down) = (Arc::clone(&world.plane), millis(0..1500));
        let restarted = tokio::task::spawn_blocking(move || {
            let mut plane = plane.lock().unwrap();
            plane.kill_apiserver();
            std::thread::sleep(down);
            let begun = Instant::now();
            plane.start_apiserver().map(|()| begun.elapsed())
        });
        world.tally.servers_killed.add();
        let took = restarted.await.expect("no panic").expect("an API server again");
        println!("   the API server was killed, was down for {down:.1?} and ready {took:.1?} later");
    }
}

fn millis(range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}
