//! The RAM role of the instance that we run on, by the metadata service.

use std::sync::Arc;

use providers::{Class, Error};
use serde_json::Value;

use crate::deadline::Deadline;
use crate::metadata::Metadata;
use crate::wire::TemporaryKey;

use super::Credentials;

/// The instance's role; its name is asked when the environment does not give it.
pub(super) struct Role {
    metadata: Arc<Metadata>,
    name: Option<String>,
}

impl Role {
    pub(super) fn new(metadata: Arc<Metadata>, name: Option<String>) -> Self {
        Self { metadata, name }
    }

    pub(super) async fn fetch(&self, deadline: Deadline) -> Result<Credentials, Error> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.first_name(deadline).await?,
        };
        let error = |class, reason: &str| {
            Error::new(
                class,
                format!("cannot take RAM role {name} of this instance from the metadata service: {reason}"),
            )
        };
        let Some(text) = self.metadata.get(&format!("ram/security-credentials/{name}"), deadline).await?
        else {
            return Err(error(Class::Denied, "the instance has no such role"));
        };
        // The parse error is not repeated, for it may quote the text.
        let reply: Value = serde_json::from_str(&text)
            .map_err(|_| error(Class::Transient, "the reply is not the JSON expected"))?;
        let code = reply.get("Code").and_then(Value::as_str).unwrap_or_default();
        if code != "Success" {
            return Err(error(Class::Denied, &format!("its status is {code:?} and not \"Success\"")));
        }
        let key: TemporaryKey = serde_json::from_value(reply)
            .map_err(|_| error(Class::Transient, "the reply lacks a part of the credentials"))?;
        Credentials::temporary(key, format!("RAM role {name} of the instance"))
            .map_err(|reason| error(Class::Transient, &reason))
    }

    /// Asks which role the instance has.
    async fn first_name(&self, deadline: Deadline) -> Result<String, Error> {
        const NO_CREDENTIALS: &str = "no credentials: set ALIBABA_CLOUD_ACCESS_KEY_ID and \
            ALIBABA_CLOUD_ACCESS_KEY_SECRET, or the RRSA variables, or give the instance a RAM role";
        let listed = self.metadata.get("ram/security-credentials/", deadline).await.map_err(|error| {
            Error::new(error.class, format!("{NO_CREDENTIALS}; the last was tried: {error}"))
        })?;
        let first = listed.as_deref().and_then(|text| text.lines().next()).map(str::trim);
        first
            .filter(|name| !name.is_empty())
            .map(ToOwned::to_owned)
            .ok_or_else(|| Error::new(Class::Denied, format!("{NO_CREDENTIALS} (it has none now)")))
    }
}
