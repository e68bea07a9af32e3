//! What each endpoint should say, which of them the API does not have yet, and when each is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::EndpointIp;
use model::PodName;
use tokio::time::Instant;

use crate::pods::Pod;

/// How long a failed write waits for the first time, and at most.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// What a pod holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    /// The pod.
    pub pod: Arc<Pod>,
    /// One element a NIC.
    pub ips: Vec<EndpointIp>,
}

/// What an endpoint should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// That the pod holds this.
    Holds(Holds),
    /// It should not be there, if it is of the pod with this UID.
    Nothing {
        /// The UID.
        uid: String,
    },
}

/// One write that is due.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: PodName,
    pub(super) want: Want,
    /// The object's `resourceVersion`, as this process wrote it: who changes it meanwhile is not overruled.
    pub(super) object: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<PodName, Entry>);

#[derive(Debug)]
struct Entry {
    want: Want,
    state: State,
    object: Option<String>,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The API has it.
    Written,
    /// It is to be written then.
    Due(Instant),
    /// It is being written; `stale`: it changed meanwhile.
    Writing { stale: bool },
}

impl Book {
    pub(super) fn holds(&mut self, name: &PodName, pod: &Arc<Pod>, ip: EndpointIp, now: Instant) {
        let entry = self.0.entry(name.clone()).or_insert_with(|| Entry {
            want: Want::Nothing { uid: String::new() },
            state: State::Written,
            object: None,
            failures: 0,
        });
        let before = entry.want.clone();
        match &mut entry.want {
            Want::Holds(holds) if holds.pod.uid == pod.uid => {
                holds.pod = Arc::clone(pod);
                match holds.ips.iter_mut().find(|have| have.interface == ip.interface) {
                    Some(have) => *have = ip,
                    None => holds.ips.push(ip),
                }
                holds.ips.sort_by(|a, b| a.interface.cmp(&b.interface));
            }
            want => *want = Want::Holds(Holds { pod: Arc::clone(pod), ips: vec![ip] }),
        }
        if entry.want != before {
            entry.changed(now);
        }
    }

    pub(super) fn recalls(
        &mut self,
        name: &PodName,
        pod: &Arc<Pod>,
        nic: &str,
        note: impl FnOnce(&mut EndpointIp),
        now: Instant,
    ) {
        let known = self.of(name).filter(|holds| holds.pod.uid == pod.uid);
        let known = known.and_then(|holds| holds.ips.into_iter().find(|ip| ip.interface == nic));
        let mut ip =
            known.unwrap_or_else(|| EndpointIp { interface: nic.to_owned(), ..EndpointIp::default() });
        // Said by an answer of this process: that is all there is to know.
        if ip.clean_gateway.is_none() {
            note(&mut ip);
            self.holds(name, pod, ip, now);
        }
    }

    pub(super) fn lost(&mut self, name: &PodName, uid: &str, nic: &str, now: Instant) {
        let Some(entry) = self.0.get_mut(name) else {
            // Of a pod from before the start, say: what the API has of it goes.
            let want = Want::Nothing { uid: uid.to_owned() };
            let entry = Entry { want, state: State::Due(now), object: None, failures: 0 };
            self.0.insert(name.clone(), entry);
            return;
        };
        let Want::Holds(holds) = &mut entry.want else { return };
        // The pod that has the name now may be another.
        if !holds.pod.is(uid) {
            return;
        }
        let before = holds.ips.len();
        holds.ips.retain(|ip| !nic.is_empty() && ip.interface != nic);
        if holds.ips.len() == before {
            return;
        }
        if holds.ips.is_empty() {
            entry.want = Want::Nothing { uid: holds.pod.sandbox_uid().to_owned() };
        }
        entry.changed(now);
    }

    pub(super) fn of(&self, name: &PodName) -> Option<Holds> {
        match &self.0.get(name)?.want {
            Want::Holds(holds) => Some(holds.clone()),
            Want::Nothing { .. } => None,
        }
    }

    /// Returns the next write that is due, and marks it as being made.
    pub(super) fn next(&mut self, now: Instant) -> Option<Job> {
        let due = |entry: &Entry| matches!(entry.state, State::Due(at) if at <= now);
        let (name, entry) = self.0.iter_mut().find(|(_, entry)| due(entry))?;
        entry.state = State::Writing { stale: false };
        Some(Job { name: name.clone(), want: entry.want.clone(), object: entry.object.clone() })
    }

