//! RRSA: the pod's service account token, exchanged for a role's temporary credentials.

use std::path::PathBuf;
use std::sync::Arc;

use providers::{Class, Error};

use crate::api::{Anonymous, Exchange};
use crate::deadline::Deadline;
use crate::environment::Environment;
use crate::secret::Secret;
use crate::wire::AssumedRole;

use super::Credentials;

/// The life that is asked for; the vendor's default, which every role allows.
const SECONDS: &str = "3600";

/// A role that a service account may take.
pub(super) struct Oidc {
    exchange: Arc<Exchange>,
    role: String,
    provider: String,
    token_file: PathBuf,
    session: String,
}

impl Oidc {
    /// Reads the variables that `ack-pod-identity-webhook` injects; `None` unless the three needed ones are set.
    pub(super) fn from_environment(environment: &Environment, exchange: Arc<Exchange>) -> Option<Self> {
        Some(Self {
            exchange,
            role: environment.get("ALIBABA_CLOUD_ROLE_ARN")?.to_owned(),
            provider: environment.get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN")?.to_owned(),
            token_file: environment.get("ALIBABA_CLOUD_OIDC_TOKEN_FILE")?.into(),
            session: environment
                .get("ALIBABA_CLOUD_ROLE_SESSION_NAME")
                .unwrap_or("spiderpool-controller")
                .to_owned(),
        })
    }

    pub(super) async fn fetch(&self, deadline: Deadline) -> Result<Credentials, Error> {
        let Self { exchange, role, provider, token_file, session } = self;
        let source = format!("role {role} (RRSA)");
        let error = |class, reason: &str| Error::new(class, format!("cannot take {source}: {reason}"));
        // The kubelet rotates the file, so it is read anew for every exchange.
        let file = token_file.display();
        let token = tokio::fs::read_to_string(token_file)
            .await
            .map_err(|e| error(Class::Denied, &format!("cannot read the OIDC token file {file}: {e}")))?;
        let token = Secret::new(token.trim());
        if token.is_empty() {
            return Err(error(Class::Denied, &format!("the OIDC token file {file} is empty")));
        }
        let form = [
            ("RoleArn", role.as_str()),
            ("OIDCProviderArn", provider.as_str()),
            ("OIDCToken", token.expose()),
            ("RoleSessionName", session.as_str()),
            ("DurationSeconds", SECONDS),
        ];
        let call = Anonymous { action: "AssumeRoleWithOIDC", form: &form, secret: &token, identity: &source };
        let reply: AssumedRole = exchange.anonymous(&call, deadline).await?;
        let key =
            reply.credentials.ok_or_else(|| error(Class::Transient, "the reply holds no credentials"))?;
        Credentials::temporary(key, source.clone()).map_err(|reason| error(Class::Transient, &reason))
    }
}
