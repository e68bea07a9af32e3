//! Connections that came in through the cable are marked, and so are the packets that answer them.
//!
//! By nftables where the kernel has them for internet packets; else by the kernel's older packet filter, which iptables' legacy
//! programs use. No program is run for either.

use netlink::xtables::{self, Marks};
use netlink::{Chain, Error, Family, Hook, Statement, Table};

use crate::cable::POD_END;
use crate::plan::REPLY_MARK;
use crate::sides::Sides;

/// The table's name.
pub const TABLE: &str = "spiderpool";

/// The same for the older packet filter.
const MARKS: Marks<'static> = Marks::Replies { input: POD_END, mark: REPLY_MARK };

/// By what it is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marking {
    /// An nftables table of the family `inet`.
    Nftables,
    /// Rules in the older filter's table `mangle`, for these families.
    Xtables(Vec<Family>),
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// It was so before.
    Already,
    /// It was made.
    Made(Marking),
    /// Nothing here can do it, which this says; the pod works but for what it serves to clients behind its node.
    Impossible(String),
}

/// The rules, which are the same in every pod.
#[must_use]
pub fn table() -> Table {
    let rule = |name: &str, hook, rule| Chain { name: name.to_owned(), hook, rules: vec![rule] };
    let incoming = vec![
        Statement::CameThrough(POD_END.to_owned()),
        Statement::BeginsConnection,
        Statement::MarkConnection(REPLY_MARK),
    ];
    let outgoing = vec![Statement::ConnectionHas(REPLY_MARK), Statement::MarkPacket(REPLY_MARK)];
    Table {
        name: TABLE.to_owned(),
        chains: vec![rule("incoming", Hook::Prerouting, incoming), rule("outgoing", Hook::Output, outgoing)],
    }
}

/// Has it so.
pub fn ensure(sides: &Sides, families: &[Family]) -> Result<Outcome, Error> {
    if let Some(mut nftables) = sides.nftables()? {
        let table = table();
        if nftables.rules(TABLE)? == Some(count(&table)) {
            return Ok(Outcome::Already);
        }
        if nftables.replace(&table)? {
            return Ok(Outcome::Made(Marking::Nftables));
        }
    }
    let mut made = Vec::new();
    for family in families {
        match sides.in_pod(|| xtables::mark(*family, &MARKS))?? {
            Some(false) => {}
            Some(true) => made.push(*family),
            None => {
                return Ok(Outcome::Impossible(format!(
                    "this kernel has neither nftables nor iptables' mangle, connmark and conntrack for {family} packets: replies to clients that came through the node (externalTrafficPolicy Local, several interfaces) may take another way; load the modules nf_tables and nft_ct, or iptable_mangle, xt_connmark and xt_conntrack"
                )));
            }
        }
    }
    Ok(if made.is_empty() { Outcome::Already } else { Outcome::Made(Marking::Xtables(made)) })
}

/// Whether it is so; else what is missing.
pub fn check(sides: &Sides, families: &[Family]) -> Result<Option<String>, Error> {
    if let Some(mut nftables) = sides.nftables()?
        && nftables.rules(TABLE)? == Some(count(&table()))
    {
        return Ok(None);
    }
    for family in families {
        let is_marked = sides.in_pod(|| {
            // A table that would have to be made first has no marks.
            if xtables::is_in_use(*family) { xtables::is_marked(*family, &MARKS) } else { Ok(None) }
        })??;
        if is_marked != Some(true) {
            return Ok(Some(format!("mark {family} connections that come in through {POD_END}")));
        }
    }
    Ok(None)
}

/// Takes it back.
pub fn remove(sides: &Sides, marking: Marking) -> Result<(), Error> {
    match marking {
        Marking::Nftables => match sides.nftables()? {
            Some(mut nftables) => nftables.remove(TABLE),
            None => Ok(()),
        },
        Marking::Xtables(families) => {
            families.into_iter().try_for_each(|family| sides.in_pod(|| xtables::unmark(family, &MARKS))?)
        }
    }
}

fn count(table: &Table) -> usize {
    table.chains.iter().map(|chain| chain.rules.len()).sum()
}
