use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
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
        Self { holder }
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
        self.try_ip(arguments).map_err(|why| format!("ip {arguments}: {why}")).unwrap()
    }

    /// Runs `ip` inside once for all of these lines: starting it is most of a test's time under emulation.
    pub(crate) fn batch(&self, lines: &[String]) {
        let output = self.inside(|| {
            let mut command = Command::new("ip");
            command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes())?;
            child.wait_with_output()
        });
        let output = output.unwrap();
        assert!(output.status.success(), "{lines:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The same as [`Space::ip`] for what may fail.
    pub(crate) fn try_ip(&self, arguments: &str) -> Result<String, String> {
        let output = self.inside(|| Command::new("ip").args(arguments.split(' ')).output()).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Interfaces, addresses and routes: all that a plugin may change.
    pub(crate) fn all(&self) -> String {
        let all = ["-d -o link show", "-4 -o addr show", "-4 route show table all"].map(|what| self.ip(what));
        // What follows from the other end of a cable is said a moment later.
        let late = [
            (" linkdown", ""),
            ("NO-CARRIER,", ""),
            ("state DOWN", "state UP"),
            ("state LOWERLAYERDOWN", "state UP"),
            ("state UNKNOWN", "state UP"),
        ];
        let said = |line: &str| late.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let mut lines: Vec<String> = all.iter().flat_map(|text| text.lines()).map(said).collect();
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

    /// As whom the server there sees us. Tried for some seconds.
    pub(crate) fn call(&self, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        (0..5).find_map(|_| {
            let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(1500));
            let mut stream = self.inside(connect).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.parse().ok()
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
