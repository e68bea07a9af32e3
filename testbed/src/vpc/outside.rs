//! The world outside the VPC: a host behind NAT that tells everybody as whom it sees them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Vpc, feed};
use crate::error::Error;
use crate::netns::Netns;

/// The IPv4 address of the host in the world. It answers HTTP at port 80, and every connection to port 7 without being asked:
/// with the address that it sees.
pub const WORLD_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Its IPv6 address.
pub const WORLD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10);
/// The address that the VPC's NAT gives everything that leaves over IPv4. IPv6 leaves as it is.
pub const NAT_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The VPC's router as the world sees it over IPv6.
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// The port that speaks first.
const PLAIN: u16 = 7;
const HTTP: u16 = 80;
/// A client that says nothing is answered all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// The world of one VPC.
#[derive(Debug)]
pub(crate) struct Outside {
    netns: Netns,
    hosts: Vec<SocketAddr>,
    ended: Arc<AtomicBool>,
}

impl Outside {
    /// Makes the host, its link to the VPC, and the VPC's NAT.
    pub(crate) fn create(vpc: &Vpc) -> Result<Self, Error> {
        let netns = Netns::create()?;
        vpc.ip(&format!(
            "link add world type veth peer name vpc netns {}\n\
             addr add {NAT_V4}/24 dev world\naddr add {ROUTER_V6}/64 dev world nodad\nlink set world up\n\
             route add default via {WORLD_V4}\nroute add default via {WORLD_V6}\n",
            netns.path().display()
        ))?;
        let mut ip = vpc.programs.ip();
        ip.args(["-batch", "-"]);
        let own = format!(
            "link set lo up\naddr add {WORLD_V4}/24 dev vpc\naddr add {WORLD_V6}/64 dev vpc nodad\nlink set vpc up\n\
             route add default via {ROUTER_V6}\n"
        );
        feed(&netns, ip, &own)?;
        // The world has no way back to the VPC's own IPv4 addresses, as it should be.
        vpc.nft(
            "table ip nat {\n chain post {\n type nat hook postrouting priority 100\n oifname \"world\" masquerade\n }\n}\n",
        )?;
        let mut outside = Self { netns, hosts: Vec::new(), ended: Arc::default() };
        for ip in [IpAddr::V4(WORLD_V4), IpAddr::V6(WORLD_V6)] {
            for port in [PLAIN, HTTP] {
                outside.serve(SocketAddr::from((ip, port)))?;
            }
        }
        Ok(outside)
    }

    fn serve(&mut self, address: SocketAddr) -> Result<(), Error> {
        let listener = self.netns.listen(address)?;
        let ended = Arc::clone(&self.ended);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                thread::spawn(move || answer(stream));
            }
        });
        self.hosts.push(address);
        Ok(())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Each listener wakes up once more; else it would keep the namespace as long as the process lives.
        let wake = || self.hosts.iter().map(|host| TcpStream::connect_timeout(host, PATIENCE)).for_each(drop);
        drop(self.netns.run(wake));
    }
}

/// A client that goes away early needs no answer.
fn answer(mut stream: TcpStream) -> Option<()> {
    let (seen, port) = (stream.peer_addr().ok()?.ip(), stream.local_addr().ok()?.port());
    let body = format!("{seen}\n");
    if port == PLAIN {
        return stream.write_all(body.as_bytes()).ok();
    }
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request: Vec<u8> = Vec::new();
    let mut piece = [0_u8; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => request.extend(piece.iter().take(length)),
        }
    }
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").ok()
}
