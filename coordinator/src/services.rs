//! Services whose endpoint is on another node: once for a node, by whoever looks after it.
//!
//! What a pod sends to a service goes through its cable, and the node changes the destination to that of an endpoint. One on
//! another node answers the pod's own address, which is not through this node, so nobody changes the source back, and the pod
//! waits for ever. kube-proxy has a cure, for clients that it takes to be outside of the cluster: it lets the connection come from
//! the node. Pods behind our cables are given the mark that asks for that. It is kube-proxy that does it, whatever its mode; a
//! replacement that does not know the mark is not helped.
//!
//! The same goes for what a pod sends to a `NodePort` of its own node. Nobody need know which ports those are: what is sent to an
//! address of the node and is no `NodePort` stays on the node, where nobody asks for the mark.

use std::fs::OpenOptions;
use std::thread;
use std::time::{Duration, Instant};

use netlink::xtables::{self, Marks, Own};
use netlink::{Block, Chain, Error, Family, GROUP, Hook, Nftables, Statement, Table};

/// The bit by which kube-proxy is asked to masquerade, unless its `masqueradeBit` is not 14.
pub const MASQUERADE_MARK: u32 = 1 << 14;

const TABLE: &str = "spiderpool-services";
/// What iptables' programs lock, so that one does not write over the other.
const LOCK: &str = "/run/xtables.lock";
/// kube-proxy holds it for a second or two with ten thousand services.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Whether the node can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It does now.
    Yes,
    /// It does now for the blocks of services, but its packet filter cannot tell the node's own addresses from others: a `NodePort` of
    /// a pod's own node is not marked.
    BlocksOnly,
    /// The kernel has neither of its packet filters.
    Impossible,
}

/// Has what pods send to services, and to the node's own addresses, marked in the calling thread's namespace, which is to be the
/// node's. Takes the place of what was said before; an empty list takes it away. Call it when the list changes, and when somebody may
/// have tidied up.
pub fn masquerade(services: &[Block], mark: u32) -> Result<Marked, Error> {
    if let Some(mut nftables) = Nftables::open()? {
        if services.is_empty() {
            nftables.remove(TABLE)?;
        } else if nftables.replace(&table(services, Own::Marked, mark))? {
            return Ok(Marked::Yes);
        } else if nftables.replace(&table(services, Own::Left, mark))? {
            return Ok(Marked::BlocksOnly);
        }
    }
    let marks = |own| Marks::Destinations { group: GROUP, blocks: services, own, mark };
    let mut marked = Marked::Yes;
    let _lock = lock();
    for family in Family::BOTH {
        if services.iter().any(|block| block.family() == family) {
            if xtables::mark(family, &marks(Own::Marked))?.is_some() {
                continue;
            }
            if xtables::mark(family, &marks(Own::Left))?.is_none() {
                return Ok(Marked::Impossible);
            }
            marked = Marked::BlocksOnly;
        } else if xtables::is_in_use(family) {
            xtables::unmark(family, &marks(Own::Marked))?;
        }
    }
    Ok(marked)
}

fn table(services: &[Block], own: Own, mark: u32) -> Table {
    let to_blocks = services.iter().map(|block| Statement::GoesInto(*block));
    let to_host = (own == Own::Marked).then_some(Statement::GoesToThisHost);
    let rule = |goes: Statement| vec![Statement::CameThroughGroup(GROUP), goes, Statement::MarkPacket(mark)];
    let rules = to_blocks.chain(to_host).map(rule).collect();
    Table {
        name: TABLE.to_owned(),
        chains: vec![Chain { name: "incoming".to_owned(), hook: Hook::Prerouting, rules }],
    }
}

/// Held until it is dropped. Without it goes as well: the kernel tells us when somebody else was quicker, most of the time.
fn lock() -> Option<std::fs::File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(LOCK).ok()?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while file.try_lock().is_err() {
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Some(file)
}
