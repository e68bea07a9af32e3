//! The running simulator: one loopback listener per product over one cloud, all ended when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::calls::{Call, Calls};
use super::cloud::Cloud;
use super::wire;

/// A service with an endpoint of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Instances and NICs, version 2014-05-26.
    Ecs,
    /// vSwitches, version 2016-04-28.
    Vpc,
    /// Temporary credentials, version 2015-04-01.
    Sts,
    /// What an instance may read about itself.
    Metadata,
}

/// Where to listen. Port 0 is any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// ECS.
    pub ecs: SocketAddr,
    /// VPC.
    pub vpc: SocketAddr,
    /// STS.
    pub sts: SocketAddr,
    /// Metadata.
    pub metadata: SocketAddr,
    /// The control port, when there shall be one.
    pub control: Option<SocketAddr>,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { ecs: any, vpc: any, sts: any, metadata: any, control: None }
    }
}

/// Base URLs, as a configuration wants them: `http://127.0.0.1:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// ECS.
    pub ecs: String,
    /// VPC.
    pub vpc: String,
    /// STS.
    pub sts: String,
    /// Metadata.
    pub metadata: String,
    /// The control port, when there is one.
    pub control: Option<String>,
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the simulated {what}; choose a free port")]
pub struct StartError {
    what: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// The cloud behind its lock, as the listeners share it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Cloud>>);

impl Shared {
    /// Locks the cloud. A panic in another holder leaves plain data behind, which stays usable.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cloud> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A simulated cloud that listens. Dropping it closes every connection.
pub struct Simulator {
    shared: Shared,
    endpoints: Endpoints,
    /// Owned, so that dropping the simulator ends them.
    tasks: JoinSet<()>,
}

impl Simulator {
    /// Starts an empty cloud on free loopback ports, without a control port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_on(Addresses::default()).await
    }

    /// Starts an empty cloud on the given addresses.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub async fn start_on(addresses: Addresses) -> Result<Self, StartError> {
        let Addresses { ecs, vpc, sts, metadata, control } = addresses;
        let shared = Shared::default();
        let mut tasks = JoinSet::new();
        let mut serve = async |what, address, product| -> Result<String, StartError> {
            let failed = |source| StartError { what, address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let url = format!("http://{}", listener.local_addr().map_err(failed)?);
            tasks.spawn(wire::serve(listener, product, shared.clone()));
            Ok(url)
        };
        let endpoints = Endpoints {
            ecs: serve("ECS", ecs, Some(Product::Ecs)).await?,
            vpc: serve("VPC", vpc, Some(Product::Vpc)).await?,
            sts: serve("STS", sts, Some(Product::Sts)).await?,
            metadata: serve("metadata service", metadata, Some(Product::Metadata)).await?,
            control: match control {
                Some(address) => Some(serve("control port", address, None).await?),
                None => None,
            },
        };
        Ok(Self { shared, endpoints, tasks })
    }

    /// Serves the metadata service at a further listener, such as one at the service's real address in a network namespace.
    ///
    /// A client with an address of an instance is that instance.
    ///
    /// # Errors
    /// When the listener cannot be used without blocking.
    pub(crate) fn serve_metadata(&mut self, listener: std::net::TcpListener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        self.tasks.spawn(wire::serve(listener, Some(Product::Metadata), self.shared.clone()));
        Ok(())
    }

    /// Returns where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Lends the cloud out under its lock, to change it or to look at it. Calls wait meanwhile.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Cloud) -> R) -> R {
        change(&mut self.shared.lock())
    }

    /// Returns the counts of calls since the start or the last [`reset_calls`](Self::reset_calls).
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.shared.lock().log.calls.clone()
    }

    /// Returns the last requests, oldest first, without secrets.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.shared.lock().log.last.iter().cloned().collect()
    }

    /// Forgets counts and requests.
    pub fn reset_calls(&self) {
        self.shared.lock().log.reset();
    }
}
