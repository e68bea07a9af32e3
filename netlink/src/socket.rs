//! A netlink socket: questions, and batches of which each refusal is told.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::Error;
use crate::message::{HEADER, Message, aligned, attributes, message, number, short, string};
use crate::sys::{NetlinkOption, switch_on};

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const REPLACE: u16 = 0x100;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
/// Of a refusal: what was asked is not in it.
const CAPPED: u16 = 0x100;
/// Of a refusal: attributes follow.
const ACK_HAS_ATTRIBUTES: u16 = 0x200;
/// The attribute of a refusal that says why.
const REASON: u16 = 1;

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The kernel answers at once; it must never hold up a pod for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A dump that changes under our hands this often is on a host that is being torn down.
const DUMP_TRIES: u32 = 10;
/// Refusals wait in the socket's buffer until the batch is through: by default 208 KiB, of which each takes less than 1.
const BATCH: usize = 150;

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

/// Why the kernel did not do one thing of a batch.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    /// In the kernel's own words; often empty.
    pub(crate) reason: String,
}

/// One thing of a batch.
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

/// A netlink socket. It belongs to the network namespace in which it was opened, wherever its thread goes later.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn route() -> Result<Self, Error> {
        Self::open("open a socket to the kernel's routing", None)
    }

    pub(crate) fn netfilter() -> Result<Self, Error> {
        Self::open("open a socket to the kernel's nftables", Some(netlink::NETFILTER))
    }

    fn open(doing: &str, protocol: Option<rustix::net::Protocol>) -> Result<Self, Error> {
        let kernel = |errno: Errno| Error::kernel(doing, errno);
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(kernel)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE)).map_err(kernel)?;
        for option in [NetlinkOption::ShortRefusals, NetlinkOption::Reasons] {
            // An older kernel gives fewer words; all that is needed is there without.
            switch_on(&fd, option).unwrap_or_default();
        }
        // The kernel's own size for one piece of a dump.
        Ok(Self { fd, sequence: 0, buffer: vec![0; 32 << 10] })
    }

    /// Whether dumps will be filtered by the kernel; else the caller gets more than it asked for.
    pub(crate) fn filter_dumps(&self) {
        switch_on(&self.fd, NetlinkOption::FilteredDumps).unwrap_or_default();
    }

    /// Asks one thing; `doing` is for the error.
    pub(crate) fn ask(
        &mut self,
        doing: &str,
        kind: u16,
        want: Want,
        payload: &[u8],
    ) -> Result<Vec<Message>, Error> {
        let flags = match want {
            Want::One => 0,
            Want::Done => ACK,
            Want::All => DUMP,
        };
        for _ in 0..DUMP_TRIES {
            self.sequence += 1;
            let mut bytes = Vec::with_capacity(HEADER + payload.len());
            message(&mut bytes, kind, REQUEST | flags, self.sequence, payload);
            self.send(doing, &bytes)?;
            if let Some(messages) = self.answer(doing, want)? {
                return Ok(messages);
            }
        }
        Err(Error::kernel(doing, Errno::INTR))
    }

    /// Sends everything at once and tells of each what came of it, in the same order.
    ///
    /// The kernel goes on after a refusal.
    pub(crate) fn batch(
        &mut self,
        doing: &str,
        requests: &[Request],
    ) -> Result<Vec<Result<(), Refusal>>, Error> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for part in requests.chunks(BATCH) {
            let first = self.sequence + 1;
            let mut bytes = Vec::new();
            for (index, request) in part.iter().enumerate() {
                self.sequence += 1;
                // Refusals come unasked; only the last must say that it is through.
                let flags = if index + 1 == part.len() { REQUEST | ACK } else { REQUEST };
                message(&mut bytes, request.kind, flags | request.flags, self.sequence, &request.payload);
            }
            self.send(doing, &bytes)?;
            let mut refusals = self.refusals(doing, &[self.sequence])?;
            for offset in 0..part.len() {
                let sequence = first.wrapping_add(u32::try_from(offset).unwrap_or(u32::MAX));
                let at = refusals.iter().position(|(number, _)| *number == sequence);
                outcomes.push(at.map_or(Ok(()), |at| Err(refusals.swap_remove(at).1)));
            }
        }
        Ok(outcomes)
    }

    /// Sends a transaction: what begins it, the requests, what ends it. Returns why all of it was refused.
    ///
    /// A subsystem that is not there refuses the beginning, and says nothing to the rest.
    pub(crate) fn transaction(
        &mut self,
        doing: &str,
        requests: &[Request],
    ) -> Result<Option<Refusal>, Error> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            self.sequence += 1;
            let flags = if index + 2 == requests.len() { REQUEST | ACK } else { REQUEST };
            message(&mut bytes, request.kind, flags | request.flags, self.sequence, &request.payload);
        }
        self.send(doing, &bytes)?;
        let refusals = self.refusals(doing, &[first, self.sequence - 1])?;
        Ok(refusals.into_iter().next().map(|(_, refusal)| refusal))
    }

    fn send(&self, doing: &str, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(doing, errno)),
            }
        }
    }

    fn receive(&mut self, doing: &str) -> Result<Vec<u8>, Error> {
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => return Ok(self.buffer.get(..length).unwrap_or_default().to_vec()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(doing, errno)),
            }
        }
    }

    /// Reads what is said to each message up to the one with one of these numbers.
    fn refusals(&mut self, doing: &str, last: &[u32]) -> Result<Vec<(u32, Refusal)>, Error> {
        let mut refusals = Vec::new();
        loop {
            let received = self.receive(doing)?;
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let Head { kind, flags, sequence, message, size } =
                    head(rest).ok_or_else(|| malformed(doing))?;
                if kind == ERROR {
                    let code = number(message, HEADER).ok_or_else(|| malformed(doing))?.cast_signed();
                    if code != 0 {
                        let errno = Errno::from_raw_os_error(-code);
                        refusals.push((sequence, Refusal { errno, reason: reason(message, flags) }));
                    }
                    if last.contains(&sequence) {
                        return Ok(refusals);
                    }
                }
                rest = rest.get(aligned(size)..).unwrap_or_default();
            }
        }
    }

    /// Reads up to the end of the answer; nothing when a dump was interrupted by a change, and must be asked for again.
    fn answer(&mut self, doing: &str, want: Want) -> Result<Option<Vec<Message>>, Error> {
        let (mut messages, mut whole) = (Vec::new(), true);
        loop {
            let received = self.receive(doing)?;
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let Head { kind, flags, sequence, message, size } =
                    head(rest).ok_or_else(|| malformed(doing))?;
                rest = rest.get(aligned(size)..).unwrap_or_default();
                if sequence != self.sequence {
                    continue;
                }
                whole &= flags & DUMP_INTERRUPTED == 0;
                match kind {
                    DONE => {
                        // A dump may end with an error, too.
                        let code = number(message, HEADER).unwrap_or(0).cast_signed();
                        if code < 0 {
                            return Err(Error::kernel(doing, io::Error::from_raw_os_error(-code)));
                        }
                        return Ok(whole.then_some(messages));
                    }
                    ERROR => {
                        let code = number(message, HEADER).ok_or_else(|| malformed(doing))?.cast_signed();
                        return if code == 0 {
                            Ok(Some(messages))
                        } else {
                            let source = io::Error::from_raw_os_error(-code);
                            Err(Error::refused(doing, source, reason(message, flags)))
                        };
                    }
                    _ => messages
                        .push(Message { kind, payload: message.get(HEADER..).unwrap_or_default().to_vec() }),
                }
                if want == Want::One {
                    return Ok(Some(messages));
                }
            }
        }
    }
}

