//! What a desk is told from outside, and what it tells.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use model::AddressSet;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Notice;
use crate::metrics::Batch;

/// What a desk is told about from outside, and tells.
pub(crate) struct Context {
    /// The connection.
    pub(crate) client: Client,
    /// The pool's name.
    pub(crate) pool: String,
    /// As whom this agent writes.
    pub(crate) writer: String,
    /// What the watch says of the pool.
    pub(crate) notices: watch::Receiver<Notice>,
    /// The addresses that no pod may get; none until they are known.
    pub(crate) reserved: watch::Receiver<Option<Arc<AddressSet>>>,
    /// How long a freed address rests.
    pub(crate) rest: Duration,
    /// How many records the pool may hold.
    pub(crate) cap: usize,
    /// Where time begins.
    pub(crate) epoch: Instant,
    /// Ends the desk.
    pub(crate) stop: CancellationToken,
    /// What stands in the way at the moment, for whoever runs out of time.
    pub(crate) trouble: Trouble,
    /// Told how the pool looks whenever the desk reads it, and how many addresses are free after each batch.
    pub(crate) tell: Box<dyn Fn(Told<'_>) + Send + Sync>,
}

/// What a desk tells of its pool.
pub(crate) enum Told<'a> {
    /// It was read.
    Read(&'a model::select::Candidate),
    /// Pods do not hold so many of the addresses it offers.
    Free(u128),
    /// Another writer was ahead of us.
    Conflict(Batch),
}

/// What stands in the way of a desk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
