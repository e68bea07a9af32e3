//! One request about the Lease, and why it did not do what it should.

use std::time::Duration;

use tokio::time::timeout;

/// Why a request failed, by what the elector does about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Somebody else wrote first: look again.
    #[error("another wrote it at the same time")]
    Conflict,
    /// The API server said no, or could not be reached.
    #[error("{0}{hint}", hint = hint(.0))]
    Refused(kube::Error),
    /// It said nothing. What was asked may still happen.
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
}

impl Failure {
    /// Takes a Lease that is gone, where a version of it was to be replaced, for one that somebody else changed.
    pub(super) fn of_replace(self) -> Self {
        match self {
            Self::Refused(kube::Error::Api(status)) if status.code == 404 => Self::Conflict,
            other => other,
        }
    }
}

/// Does a request, and gives up on it after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, request).await {
        Ok(Ok(done)) => Ok(done),
        // A version that is not the newest, or of a create: a name that is taken.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failure::Conflict),
        Ok(Err(error)) => Err(Failure::Refused(error)),
        Err(_) => Err(Failure::Silent(limit)),
    }
}

/// What to do about a refusal, where that is known.
fn hint(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            "; grant get, create and update on leases.coordination.k8s.io in this namespace"
        }
        kube::Error::Api(status) if status.code == 404 => {
            "; create the namespace, or name another by --namespace"
        }
        _ => "",
    }
}
