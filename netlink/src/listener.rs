use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::address::{DELETE_ADDRESS, NEW_ADDRESS};
use crate::message::{HEADER, Message, aligned};
use crate::rule::DELETE_RULE;
use crate::socket::{Head, head};
use crate::{Address, Error};

/// The kernel's groups of IPv4 addresses and rules, and IPv6 addresses and rules: bit N - 1 of the groups 5, 8, 9 and 19.
const GROUPS: u32 = 1 << 4 | 1 << 7 | 1 << 8 | 1 << 18;

/// What changed since somebody last listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// Nothing that matters.
    Nothing,
    /// An address came, went, or became usable.
    Addresses,
    /// A rule was removed, or so much changed at once that the kernel dropped some of what it had to say.
    Anything,
}

/// Hears of changes of one network namespace's addresses, and of rules that are removed there: those of the namespace in which it
/// was opened.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Listener {
    /// Opens the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        let kernel = |errno: Errno| Error::kernel("listen to changes of addresses and rules", errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map_err(kernel)?;
        bind(&fd, &SocketAddrNetlink::new(0, GROUPS)).map_err(kernel)?;
        Ok(Self { fd, buffer: vec![0; 32 << 10] })
    }

    /// Waits until there is something to hear, but no longer than `patience`, and says the gravest of it.
    pub fn wait(&mut self, patience: Duration) -> Result<News, Error> {
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => self.news(),
            Err(errno) => Err(Error::kernel("wait for changes of addresses and rules", errno)),
        }
    }

    /// Takes all that there is to hear, without waiting, and says the gravest of it.
    pub fn news(&mut self) -> Result<News, Error> {
        let mut news = News::Nothing;
        loop {
            match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => {
                    news = news.max(understand(self.buffer.get(..length).unwrap_or_default()));
                }
                Err(Errno::AGAIN) => return Ok(news),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => news = News::Anything,
                Err(errno) => {
                    return Err(Error::kernel("hear of changes of addresses and rules", errno));
                }
            }
        }
    }
}

fn understand(mut rest: &[u8]) -> News {
    let mut news = News::Nothing;
    while !rest.is_empty() {
        let Some(Head { kind, message, size, .. }) = head(rest) else { return News::Anything };
        news = news.max(match kind {
            NEW_ADDRESS | DELETE_ADDRESS if matters(kind, message) => News::Addresses,
            DELETE_RULE => News::Anything,
            _ => News::Nothing,
        });
        rest = rest.get(aligned(size)..).unwrap_or_default();
    }
    news
}

/// Every interface brings a link-local address of its own, and on a node each pod brings an interface.
fn matters(kind: u16, message: &[u8]) -> bool {
    let message = Message { kind, payload: message.get(HEADER..).unwrap_or_default().to_vec() };
    let address = Address::parse(&message).map(|it| it.address);
    !address.is_some_and(|it| matches!(it, IpAddr::V6(it) if it.is_unicast_link_local()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::message;

    proptest! {
        #[test]
        fn a_rule_that_goes_is_heard_whatever_comes_after_it(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let mut all = Vec::new();
            message(&mut all, DELETE_RULE, 0, 0, &[0; 12]);
            all.extend(bytes);
            prop_assert_eq!(understand(&all), News::Anything);
        }
    }
}
