//! Frames that anybody on the link may send while the plugin asks its neighbours. Takes the modules of `netlink` as they are,
//! because they are nobody's interface.

#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, clippy::pedantic)]

#[path = "../../netlink/src/address.rs"]
mod address;
#[path = "../../netlink/src/arp.rs"]
mod arp;
#[path = "../../netlink/src/change.rs"]
mod change;
#[path = "../../netlink/src/error.rs"]
mod error;
#[path = "../../netlink/src/family.rs"]
mod family;
#[path = "../../netlink/src/link.rs"]
mod link;
#[path = "../../netlink/src/mac.rs"]
mod mac;
#[path = "../../netlink/src/message.rs"]
mod message;
#[path = "../../netlink/src/ndp.rs"]
mod ndp;
#[path = "../../netlink/src/neighbour.rs"]
mod neighbour;
#[path = "../../netlink/src/netns.rs"]
mod netns;
#[path = "../../netlink/src/packet.rs"]
mod packet;
#[path = "../../netlink/src/probe.rs"]
mod probe;
#[path = "../../netlink/src/route.rs"]
mod route;
#[path = "../../netlink/src/rtnetlink.rs"]
mod rtnetlink;
#[path = "../../netlink/src/rule.rs"]
mod rule;
#[path = "../../netlink/src/socket.rs"]
mod socket;
#[path = "../../netlink/src/stacked.rs"]
mod stacked;
#[path = "../../netlink/src/sys.rs"]
mod sys;

use address::Address;
use change::Change;
use error::Error;
use family::{Block, Family};
use link::{GROUP, Link, Veth};
use mac::Mac;
use neighbour::Neighbour;
use netns::Netns;
use probe::{Conflict, Patience, announce, conflict, silent_gateways};
use route::{MAIN, PROTOCOL, Route, Scope};
use rtnetlink::{Outcome, Rtnetlink};
use rule::Rule;
use stacked::{Bond, BondOption, BondValue, Stacked, Vlan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let heard = [arp::parse(frame), ndp::parse(frame)];
    // What a shorter frame says, the longer one says as well: nothing is read beyond what is checked.
    let padded = [frame, &[0; 64]].concat();
    for (heard, padded) in heard.into_iter().zip([arp::parse(&padded), ndp::parse(&padded)]) {
        assert!(heard.is_none() || padded.is_some());
    }
});
