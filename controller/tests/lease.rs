//! The election against a real API server: who leads, when that changes, and that there are never two.

#![expect(clippy::expect_used, reason = "a test that cannot go on says what it missed and ends")]

#[path = "lease/proxy.rs"]
mod proxy;

use std::time::Duration;

use controller::lease::{Elector, Leadership, NAME, NotLeader, Role, Timing, identity};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use proxy::Proxy;

const LEASE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_millis(600);
const RETRY: Duration = Duration::from_millis(150);
/// What a request to the API server may take on a machine that compiles at the same time.
const SLACK: Duration = Duration::from_millis(700);
/// When something should happen and it does not matter how soon.
const SOON: Duration = Duration::from_secs(20);

async fn config() -> Config {
    // Another test may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(testbed::shared().kubeconfig()).expect("a kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a valid one")
}

/// One test's namespace, and so its election.
struct Arena {
    namespace: String,
    api: Api<Lease>,
}

impl Arena {
    async fn open() -> Self {
        let arena = Self::without_namespace().await;
        arena.create_namespace();
        arena
    }

    async fn without_namespace() -> Self {
        let namespace = testbed::unique("lease");
        let client = Client::try_from(config().await).expect("a client");
        Self { api: Api::namespaced(client, &namespace), namespace }
    }

    fn create_namespace(&self) {
        testbed::shared().kubectl(&["create", "namespace", &self.namespace]).expect("a namespace");
    }

    async fn candidate(&self, name: &str) -> Candidate {
        self.candidate_by(name, config().await)
    }

    fn candidate_by(&self, name: &str, config: Config) -> Candidate {
        let timing = Timing::new(LEASE, DEADLINE, RETRY).expect("a valid timing");
        let client = Client::try_from(config).expect("a client");
        let elector = Elector::new(client, &self.namespace, identity(name), timing);
        let (sender, roles) = watch::channel(Role::Standby);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(elector.run(shutdown.clone(), sender));
        Candidate { name: name.to_owned(), roles, shutdown, task }
    }

    async fn spec(&self) -> LeaseSpec {
        self.api.get(NAME).await.expect("the lease").spec.expect("its spec")
    }

    async fn patch(&self, patch: serde_json::Value) {
        self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patch");
    }

    /// Writes the lease of a holder that will never renew it.
    async fn held_by(&self, holder: &str) {
        let lease = json!({
            "metadata": {"name": NAME},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1, "leaseTransitions": 4},
        });
        let lease: Lease = serde_json::from_value(lease).expect("a lease");
        self.api.create(&PostParams::default(), &lease).await.expect("a create");
    }
}

struct Candidate {
    name: String,
    roles: watch::Receiver<Role>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    async fn leads(&mut self) -> Leadership {
        let led = timeout(SOON, self.roles.wait_for(|role| role.leadership().is_some())).await;
        let role = led.expect("a leader in time").expect("an elector").clone();
        role.leadership().expect("just waited for").clone()
    }

    fn is_leader(&self) -> bool {
        self.roles.borrow().leadership().is_some_and(|term| term.check(Instant::now()).is_ok())
    }

    /// Dies as a process does: nothing is released.
    fn die(&self) {
        self.task.abort();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(SOON, self.task).await.expect("an end in time").expect("no panic");
    }
}

