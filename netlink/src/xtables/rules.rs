use super::{Layout, OUTPUT, PREROUTING};
use crate::address::octets;
use crate::message::{number, short, string};
use crate::{Block, Family};

/// What is marked. Marks are sets of bits: others are left as they are.
#[derive(Clone, Copy, Debug)]
pub enum Marks<'a> {
    /// Connections that come in through an interface, and the packets that this host sends in answer.
    Replies {
        /// The interface.
        input: &'a str,
        /// The bits of connections and packets.
        mark: u32,
    },
    /// Packets that come in through a group of interfaces and go to certain blocks.
    Destinations {
        /// The group's number.
        group: u32,
        /// The blocks, of either family.
        blocks: &'a [Block],
        /// Whether packets to this host's own addresses are among them.
        own: Own,
        /// The bits of packets.
        mark: u32,
    },
}

/// Whether packets to this host's own addresses are marked like those to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// They are, in each family, whichever addresses the host has at that time.
    Marked,
    /// They are not.
    Left,
}

/// The head of a match or target: its size, its name, its revision.
const EXTENSION: usize = 32;
/// A connection's first packet, as the match `conntrack` numbers states; and that the state is what it looks at.
const NEW: u16 = 8;
const STATE: u16 = 1;
/// The size of what `conntrack` of revision 3 is told, and where it has its flags and the states.
const CONNTRACK: usize = 164;
const CONNTRACK_FLAGS: usize = 146;
const CONNTRACK_STATES: usize = 150;
/// That `devgroup` looks at where a packet comes from.
const SOURCE_GROUP: u32 = 1;
/// What the end of a table is called, and the room for it (`XT_FUNCTION_MAXNAMELEN`).
const ERROR: &[u8] = b"ERROR";
const ERROR_NAME: usize = 30;
/// This host's own addresses, in a set of types of addresses.
const LOCAL: u16 = 1 << 2;

impl Marks<'_> {
    /// The entries, each with the hook that it begins.
    pub(super) fn entries(&self, family: Family) -> Vec<(usize, Vec<u8>)> {
        let layout = Layout::of(family);
        match *self {
            Self::Replies { input, mark } => {
                vec![(PREROUTING, incoming(layout, input, mark)), (OUTPUT, outgoing(layout, mark))]
            }
            Self::Destinations { group, blocks, own, mark } => {
                let of_family = blocks.iter().filter(|block| block.family() == family);
                let to_blocks = of_family.map(|block| toward(layout, group, *block, mark));
                let to_host = (own == Own::Marked).then(|| toward_host(layout, group, mark));
                to_blocks.chain(to_host).map(|entry| (PREROUTING, entry)).collect()
            }
        }
    }

    /// Whether entries of a table are others than those that are wanted.
    pub(super) fn are_missing(
        &self,
        layout: Layout,
        entries: &[Vec<u8>],
        wanted: &[(usize, Vec<u8>)],
    ) -> bool {
        let ours: Vec<_> = entries.iter().filter(|entry| self.is_ours(layout, entry)).collect();
        // Addresses and masks are what distinguishes ours from each other.
        let is_there =
            |entry: &[u8]| ours.iter().any(|held| held.get(..layout.input) == entry.get(..layout.input));
        ours.len() != wanted.len() || !wanted.iter().all(|(_, entry)| is_there(entry))
    }

    /// Whether an entry is one of those. The kernel changes some bytes of an entry, so not all are compared.
    pub(super) fn is_ours(&self, layout: Layout, entry: &[u8]) -> bool {
        let target = short(entry, layout.distances).map_or(0, usize::from);
        let name = |at: usize| string(entry.get(at + 2..at + 31).unwrap_or_default());
        let input = string(entry.get(layout.input..layout.input + 16).unwrap_or_default());
        let sets = |mark: u32| number(entry, target + EXTENSION) == Some(mark);
        match *self {
            Self::Replies { input: own, mark } => {
                let matches = number(entry, layout.head + EXTENSION) == Some(mark);
                sets(mark)
                    && match name(target).as_str() {
                        "CONNMARK" => input == own,
                        "MARK" => matches && name(layout.head) == "connmark",
                        _ => false,
                    }
            }
            Self::Destinations { group, mark, .. } => {
                let of_group = number(entry, layout.head + EXTENSION + 4) == Some(group);
                sets(mark) && of_group && name(target) == "MARK" && name(layout.head) == "devgroup"
            }
        }
    }
}

