use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::PodName;

/// Whose network namespaces the plugins told with their ADDs. Lost with the process: then the folder of namespaces says what there
/// is, though not whose it is. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<BTreeMap<PathBuf, PodName>>>);

impl Told {
    /// Remembers whose a namespace is, and forgets those that are gone.
    pub fn arrived(&self, namespace: &Path, pod: &PodName) {
        let mut told = self.told();
        // A node has some hundred: to look at all costs less than a millisecond.
        told.retain(|path, _| path.exists());
        if namespace.is_absolute() {
            told.insert(namespace.to_owned(), pod.clone());
        }
    }

    /// Returns all that were told.
    #[must_use]
    pub fn all(&self) -> BTreeMap<PathBuf, PodName> {
        self.told().clone()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, PodName>> {
        // Every change under the lock stands alone: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
