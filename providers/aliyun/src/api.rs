//! One API call, from signing to the parsed reply, with budgets, retries and errors that say what to do.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use providers::{Class, Error};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use reqwest::{Method, Request};
use serde::de::DeserializeOwned;

use crate::budget::{Budget, Budgets, Exhausted, PATIENCE};
use crate::credentials::{Credentials, Keeper};
use crate::deadline::{Deadline, back_off};
use crate::fault::{self, Circumstance, Fault};
use crate::http::{Answer, Http, exchange};
use crate::secret::Secret;
use crate::settings::{Endpoint, Limits};
use crate::signature::{self, canonical_query, sha256_hex};

/// How often a call is made before its failure is reported.
const ATTEMPTS: u32 = 3;

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// How one API call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With the reply that was asked for.
    Success,
    /// With an error of this class.
    Failure(Class),
}

/// Told of every API call (retries one by one): the action, how it ended, how long it took.
pub type Observer = Arc<dyn Fn(&str, Outcome, Duration) + Send + Sync>;

/// A product of the cloud: the name that permissions use, and the version of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Ecs,
    Vpc,
}

impl Product {
    fn version(self) -> &'static str {
        match self {
            Self::Ecs => "2014-05-26",
            Self::Vpc => "2016-04-28",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Vpc => "vpc",
        }
    }
}

/// A signed call.
pub(crate) struct Call<'a> {
    pub(crate) product: Product,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) action: &'a str,
    pub(crate) parameters: &'a [(String, String)],
    /// What the call is about, for error messages: `VPC vpc-1 in cn-hangzhou`.
    pub(crate) subject: &'a str,
}

/// A call of the token service, which is not signed.
pub(crate) struct Anonymous<'a> {
    pub(crate) action: &'a str,
    /// The parameters that travel in the body, to stay out of logs of URLs.
    pub(crate) form: &'a [(&'a str, &'a str)],
    /// What in the form must not be printed.
    pub(crate) secret: &'a Secret,
    /// Who is asking, for error messages.
    pub(crate) identity: &'a str,
}

/// Why one attempt failed.
struct Failure {
    class: Class,
    /// The cloud's code; empty when it gave none.
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    fn transient(message: impl Into<String>) -> Self {
        Self { class: Class::Transient, code: String::new(), message: message.into(), retry_after: None }
    }
}

/// What turns calls into replies; knows no credentials.
pub(crate) struct Exchange {
    http: Http,
    sts: Endpoint,
    budgets: Budgets,
    call_limit: Duration,
    observer: OnceLock<Observer>,
}

impl Exchange {
    pub(crate) fn new(http: Http, sts: Endpoint, limits: Limits, call_limit: Duration) -> Self {
        Self { http, sts, budgets: Budgets::new(limits), call_limit, observer: OnceLock::new() }
    }

