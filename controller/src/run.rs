//! The main loop: one task that owns all state, woken by watches, readings, the configuration and the lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use model::Memory;
use prometheus_client::registry::Registry;
use providers::{Measured, ProviderMetrics};
use std::net::SocketAddr;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::admission::{self, Book, Webhook};
use crate::coordinator::Coordinator;
use crate::definitions::{Definitions, Scope};
use crate::events::{Events, Severity};
use crate::lease::{self, Elector, Leadership, Role, Timing};
use crate::metrics::Metrics;
use crate::reclaim::{self, Reclaim};
use crate::reload::{self, Follower};
use crate::server::{Health, Server};
use crate::term::{Next, Term};
use crate::watches;
use crate::world::World;
use crate::writer::Writer;

/// How long changes gather before a pass: a node that joins changes several times within it.
const GATHER: Duration = Duration::from_millis(50);

/// How often the main loop shows that it lives, and how long it may be silent before it counts as dead: far longer
/// than its longest wait for one write.
const BEAT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_mins(1);

/// How the program was called.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where the lease lives.
    pub namespace: String,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// What this process is called in the lease and in Events.
    pub identity: String,
    /// Where NetworkAttachmentDefinitions are made of SpiderMultusConfigs.
    pub attachments: Scope,
    /// The name of the SpiderCoordinator whose status is kept; empty: nobody's, because somebody else does it.
    pub coordinator: String,
    /// Where the webhook of SpiderIPPools is served, if it is.
    pub webhook: Option<Webhook>,
    /// The times of the election.
    pub timing: Timing,
}

/// Runs the controller until `shutdown`; then finishes the write that is under way, and gives the lease back.
///
/// # Errors
/// What keeps it from starting: the configuration, an address to listen on, the webhook's certificate, a provider that
/// cannot be opened.
pub async fn run(options: Options, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Options { config, namespace, listen, identity, attachments, coordinator, webhook, timing } = options;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let provider_metrics = ProviderMetrics::register(&mut registry);
    let admissions = admission::metrics::Metrics::new(&mut registry);
    let reclaim = Reclaim::new(reclaim::Metrics::new(&mut registry));
    let (follower, config) = Follower::open(&config, metrics.clone()).await?;
    // Opened once before anything starts: what cannot be opened is an error of the start, not of the first term.
    config.open()?;
    let health = Health::new(SILENCE, Instant::now());
    let server = Server::bind(listen).await?;
    let webhook = match &webhook {
        Some(webhook) => Some(admission::Server::open(webhook).await?),
        None => None,
    };

    let mut tasks = JoinSet::new();
    let helpers = CancellationToken::new();
    let (configs, configs_changed) = watch::channel(config);
    let (roles, roles_changed) = watch::channel(Role::Standby);
    let (told, seen) = unbounded_channel();
    let identity = lease::identity(&identity);
    let (events, write_events) = Events::new(client.clone(), &identity, metrics.clone());
    tasks.spawn(write_events);
    let book = Book::default();
    let mut watches = watches::start(&client, &told, book.clone());
    if attachments != Scope::Nowhere {
        watches.spawn(watches::follow_definitions(client.clone(), told.clone()));
    }
    if !coordinator.is_empty() {
        watches.spawn(watches::follow_coordinator(client.clone(), coordinator.clone(), told));
    }
    tasks.spawn(follower.run(reload::INTERVAL, helpers.clone(), configs));
    let serve = server.serve(health.clone(), Arc::new(registry), helpers.clone());
    tasks.spawn(async {
        if let Err(error) = serve.await {
            error!("health and metrics are not served any more: {error}");
        }
    });
    if let Some(webhook) = webhook {
        tasks.spawn(webhook.serve(book.clone(), admissions, helpers.clone()));
    }
    let lease = CancellationToken::new();
    let elector = Elector::new(client.clone(), &namespace, identity, timing);
    let elected = tokio::spawn(elector.run(lease.clone(), roles));

    let on = ObjectReference {
        api_version: Some(Lease::api_version(&()).into_owned()),
        kind: Some(Lease::kind(&()).into_owned()),
        name: Some(lease::NAME.to_owned()),
        namespace: Some(namespace),
        ..ObjectReference::default()
    };
    let started = Instant::now();
    let main = Main { client, metrics, provider_metrics, health, events, on, coordinator, book, started };
    let definitions = Definitions::new(attachments);
    main.run(definitions, reclaim, seen, configs_changed, roles_changed, shutdown).await;

    // Nothing writes any more: now another may lead.
    lease.cancel();
    // A task that panicked has said so itself.
    let _ = elected.await;
    drop(watches);
    helpers.cancel();
    let drained = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(3), drained).await;
    info!("stopped");
    Ok(())
}

/// What the main loop works with.
struct Main {
    client: Client,
    metrics: Metrics,
    provider_metrics: ProviderMetrics,
    health: Health,
    events: Events,
    /// The object that Events of the whole controller are about.
    on: ObjectReference,
    /// The name of the SpiderCoordinator.
    coordinator: String,
    /// What people's pools give out.
    book: Book,
    /// The zero of every moment.
    started: Instant,
}

