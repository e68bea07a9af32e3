//! As much of the older packet filter, iptables', as it takes to mark connections, for kernels whose nftables know no internet
//! packets.
//!
//! The kernel gives and takes a table as one block of bytes, through socket options: entries one behind the other, each a head
//! that selects, matches, and a target. Jumps are distances from the block's beginning, so they move when entries do. The shapes
//! are those of 64-bit kernels.

mod rules;

use std::os::fd::OwnedFd;
use std::{fs, io};

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::message::{number, short};
use crate::sys::{get_option, set_option};
use crate::{Error, Family};

pub use rules::{Marks, Own};

/// `IPT_SO_GET_INFO` and `IPT_SO_SET_REPLACE`.
const INFO_OR_REPLACE: i32 = 64;
/// `IPT_SO_GET_ENTRIES`.
const ENTRIES: i32 = 65;

const TABLE: &str = "mangle";
const NAME: usize = 32;
const HOOKS: usize = 5;
const PREROUTING: usize = 0;
const OUTPUT: usize = 3;
/// The hooks of the table: all of them, as bits.
const ALL_HOOKS: u32 = 0x1f;
/// The verdict of a policy that lets packets pass, as entries have it: `-NF_ACCEPT - 1`.
const ACCEPT: i32 = -2;
/// Of one entry's counters: packets and bytes.
const COUNTERS: usize = 16;
/// What `IPT_SO_GET_ENTRIES` writes before the entries, with what aligns them.
const ENTRIES_HEAD: usize = 40;

/// Somebody else may write the table between our reading and our writing; the kernel tells us.
const TRIES: u32 = 5;

/// What distinguishes the two families' entries.
#[derive(Clone, Copy)]
struct Layout {
    /// The module that knows of tables.
    module: &'static str,
    /// The socket options' level.
    level: i32,
    /// The size of an entry's head.
    head: usize,
    /// Where the head has the name of the interface; its mask is 32 bytes behind.
    input: usize,
    /// Where it has the distances of target and next entry, two bytes each.
    distances: usize,
}

impl Layout {
    const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self { module: "ip_tables", level: 0, head: 112, input: 16, distances: 88 },
            Family::V6 => Self { module: "ip6_tables", level: 41, head: 168, input: 64, distances: 140 },
        }
    }
}

/// The table `mangle` as it is.
struct Mangle {
    valid: u32,
    beginnings: [u32; HOOKS],
    ends: [u32; HOOKS],
    entries: Vec<Vec<u8>>,
}

