//! Who we are to the cloud: the vendor's chain of sources, refreshed before it expires.
//!
//! The chain is the vendor's, without the files of its command line tool (`~/.aliyun/config.json`, the ini file) and
//! without `ALIBABA_CLOUD_CREDENTIALS_URI`, which have no place in a cluster. It is decided once, by what is set: when
//! the source that was meant fails, the failure is reported, and no other identity is taken in its place.

mod oidc;
mod role;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use providers::{Class, Error};

use crate::api::Exchange;
use crate::deadline::Deadline;
use crate::environment::Environment;
use crate::metadata::Metadata;
use crate::secret::{Secret, mask};
use crate::wire::TemporaryKey;

use self::oidc::Oidc;
use self::role::Role;

/// With this much left, credentials are replaced. The instance role's successors appear 30 minutes before the end.
const EARLY: Duration = Duration::from_mins(10);

/// With this much left, every call tries to replace them; before, one in [`PAUSE`] does.
const LATE: Duration = Duration::from_mins(3);

/// The time between two tries to replace credentials that are still good.
const PAUSE: Duration = Duration::from_secs(30);

/// An access key, perhaps with a token and an end.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) token: Option<Secret>,
    pub(crate) expires: Option<Timestamp>,
    /// Where they came from, for people: `role acs:… (RRSA)`.
    source: String,
}

impl Credentials {
    fn temporary(key: TemporaryKey, source: String) -> Result<Self, String> {
        let TemporaryKey { access_key_id, access_key_secret, security_token, expiration } = key;
        if access_key_id.is_empty() || access_key_secret.is_empty() || security_token.is_empty() {
            return Err("the credentials have empty parts".to_owned());
        }
        Ok(Self {
            id: access_key_id,
            secret: access_key_secret,
            token: Some(security_token),
            expires: Some(expiration),
            source,
        })
    }

    /// Returns how an error message calls them.
    pub(crate) fn identity(&self) -> String {
        format!("{} (access key {})", self.source, mask(&self.id))
    }

    /// Returns `text` without anything secret in it.
    pub(crate) fn redact(&self, text: &str) -> String {
        let text = self.secret.redact(text);
        let text = self.token.as_ref().map_or_else(|| text.clone(), |token| token.redact(&text));
        text.replace(&self.id, &mask(&self.id))
    }

    fn left(&self, now: Timestamp) -> Option<Duration> {
        let expires = self.expires?;
        Some(Duration::try_from(expires.duration_since(now)).unwrap_or(Duration::ZERO))
    }
}

/// Where credentials come from.
enum Source {
    Fixed(Arc<Credentials>),
    Oidc(Oidc),
    Role(Role),
    /// Nowhere; the reason.
    None(&'static str),
}

/// Keeps the credentials of one provider fresh.
pub(crate) struct Keeper {
    source: Source,
    held: Mutex<Held>,
    /// Held by the one caller that replaces the credentials, so that the others wait for its result.
    replacing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    credentials: Option<Arc<Credentials>>,
    tried: Option<Instant>,
}

impl Keeper {
    /// Picks the source: access key in the environment, then OIDC, then the instance's role.
    pub(crate) fn new(environment: &Environment, metadata: Arc<Metadata>, exchange: Arc<Exchange>) -> Self {
        Self {
            source: pick(environment, metadata, exchange),
            held: Mutex::default(),
            replacing: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns credentials that are good for a call now.
    pub(crate) async fn get(&self, deadline: Deadline) -> Result<Arc<Credentials>, Error> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(Arc::clone(credentials));
        }
        if let Some(credentials) = self.good() {
            return Ok(credentials);
        }
        let _turn = self.replacing.lock().await;
        match self.good() {
            Some(credentials) => Ok(credentials),
            None => self.replace(deadline).await,
        }
    }

    /// Replaces credentials that the cloud has just refused, unless another caller did so meanwhile.
    pub(crate) async fn renew(
        &self,
        refused: &Credentials,
        deadline: Deadline,
    ) -> Result<Arc<Credentials>, Error> {
        let _turn = self.replacing.lock().await;
        let current = self.lock().credentials.clone();
        if let Some(current) = current.filter(|current| current.id != refused.id) {
            return Ok(current);
        }
        self.lock().credentials = None;
        self.replace(deadline).await
    }

    /// Returns the credentials in hand unless it is time to replace them.
    fn good(&self) -> Option<Arc<Credentials>> {
        let held = self.lock();
        let credentials = held.credentials.as_ref()?;
        let left = credentials.left(Timestamp::now()).unwrap_or(Duration::MAX);
        let paused = held.tried.is_some_and(|at| at.elapsed() < PAUSE);
        (left > EARLY || (left > LATE && paused)).then(|| Arc::clone(credentials))
    }

    /// Fetches new credentials; the old ones serve on as long as they are valid when that fails.
    async fn replace(&self, deadline: Deadline) -> Result<Arc<Credentials>, Error> {
        self.lock().tried = Some(Instant::now());
        let fetched = match &self.source {
            Source::Fixed(credentials) => return Ok(Arc::clone(credentials)),
            Source::Oidc(oidc) => oidc.fetch(deadline).await,
            Source::Role(role) => role.fetch(deadline).await,
            Source::None(reason) => Err(Error::new(Class::Denied, *reason)),
        };
        let mut held = self.lock();
        match fetched {
            Ok(credentials) => {
                let credentials = Arc::new(credentials);
                held.credentials = Some(Arc::clone(&credentials));
                Ok(credentials)
            }
            Err(error) => {
                let old = held.credentials.clone();
                match old.filter(|old| old.left(Timestamp::now()).is_none_or(|left| !left.is_zero())) {
                    Some(old) => {
                        tracing::warn!(%error, identity = old.identity(), "credentials not renewed yet");
                        Ok(old)
                    }
                    None => Err(error),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pick(environment: &Environment, metadata: Arc<Metadata>, exchange: Arc<Exchange>) -> Source {
    let (id, secret) =
        (environment.get("ALIBABA_CLOUD_ACCESS_KEY_ID"), environment.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET"));
    if let (Some(id), Some(secret)) = (id, secret) {
        return Source::Fixed(Arc::new(Credentials {
            id: id.to_owned(),
            secret: Secret::new(secret),
            token: environment.get("ALIBABA_CLOUD_SECURITY_TOKEN").map(Secret::new),
            expires: None,
            source: "the access key in the environment".to_owned(),
        }));
    }
    if let Some(oidc) = Oidc::from_environment(environment, exchange) {
        return Source::Oidc(oidc);
    }
    if environment.is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED") {
        return Source::None(
            "no credentials: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or the three RRSA \
             variables (ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN, ALIBABA_CLOUD_OIDC_TOKEN_FILE); the \
             instance's role is switched off by ALIBABA_CLOUD_ECS_METADATA_DISABLED",
        );
    }
    Source::Role(Role::new(metadata, environment.get("ALIBABA_CLOUD_ECS_METADATA").map(ToOwned::to_owned)))
}
