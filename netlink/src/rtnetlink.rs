//! As much of rtnetlink as three questions need. By hand, as the plugin's size has no room for more.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::Error;

pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const GET_LINK: u16 = 18;
pub(crate) const NEW_ADDRESS: u16 = 20;
pub(crate) const GET_ADDRESS: u16 = 22;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;

const ERROR: u16 = 2;
const DONE: u16 = 3;

const HEADER: usize = 16;
/// The kernel answers at once; it must never hold up a pod for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A dump that changes under our hands this often is on a host that is being torn down.
const DUMP_TRIES: u32 = 10;

/// What kind of answer a question has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// One message.
    One,
    /// That it was done.
    Done,
    /// Any number of messages.
    All,
}

/// A message of the kernel.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// Asks the kernel one thing; `doing` is for the error.
pub(crate) fn ask(doing: &str, kind: u16, want: Want, payload: &[u8]) -> Result<Vec<Message>, Error> {
    let kernel = |errno: Errno| Error::kernel(doing, errno);
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(kernel)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(kernel)?;
    for _ in 0..DUMP_TRIES {
        send(&socket, &request(kind, want, payload), SendFlags::empty()).map_err(kernel)?;
        if let Some(messages) = answer(doing, &socket, want)? {
            return Ok(messages);
        }
    }
    Err(kernel(Errno::INTR))
}

fn request(kind: u16, want: Want, payload: &[u8]) -> Vec<u8> {
    let flags = REQUEST
        | match want {
            Want::One => 0,
            Want::Done => ACK,
            Want::All => DUMP,
        };
    // Our payloads are a few dozen bytes.
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port: this socket has one question, and the kernel fills in the port.
    message.extend([0; 8]);
    message.extend(payload);
    message
}

/// Reads up to the end of the answer; nothing when a dump was interrupted by a change, and must be asked for again.
fn answer(doing: &str, socket: &OwnedFd, want: Want) -> Result<Option<Vec<Message>>, Error> {
    let malformed = || Error::Malformed { doing: doing.to_owned() };
    // The kernel's own size for one piece of a dump.
    let mut buffer = vec![0; 32 << 10];
    let (mut messages, mut whole) = (Vec::new(), true);
    loop {
        let length = loop {
            match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => break length,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(doing, errno)),
            }
        };
        let mut rest = buffer.get(..length).ok_or_else(malformed)?;
        while !rest.is_empty() {
            let size = number(rest, 0).ok_or_else(malformed)? as usize;
            let message = rest.get(..size).filter(|_| size >= HEADER).ok_or_else(malformed)?;
            let kind = short(message, 4).ok_or_else(malformed)?;
            let flags = short(message, 6).ok_or_else(malformed)?;
            whole &= flags & DUMP_INTERRUPTED == 0;
            match kind {
                DONE => return Ok(whole.then_some(messages)),
                ERROR => {
                    let code = number(message, HEADER).ok_or_else(malformed)?.cast_signed();
                    return if code == 0 {
                        Ok(Some(messages))
                    } else {
                        Err(Error::kernel(doing, io::Error::from_raw_os_error(-code)))
                    };
                }
                _ => messages
                    .push(Message { kind, payload: message.get(HEADER..).unwrap_or_default().to_vec() }),
            }
            if want == Want::One {
                return Ok(Some(messages));
            }
            rest = rest.get(aligned(size)..).unwrap_or_default();
        }
    }
}

/// Appends an attribute.
pub(crate) fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Our values are a few bytes.
    payload.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    payload.extend(kind.to_ne_bytes());
    payload.extend(value);
    payload.resize(aligned(payload.len()), 0);
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

const fn aligned(size: usize) -> usize {
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
