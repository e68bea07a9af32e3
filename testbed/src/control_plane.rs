//! One real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback.

mod flags;

use std::io;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::Child;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::pki::Pki;
use crate::place::Place;
use crate::probe::{Answer, Probe};
use crate::programs::Programs;
use crate::progress::say;
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use flags::Ports;

/// It takes 3 s on an idle machine; this is for one whose cores all compile something else.
const PATIENCE: Duration = Duration::from_mins(2);
/// Another process can take a port between our choice and its use.
const TRIES: u32 = 3;

/// A running control plane of its own: ended, and its folder removed, on drop and when this process ends.
///
/// [`Deref`]s to the [`Cluster`] that it serves.
#[derive(Debug)]
pub struct ControlPlane {
    cluster: Cluster,
    // In the order in which they must end: each depends on those after it.
    scheduler: Child,
    controller_manager: Child,
    apiserver: Child,
    etcd: Child,
    /// The way in, when it does not run on the machine's own loopback.
    _door: Option<Proxy>,
    server: Server,
    scratch: Scratch,
}

/// What an API server is started with, at first and again.
#[derive(Debug)]
struct Server {
    programs: Programs,
    ports: Ports,
    place: Place,
    probe: Probe,
}

impl Server {
    fn start(&self, cluster: &Cluster, dir: &Path) -> Result<Child, Error> {
        let mut command = flags::apiserver(&self.programs, cluster.pki(), &self.ports, &self.place);
        self.place.put(&mut command);
        Child::start("kube-apiserver", command, dir)
    }

    /// Waits until the part behind `port` is ready.
    fn ready(&self, port: u16, path: &str, needed: &mut [&mut Child], begun: Instant) -> Result<(), Error> {
        wait_ready(|| self.place.run(|| self.probe.get(port, path)), needed, begun)
    }
}