/// Watches closely for `time` how many lead at once.
async fn assert_never_two(candidates: &[&Candidate], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let leaders: Vec<&str> =
            candidates.iter().filter(|one| one.is_leader()).map(|one| one.name.as_str()).collect();
        assert!(leaders.len() <= 1, "two lead at once: {leaders:?}");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn one_of(candidates: &mut [Candidate]) -> usize {
    let end = Instant::now() + SOON;
    loop {
        if let Some(leader) = candidates.iter().position(Candidate::is_leader) {
            return leader;
        }
        assert!(Instant::now() < end, "nobody leads");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn of_two_candidates_one_leads_and_keeps_the_lease() {
    let arena = Arena::open().await;
    let mut both = [arena.candidate("a").await, arena.candidate("b").await];
    let leader = one_of(&mut both).await;
    assert_never_two(&[&both[0], &both[1]], LEASE * 3).await;
    assert!(both[leader].is_leader(), "the first leader still leads after three leases");
    let spec = arena.spec().await;
    assert!(spec.holder_identity.expect("a holder").starts_with(&both[leader].name));
    assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(0), Some(1)));
    assert!(spec.renew_time > spec.acquire_time);
}

#[tokio::test]
async fn a_standby_takes_over_within_lease_and_retry_when_the_leader_dies() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    let mut standby = arena.candidate("b").await;
    // It has seen a renewal, and then some.
    sleep(RETRY * 3).await;
    leader.die();
    let died = Instant::now();
    let next = standby.leads().await;
    let took = died.elapsed();
    assert!(took <= LEASE + RETRY + SLACK, "took {took:?}");
    // The last renewal was at most a retry and a request ago.
    assert!(took + RETRY + SLACK >= LEASE, "took only {took:?}");
    assert_eq!(next.transitions(), 1);
    assert!(term.ended().is_cancelled(), "the dead leader's handles say no");
}

#[tokio::test]
async fn a_standby_leads_at_once_when_the_leader_releases() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    let mut standby = arena.candidate("b").await;
    sleep(RETRY * 3).await;
    leader.stop().await;
    let released = Instant::now();
    assert_eq!(term.check(released), Err(NotLeader::Ended));
    standby.leads().await;
    let took = released.elapsed();
    assert!(took < RETRY + SLACK && took < LEASE, "took {took:?}");
}

#[tokio::test]
async fn a_released_lease_has_no_holder() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    leader.leads().await;
    leader.stop().await;
    assert_eq!(arena.spec().await.holder_identity.as_deref(), Some(""));
}

#[tokio::test]
async fn a_standby_that_stops_leaves_the_leader_alone() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    let standby = arena.candidate("b").await;
    sleep(RETRY * 2).await;
    standby.stop().await;
    sleep(LEASE).await;
    assert_eq!(term.check(Instant::now()), Ok(()));
}

#[tokio::test]
async fn a_stolen_lease_ends_the_term_and_is_not_stolen_back() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    let thief = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60}});
    arena.patch(thief).await;
    timeout(RETRY + SLACK, term.ended().cancelled()).await.expect("the end of the term");
    assert_eq!(term.check(Instant::now()), Err(NotLeader::Ended));
    sleep(LEASE * 2).await;
    assert!(!leader.is_leader());
    assert_eq!(arena.spec().await.holder_identity.as_deref(), Some("thief"));
}

#[tokio::test]
async fn a_deleted_lease_ends_the_term_and_is_made_anew() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    arena.api.delete(NAME, &DeleteParams::default()).await.expect("a delete");
    timeout(RETRY + SLACK, term.ended().cancelled()).await.expect("the end of the term");
    leader.roles.wait_for(|role| role.leadership().is_none()).await.expect("an elector");
    leader.leads().await;
    assert!(arena.spec().await.holder_identity.expect("a holder").starts_with("a_"));
}

#[tokio::test]
async fn a_label_that_somebody_adds_neither_ends_the_term_nor_is_lost() {
    let arena = Arena::open().await;
    let mut leader = arena.candidate("a").await;
    let term = leader.leads().await;
    let before = arena.spec().await.renew_time;
    arena.patch(json!({"metadata": {"labels": {"team": "network"}}})).await;
    sleep(LEASE + RETRY).await;
    assert_eq!(term.check(Instant::now()), Ok(()));
    let lease = arena.api.get(NAME).await.expect("the lease");
    assert_eq!(lease.metadata.labels.expect("labels").get("team").map(String::as_str), Some("network"));
    assert!(lease.spec.expect("a spec").renew_time > before);
}