    /// Returns when the next write is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |entry: &Entry| match entry.state {
            State::Due(at) => Some(at),
            State::Written | State::Writing { .. } => None,
        };
        self.0.values().filter_map(due).min()
    }

    /// Returns how many writes wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.values().filter(|entry| matches!(entry.state, State::Due(_))).count()
    }

    /// Notes what became of a write: the version of the object that is there now, or whether to try again.
    pub(super) fn done(&mut self, job: &Job, outcome: Result<Option<String>, bool>, now: Instant) {
        let Some(entry) = self.0.get_mut(&job.name) else { return };
        let stale = matches!(entry.state, State::Writing { stale: true });
        match outcome {
            Ok(object) => {
                entry.object = object;
                entry.failures = 0;
                entry.state = if stale { State::Due(now) } else { State::Written };
            }
            Err(again) => {
                // What is there is not known any more.
                entry.object = None;
                let wait = FIRST.saturating_mul(2u32.saturating_pow(entry.failures.min(16))).min(LONGEST);
                entry.failures += 1;
                entry.state = if again || stale { State::Due(now + wait) } else { State::Written };
            }
        }
        if entry.state == State::Written && matches!(entry.want, Want::Nothing { .. }) {
            self.0.remove(&job.name);
        }
    }
}

impl Entry {
    fn changed(&mut self, now: Instant) {
        self.state = match self.state {
            State::Writing { .. } => State::Writing { stale: true },
            State::Written | State::Due(_) => State::Due(now),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Life;

    fn name() -> PodName {
        PodName { namespace: "default".into(), name: "web".into() }
    }

    fn pod(uid: &str) -> Arc<Pod> {
        Arc::new(Pod {
            name: name(),
            uid: uid.into(),
            node: "n".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner: None,
            life: Life::Alive,
            has_address: false,
        })
    }

    fn ip(nic: &str) -> EndpointIp {
        EndpointIp { interface: nic.into(), ..EndpointIp::default() }
    }

    fn nics(job: &Job) -> Vec<&str> {
        match &job.want {
            Want::Holds(holds) => holds.ips.iter().map(|ip| ip.interface.as_str()).collect(),
            Want::Nothing { .. } => Vec::new(),
        }
    }

    #[test]
    fn two_nics_of_one_pod_are_one_write() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.holds(&name(), &pod("u"), ip("net1"), now);
        book.holds(&name(), &pod("u"), ip("eth0"), now);
        let job = book.next(now).unwrap();
        assert_eq!(nics(&job), ["eth0", "net1"]);
        assert!(book.next(now).is_none());
        book.done(&job, Ok(Some("o".into())), now);
        book.holds(&name(), &pod("u"), ip("eth0"), now);
        assert_eq!(book.due(), None, "nothing changed");
    }

    #[test]
    fn what_changes_during_a_write_is_written_after_it() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.holds(&name(), &pod("u"), ip("eth0"), now);
        let job = book.next(now).unwrap();
        book.holds(&name(), &pod("u"), ip("net1"), now);
        assert!(book.next(now).is_none(), "one write of a pod at a time");
        book.done(&job, Ok(Some("o".into())), now);
        let job = book.next(now).unwrap();
        assert_eq!((nics(&job), job.object.as_deref()), (vec!["eth0", "net1"], Some("o")));
    }

    #[test]
    fn a_pod_that_lost_all_loses_its_endpoint_and_is_forgotten() {
        let (mut book, now) = (Book::default(), Instant::now());
        for nic in ["eth0", "net1"] {
            book.holds(&name(), &pod("u"), ip(nic), now);
        }
        let job = book.next(now).unwrap();
        book.done(&job, Ok(Some("o".into())), now);
        book.lost(&name(), "u", "eth0", now);
        book.lost(&name(), "u", "net1", now);
        let job = book.next(now).unwrap();
        assert_eq!(job.want, Want::Nothing { uid: "u".into() });
        book.done(&job, Ok(None), now);
        assert!(book.0.is_empty());
    }

    #[test]
    fn the_loss_of_a_former_pod_does_not_touch_the_present_one() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.holds(&name(), &pod("new"), ip("eth0"), now);
        book.lost(&name(), "old", "", now);
        assert_eq!(nics(&book.next(now).unwrap()), ["eth0"]);
    }

    #[test]
    fn a_failed_write_is_tried_again_later_and_later() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        book.holds(&name(), &pod("u"), ip("eth0"), now);
        for wait in [200, 400, 800] {
            let job = book.next(now).unwrap();
            book.done(&job, Err(true), now);
            assert!(book.next(now).is_none());
            now += Duration::from_millis(wait);
        }
        let job = book.next(now).unwrap();
        book.done(&job, Err(false), now);
        assert_eq!(book.due(), None, "what the API refuses for good is left alone");
    }
}