/// Whether the calling thread's namespace has the table: asking the filter itself would load it, on a node that may do without. Where
/// it cannot be seen, it may have.
#[must_use]
pub fn is_in_use(family: Family) -> bool {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(path) {
        Ok(names) => names.lines().any(|name| name == TABLE),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Has the marks set in the calling thread's namespace; nothing when the kernel cannot, else whether they were missing.
pub fn mark(family: Family, marks: &Marks<'_>) -> Result<Option<bool>, Error> {
    rewrite(family, marks, Wish::Present)
}

/// Takes the marks away again.
pub fn unmark(family: Family, marks: &Marks<'_>) -> Result<(), Error> {
    rewrite(family, marks, Wish::Absent).map(|_| ())
}

/// Whether the marks are set; nothing when the kernel cannot.
pub fn is_marked(family: Family, marks: &Marks<'_>) -> Result<Option<bool>, Error> {
    rewrite(family, marks, Wish::AsIs).map(|changed| changed.map(|missing| !missing))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Present,
    Absent,
    AsIs,
}

/// Whether the marks were missing.
fn rewrite(family: Family, marks: &Marks<'_>, wish: Wish) -> Result<Option<bool>, Error> {
    let layout = Layout::of(family);
    let doing = format!("mark {family} connections by iptables");
    let kernel = |error: io::Error| match error.kind() {
        // A table that makes no sense.
        io::ErrorKind::InvalidData => Error::Malformed { doing: doing.clone() },
        _ => Error::kernel(doing.as_str(), error),
    };
    let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    // IPPROTO_RAW, by which iptables itself talks to the kernel.
    let protocol = std::num::NonZeroU32::new(255).map(Protocol::from_raw);
    let socket = socket_with(domain, SocketType::RAW, SocketFlags::CLOEXEC, protocol);
    let socket = match socket {
        Ok(socket) => socket,
        Err(Errno::AFNOSUPPORT) => return Ok(None),
        Err(errno) => return Err(Error::kernel(doing.as_str(), errno)),
    };
    let wanted = marks.entries(family);
    // A kernel with bpfilter (4.18 to 6.7) starts modprobe for each of these calls about IPv4, so the two tables that pods most
    // often have are not asked for.
    let untouched = Mangle::untouched(layout);
    match wish {
        Wish::Present if !is_in_use(family) && untouched.write(&socket, layout, marks, &wanted).is_ok() => {
            return Ok(Some(true));
        }
        // A node's has kube-proxy's chains as well.
        Wish::Present | Wish::AsIs if matches!(marks, Marks::Replies { .. }) && is_in_use(family) => {
            let size =
                untouched.entries.iter().chain(wanted.iter().map(|(_, entry)| entry)).map(Vec::len).sum();
            if let Ok(Some(entries)) = read_entries(&socket, layout, size)
                && !marks.are_missing(layout, &entries, &wanted)
            {
                return Ok(Some(false));
            }
        }
        Wish::Present | Wish::Absent | Wish::AsIs => {}
    }
    for _ in 0..TRIES {
        let Some(mangle) = read(&socket, layout).map_err(kernel)? else { return Ok(None) };
        let missing = marks.are_missing(layout, &mangle.entries, &wanted);
        let is_done = match wish {
            Wish::AsIs => true,
            Wish::Present => !missing,
            Wish::Absent => !mangle.entries.iter().any(|entry| marks.is_ours(layout, entry)),
        };
        if is_done {
            return Ok(Some(missing));
        }
        let added = if wish == Wish::Present { wanted.as_slice() } else { &[] };
        match mangle.write(&socket, layout, marks, added) {
            Ok(()) => return Ok(Some(missing)),
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {}
            // It has the table, but not one of the matches or targets.
            Err(error) if is_unknown(&error) => return Ok(None),
            Err(error) => return Err(kernel(error)),
        }
    }
    Err(Error::kernel(doing.as_str(), Errno::AGAIN))
}

/// Where the replacing block has the address of the buffer for the old counters.
const COUNTERS_POINTER: usize = 88;

/// Nothing when the kernel has no such table.
fn read(socket: &OwnedFd, layout: Layout) -> io::Result<Option<Mangle>> {
    let mut info = named(NAME + 52);
    let asked = get_option(socket, layout.level, INFO_OR_REPLACE, &mut info).or_else(|_| {
        // The kernel loads the table by itself, but not the module that knows of tables. That it does for whoever asks for an
        // interface of the module's name, which is answered with "no such device" in either case.
        name_to_index(socket, layout.module).unwrap_or_default();
        info = named(NAME + 52);
        get_option(socket, layout.level, INFO_OR_REPLACE, &mut info)
    });
    match asked {
        Ok(_) => {}
        Err(error) if is_unknown(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let size = number(&info, NAME + 48).unwrap_or(0);
    let mangle = read_entries(socket, layout, size as usize)?.and_then(|entries| Mangle::of(&info, entries));
    mangle.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The entries of a table of exactly this size; of any other the kernel says to try again. Nothing when they make no sense.
fn read_entries(socket: &OwnedFd, layout: Layout, size: usize) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut held = named(ENTRIES_HEAD + size);
    if let (Some(place), Ok(size)) = (held.get_mut(NAME..NAME + 4), u32::try_from(size)) {
        place.copy_from_slice(&size.to_ne_bytes());
    }
    get_option(socket, layout.level, ENTRIES, &mut held)?;
    Ok(split(layout, held.get(ENTRIES_HEAD..).unwrap_or_default()))
}

/// The entries of a block.
fn split(layout: Layout, mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let next = usize::from(short(rest, layout.distances + 2)?);
        entries.push(rest.get(..next).filter(|_| next >= layout.head)?.to_vec());
        rest = rest.get(next..)?;
    }
    Some(entries)
}

impl Mangle {
    /// What the kernel says of a table, and its entries.
    fn of(info: &[u8], entries: Vec<Vec<u8>>) -> Option<Self> {
        let row = |at: usize| -> Option<[u32; HOOKS]> {
            let mut row = [0; HOOKS];
            for (index, value) in row.iter_mut().enumerate() {
                *value = number(info, at + 4 * index)?;
            }
            Some(row)
        };
        Some(Self { valid: number(info, NAME)?, beginnings: row(NAME + 4)?, ends: row(NAME + 24)?, entries })
    }

    /// As a new namespace has it (`xt_alloc_initial_table`): at each hook all packets pass. If it is not so any more, the kernel
    /// refuses what is written over it, because the number of entries is not that which it has.
    fn untouched(layout: Layout) -> Self {
        let beginnings = [0, 1, 2, 3, 4].map(|hook| hook * rules::policy_size(layout));
        let policies = beginnings.iter().map(|_| rules::policy(layout, ACCEPT));
        let entries = policies.chain([rules::end(layout)]).collect();
        Self { valid: ALL_HOOKS, beginnings, ends: beginnings, entries }
    }

    /// Puts another table in the place of this one: without ours, and with what is added.
    fn write(
        &self,
        socket: &OwnedFd,
        layout: Layout,
        marks: &Marks<'_>,
        added: &[(usize, Vec<u8>)],
    ) -> io::Result<()> {
        let block = self.rewritten(layout, marks, added).ok_or(io::ErrorKind::InvalidData)?;
        let mut counters = vec![0; self.entries.len() * COUNTERS];
        set_option(socket, layout.level, INFO_OR_REPLACE, &block, COUNTERS_POINTER, &mut counters)
    }

    /// The block that replaces the table: without ours, and with what is added at the beginning of its hook.
    fn rewritten(&self, layout: Layout, marks: &Marks<'_>, added: &[(usize, Vec<u8>)]) -> Option<Vec<u8>> {
        let (mut entries, mut moved) = (Vec::<u8>::new(), Vec::new());
        let (mut beginnings, mut old, mut count) = (self.beginnings, 0_u32, 0_u32);
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
        for entry in &self.entries {
            // What begins a hook begins with ours.
            for (hook, at) in self.beginnings.iter().enumerate() {
                if *at == old && self.valid >> hook & 1 == 1 {
                    *beginnings.get_mut(hook)? = size(&entries)?;
                }
            }
            for (_, added) in added.iter().filter(|(hook, _)| self.beginnings.get(*hook) == Some(&old)) {
                entries.extend(added);
                count += 1;
            }
            moved.push((old, size(&entries)?));
            old += size(entry)?;
            // Whichever half was there makes way for the whole.
            if !marks.is_ours(layout, entry) {
                entries.extend(entry);
                count += 1;
            }
        }
        let place = |at: u32| moved.iter().find(|(old, _)| *old == at).map(|(_, new)| *new);
        let ends = self.ends.map(|end| place(end).unwrap_or(end));
        redirect(layout, &mut entries, place)?;
        let mut block = named(NAME);
        for value in [self.valid, count, size(&entries)?].into_iter().chain(beginnings).chain(ends) {
            block.extend(value.to_ne_bytes());
        }
        block.extend(u32::try_from(self.entries.len()).ok()?.to_ne_bytes());
        block.extend([0; 8]);
        block.extend(entries);
        Some(block)
    }
}

/// Has jumps lead to where their chains are now.
fn redirect(layout: Layout, entries: &mut [u8], place: impl Fn(u32) -> Option<u32>) -> Option<()> {
    let mut at = 0;
    while at < entries.len() {
        let target = at + usize::from(short(entries, at + layout.distances)?);
        let next = at + usize::from(short(entries, at + layout.distances + 2)?);
        let name = entries.get(target + 2..target + 4)?;
        // The target without a name jumps, or has a verdict, which is negative.
        if name.first() == Some(&0) {
            let verdict = number(entries, target + 32)?;
            if let Some(new) = place(verdict).filter(|_| verdict.cast_signed() >= 0) {
                entries.get_mut(target + 32..target + 36)?.copy_from_slice(&new.to_ne_bytes());
            }
        }
        at = next;
    }
    Some(())
}

/// Zeros that begin with the table's name.
fn named(size: usize) -> Vec<u8> {
    let mut bytes = TABLE.as_bytes().to_vec();
    bytes.resize(size, 0);
    bytes
}

fn is_unknown(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks<'static> = Marks::Replies { input: "veth0", mark: 0x2000_0000 };

    fn verdicts(layout: Layout, mangle: &Mangle) -> Vec<i32> {
        let plain = mangle.entries.iter().filter(|entry| entry.len() == layout.head + 40);
        plain.map(|entry| number(entry, layout.head + 32).unwrap().cast_signed()).collect()
    }

    /// As the kernel would hand the block back.
    fn back(layout: Layout, block: &[u8]) -> Mangle {
        let info: Vec<u8> = [&block[..36], &block[44..84], &[0; 8]].concat();
        Mangle::of(&info, split(layout, &block[96..]).unwrap()).unwrap()
    }

    #[test]
    fn jumps_lead_to_their_chains_when_rules_came_before_them_and_when_they_went() {
        for family in Family::BOTH {
            let layout = Layout::of(family);
            let ours = MARKS.entries(family);
            let number = |length: usize| u32::try_from(length).unwrap();
            let size = number(layout.head + 40);
            // A jump into the chain behind the five policies, which are at 1 to 5.
            let chain = (size * 6).cast_signed();
            let entries: Vec<_> =
                [chain, -2, -2, -2, -2, -2, -5].map(|verdict| rules::policy(layout, verdict)).to_vec();
            let mangle = Mangle {
                valid: 0x1f,
                beginnings: [0, size * 2, size * 3, size * 4, size * 5],
                ends: [size, size * 2, size * 3, size * 4, size * 5],
                entries,
            };
            let with = back(layout, &mangle.rewritten(layout, &MARKS, &ours).unwrap());
            let (first, second) = (ours[0].1.len(), ours[1].1.len());
            let (first, second) = (number(first), number(second));
            assert_eq!(verdicts(layout, &with)[0], chain + (first + second).cast_signed());
            assert_eq!(
                with.beginnings,
                [0, size * 2 + first, size * 3 + first, size * 4 + first, size * 5 + first + second]
            );
            assert_eq!(with.ends[3..], [size * 4 + first + second, size * 5 + first + second]);
            assert_eq!(with.entries.iter().filter(|entry| MARKS.is_ours(layout, entry)).count(), 2);
            let without = back(layout, &with.rewritten(layout, &MARKS, &[]).unwrap());
            assert_eq!(without.entries, mangle.entries);
            assert_eq!((without.beginnings, without.ends), (mangle.beginnings, mangle.ends));
        }
    }

    #[test]
    fn a_table_that_is_no_table_is_told_from_one() {
        let layout = Layout::of(Family::V4);
        for bytes in [vec![0; 112], vec![0xff; 112], vec![1; 3], rules::policy(layout, 0)[..111].to_vec()] {
            assert!(split(layout, &bytes).is_none());
        }
    }
}