/// Asks the kernel one thing on a socket of its own.
pub(crate) fn ask(doing: &str, kind: u16, want: Want, payload: &[u8]) -> Result<Vec<Message>, Error> {
    Socket::route()?.ask(doing, kind, want, payload)
}

pub(crate) struct Head<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    pub(crate) message: &'a [u8],
    pub(crate) size: usize,
}

pub(crate) fn head(rest: &[u8]) -> Option<Head<'_>> {
    let size = number(rest, 0)? as usize;
    let message = rest.get(..size).filter(|_| size >= HEADER)?;
    Some(Head {
        kind: short(message, 4)?,
        flags: short(message, 6)?,
        sequence: number(message, 8)?,
        message,
        size,
    })
}

fn reason(message: &[u8], flags: u16) -> String {
    if flags & ACK_HAS_ATTRIBUTES == 0 {
        return String::new();
    }
    // The code, then the header of what was asked, and unless cut off, the rest of it.
    let echoed =
        if flags & CAPPED == 0 { number(message, HEADER + 4).unwrap_or(16) as usize } else { HEADER };
    let rest = message.get(HEADER + 4 + aligned(echoed)..).unwrap_or_default();
    attributes(rest).find(|(kind, _)| *kind == REASON).map(|(_, value)| string(value)).unwrap_or_default()
}

fn malformed(doing: &str) -> Error {
    Error::Malformed { doing: doing.to_owned() }
}
