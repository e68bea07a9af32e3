//! Socket options that rustix lacks: those of netlink and of the packet filter.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const SOL_NETLINK: c_int = 270;

/// What a netlink socket can be asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NetlinkOption {
    /// Refusals do not bring back what was asked (`NETLINK_CAP_ACK`).
    ShortRefusals = 10,
    /// Refusals say why in words (`NETLINK_EXT_ACK`).
    Reasons = 11,
    /// Dumps are filtered by what the question says (`NETLINK_GET_STRICT_CHK`).
    FilteredDumps = 12,
}

#[expect(unsafe_code, reason = "the functions are the C library's, which std links anyway")]
unsafe extern "C" {
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint) -> c_int;
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut c_uint)
    -> c_int;
}

/// Switches an option on.
#[expect(unsafe_code, reason = "rustix has no option of this level")]
pub(crate) fn switch_on(socket: &OwnedFd, option: NetlinkOption) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the kernel reads `length` bytes at `value`, which is an int that outlives the call.
    let outcome = unsafe {
        setsockopt(socket.as_raw_fd(), SOL_NETLINK, option as c_int, std::ptr::from_ref(&on).cast(), 4)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option into a buffer whose beginning says what is asked. Returns how much was written.
#[expect(unsafe_code, reason = "rustix does not know the options of the packet filter")]
pub(crate) fn get_option(
    socket: &OwnedFd,
    level: c_int,
    name: c_int,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut length = c_uint::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes no more than `length` bytes at the buffer, which is that long, and writes the length.
    let outcome = unsafe {
        getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            buffer.as_mut_ptr().cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    if outcome == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// Writes an option that holds, at `pointer`, the address of a buffer that the kernel fills.
#[expect(unsafe_code, reason = "rustix does not know the options of the packet filter")]
pub(crate) fn set_option(
    socket: &OwnedFd,
    level: c_int,
    name: c_int,
    block: &[u8],
    pointer: usize,
    filled: &mut [u8],
) -> io::Result<()> {
    let mut block = block.to_vec();
    let place = block.get_mut(pointer..pointer + 8).ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(&(filled.as_mut_ptr() as u64).to_ne_bytes());
    let length = c_uint::try_from(block.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes at the block, which is that long, and writes to the buffer that the block points
    // to as many counters as the block says, for which the caller made it large enough; both outlive the call.
    let outcome = unsafe { setsockopt(socket.as_raw_fd(), level, name, block.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