    /// Sets who is told of every call; the first one stays.
    pub(crate) fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// Makes a call of the token service.
    pub(crate) async fn anonymous<T>(&self, call: &Anonymous<'_>, deadline: Deadline) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let Anonymous { action, form, secret, identity } = call;
        let least = self.call_limit / 4;
        let target =
            Target { action, ram_action: action, endpoint: &self.sts, subject: identity, identity, least };
        let budget = self.budgets.of(action);
        let mut attempt = 0;
        loop {
            attempt += 1;
            target.enter(&budget, deadline).await?;
            let query = canonical_query(&[
                ("Action", *action),
                ("Version", "2015-04-01"),
                // Without it, this one service answers in XML.
                ("Format", "JSON"),
                ("Timestamp", &now()),
                ("SignatureNonce", &nonce()),
            ]);
            let mut request = Request::new(Method::POST, self.sts.join("/", &query));
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            *request.body_mut() = Some(canonical_query(form).into());
            match self.attempt(&target, request, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    target.pause(&budget, failure, attempt, deadline, |text| secret.redact(text)).await?;
                }
            }
        }
    }

    /// Makes a signed call.
    pub(crate) async fn signed<T>(
        &self,
        keeper: &Keeper,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let Call { product, endpoint, action, parameters, subject } = call;
        let ram_action = format!("{}:{action}", product.name());
        let query = canonical_query(parameters);
        let budget = self.budgets.of(action);
        let least = self.call_limit / 4;
        let mut credentials = keeper.get(deadline).await?;
        let mut renewed = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let identity = credentials.identity();
            let target =
                Target { action, ram_action: &ram_action, endpoint, subject, identity: &identity, least };
            target.enter(&budget, deadline).await?;
            let request = match sign(*product, endpoint, action, &query, &credentials) {
                Ok(request) => request,
                Err(reason) => return Err(target.error(Class::Invalid, &reason)),
            };
            match self.attempt(&target, request, deadline).await {
                Ok(reply) => return Ok(reply),
                // Temporary credentials can die early, by the cloud's clock or by a change of the role.
                Err(failure)
                    if !renewed
                        && credentials.token.is_some()
                        && fault::is_stale_credential(&failure.code) =>
                {
                    renewed = true;
                    let fresh = keeper.renew(&credentials, deadline).await?;
                    if fresh.id == credentials.id && fresh.token == credentials.token {
                        return Err(target.finish(failure, |text| credentials.redact(text)));
                    }
                    credentials = fresh;
                }
                Err(failure) => {
                    target
                        .pause(&budget, failure, attempt, deadline, |text| credentials.redact(text))
                        .await?;
                    credentials = keeper.get(deadline).await?;
                }
            }
        }
    }

    /// Sends one request, reads its reply, and tells the observer.
    async fn attempt<T>(
        &self,
        target: &Target<'_>,
        request: Request,
        deadline: Deadline,
    ) -> Result<T, Failure>
    where
        T: DeserializeOwned,
    {
        let limit = self.call_limit.min(deadline.left());
        let begun = Instant::now();
        let result = match exchange(self.http.api(target.endpoint), request, limit).await {
            Ok(answer) => read(target, &answer),
            Err(reason) => Err(Failure::transient(reason)),
        };
        if let Some(observer) = self.observer.get() {
            let outcome =
                result.as_ref().err().map_or(Outcome::Success, |failure| Outcome::Failure(failure.class));
            observer(target.action, outcome, begun.elapsed());
        }
        result
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("sts", &self.sts.to_string()).finish_non_exhaustive()
    }
}

/// What a call is about, for its errors.
struct Target<'a> {
    action: &'a str,
    ram_action: &'a str,
    endpoint: &'a Endpoint,
    subject: &'a str,
    identity: &'a str,
    /// The least time that another attempt needs to be worth it.
    least: Duration,
}

impl Target<'_> {
    /// Waits for the action's budget.
    async fn enter(&self, budget: &Budget, deadline: Deadline) -> Result<(), Error> {
        budget.acquire(deadline).await.map_err(|Exhausted { wait }| {
            let reason = format!(
                "not called, for the cloud throttled this action or our own budget for it is used up; \
                 it may be called again in {:.0} s",
                wait.as_secs_f64().ceil()
            );
            self.error(Class::Throttled, &reason).retry_after(wait)
        })
    }

    /// Waits before the next attempt, or returns the error when there is to be none.
    async fn pause(
        &self,
        budget: &Budget,
        failure: Failure,
        attempt: u32,
        deadline: Deadline,
        redact: impl Fn(&str) -> String,
    ) -> Result<(), Error> {
        let again = match failure.class {
            Class::Throttled => {
                let wait = budget.throttled(failure.retry_after);
                let failure = Failure { retry_after: Some(wait), ..failure };
                return if attempt < ATTEMPTS && wait <= PATIENCE && deadline.sleep(wait).await.is_ok() {
                    Ok(())
                } else {
                    Err(self.finish(failure, redact))
                };
            }
            Class::Transient => attempt < ATTEMPTS,
            Class::NotFound | Class::Denied | Class::Invalid => false,
        };
        let wait = back_off(attempt, PAUSES.0, PAUSES.1);
        if again && wait + self.least < deadline.left() && deadline.sleep(wait).await.is_ok() {
            Ok(())
        } else {
            Err(self.finish(failure, redact))
        }
    }

    fn finish(&self, failure: Failure, redact: impl Fn(&str) -> String) -> Error {
        let Failure { class, code: _, message, retry_after } = failure;
        let error = self.error(class, &redact(&message));
        match retry_after {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }

    fn error(&self, class: Class, reason: &str) -> Error {
        let Self { action, endpoint, subject, .. } = self;
        Error::new(class, format!("{action} for {subject} at {} failed: {reason}", endpoint.authority()))
    }
}

