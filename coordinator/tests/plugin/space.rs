use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use netlink::Netns;

/// A network namespace, which ends with the process that holds it.
pub(crate) struct Space {
    holder: Child,
}

impl Space {
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec sleep 300"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says a line when it is inside.
        holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let space = Self { holder };
        space.ip("link set lo up");
        space
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    /// Runs a closure inside; what it starts is inside, too.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Netns::open(&self.path()).unwrap().run(work).unwrap()
    }

    /// Runs `ip` inside and returns what it says.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let output = self.inside(|| Command::new("ip").args(arguments.split(' ')).output()).unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs many commands in one `ip`, each a line; starting it is what costs time, above all in an emulated kernel.
    pub(crate) fn ip_batch(&self, options: &[&str], lines: &[String]) -> String {
        let mut command = Command::new("ip");
        command.args(options).args(["-batch", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inside(|| command.spawn()).unwrap();
        child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "ip {lines:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(name);
        self.inside(|| fs::write(&path, value)).unwrap();
    }

    pub(crate) fn get(&self, name: &str) -> String {
        let path = Path::new("/proc/sys/net").join(name);
        self.inside(|| fs::read_to_string(&path)).unwrap().trim().to_owned()
    }

    /// Links, addresses, rules, routes of all tables, and permanent neighbours: all that a plugin may leave.
    pub(crate) fn all(&self) -> String {
        // Sorted: the kernel lists neighbours in the order of a hash.
        let all = [
            ("-o", ["link show", "neigh show nud permanent"].as_slice()),
            ("-4", &["addr show", "rule show", "route show table all"]),
            // Multicast and link-local routes come and go with the kernel's own timing.
            ("-6", &["rule show", "route show table main"]),
        ]
        .map(|(family, what)| {
            self.ip_batch(&["-o", family], &what.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        // What follows from the other end of a cable is said a moment later.
        let late = [
            (" linkdown", ""),
            ("NO-CARRIER,", ""),
            ("state DOWN", "state UP"),
            ("state LOWERLAYERDOWN", "state UP"),
            ("state UNKNOWN", "state UP"),
        ];
        let said = |line: &str| late.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let lines = all.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("fe80::/64 "));
        let mut lines: Vec<String> = lines.map(said).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// Answers every connection to a port with the address that it came from, until the test ends.
    pub(crate) fn serve(&self, at: &str) {
        let address: SocketAddr = at.parse().unwrap();
        let listener = self.inside(|| TcpListener::bind(address)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_string();
                stream.write_all(peer.as_bytes()).unwrap_or_default();
            }
        });
    }

    /// Answers every datagram to a port with the address that it came from.
    pub(crate) fn serve_udp(&self, at: &str) {
        let address: SocketAddr = at.parse().unwrap();
        let socket = self.inside(|| UdpSocket::bind(address)).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                socket.send_to(peer.ip().to_string().as_bytes(), peer).unwrap_or_default();
            }
        });
    }

    /// As whom the server there sees us. Tried for some seconds: IPv6 makes sure first that its addresses are free.
    pub(crate) fn call(&self, to: &str) -> Option<IpAddr> {
        (0..5).find_map(|_| self.call_once(to))
    }

    /// The same without patience, for what must not be reached.
    pub(crate) fn call_once(&self, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let mut stream = self.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500))).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.parse().ok()
    }

    /// The same from an address of ours.
    pub(crate) fn call_udp(&self, from: &str, to: &str) -> Option<IpAddr> {
        let (from, to): (IpAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let socket = self.inside(|| UdpSocket::bind((from, 0))).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut buffer = [0; 64];
        for _ in 0..3 {
            socket.send_to(b"who am I", to).ok()?;
            // A server that hears nobody keeps its socket open: only an answer counts.
            if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                assert_eq!(peer, to, "another one answered");
                return String::from_utf8_lossy(&buffer[..length]).parse().ok();
            }
        }
        None
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
