//! The shape of netlink messages. By hand, as the plugins' size has no room for more.

pub(crate) const HEADER: usize = 16;

/// The upper bit of an attribute's number: it holds attributes.
pub(crate) const NESTED: u16 = 0x8000;

/// A message of the kernel.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// Appends a message.
pub(crate) fn message(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[u8]) {
    // Ours are a few hundred bytes.
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The kernel fills in the port.
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(aligned(bytes.len()), 0);
}

/// Appends an attribute.
pub(crate) fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Our values are a few bytes.
    payload.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    payload.extend(kind.to_ne_bytes());
    payload.extend(value);
    payload.resize(aligned(payload.len()), 0);
}

/// Appends an attribute that is a text.
pub(crate) fn text(payload: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    attribute(payload, kind, &bytes);
}

/// Appends an attribute that holds attributes.
pub(crate) fn nested(payload: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(payload, kind | NESTED, &inner);
}

/// The attributes behind a message's fixed part, up to the first that is malformed.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(short(rest, 0)?);
        // The two upper bits are flags.
        let kind = short(rest, 2)? & 0x3fff;
        let value = rest.get(4..size)?;
        rest = rest.get(aligned(size)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A text up to its end or its zero byte.
pub(crate) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

pub(crate) const fn aligned(size: usize) -> usize {
    size.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn attributes_of_any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
        }

        #[test]
        fn what_is_appended_is_read(values in prop::collection::vec((0u16..0x4000, prop::collection::vec(any::<u8>(), 0..9)), 0..5)) {
            let mut payload = Vec::new();
            for (kind, value) in &values {
                attribute(&mut payload, *kind, value);
            }
            let read: Vec<_> = attributes(&payload).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }
    }
}
