//! A pool in the API: reading it whole, and writing its records if nobody changed it meanwhile.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::{Allocation, SpiderIPPool, allocations_text};
use kube::api::{GetParams, PartialObjectMeta, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use model::Holder;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

/// Longest time that one request to the API server may take; it takes milliseconds when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the API server answers a write with: the metadata is enough, the rest is what was written.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a request did not succeed, or is not known to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The pool is not there.
    Gone,
    /// Somebody wrote the pool since it was read.
    Conflict,
    /// The API server said no: it says so again.
    Refused(String),
    /// No answer: a write may have been made, and may even be made later.
    Unknown(String),
}

/// One pool of the API.
pub(super) struct Store {
    client: Client,
    request: Request,
    name: String,
    params: PostParams,
}

/// A pool as it was read.
pub(super) struct Read {
    pub(super) pool: SpiderIPPool,
    /// What its status says beside its records: written back as it is.
    pub(super) beside: Beside,
}

/// What a status says beside the records: that of another version of the CRD, too.
pub(super) type Beside = Map<String, Value>;

/// The whole status, not a patch of it: of 500 records, that costs the API server about two thirds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: Metadata<'a>,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    // The condition: it still is this one.
    resource_version: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "allocatedIPs", skip_serializing_if = "Option::is_none")]
    allocated_ips: Option<String>,
    #[serde(rename = "allocatedIPCount")]
    allocated_ip_count: usize,
    #[serde(flatten)]
    beside: &'a Beside,
}

impl Store {
    pub(super) fn new(client: &Client, name: &str, writer: &str) -> Self {
        Self {
            client: client.clone(),
            request: Request::new(SpiderIPPool::url_path(&(), None)),
            name: name.to_owned(),
            params: PostParams { field_manager: Some(writer.to_owned()), ..PostParams::default() },
        }
    }

    /// Reads the pool as it is now: not from a cache.
    pub(super) async fn read(&self) -> Result<Read, Failure> {
        let request = self.request.get(&self.name, &GetParams::default());
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        let object: Value = within(self.client.request(request)).await?;
        let mut beside = object.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
        beside.remove("allocatedIPs");
        beside.remove("allocatedIPCount");
        let pool = serde_json::from_value(object);
        let pool =
            pool.map_err(|error| Failure::Unknown(format!("the answer is no SpiderIPPool: {error}")))?;
        Ok(Read { pool, beside })
    }

    /// Writes the records, if the pool is still at `version`, and returns its new version. The status is replaced: with
    /// what it had `beside` them at that version.
    pub(super) async fn write(
        &self,
        version: &str,
        beside: &Beside,
        records: &BTreeMap<IpAddr, Holder>,
    ) -> Result<String, Failure> {
        let allocations: BTreeMap<IpAddr, Allocation> =
            records.iter().map(|(address, holder)| (*address, Allocation::from(holder))).collect();
        let unwritable = |error: String| Failure::Refused(format!("the records cannot be written: {error}"));
        let allocated_ips = allocations_text(&allocations).map_err(|error| unwritable(error.to_string()))?;
        let body = Body {
            api_version: SpiderIPPool::api_version(&()),
            kind: SpiderIPPool::kind(&()),
            metadata: Metadata { name: &self.name, resource_version: version },
            status: Status { allocated_ips, allocated_ip_count: records.len(), beside },
        };
        let body = serde_json::to_vec(&body).map_err(|error| unwritable(error.to_string()))?;
        let request = self.request.replace_subresource("status", &self.name, &self.params, body);
        let mut request = request.map_err(|error| unwritable(error.to_string()))?;
        // The server would parse all of it once more to tell of unknown fields.
        if let Ok(uri) = format!("{}&fieldValidation=Ignore", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        if let Ok(accept) = METADATA_ONLY.parse() {
            request.headers_mut().insert("accept", accept);
        }
        let reply: PartialObjectMeta<SpiderIPPool> = within(self.client.request(request)).await?;
        reply
            .metadata
            .resource_version
            .ok_or_else(|| Failure::Unknown("the answer names no version".to_owned()))
    }
}

async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match timeout(PATIENCE, request).await {
        Ok(reply) => reply.map_err(failure),
        Err(_) => Err(Failure::Unknown(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn failure(error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => Failure::Gone,
            409 => Failure::Conflict,
            // Too many requests, or the server cannot say: 504 is a write whose outcome it does not know itself.
            429 | 500..=599 => Failure::Unknown(format!("{} ({})", status.message, status.code)),
            _ => Failure::Refused(format!("{} ({})", status.message, status.code)),
        },
        other => Failure::Unknown(chain(&other)),
    }
}

/// The error with its causes: the last one says what the network did.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}
