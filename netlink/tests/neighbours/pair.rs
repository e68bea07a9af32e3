use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Two namespaces with a cable between them: interface `pod` in the one, `peer` in the other, both up.
pub(crate) struct Pair {
    pub(crate) pod: End,
    pub(crate) peer: End,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (pod, peer) = (End::new("pod"), End::new("peer"));
        pod.ip(&format!("link add pod type veth peer name peer netns {}", peer.pid()));
        for end in [&pod, &peer] {
            end.ip("link set lo up");
            end.ip(&format!("link set {} up", end.interface));
        }
        Self { pod, peer }
    }
}

/// A namespace, which ends with the process that holds it.
pub(crate) struct End {
    pub(crate) interface: &'static str,
    holder: Child,
}

impl End {
    fn new(interface: &'static str) -> Self {
        let script = "echo; exec sleep 300";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says a line when it is inside.
        holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        Self { interface, holder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs `ip` inside and returns what it says.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let target = self.pid().to_string();
        let output = Command::new("nsenter")
            .args(["-t", &target, "-n", "ip"])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn mac(&self) -> String {
        let link = self.ip(&format!("-oneline link show dev {}", self.interface));
        link.split(' ').skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
