//! `spiderpoolctl ip`: who holds which address, and the release of one that is held for nobody.

mod release;
mod show;

use crate::arguments::{IpTask, ListArguments, ListFormat};
use crate::document::{pretty, yaml};
use crate::failure::Failure;
use crate::records::{self, Record, Records};
use crate::session::Session;
use crate::{console, table};

/// Runs one of the commands.
pub(crate) async fn run(task: IpTask) -> Result<(), Failure> {
    match task {
        IpTask::List(arguments) => list(arguments).await,
        IpTask::Show(arguments) => show::run(arguments).await,
        IpTask::Release(arguments) => release::run(arguments).await,
    }
}

async fn list(arguments: ListArguments) -> Result<(), Failure> {
    let ListArguments { pool, node, namespace, pod, output, timeout } = arguments;
    let session = Session::begin(timeout);
    let read = async {
        let client = records::client().await?;
        Ok(Records::of(&records::pools(&client).await?))
    };
    let all = within(&session, read).await?;
    for sentence in &all.unread {
        console::warn(sentence);
    }
    let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
    let wanted = |record: &&Record| {
        is(&pool, &record.pool)
            && is(&node, record.node())
            && is(&namespace, &record.holder.pod.namespace)
            && is(&pod, &record.holder.pod.name)
    };
    let found: Vec<&Record> = all.records.iter().filter(wanted).collect();
    console::print(&match output {
        ListFormat::Table => narrow(&found),
        ListFormat::Wide => wide(&found),
        ListFormat::Json => pretty(&shown(&found))?,
        ListFormat::Yaml => yaml(&shown(&found))?,
    })?;
    if found.is_empty() {
        console::inform("no pod holds such an address");
    }
    all.failure().map_or(Ok(()), Err)
}

fn shown<'a>(found: &[&'a Record]) -> Vec<records::Shown<'a>> {
    found.iter().map(|record| record.shown()).collect()
}

fn narrow(found: &[&Record]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let rows = found.iter().map(|record| {
        [
            record.address.to_string(),
            record.pod(),
            record.holder.nic.clone(),
            record.node().to_owned(),
            record.pool.clone(),
        ]
    });
    table::text(["ADDRESS", "POD", "NIC", "NODE", "POOL"], rows)
}

fn wide(found: &[&Record]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let rows = found.iter().map(|record| {
        [
            record.address.to_string(),
            record.pod(),
            record.holder.nic.clone(),
            record.node().to_owned(),
            record.pool.clone(),
            record.holder.uid.clone(),
            record.holder.container.clone(),
        ]
    });
    table::text(["ADDRESS", "POD", "NIC", "NODE", "POOL", "UID", "SANDBOX"], rows)
}

/// Waits for readings of the cluster, and says on a terminal what is being waited for.
pub(crate) async fn within<T>(
    session: &Session,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let work = session.wait("the API server", work);
    let outcome = Box::pin(session.watched(work)).await;
    outcome.unwrap_or_else(|late| {
        Err(Failure::Failed(format!("cannot read the cluster: {late} from the API server")))
    })
}
