//! `spiderpoolctl ip release`: frees one address, if it is held for nobody.

use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::time::Duration;

use kube::Client;
use model::reclaim::{Verdict, Why};

use super::within;
use crate::arguments::{Care, Consent, ReleaseArguments};
use crate::console;
use crate::failure::Failure;
use crate::records::{self, Cluster, Record, Records};
use crate::session::Session;

pub(super) async fn run(arguments: ReleaseArguments) -> Result<(), Failure> {
    let ReleaseArguments { address, uid, pool, consent, care, timeout } = arguments;
    if consent == Consent::Asked && !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask on: give --yes to release it".to_owned()));
    }
    let session = Session::begin(timeout);
    let (client, record, verdict) = within(&session, async {
        let client = records::client().await?;
        let records = Records::of(&records::pools(&client).await?);
        let record = choose(records, address, pool.as_deref(), uid.as_deref())?;
        let verdict = Cluster::read(&client).await?.judge(&record, Duration::MAX).await?;
        Ok((client, record, verdict))
    })
    .await?;
    let (pool, pod) = (record.pool.clone(), record.pod());
    match (&verdict, care) {
        (Verdict::Free(_), _) => {}
        (Verdict::Keep(why), Care::Careful) => {
            return Err(Failure::Failed(format!(
                "{address} in pool {pool} is not released: {why} (--force releases it nevertheless)"
            )));
        }
        (Verdict::Keep(why @ Why::PodAlive(_)), Care::Force) => console::warn(&format!(
            "{why} and uses {address}: once released, another pod gets it and both have one address"
        )),
        (Verdict::Keep(why), Care::Force) => console::warn(&format!("{address} is released although {why}")),
    }
    if consent == Consent::Asked && !agreed(&format!("Release {address} of pod {pod} in pool {pool}?"))? {
        return Err(Failure::Failed(format!("{address} is not released, as you said")));
    }
    // From here on anew: a person may have thought for longer than the session lasts.
    let freed = free(timeout.0, &client, &record).await?;
    if freed {
        console::print(&format!("{address} released: pool {pool}, {}\n", verdict.why()))
    } else {
        Err(Failure::Failed(format!(
            "{address} is not released: its record in pool {pool} changed meanwhile"
        )))
    }
}

async fn free(patience: Duration, client: &Client, record: &Record) -> Result<bool, Failure> {
    let written = tokio::time::timeout(patience, records::free(client, record)).await;
    written.unwrap_or_else(|_| {
        Err(Failure::Failed(format!(
            "no answer within {patience:?} from the API server: {} may be released or not, look with ip show",
            record.address
        )))
    })
}

fn choose(all: Records, address: IpAddr, pool: Option<&str>, uid: Option<&str>) -> Result<Record, Failure> {
    let Records { records, unread } = all;
    let mut found: Vec<Record> = records
        .into_iter()
        .filter(|record| record.address == address && pool.is_none_or(|pool| record.pool == pool))
        .collect();
    let pools: Vec<&str> = found.iter().map(|record| record.pool.as_str()).collect();
    if found.len() > 1 {
        let pools = pools.join(", ");
        return Err(Failure::Failed(format!("{address} is held in several pools ({pools}): give --pool")));
    }
    let Some(record) = found.pop() else {
        let unread = if unread.is_empty() {
            String::new()
        } else {
            format!(" (and the records of {} pools could not be read)", unread.len())
        };
        return Err(Failure::Failed(format!("no pod holds {address}{unread}: there is nothing to release")));
    };
    match uid {
        Some(uid) if uid != record.holder.uid => Err(Failure::Failed(format!(
            "{address} is held for the pod {} with UID {:?}, not for {uid:?}",
            record.pod(),
            record.holder.uid
        ))),
        _ => Ok(record),
    }
}

fn agreed(question: &str) -> Result<bool, Failure> {
    // Without stderr the answer is no.
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::Failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
