//! Frames that anybody on the link may send while the plugin asks its neighbours. Takes the modules of `netlink` as they are,
//! because they are nobody's interface.

#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, clippy::pedantic)]

#[path = "../../netlink/src/arp.rs"]
mod arp;
#[path = "../../netlink/src/error.rs"]
mod error;
#[path = "../../netlink/src/link.rs"]
mod link;
#[path = "../../netlink/src/mac.rs"]
mod mac;
#[path = "../../netlink/src/ndp.rs"]
mod ndp;
#[path = "../../netlink/src/netns.rs"]
mod netns;
#[path = "../../netlink/src/packet.rs"]
mod packet;
#[path = "../../netlink/src/probe.rs"]
mod probe;
#[path = "../../netlink/src/rtnetlink.rs"]
mod rtnetlink;

use error::Error;
use libfuzzer_sys::fuzz_target;
use link::Link;
use mac::Mac;

fuzz_target!(|frame: &[u8]| {
    let heard = [arp::parse(frame), ndp::parse(frame)];
    // What a shorter frame says, the longer one says as well: nothing is read beyond what is checked.
    let padded = [frame, &[0; 64]].concat();
    for (heard, padded) in heard.into_iter().zip([arp::parse(&padded), ndp::parse(&padded)]) {
        assert!(heard.is_none() || padded.is_some());
    }
});
