//! The webhook's paths: an `AdmissionReview` in, an `AdmissionReview` out.

use std::time::Duration;

use api::SpiderIPPool;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kube::ResourceExt;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::book::{Book, Refusal, Run};
use super::metrics::{Metrics, Outcome};

/// Upstream's paths.
const VALIDATE: &str = "/validate-spiderpool-spidernet-io-v2beta1-spiderippool";
const HEALTH: &str = "/webhook-health-check";

/// Longest question: an object before and after. An API server takes 3 MiB a request (its
/// `--max-request-body-bytes` has that default), and etcd half of that.
const LONGEST: usize = 8 * 1024 * 1024;

/// How long a client may take to say it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn router(book: Book, metrics: Metrics) -> Router {
    Router::new()
        .route(VALIDATE, post(validate))
        .route(HEALTH, get(async || "ok\n"))
        .with_state((book, metrics))
}

async fn validate(State((book, metrics)): State<(Book, Metrics)>, body: Body) -> Response {
    match read(body).await {
        Ok(request) => Json(answer(&request, &book, &metrics).into_review()).into_response(),
        Err((status, why)) => {
            metrics.count(Outcome::Bad);
            warn!("a client of the webhook asked what cannot be answered: {why}");
            (status, format!("{why}\n")).into_response()
        }
    }
}

async fn read(body: Body) -> Result<AdmissionRequest<DynamicObject>, (StatusCode, String)> {
    let bad = |why| (StatusCode::BAD_REQUEST, why);
    let bytes = match timeout(PATIENCE, to_bytes(body, LONGEST)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            return Err(bad(format!("cannot read the body, of at most {LONGEST} bytes: {error}")));
        }
        Err(_) => {
            return Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not come in {PATIENCE:?}")));
        }
    };
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("the body is no AdmissionReview of admission.k8s.io/v1: {error}")))?;
    review.try_into().map_err(|_| bad("the AdmissionReview has no request".to_owned()))
}

/// Answers one question, and says in the log what was refused.
fn answer(request: &AdmissionRequest<DynamicObject>, book: &Book, metrics: &Metrics) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let (pool, operation) = (name(request), &request.operation);
    match decide(request, book) {
        Ok(()) => {
            metrics.count(Outcome::Admitted);
            debug!(pool, ?operation, "admitted");
            response
        }
        Err(refusal) => {
            info!(pool, ?operation, dry_run = request.dry_run, "not admitted: {refusal}");
            let mut response = response.deny(&refusal);
            // As the API server itself answers an object that its schema refuses, and one that it cannot judge now.
            let (outcome, code, reason) = match refusal {
                Refusal::Wrong(_) => (Outcome::Refused, StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
                Refusal::Unknown => (Outcome::Unknown, StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            };
            metrics.count(outcome);
            response.result.code = code.as_u16();
            reason.clone_into(&mut response.result.reason);
            response
        }
    }
}

fn decide(request: &AdmissionRequest<DynamicObject>, book: &Book) -> Result<(), Refusal> {
    match request.operation {
        Operation::Create | Operation::Update => {}
        Operation::Delete | Operation::Connect => return Ok(()),
    }
    let spec =
        |object: &Option<DynamicObject>| object.as_ref().and_then(|object| object.data.get("spec").cloned());
    let new = match pool(request.object.as_ref()) {
        Ok(Some(new)) => new,
        Ok(None) => return Err(Refusal::Wrong("the object is missing".to_owned())),
        // Older than what refuses it: its labels and finalizers can still be edited.
        Err(_) if request.old_object.is_some() && spec(&request.object) == spec(&request.old_object) => {
            return Ok(());
        }
        Err(refusal) => return Err(refusal),
    };
    // A former version that cannot be read is as good as none: it holds nothing back and excuses nothing.
    let old = pool(request.old_object.as_ref()).ok().flatten();
    let run = if request.dry_run { Run::Dry } else { Run::Real };
    book.admit(old.as_ref(), &new, run, Instant::now())
}

fn pool(object: Option<&DynamicObject>) -> Result<Option<SpiderIPPool>, Refusal> {
    let read = |object: &DynamicObject| object.clone().try_parse();
    let parsed = object.map(read).transpose();
    parsed.map_err(|error| Refusal::Wrong(format!("the object is no SpiderIPPool of v2beta1: {error}")))
}

fn name(request: &AdmissionRequest<DynamicObject>) -> String {
    let object = request.object.as_ref().or(request.old_object.as_ref());
    object.map_or_else(|| request.name.clone(), ResourceExt::name_any)
}

#[cfg(test)]
mod tests;