impl ControlPlane {
    /// Starts a control plane in a temporary folder, and waits until all its parts are ready (about 3 s).
    ///
    /// # Errors
    /// When a program cannot be had ([`Programs::ensure`]) or does not become ready: with the end of its log.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Scratch::temporary, &Place::Loopback)
    }

    /// Starts a control plane in `dir`, which must not exist or be empty.
    ///
    /// # Errors
    /// As [`ControlPlane::start`], and when `dir` is in use.
    pub fn start_in(dir: &Path) -> Result<Self, Error> {
        Self::start_with(|| Scratch::at(dir), &Place::Loopback)
    }

    /// Starts a control plane in `place`.
    pub(crate) fn start_with(
        scratch: impl Fn() -> Result<Scratch, Error>,
        place: &Place,
    ) -> Result<Self, Error> {
        let programs = Programs::ensure()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&programs, scratch()?, place) {
                Err(Error::Ended { tail, .. })
                    if tries < TRIES && tail.contains("address already in use") =>
                {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    fn try_start(programs: &Programs, scratch: Scratch, place: &Place) -> Result<Self, Error> {
        let begun = Instant::now();
        let dir = scratch.path();
        let pki = Pki::create(dir, &place.addresses())?;
        pki.write_client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")?;
        let ports = Ports::choose().map_err(Error::file("find free ports for", dir))?;
        let door = place.door(ports.api)?;
        let probe = Probe::trusting(&pki.authority()?).map_err(Error::file("trust", &pki.path("ca.crt")))?;
        let cluster =
            Cluster::create(dir, &format!("https://127.0.0.1:{}", ports.api), pki, programs.kubectl.clone())?;

        let server = Server { programs: programs.clone(), ports, place: place.clone(), probe };
        let Server { ports, .. } = &server;
        let start = |name, mut command| {
            place.put(&mut command);
            Child::start(name, command, dir)
        };
        let mut etcd = start("etcd", flags::etcd(programs, cluster.pki(), ports))?;
        let mut apiserver = server.start(&cluster, dir)?;
        server.ready(ports.api, "/readyz", &mut [&mut apiserver, &mut etcd], begun)?;
        let mut controller_manager =
            start("kube-controller-manager", flags::manager(programs, &cluster, ports.manager)?)?;
        let mut scheduler = start("kube-scheduler", flags::scheduler(programs, &cluster, ports.scheduler)?)?;
        server.ready(ports.manager, "/healthz", &mut [&mut controller_manager], begun)?;
        server.ready(ports.scheduler, "/healthz", &mut [&mut scheduler], begun)?;
        wait_default_account(&cluster, &mut controller_manager, begun)?;

        say(&format!(
            "control plane up in {:.1} s: {}",
            begun.elapsed().as_secs_f64(),
            cluster.kubeconfig().display()
        ));
        Ok(Self { cluster, scheduler, controller_manager, apiserver, etcd, _door: door, server, scratch })
    }

    /// The folder with its kubeconfig and the log of each part.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The port of its API server.
    pub(crate) fn port(&self) -> u16 {
        self.server.ports.api
    }

    /// Kills the API server as a crash would (-9); etcd, and with it all that was written, lives on.
    pub fn kill_apiserver(&mut self) {
        self.apiserver.kill();
    }

    /// Starts an API server in the place of one that was killed, and waits until it is ready (about 2 s).
    ///
    /// # Errors
    /// When it ends by itself, or is not ready in two minutes: with the end of its log.
    pub fn start_apiserver(&mut self) -> Result<(), Error> {
        self.kill_apiserver();
        let (begun, port) = (Instant::now(), self.server.ports.api);
        loop {
            self.apiserver = self.server.start(&self.cluster, self.scratch.path())?;
            let parts = &mut [&mut self.apiserver, &mut self.etcd];
            match self.server.ready(port, "/readyz", parts, begun) {
                // A connection of somebody else may have been given the port meanwhile; it has it for a moment.
                Err(Error::Ended { tail, .. })
                    if begun.elapsed() < PATIENCE && tail.contains("address already in use") => {}
                result => return result,
            }
        }
    }

    /// The process ids of its parts, by name.
    #[must_use]
    pub fn processes(&self) -> [(&'static str, u32); 4] {
        let Self {
            cluster: _,
            scheduler,
            controller_manager,
            apiserver,
            etcd,
            _door: _,
            server: _,
            scratch: _,
        } = self;
        [etcd, apiserver, controller_manager, scheduler].map(|child| (child.name(), child.id()))
    }

    /// Fails when one of its parts has ended, with the end of its log.
    ///
    /// # Errors
    /// [`Error::Ended`], naming the part.
    pub fn check(&mut self) -> Result<(), Error> {
        let Self {
            cluster: _,
            scheduler,
            controller_manager,
            apiserver,
            etcd,
            _door: _,
            server: _,
            scratch: _,
        } = self;
        [etcd, apiserver, controller_manager, scheduler].into_iter().try_for_each(Child::check)
    }
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// Waits until the first of `needed` answers 200; gives up as soon as one of them ends.
fn wait_ready(
    ask: impl Fn() -> io::Result<Answer>,
    needed: &mut [&mut Child],
    begun: Instant,
) -> Result<(), Error> {
    loop {
        let answer = match ask() {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => format!(
                "{} {}",
                answer.status,
                answer.body.lines().find(|line| line.starts_with("[-]")).unwrap_or_default()
            ),
            Err(error) => error.to_string(),
        };
        needed.iter_mut().try_for_each(|child| child.check())?;
        if begun.elapsed() > PATIENCE
            && let Some(child) = needed.first()
        {
            let (log, tail) = (child.log().to_owned(), child.log_tail());
            return Err(Error::NotReady {
                component: child.name(),
                seconds: PATIENCE.as_secs(),
                answer,
                log,
                tail,
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for the namespace `default` to have its account: before that, no pod can be created there.
fn wait_default_account(cluster: &Cluster, manager: &mut Child, begun: Instant) -> Result<(), Error> {
    while let Err(error) = cluster.kubectl(&["get", "serviceaccount", "default", "--output=name"]) {
        manager.check()?;
        if begun.elapsed() > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
