//! Frames out of and into one interface.
//!
//! All frames go this way, those of neighbour discovery too: a raw `ICMPv6` socket cannot send from `::`, nor from an address that
//! the interface does not have yet.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::{Error, Link};

/// What a frame carries: the number in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtherType {
    Arp,
    Ipv6,
}

impl EtherType {
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::Ipv6 => 0x86dd,
        }
    }
}

/// A socket that sends whole frames through one interface, and hears those of one kind that others send to it.
pub(crate) struct PacketSocket {
    socket: OwnedFd,
    interface: String,
}

impl PacketSocket {
    pub(crate) fn open(link: &Link, kind: EtherType) -> Result<Self, Error> {
        let doing = || format!("open a packet socket on the interface {}", link.name);
        // Without a protocol until it is bound, lest it hears the frames of other interfaces before.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
            .map_err(|errno| Error::kernel(doing(), errno))?;
        bind(&socket, &LinkAddress::new(link.index, kind)).map_err(|errno| Error::kernel(doing(), errno))?;
        Ok(Self { socket, interface: link.name.clone() })
    }

    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), Error> {
        loop {
            match send(&self.socket, frame, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::kernel(
                        format!("send a frame through the interface {}", self.interface),
                        errno,
                    ));
                }
            }
        }
    }

    /// The next frame that has come; nothing when none is there.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, Error> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                // A longer frame is cut, which leaves all of what we look for.
                Ok((_, length)) => return Ok(buffer.get(..length.min(buffer.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => {
                    return Err(Error::kernel(
                        format!("read a frame of the interface {}", self.interface),
                        errno,
                    ));
                }
            }
        }
    }

    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.socket
    }
}

/// The kernel's `sockaddr_ll`, which rustix lacks.
#[repr(C)]
struct LinkAddress {
    family: u16,
    /// In network byte order.
    protocol: u16,
    index: i32,
    hardware: u16,
    packet: u8,
    length: u8,
    address: [u8; 8],
}

impl LinkAddress {
    const fn new(index: u32, kind: EtherType) -> Self {
        let family = AddressFamily::PACKET.as_raw();
        Self {
            family,
            protocol: kind.number().to_be(),
            index: index.cast_signed(),
            hardware: 0,
            packet: 0,
            length: 0,
            address: [0; 8],
        }
    }
}

#[expect(unsafe_code, reason = "rustix leaves the shape of addresses that it does not know to the caller")]
// SAFETY: the pointer is to a whole `sockaddr_ll`, the struct above: `repr(C)`, 20 bytes without padding, all of them set, and
// borrowed for as long as the closure runs.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const LENGTH: SocketAddrLen = 20;
        const { assert!(size_of::<Self>() == LENGTH as usize) };
        f(std::ptr::from_ref(self).cast(), LENGTH)
    }
}
