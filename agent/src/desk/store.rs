//! A pool in the API: reading it whole, and writing its records if nobody changed it meanwhile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::{Allocation, SpiderIPPool, allocations_text};
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use kube::core::Request;
use kube::{Api, Client, Resource};
use model::Holder;
use serde::Serialize;
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
    api: Api<SpiderIPPool>,
    request: Request,
    name: String,
}

#[derive(Serialize)]
struct Body<'a> {
    metadata: Precondition<'a>,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Precondition<'a> {
    resource_version: &'a str,
}

#[derive(Serialize)]
struct Status {
    // Null removes it.
    #[serde(rename = "allocatedIPs")]
    allocated_ips: Option<String>,
    #[serde(rename = "allocatedIPCount")]
    allocated_ip_count: usize,
}

impl Store {
    pub(super) fn new(client: &Client, name: &str) -> Self {
        Self {
            client: client.clone(),
            api: Api::all(client.clone()),
            request: Request::new(SpiderIPPool::url_path(&(), None)),
            name: name.to_owned(),
        }
    }

    /// Reads the pool as it is now: not from a cache.
    pub(super) async fn read(&self) -> Result<SpiderIPPool, Failure> {
        within(self.api.get(&self.name)).await
    }

    /// Writes the records, if the pool is still at `version`, and returns its new version.
    pub(super) async fn write(
        &self,
        version: &str,
        records: &BTreeMap<IpAddr, Holder>,
    ) -> Result<String, Failure> {
        let allocations: BTreeMap<IpAddr, Allocation> =
            records.iter().map(|(address, holder)| (*address, Allocation::from(holder))).collect();
        let unwritable = |error: String| Failure::Refused(format!("the records cannot be written: {error}"));
        let allocated_ips = allocations_text(&allocations).map_err(|error| unwritable(error.to_string()))?;
        let body = Body {
            metadata: Precondition { resource_version: version },
            status: Status { allocated_ips, allocated_ip_count: records.len() },
        };
        let request = self.request.patch_subresource(
            "status",
            &self.name,
            &PatchParams::default(),
            &Patch::Merge(&body),
        );
        let mut request = request.map_err(|error| unwritable(error.to_string()))?;
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
