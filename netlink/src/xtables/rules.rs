use super::Layout;
use crate::message::{number, short, string};

/// Connections that come in through an interface are marked, and so are the packets that this host sends in answer.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The interface.
    pub input: &'a str,
    /// The bits of connections and packets; others are left as they are.
    pub mark: u32,
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

impl Marks<'_> {
    /// `-i INPUT -m conntrack --ctstate NEW -j CONNMARK --set-xmark MARK/MARK`
    pub(super) fn incoming(&self, layout: Layout) -> Vec<u8> {
        let mut conntrack = vec![0; CONNTRACK];
        put(&mut conntrack, CONNTRACK_FLAGS, &STATE.to_ne_bytes());
        put(&mut conntrack, CONNTRACK_STATES, &NEW.to_ne_bytes());
        let mark = self.mark.to_ne_bytes();
        // What is set, which bits make way for it, and those of the packet, of which none; the mode is "set", without a shift.
        let connmark = [mark, mark, [0; 4], [0; 4]].concat();
        let mut head = vec![0; layout.head];
        put(&mut head, layout.input, self.input.as_bytes());
        // The mask covers the name and what ends it, so that no longer name fits.
        put(&mut head, layout.input + 32, &vec![0xff; self.input.len() + 1]);
        entry(layout, head, &extension("conntrack", 3, &conntrack), &extension("CONNMARK", 2, &connmark))
    }

    /// `-m connmark --mark MARK/MARK -j MARK --set-xmark MARK/MARK`
    pub(super) fn outgoing(&self, layout: Layout) -> Vec<u8> {
        let mark = self.mark.to_ne_bytes();
        let connmark = [mark, mark, [0; 4]].concat();
        let target = [mark, mark].concat();
        entry(
            layout,
            vec![0; layout.head],
            &extension("connmark", 1, &connmark),
            &extension("MARK", 2, &target),
        )
    }

    /// Whether an entry is one of the two. The kernel changes some bytes of an entry, so not all are compared.
    pub(super) fn is_ours(&self, layout: Layout, entry: &[u8]) -> bool {
        let target = short(entry, layout.distances).map_or(0, usize::from);
        let name = string(entry.get(target + 2..target + 31).unwrap_or_default());
        let sets = number(entry, target + EXTENSION) == Some(self.mark);
        let input = string(entry.get(layout.input..layout.input + 16).unwrap_or_default());
        sets && match name.as_str() {
            "CONNMARK" => input == self.input,
            "MARK" => number(entry, layout.head + EXTENSION) == Some(self.mark),
            _ => false,
        }
    }
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
