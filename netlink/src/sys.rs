//! The socket options of netlink, which rustix lacks.

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

#[expect(unsafe_code, reason = "the function is the C library's, which std links anyway")]
unsafe extern "C" {
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint) -> c_int;
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