/// Builds the request. What is signed is what is sent, byte for byte.
fn sign(
    product: Product,
    endpoint: &Endpoint,
    action: &str,
    query: &str,
    credentials: &Credentials,
) -> Result<Request, String> {
    let (date, nonce, payload_hash) = (now(), nonce(), sha256_hex(b""));
    let mut headers = vec![
        ("host", endpoint.authority()),
        ("x-acs-action", action),
        ("x-acs-version", product.version()),
        ("x-acs-date", &date),
        ("x-acs-signature-nonce", &nonce),
        ("x-acs-content-sha256", &payload_hash),
    ];
    if let Some(token) = &credentials.token {
        headers.push(("x-acs-accesskey-id", &credentials.id));
        headers.push(("x-acs-security-token", token.expose()));
    }
    let signed = signature::Request {
        method: "POST",
        path: "/",
        query,
        headers: &headers,
        payload_hash: &payload_hash,
    };
    let authorization = signed.authorization(&credentials.id, &credentials.secret);

    let mut request = Request::new(Method::POST, endpoint.join("/", query));
    let target = request.headers_mut();
    for (name, value) in headers {
        let mut value =
            HeaderValue::from_str(value).map_err(|_| format!("{name} has characters no header can hold"))?;
        value.set_sensitive(name == "x-acs-security-token");
        target.insert(HeaderName::from_static(name), value);
    }
    let mut value = HeaderValue::from_str(&authorization)
        .map_err(|_| "the access key id has characters no header can hold".to_owned())?;
    value.set_sensitive(true);
    target.insert(AUTHORIZATION, value);
    target.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Without it reqwest sends no length for an empty POST, and the vendor's SDKs do.
    target.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    debug_assert!(target.contains_key(HOST));
    Ok(request)
}

/// Reads a reply: the value that was asked for, or why it is not one.
fn read<T: DeserializeOwned>(target: &Target<'_>, answer: &Answer) -> Result<T, Failure> {
    let size = answer.body.len();
    let not_json = |error: &serde_json::Error| {
        let (status, kind) = (answer.status, answer.content_type());
        Failure::transient(if error.is_eof() && size > 0 {
            format!("the reply (HTTP {status}, {kind}) is cut off after {size} bytes")
        } else {
            format!(
                "the reply (HTTP {status}, {kind}, {size} bytes) is not the JSON expected; is it a proxy's?"
            )
        })
    };
    let fault: Fault = serde_json::from_slice(&answer.body).map_err(|error| not_json(&error))?;
    let request_id = if fault.request_id.is_empty() { "none" } else { &fault.request_id };
    if let Some(code) = fault.code() {
        return Err(refusal(target, answer, code, &fault, request_id));
    }
    if !answer.is_success() {
        let status = answer.status;
        return Err(Failure::transient(format!(
            "HTTP {status} without an error code (RequestId {request_id})"
        )));
    }
    if fault.request_id.is_empty() {
        return Err(Failure::transient(
            "the reply has no RequestId, so it is not the cloud's; is it a proxy's?",
        ));
    }
    // The parser's own words could quote a secret.
    serde_json::from_slice(&answer.body).map_err(|error| {
        let column = error.column();
        Failure::transient(format!("the reply is not understood at byte {column} (RequestId {request_id})"))
    })
}

fn refusal(target: &Target<'_>, answer: &Answer, code: &str, fault: &Fault, request_id: &str) -> Failure {
    let circumstance = Circumstance {
        ram_action: target.ram_action,
        identity: target.identity,
        clock_ahead: clock_ahead(&answer.headers, Timestamp::now()),
    };
    let mut message = format!("{code}: {} (HTTP {}, RequestId {request_id})", fault.words(), answer.status);
    for more in [fault.denied_detail(), fault::advice(code, &circumstance)] {
        if !more.is_empty() {
            message.push_str("; ");
            message.push_str(&more);
        }
    }
    let class = fault::class(code);
    let retry_after = (class == Class::Throttled).then(|| fault::retry_after(&answer.headers)).flatten();
    Failure { class, code: code.to_owned(), message, retry_after }
}

/// Returns by how many seconds this clock is ahead of the server's, which the reply's date shows.
fn clock_ahead(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    static PARSER: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = PARSER.parse_timestamp(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(now.as_second() - date.as_second())
}

/// Returns the time as requests carry it.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a number that no other request carries. It guards against replay and need not be a secret.
fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}
