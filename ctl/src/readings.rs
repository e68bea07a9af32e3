//! The providers, each listed whole, all at once.

use config::{Cloud, Config};
use futures::future::join_all;
use model::{Inventory, ProviderName};
use providers::{Class, Error, Provider};

use crate::failure::Failure;
use crate::session::Session;

/// What one provider showed, or why it could not be read.
pub(crate) type Listed = (ProviderName, Result<Inventory, Error>);

/// Opens the providers of a configuration. Makes no call.
pub(crate) fn open(config: &Config) -> Result<Vec<Cloud>, Failure> {
    config.open().map_err(|error| Failure::Failed(format!("cannot open the providers: {error}")))
}

/// Lists every provider.
pub(crate) async fn list(clouds: &[Cloud], session: &Session) -> Vec<Listed> {
    join_all(clouds.iter().map(async |cloud| {
        let name = cloud.name().clone();
        let outcome = session.wait(&format!("provider {name}"), cloud.list()).await;
        let outcome = outcome.unwrap_or_else(|late| Err(Error::new(Class::Transient, late.to_string())));
        (name, outcome)
    }))
    .await
}

/// Returns the failure of a command that could not read some providers, all in one sentence.
pub(crate) fn failure(listed: &[Listed]) -> Option<Failure> {
    let sentences: Vec<String> = listed
        .iter()
        .filter_map(|(name, outcome)| {
            Some(format!("cannot read provider {name}: {}", outcome.as_ref().err()?))
        })
        .collect();
    (!sentences.is_empty()).then(|| Failure::Failed(sentences.join("; ")))
}
