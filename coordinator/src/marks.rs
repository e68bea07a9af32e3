//! Connections that came in through the cable are marked, and so are the packets that answer them.
//!
//! By nftables where the kernel has them for internet packets; else by iptables' programs, which are on every node that such a
//! kernel's kube-proxy runs on.

mod iptables;

use netlink::{Chain, Error, Family, Hook, Statement, Table};

use crate::cable::POD_END;
use crate::plan::REPLY_MARK;
use crate::sides::Sides;

/// The table's name, and with iptables the beginning of the chains'.
pub const TABLE: &str = "spiderpool";

/// By what it is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marking {
    /// An nftables table of the family `inet`.
    Nftables,
    /// Chains in the table `mangle` of iptables, for these families.
    Iptables(Vec<Family>),
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
        match sides.in_pod(|| iptables::ensure(*family))? {
            Ok(iptables::Was::There) => {}
            Ok(iptables::Was::Missing) => made.push(*family),
            Err(why) => {
                return Ok(Outcome::Impossible(format!(
                    "this kernel has no nftables for internet packets, and {why}: replies to clients that came through the node (externalTrafficPolicy Local, several interfaces) may take another way"
                )));
            }
        }
    }
    Ok(if made.is_empty() { Outcome::Already } else { Outcome::Made(Marking::Iptables(made)) })
}

/// Whether it is so; else why not.
pub fn check(sides: &Sides, families: &[Family]) -> Result<Option<String>, Error> {
    if let Some(mut nftables) = sides.nftables()?
        && nftables.rules(TABLE)? == Some(count(&table()))
    {
        return Ok(None);
    }
    for family in families {
        let lacks = || format!("mark {family} connections that come in through {POD_END}");
        match sides.in_pod(|| iptables::is_there(*family))? {
            Ok(true) => {}
            Ok(false) => return Ok(Some(lacks())),
            Err(why) => return Ok(Some(format!("{} ({why})", lacks()))),
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
        Marking::Iptables(families) => {
            for family in families {
                sides.in_pod(|| iptables::remove(family))?;
            }
            Ok(())
        }
    }
}

fn count(table: &Table) -> usize {
    table.chains.iter().map(|chain| chain.rules.len()).sum()
}
