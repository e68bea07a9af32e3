//! What plugins may ask on the socket: upstream's paths and shapes, and ours beside them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::PodName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use wire::{Endpoint, EndpointInterface};

use crate::agent::Agent;
use crate::coordinator;
use crate::del::DelError;
use crate::http;

/// How much a request may say: a GC that lists the sandboxes of the largest node is below 100 KiB.
const BODY: usize = 1024 * 1024;

/// How long a plugin may take to say it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a plugin that asks whether we serve waits for us to: a pod that comes right after a restart need not fail.
const HEALTHY: Duration = Duration::from_secs(5);

/// Returns what is served on the socket.
pub fn router(agent: Arc<Agent>) -> Router {
    let probes = http::probes(agent.health.clone());
    Router::new()
        .route(wire::HEALTHY, get(healthy))
        .route(wire::IP, post(add).delete(del))
        // Upstream has this path, and does nothing there.
        .route(wire::IPS, post(async || ()).delete(release))
        .route(wire::GC, post(gc))
        .route(wire::CHECK, post(check))
        .route(wire::ENDPOINT, get(endpoint))
        .route(wire::COORDINATOR, get(coordinator))
        .with_state(agent)
        .merge(probes)
        .fallback(async || refusal(StatusCode::NOT_FOUND, "the agent has no such path"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "the agent has another method at this path")
        })
}

/// An answer that is not what was asked for: as upstream's, a JSON string.
fn refusal(status: StatusCode, why: impl Display) -> Response {
    (status, Json(format!("{why}"))).into_response()
}

fn failed(why: impl Display) -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn answer<T: serde::Serialize>(answer: Result<T, impl Display>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => failed(error),
    }
}

fn done(answer: Result<(), impl Display>) -> Response {
    match answer {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => failed(error),
    }
}

fn bad(why: impl Display) -> Response {
    refusal(StatusCode::BAD_REQUEST, format!("the request cannot be read: {why}"))
}

/// Reads a request, whatever content type it claims.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    serde_json::from_slice(&bytes(body).await?).map_err(bad)
}

async fn bytes(body: Body) -> Result<Bytes, Response> {
    match timeout(PATIENCE, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(bad(format!("{error} (at most {BODY} bytes are)"))),
        Err(_) => Err(bad(format!("it was not complete after {} s", PATIENCE.as_secs()))),
    }
}

async fn healthy(State(agent): State<Arc<Agent>>) -> Response {
    done(agent.ready(Instant::now() + HEALTHY).await)
}

async fn add(State(agent): State<Arc<Agent>>, body: Body) -> Response {
    match read(body).await {
        Ok(request) => answer(agent.add(&request).await),
        Err(refusal) => refusal,
    }
}

async fn del(State(agent): State<Arc<Agent>>, body: Body) -> Response {
    match read(body).await {
        Ok(request) => done(agent.del(&request).await),
        Err(refusal) => refusal,
    }
}

async fn release(State(agent): State<Arc<Agent>>, body: Body) -> Response {
    let request = match read(body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match agent.release(&request).await {
        Err(error @ DelError::Forbidden(_)) => refusal(status(wire::RELEASE_FORBIDDEN_STATELESS), error),
        Err(error @ DelError::Fixed(_)) => refusal(status(wire::RELEASE_FORBIDDEN_STATEFUL), error),
        released => done(released),
    }
}

async fn gc(State(agent): State<Arc<Agent>>, body: Body) -> Response {
    match read(body).await {
        Ok(request) => done(agent.gc(&request).await),
        Err(refusal) => refusal,
    }
}

async fn check(State(agent): State<Arc<Agent>>, body: Body) -> Response {
    match read(body).await {
        Ok(request) => done(agent.check(&request).await),
        Err(refusal) => refusal,
    }
}

async fn coordinator(State(agent): State<Arc<Agent>>, Query(query): Query<Whose>, body: Body) -> Response {
    let body = match bytes(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    // Upstream's plugin says it in a body.
    let whose = match Some(query).filter(|whose| !whose.name.is_empty()) {
        Some(whose) => whose,
        None if body.trim_ascii().is_empty() => Whose::default(),
        None => match serde_json::from_slice(&body) {
            Ok(whose) => whose,
            Err(error) => return bad(error),
        },
    };
    let Whose { namespace, name, uid } = whose;
    let named = !namespace.is_empty() && !name.is_empty();
    let whose = named.then_some(coordinator::Whose { name: PodName { namespace, name }, uid });
    answer(coordinator::config(&agent.client, &agent.pods, whose.as_ref()).await)
}

/// Who is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Whose {
    #[serde(rename = "podNamespace")]
    namespace: String,
    #[serde(rename = "podName")]
    name: String,
    #[serde(rename = "podUID")]
    uid: String,
}

async fn endpoint(State(agent): State<Arc<Agent>>, Query(whose): Query<Whose>) -> Response {
    let Whose { namespace, name, uid: _ } = whose;
    if namespace.is_empty() || name.is_empty() {
        return refusal(StatusCode::BAD_REQUEST, "say podNamespace and podName in the query");
    }
    let name = PodName { namespace, name };
    // What this process knows is as new as its last answer; what the API has comes a moment later.
    let (uid, node, ips) = match agent.endpoints.of(&name) {
        Some(holds) => (holds.pod.sandbox_uid().to_owned(), agent.node.name().to_owned(), holds.ips),
        None => match agent.endpoints.read(&name).await {
            Ok(Some(status)) => (status.current.uid, status.current.node, status.current.ips),
            Ok(None) => {
                return refusal(StatusCode::NOT_FOUND, format!("pod {name} has no SpiderEndpoint"));
            }
            Err(error) => return failed(format!("cannot read the SpiderEndpoint of pod {name}: {error}")),
        },
    };
    let interfaces = ips.into_iter().map(interface).collect();
    let PodName { namespace: pod_namespace, name: pod_name } = name;
    Json(Endpoint { pod_namespace, pod_name, pod_uid: uid, node, interfaces }).into_response()
}

fn interface(ip: api::EndpointIp) -> EndpointInterface {
    let route =
        |route: api::Route| wire::Route { if_name: ip.interface.clone(), dst: route.dst, gw: route.gw };
    EndpointInterface {
        routes: ip.routes.into_iter().map(route).collect(),
        interface: ip.interface.clone(),
        ipv4: ip.ipv4,
        ipv6: ip.ipv6,
        mac: ip.mac,
        vlan: ip.vlan,
        ipv4_pool: ip.ipv4_pool,
        ipv6_pool: ip.ipv6_pool,
        ipv4_gateway: ip.ipv4_gateway,
        ipv6_gateway: ip.ipv6_gateway,
    }
}
