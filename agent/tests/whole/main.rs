//! The whole agent: the real binary, a real API server, and requests on the socket as plugins send them.

#![expect(clippy::expect_used, reason = "a test that cannot go on says what it missed and ends")]

mod stage;
mod well;