/// Where the API server cannot be reached, in two ways, and another candidate can.
async fn a_term_ends_when(interrupt: impl Fn(&Proxy)) {
    let arena = Arena::open().await;
    let mut config = config().await;
    let proxy = Proxy::start(&config.cluster_url).await;
    config.cluster_url = proxy.url();
    let mut leader = arena.candidate_by("a", config);
    let term = leader.leads().await;
    let mut standby = arena.candidate("b").await;
    sleep(RETRY * 3).await;
    interrupt(&proxy);
    let since = Instant::now();
    timeout(DEADLINE + SLACK, term.ended().cancelled()).await.expect("the end of the term");
    let took = since.elapsed();
    assert!(took <= DEADLINE + Duration::from_millis(100), "the term went on for {took:?}");
    assert!(term.check(Instant::now()).is_err());
    assert_never_two(&[&leader, &standby], LEASE).await;
    standby.leads().await;
    proxy.resume();
    assert_never_two(&[&leader, &standby], LEASE * 2).await;
    assert!(standby.is_leader(), "the former leader stands by when it is back");
}

#[tokio::test]
async fn a_leader_whose_connections_are_cut_ends_its_term_by_the_deadline() {
    a_term_ends_when(Proxy::cut).await;
}

#[tokio::test]
async fn a_leader_whose_requests_hang_ends_its_term_by_the_deadline() {
    a_term_ends_when(Proxy::hang).await;
}

#[tokio::test]
async fn an_outage_shorter_than_the_deadline_ends_nothing() {
    let arena = Arena::open().await;
    let mut config = config().await;
    let proxy = Proxy::start(&config.cluster_url).await;
    config.cluster_url = proxy.url();
    let mut leader = arena.candidate_by("a", config);
    let term = leader.leads().await;
    for _ in 0..3 {
        sleep(RETRY * 2).await;
        proxy.cut();
        sleep(RETRY).await;
        proxy.resume();
    }
    sleep(RETRY * 2).await;
    assert_eq!(term.check(Instant::now()), Ok(()), "renewed by a later try");
    assert!(!term.ended().is_cancelled());
}

/// Four candidates watch a dead holder's lease expire.
async fn race() {
    let arena = Arena::open().await;
    arena.held_by("dead").await;
    let mut all = [
        arena.candidate("a").await,
        arena.candidate("b").await,
        arena.candidate("c").await,
        arena.candidate("d").await,
    ];
    let started = Instant::now();
    let winner = one_of(&mut all).await;
    assert!(started.elapsed() + RETRY >= LEASE, "nobody takes a lease before having watched it for as long");
    assert_never_two(&[&all[0], &all[1], &all[2], &all[3]], LEASE * 2).await;
    assert!(all[winner].is_leader(), "the winner still leads");
    let spec = arena.spec().await;
    assert!(spec.holder_identity.expect("a holder").starts_with(&all[winner].name));
    assert_eq!(spec.lease_transitions, Some(5), "one change of hands");
}

#[tokio::test]
async fn of_four_that_race_for_an_expired_lease_exactly_one_wins() {
    tokio::join!(race(), race(), race());
}

#[tokio::test]
async fn a_candidate_waits_for_a_namespace_that_is_not_there_yet() {
    let arena = Arena::without_namespace().await;
    let mut candidate = arena.candidate("a").await;
    sleep(RETRY * 3).await;
    assert!(!candidate.is_leader() && !candidate.task.is_finished());
    arena.create_namespace();
    candidate.leads().await;
}

#[tokio::test]
async fn a_candidate_without_the_right_to_leases_goes_on_trying() {
    let arena = Arena::open().await;
    let user = testbed::unique("nobody");
    let path = testbed::shared().kubeconfig_for(&user, None).expect("a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut candidate = arena.candidate_by("a", config.expect("a valid one"));
    sleep(RETRY * 3).await;
    assert!(!candidate.is_leader() && !candidate.task.is_finished());
    let namespace = format!("--namespace={}", arena.namespace);
    let rights = ["--verb=get,create,update", "--resource=leases.coordination.k8s.io"];
    let cluster = testbed::shared();
    cluster.kubectl(&["create", "role", "elect", &namespace, rights[0], rights[1]]).expect("a role");
    let binding = ["create", "rolebinding", "elect", &namespace, "--role=elect", &format!("--user={user}")];
    cluster.kubectl(&binding).expect("a binding");
    candidate.leads().await;
    candidate.stop().await;
    assert_eq!(
        arena.spec().await.holder_identity.as_deref(),
        Some(""),
        "these three verbs are enough to release"
    );
}