impl Main {
    async fn run(
        self,
        mut definitions: Definitions,
        mut reclaim: Reclaim,
        mut seen: tokio::sync::mpsc::UnboundedReceiver<crate::world::Seen>,
        mut configs: watch::Receiver<Arc<Config>>,
        mut roles: watch::Receiver<Role>,
        shutdown: CancellationToken,
    ) {
        let mut world = World::default();
        let mut term: Option<Term> = None;
        let mut coordinator = Coordinator::new();
        let mut memory = Memory::default();
        // When the next pass is due; `None`: when something changes.
        let mut due: Option<Instant> = None;
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let pass_at = term.as_ref().zip(due).filter(|_| world.is_complete());
            let pass_at = pass_at.map(|(term, due)| term.earliest(due));
            if world.definitions_seen() {
                definitions.ask(Instant::now() + GATHER);
            }
            if let Some(news) = world.coordinator_news() {
                coordinator.ask(news);
            }
            let leadership = roles.borrow().leadership().cloned();
            let define_at = leadership.as_ref().and_then(|_| definitions.due(&world));
            let coordinate_at = leadership.as_ref().and_then(|_| coordinator.due(&world));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                // Before what may come in a flood.
                _ = beat.tick() => self.health.beat(Instant::now()),
                Ok(()) = roles.changed() => {
                    memory = term.take().map_or(memory, Term::end);
                    let role = roles.borrow_and_update().clone();
                    self.metrics.follow(&role);
                    term = self.begin(&role, &configs.borrow().clone(), std::mem::take(&mut memory));
                    due = Some(Instant::now());
                    definitions.ask(Instant::now());
                    coordinator.reset();
                    reclaim.reset();
                }
                Ok(()) = configs.changed() => {
                    let config = configs.borrow_and_update().clone();
                    if let Some(old) = term.take() {
                        let role = Role::Leader(old.leadership().clone());
                        term = self.begin(&role, &config, old.end());
                        due = Some(Instant::now());
                    }
                }
                Some(first) = seen.recv() => {
                    let mut changed = world.take(first);
                    while let Ok(next) = seen.try_recv() {
                        changed |= world.take(next);
                    }
                    if world.is_complete() {
                        self.health.ready();
                    }
                    if changed {
                        due = Some(sooner(due, Instant::now() + GATHER));
                    }
                }
                Some(observation) = observed(&mut term) => {
                    if let Some(term) = &mut term {
                        term.observe(observation, &self.events, &self.on);
                    }
                    due = Some(sooner(due, Instant::now() + GATHER));
                }
                () = sleep_until(define_at.unwrap_or(self.started)), if define_at.is_some() => {
                    if let Some(leadership) = leadership {
                        let writer = self.writer(leadership, &shutdown);
                        definitions.pass(&mut world, &writer, &self.events, &self.metrics).await;
                    }
                }
                Some(outcome) = coordinator.ended() => coordinator.end(outcome),
                () = sleep_until(coordinate_at.unwrap_or(self.started)), if coordinate_at.is_some() => {
                    if let Some(leadership) = leadership {
                        let writer = self.writer(leadership, &shutdown);
                        coordinator.begin(&world, &self.coordinator, writer, &self.events);
                    }
                }
                () = reclaim.due(), if leadership.is_some() && world.is_complete() => {
                    if let Some(leadership) = leadership {
                        reclaim.begin(&world, self.writer(leadership, &shutdown), &self.events);
                    }
                }
                () = sleep_until(pass_at.unwrap_or(self.started)), if pass_at.is_some() => {
                    if let Some(term) = &mut term {
                        let writer = self.writer(term.leadership().clone(), &shutdown);
                        due = match term.pass(&mut world, &self.book, &writer, &self.events, &self.metrics).await {
                            Next::OnChange => None,
                            Next::At(at) => Some(at),
                        };
                    }
                }
            }
        }
    }

    fn writer(&self, leadership: Leadership, stop: &CancellationToken) -> Writer {
        Writer::new(self.client.clone(), leadership, self.metrics.clone(), self.health.clone(), stop.clone())
    }

    /// Begins a term, if we lead.
    fn begin(&self, role: &Role, config: &Arc<Config>, memory: Memory) -> Option<Term> {
        let leadership = role.leadership()?.clone();
        match config.open() {
            Ok(clouds) => {
                let measure = |cloud| Measured::new(cloud, self.provider_metrics.clone());
                let clouds = clouds.into_iter().map(measure).collect();
                Some(Term::begin(Arc::clone(config), clouds, leadership, memory, self.started))
            }
            Err(error) => {
                error!("the configuration cannot be used: {error}");
                self.events.report(
                    self.on.clone(),
                    Severity::Warning,
                    "ConfigUnusable",
                    "Open",
                    &error.to_string(),
                );
                None
            }
        }
    }
}

/// Waits for the term's next observation; without a term, for ever.
async fn observed(term: &mut Option<Term>) -> Option<crate::clouds::Observation> {
    match term {
        Some(term) => term.observations.recv().await,
        None => std::future::pending().await,
    }
}

fn sooner(due: Option<Instant>, at: Instant) -> Instant {
    due.map_or(at, |due| due.min(at))
}
