//! `spiderpoolctl gc`: judges every record of the cluster as agents and controller do, and frees what is nobody's.

use std::time::Duration;

use kube::Client;
use model::reclaim::{DEL_GRACE, Verdict, Why};
use serde::Serialize;

use crate::arguments::{Effect, Extent, Format, GcArguments};
use crate::document::{pretty, yaml};
use crate::failure::Failure;
use crate::ip::within;
use crate::records::{self, Cluster, Judged, Records};
use crate::session::Session;
use crate::{console, table};

/// One line of the result.
#[derive(Debug, Serialize)]
struct Line {
    address: String,
    pool: String,
    pod: String,
    uid: String,
    node: String,
    /// `free`: would be freed; `freed`; `keep`.
    verdict: &'static str,
    why: String,
}

/// Judges, and frees unless it is told not to.
pub(crate) async fn run(arguments: GcArguments) -> Result<(), Failure> {
    let GcArguments { effect, extent, output, timeout } = arguments;
    let session = Session::begin(timeout);
    let (client, judged, mut troubles) = within(&session, look()).await?;
    let mut lines: Vec<Line> = Vec::new();
    let freeable = judged.iter().any(|it| it.verdict.frees());
    let judged = if effect == Effect::Real && freeable {
        let (judged, more) = within(&session, settle(&client, judged)).await?;
        troubles.extend(more);
        judged
    } else {
        judged
    };
    for Judged { record, verdict } in &judged {
        let mut said = if verdict.frees() { "free" } else { "keep" };
        if effect == Effect::Real && verdict.frees() {
            match within(&session, records::free(&client, record)).await {
                Ok(true) => said = "freed",
                // Somebody else was faster, or it is another's now.
                Ok(false) => continue,
                Err(failure) => {
                    console::warn(&failure.to_string());
                    troubles.push(failure.to_string());
                }
            }
        }
        if extent == Extent::All || !matches!(verdict, Verdict::Keep(Why::PodAlive(_))) {
            lines.push(Line {
                address: record.address.to_string(),
                pool: record.pool.clone(),
                pod: record.pod(),
                uid: record.holder.uid.clone(),
                node: record.node().to_owned(),
                verdict: said,
                why: verdict.why().to_string(),
            });
        }
    }
    console::print(&match output {
        Format::Table if lines.is_empty() => String::new(),
        Format::Table => text(&lines),
        Format::Json => pretty(&lines)?,
        Format::Yaml => yaml(&lines)?,
    })?;
    say(&judged, effect);
    match troubles.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} readings or writes failed: see the warnings above"))),
    }
}

/// Reads the records, then all else, and judges. What was just without its pod counts as without it for long enough.
async fn look() -> Result<(Client, Vec<Judged>, Vec<String>), Failure> {
    let client = records::client().await?;
    let (judged, troubles) = judge(&client, DEL_GRACE).await?;
    Ok((client, judged, troubles))
}

async fn judge(client: &Client, ended: Duration) -> Result<(Vec<Judged>, Vec<String>), Failure> {
    let Records { records, unread } = Records::of(&records::pools(client).await?);
    for sentence in &unread {
        console::warn(sentence);
    }
    let mut cluster = Cluster::read(client).await?;
    let (mut judged, mut troubles) = (Vec::with_capacity(records.len()), unread);
    for record in records {
        match cluster.judge(&record, ended).await {
            Ok(verdict) => judged.push(Judged { record, verdict }),
            Err(failure) => {
                console::warn(&format!("{} in pool {}: {failure}", record.address, record.pool));
                troubles.push(failure.to_string());
            }
        }
    }
    Ok((judged, troubles))
}

/// Waits as long as a sandbox may need to give its address back, and looks again: only what was and is nobody's goes.
async fn settle(client: &Client, before: Vec<Judged>) -> Result<(Vec<Judged>, Vec<String>), Failure> {
    console::inform(&format!(
        "looking again in {} s: what ended just now may still be in use",
        DEL_GRACE.as_secs()
    ));
    tokio::time::sleep(DEL_GRACE).await;
    let (after, troubles) = judge(client, DEL_GRACE).await?;
    let same = |one: &Judged| {
        let is = |it: &&Judged| it.record.address == one.record.address && it.record.pool == one.record.pool;
        let then = before.iter().find(is);
        then.is_some_and(|then| then.verdict.frees() && then.record.holder.uid == one.record.holder.uid)
    };
    let judged = after.into_iter().map(|mut one| {
        if one.verdict.frees() && !same(&one) {
            one.verdict = Verdict::Keep(Why::AwaitingDel(one.record.holder.pod.clone()));
        }
        one
    });
    Ok((judged.collect(), troubles))
}

fn text(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| {
        [
            line.address.clone(),
            line.pool.clone(),
            line.pod.clone(),
            line.node.clone(),
            line.verdict.to_owned(),
            line.why.clone(),
        ]
    });
    table::text(["ADDRESS", "POOL", "POD", "NODE", "VERDICT", "WHY"], rows)
}

fn say(judged: &[Judged], effect: Effect) {
    let free = judged.iter().filter(|it| it.verdict.frees()).count();
    let all = judged.len();
    console::inform(&match (effect, free) {
        (_, 0) => format!("nothing to free among {all} records"),
        (Effect::Dry, free) => format!("{free} of {all} records would be freed"),
        (Effect::Real, free) => format!("{free} of {all} records were to be freed"),
    });
}
