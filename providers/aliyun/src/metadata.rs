//! The instance metadata service: hardened mode with a token first, normal mode where the service knows no token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use providers::{Class, Error};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request};

use crate::deadline::{Deadline, back_off};
use crate::http::{Answer, exchange};
use crate::secret::Secret;
use crate::settings::Endpoint;

/// The longest that the service grants: 6 hours.
const TOKEN_SECONDS: u32 = 21_600;

/// A token is replaced after four fifths of its time.
const TOKEN_KEPT: Duration = Duration::from_secs(TOKEN_SECONDS as u64 / 5 * 4);

/// For one exchange. The service is on the same host: the vendor's SDK allows 1 s to connect and 1 s to read.
const EXCHANGE: Duration = Duration::from_secs(2);

/// How often a question is asked before its failure is reported.
const ATTEMPTS: u32 = 3;

/// What to do when the service has no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unhardened {
    /// Ask without one, as instances in normal mode allow.
    Allowed,
    /// Fail: `ALIBABA_CLOUD_IMDSV1_DISABLED=true`.
    Refused,
}

/// A client of the metadata service.
pub(crate) struct Metadata {
    client: Client,
    endpoint: Endpoint,
    unhardened: Unhardened,
    limit: Duration,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    value: Arc<Secret>,
    since: Instant,
}

/// Why one attempt gave no value.
enum Miss {
    /// Perhaps the next attempt does.
    Passing(String),
    Lasting(Error),
}

impl Metadata {
    pub(crate) fn new(client: Client, endpoint: Endpoint, unhardened: Unhardened, limit: Duration) -> Self {
        Self { client, endpoint, unhardened, limit, token: Mutex::default() }
    }

    /// Returns the text at a path below `/latest/meta-data/`, or `None` when the service says that there is none.
    pub(crate) async fn get(&self, path: &str, deadline: Deadline) -> Result<Option<String>, Error> {
        let deadline = deadline.at_most(self.limit);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(path, deadline).await {
                Ok(value) => return Ok(value),
                Err(Miss::Lasting(error)) => return Err(error),
                Err(Miss::Passing(reason)) => {
                    let wait = back_off(attempt, Duration::from_millis(200), Duration::from_secs(1));
                    if attempt >= ATTEMPTS || deadline.sleep(wait).await.is_err() {
                        return Err(self.error(Class::Transient, path, &reason));
                    }
                }
            }
        }
    }

    async fn attempt(&self, path: &str, deadline: Deadline) -> Result<Option<String>, Miss> {
        let token = self.token(deadline).await?;
        let mut answer = self.read(path, token.as_ref(), deadline).await?;
        if answer.status == 401 {
            // The token may have died with a restart of the service: one fresh one, then the refusal stands.
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let token = self.token(deadline).await?;
            answer = self.read(path, token.as_ref(), deadline).await?;
        }
        match answer.status {
            _ if answer.is_success() => match String::from_utf8(answer.body) {
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(_) => Err(Miss::Passing("the reply is not text".to_owned())),
            },
            404 => Ok(None),
            429 | 500.. => Err(Miss::Passing(format!("HTTP {}", answer.status))),
            status => Err(Miss::Lasting(self.error(
                Class::Denied,
                path,
                &format!("HTTP {status}; is the metadata service switched on for this instance?"),
            ))),
        }
    }

    async fn read(&self, path: &str, token: Option<&Token>, deadline: Deadline) -> Result<Answer, Miss> {
        let mut request =
            Request::new(Method::GET, self.endpoint.join(&format!("/latest/meta-data/{path}"), ""));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.value.expose())
                .map_err(|_| Miss::Passing("the token is not text".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert("x-aliyun-ecs-metadata-token", value);
        }
        self.exchange(request, deadline).await
    }

    async fn exchange(&self, request: Request, deadline: Deadline) -> Result<Answer, Miss> {
        let limit = EXCHANGE.min(deadline.left());
        exchange(&self.client, request, limit).await.map_err(Miss::Passing)
    }

    /// Returns a valid token, or `None` in normal mode.
    async fn token(&self, deadline: Deadline) -> Result<Option<Token>, Miss> {
        let held = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = held.filter(|token| token.since.elapsed() < TOKEN_KEPT) {
            return Ok(Some(token));
        }
        let mut request = Request::new(Method::PUT, self.endpoint.join("/latest/api/token", ""));
        *request.headers_mut() = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        request
            .headers_mut()
            .insert("x-aliyun-ecs-metadata-token-ttl-seconds", HeaderValue::from(TOKEN_SECONDS));
        let answer = self.exchange(request, deadline).await?;
        match (answer.status, self.unhardened) {
            _ if answer.is_success() => {
                let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
                let token = Token { value: Arc::new(Secret::new(text)), since: Instant::now() };
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                Ok(Some(token))
            }
            // What the vendor's tools take for "no token service here". Anything else is a fault of the moment, and
            // must not lead to asking without protection.
            (403..=405, Unhardened::Allowed) => Ok(None),
            (status @ 403..=405, Unhardened::Refused) => Err(Miss::Lasting(self.error(
                Class::Denied,
                "token",
                &format!("HTTP {status}, and asking without a token is off (ALIBABA_CLOUD_IMDSV1_DISABLED)"),
            ))),
            (status @ (429 | 500..), _) => Err(Miss::Passing(format!("HTTP {status} for a token"))),
            (status, _) => Err(Miss::Lasting(self.error(Class::Invalid, "token", &format!("HTTP {status}")))),
        }
    }

    fn error(&self, class: Class, path: &str, reason: &str) -> Error {
        Error::new(
            class,
            format!("cannot read {path} from the metadata service at {}: {reason}", self.endpoint),
        )
    }
}