/// `-i INPUT -m conntrack --ctstate NEW -j CONNMARK --set-xmark MARK/MARK`
fn incoming(layout: Layout, input: &str, mark: u32) -> Vec<u8> {
    let mut conntrack = vec![0; CONNTRACK];
    put(&mut conntrack, CONNTRACK_FLAGS, &STATE.to_ne_bytes());
    put(&mut conntrack, CONNTRACK_STATES, &NEW.to_ne_bytes());
    let mark = mark.to_ne_bytes();
    // What is set, which bits make way for it, and those of the packet, of which none; the mode is "set", without a shift.
    let connmark = [mark, mark, [0; 4], [0; 4]].concat();
    let mut head = vec![0; layout.head];
    put(&mut head, layout.input, input.as_bytes());
    // The mask covers the name and what ends it, so that no longer name fits.
    put(&mut head, layout.input + 32, &vec![0xff; input.len() + 1]);
    entry(layout, head, &extension("conntrack", 3, &conntrack), &extension("CONNMARK", 2, &connmark))
}

/// `-m connmark --mark MARK/MARK -j MARK --set-xmark MARK/MARK`
fn outgoing(layout: Layout, mark: u32) -> Vec<u8> {
    let bytes = mark.to_ne_bytes();
    let connmark = [bytes, bytes, [0; 4]].concat();
    entry(layout, vec![0; layout.head], &extension("connmark", 1, &connmark), &set(mark))
}

/// `-d BLOCK -m devgroup --src-group GROUP -j MARK --set-xmark MARK/MARK`
fn toward(layout: Layout, group: u32, block: Block, mark: u32) -> Vec<u8> {
    let length = octets(block.first()).len();
    let mut head = vec![0; layout.head];
    // Source and destination, then the masks of both.
    put(&mut head, length, &octets(block.first()));
    put(&mut head, 3 * length, &octets(block.mask()));
    entry(layout, head, &came_through(group), &set(mark))
}

/// `-m devgroup --src-group GROUP -m addrtype --dst-type LOCAL -j MARK --set-xmark MARK/MARK`
fn toward_host(layout: Layout, group: u32, mark: u32) -> Vec<u8> {
    // The types of source and destination that fit, as sets, and no flags.
    let addrtype = [[0; 2], LOCAL.to_ne_bytes(), [0; 2], [0; 2]].concat();
    let matched = [came_through(group), extension("addrtype", 1, &addrtype)].concat();
    entry(layout, vec![0; layout.head], &matched, &set(mark))
}

fn came_through(group: u32) -> Vec<u8> {
    let devgroup = [SOURCE_GROUP, group, u32::MAX, 0, 0].map(u32::to_ne_bytes).concat();
    extension("devgroup", 0, &devgroup)
}

fn set(mark: u32) -> Vec<u8> {
    let mark = mark.to_ne_bytes();
    extension("MARK", 2, &[mark, mark].concat())
}

/// An entry that every packet meets, and whose target is a verdict or, if that is not negative, a jump.
pub(super) fn policy(layout: Layout, verdict: i32) -> Vec<u8> {
    entry(layout, vec![0; layout.head], &[], &extension("", 0, &verdict.to_ne_bytes()))
}

/// The size of such an entry.
pub(super) fn policy_size(layout: Layout) -> u32 {
    u32::try_from(policy(layout, 0).len()).unwrap_or(u32::MAX)
}

/// What ends each table: a packet that came so far has met a mistake.
pub(super) fn end(layout: Layout) -> Vec<u8> {
    let mut name = [0; ERROR_NAME];
    put(&mut name, 0, ERROR);
    entry(layout, vec![0; layout.head], &[], &extension("ERROR", 0, &name))
}

fn entry(layout: Layout, mut head: Vec<u8>, matched: &[u8], target: &[u8]) -> Vec<u8> {
    // A few hundred bytes.
    let distance = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_ne_bytes();
    put(&mut head, layout.distances, &distance(layout.head + matched.len()));
    put(&mut head, layout.distances + 2, &distance(layout.head + matched.len() + target.len()));
    [head.as_slice(), matched, target].concat()
}

fn extension(name: &str, revision: u8, data: &[u8]) -> Vec<u8> {
    let size = (EXTENSION + data.len()).next_multiple_of(8);
    let mut bytes = vec![0; size];
    put(&mut bytes, 0, &u16::try_from(size).unwrap_or(u16::MAX).to_ne_bytes());
    put(&mut bytes, 2, name.as_bytes());
    put(&mut bytes, EXTENSION - 1, &[revision]);
    put(&mut bytes, EXTENSION, data);
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
