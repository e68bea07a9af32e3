//! As much of nftables as it takes to mark connections: tables of the family `inet`, each replaced as a whole.

mod expression;

use rustix::io::Errno;

use crate::Error;
use crate::message::{attribute, nested, text};
use crate::socket::{CREATE, Request, Socket, Want};

pub use expression::Statement;

/// The subsystem's number, in the upper byte of each message's kind.
const NFTABLES: u16 = 10 << 8;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES;
const DELETE_TABLE: u16 = NFTABLES | 2;
const NEW_CHAIN: u16 = NFTABLES | 3;
const NEW_RULE: u16 = NFTABLES | 6;
const GET_RULE: u16 = NFTABLES | 7;

/// After all rules that are there: their order is that of the list.
const APPEND: u16 = 0x800;

const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const TABLE: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;

/// Where a chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// As they come in, before their way is looked up.
    Prerouting,
    /// As this host sends them; a packet that gets another mark has its way looked up again.
    Output,
    /// As they come in, to change where they go.
    DestinationNat,
    /// As they leave, to change where they come from.
    SourceNat,
}

impl Hook {
    /// The chain's type, the hook's number, and the priority that iproute2 and nft call mangle or dstnat.
    const fn parts(self) -> (&'static str, u32, i32) {
        match self {
            Self::Prerouting => ("filter", 0, -150),
            Self::Output => ("route", 3, -150),
            Self::DestinationNat => ("nat", 0, -100),
            Self::SourceNat => ("nat", 4, 100),
        }
    }
}

/// A rule: what must hold, and what is then done.
pub type Rule = Vec<Statement>;

/// The rules at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where.
    pub hook: Hook,
    /// In order.
    pub rules: Vec<Rule>,
}

/// A table of the family `inet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub chains: Vec<Chain>,
}

/// The nftables of one network namespace: that in which it was opened.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
}

impl Nftables {
    /// Opens the calling thread's namespace; nothing when the kernel knows no netfilter by netlink.
    pub fn open() -> Result<Option<Self>, Error> {
        match Socket::netfilter() {
            Ok(socket) => Ok(Some(Self { socket })),
            Err(error) if error.code().is_some_and(is_unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the table be exactly this, all of it or nothing; whether the kernel can at all.
    pub fn replace(&mut self, table: &Table) -> Result<bool, Error> {
        let doing = format!("write the nftables table inet {}", table.name);
        let mut requests = vec![new_table(&table.name)];
        // Deleting is not for nothing: the kernel then waits until every processor has passed a point of rest, tens of
        // milliseconds on a busy machine.
        if self.rules(&table.name)?.is_some() {
            requests.insert(0, delete_table(&table.name));
        }
        for chain in &table.chains {
            requests.push(new_chain(&table.name, chain));
            requests.extend(chain.rules.iter().map(|rule| new_rule(&table.name, &chain.name, rule)));
        }
        self.transaction(&doing, requests)
    }

    /// Removes a table; one that is not there is success.
    pub fn remove(&mut self, table: &str) -> Result<(), Error> {
        let doing = format!("remove the nftables table inet {table}");
        self.transaction(&doing, vec![delete_table(table)]).map(|_| ())
    }

    /// How many rules a table has; nothing when there is no such table.
    pub fn rules(&mut self, table: &str) -> Result<Option<usize>, Error> {
        let doing = format!("list the rules of the nftables table inet {table}");
        let mut payload = generic(INET, 0);
        text(&mut payload, TABLE, table);
        match self.socket.ask(&doing, GET_RULE, Want::All, &payload) {
            Ok(messages) => Ok(Some(messages.len()).filter(|count| *count > 0)),
            // EINVAL is what a kernel without nftables says to anything but a transaction.
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| is_unknown(code) || code == Errno::INVAL.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn transaction(&mut self, doing: &str, requests: Vec<Request>) -> Result<bool, Error> {
        let frame = |kind| Request { kind, flags: 0, payload: generic(UNSPECIFIED, NFTABLES >> 8) };
        let mut all = vec![frame(BEGIN)];
        all.extend(requests);
        all.push(frame(END));
        match self.socket.transaction(doing, &all)? {
            None => Ok(true),
            Some(refusal) if is_unknown(refusal.errno.raw_os_error()) => Ok(false),
            Some(refusal) => Err(Error::refused(doing, refusal.errno, refusal.reason)),
        }
    }
}

/// The kernel's ways to say that it has no such subsystem, family, chain type, expression or table.
fn is_unknown(code: i32) -> bool {
    let code = Errno::from_raw_os_error(code);
    matches!(code, Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOENT)
}

/// The head of every message: the family, a version, and for a batch the subsystem.
fn generic(family: u8, resource: u16) -> Vec<u8> {
    let mut payload = vec![family, 0];
    payload.extend(resource.to_be_bytes());
    payload
}

fn new_table(name: &str) -> Request {
    let mut payload = generic(INET, 0);
    text(&mut payload, TABLE, name);
    attribute(&mut payload, TABLE_FLAGS, &0u32.to_be_bytes());
    Request { kind: NEW_TABLE, flags: CREATE, payload }
}

fn delete_table(name: &str) -> Request {
    let mut payload = generic(INET, 0);
    text(&mut payload, TABLE, name);
    Request { kind: DELETE_TABLE, flags: 0, payload }
}

fn new_chain(table: &str, chain: &Chain) -> Request {
    let (kind, number, priority) = chain.hook.parts();
    let mut payload = generic(INET, 0);
    text(&mut payload, TABLE, table);
    text(&mut payload, CHAIN_NAME, &chain.name);
    nested(&mut payload, CHAIN_HOOK, |hook| {
        attribute(hook, HOOK_NUMBER, &number.to_be_bytes());
        attribute(hook, HOOK_PRIORITY, &priority.to_be_bytes());
    });
    text(&mut payload, CHAIN_TYPE, kind);
    Request { kind: NEW_CHAIN, flags: CREATE, payload }
}

fn new_rule(table: &str, chain: &str, rule: &[Statement]) -> Request {
    let mut payload = generic(INET, 0);
    text(&mut payload, TABLE, table);
    text(&mut payload, RULE_CHAIN, chain);
    nested(&mut payload, RULE_EXPRESSIONS, |list| {
        for expression in rule.iter().flat_map(Statement::expressions) {
            nested(list, LIST_ELEMENT, |element| element.extend(expression));
        }
    });
    Request { kind: NEW_RULE, flags: CREATE | APPEND, payload }
}
