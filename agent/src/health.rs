//! Whether the agent has seen what it needs of the cluster.

use std::sync::Arc;

use tokio::sync::watch;

/// What is still to be read before the agent can serve. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Option<String>>>);

impl Health {
    /// Nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Some("the agent has not read the cluster yet".to_owned()))))
    }

    /// Says what is being waited for.
    pub fn waiting_for(&self, what: &str) {
        self.0.send_replace(Some(format!(
            "the agent waits for its first listing of {what}: is the API server up, and are its rights as in rbac.yaml?"
        )));
    }

    /// Says that all was read. It stays so: what an API server that goes away later still allows, goes on.
    pub fn ready(&self) {
        self.0.send_replace(None);
    }

    /// Returns why the agent cannot serve yet.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until the agent can serve.
    pub async fn is_ready(&self) {
        // The sender lives as long as we do.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}
