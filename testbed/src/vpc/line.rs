//! A line between the routers of two VPCs, as data centres have for those of their machines that shall reach each other.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Vpc;
use crate::error::Error;

/// Where the line ends.
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// Lets what is in the first vSwitch of either VPC reach what is in that of the other, over IPv4, and nothing else.
pub(super) fn join(one: &Vpc, other: &Vpc) -> Result<(), Error> {
    let (first, second) = (block(one)?, block(other)?);
    one.ip(&format!("link add line type veth peer name line netns {}\n", other.netns().path().display()))?;
    let [here, there] = ENDS;
    for (vpc, own, end, far, peer) in [(one, first, here, second, there), (other, second, there, first, here)]
    {
        vpc.ip(&format!(
            "addr add {end}/30 dev line\nlink set line up\nroute add {far} via {peer} dev line\n"
        ))?;
        // A route alone would let others in whose way back is another one.
        vpc.nft(&format!(
            "table ip line {{
  chain forward {{
    type filter hook forward priority 0;
    oifname \"line\" ip saddr != {own} drop
    iifname \"line\" ip daddr != {own} drop
  }}
}}
"
        ))?;
    }
    Ok(())
}

fn block(vpc: &Vpc) -> Result<Ipv4Net, Error> {
    let first = vpc.bridges.first().map(|(_, vswitch)| vswitch.cidr);
    first.ok_or_else(|| Error::Cloud { reason: "a VPC that shall be joined has no vSwitch".to_owned() })
}
