//! A node: a User-Mode Linux guest whose NICs are taps of the VPC, with a door for commands.

mod door;
mod software;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::process::Signal;

use crate::child::spawn_tied;
use crate::error::{Error, tail};
use crate::netns::Netns;
use crate::node_programs::NodePrograms;

use door::Door;
pub(crate) use software::{LocalTraffic, Software};

/// PID 1 of every guest.
const INIT: &str = include_str!("guest/init.sh");
/// A hundred pods with a shim each fit. Only what a guest touches is taken from the machine.
const MEMORY: &str = "mem=3072M";
/// A guest boots in a second; this is for a machine whose cores all do something else.
const BOOT: Duration = Duration::from_mins(2);
/// How long the kernel takes to let go of a guest's taps when its process is gone.
const POWER_OFF: Duration = Duration::from_secs(1);
/// The file with the id of a process that holds the other end of its console's input.
const PID: &str = "pid";
/// How long a command may run, unless its caller says otherwise.
const PATIENCE: Duration = Duration::from_mins(2);

/// A NIC as a guest sees it.
#[derive(Debug, Clone)]
pub(crate) struct GuestNic {
    /// The tap on the host.
    pub(crate) tap: String,
    /// The MAC address.
    pub(crate) mac: String,
    /// The node's own addresses, with the length of their subnets' prefixes.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// The gateways of its subnet. The primary NIC's are also the way of what has no address yet.
    pub(crate) gateways: Vec<IpAddr>,
}

/// What a guest is made of.
#[derive(Debug, Clone)]
pub(crate) struct GuestSpec<'a> {
    /// The node's name.
    pub(crate) name: String,
    /// Its NICs: `eth0`, `eth1`, …
    pub(crate) nics: Vec<GuestNic>,
    /// What runs on it, if it is more than a kernel and a shell.
    pub(crate) software: Option<Software<'a>>,
}

/// What a command in a guest said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
}

/// A running guest: ended on drop, and with this process however that ends.
#[derive(Debug)]
pub struct Guest {
    name: String,
    folder: PathBuf,
    nics: Vec<GuestNic>,
    process: Mutex<Child>,
    door: Door,
}

impl Guest {
    /// Boots a guest with its files in `folder`, which is made. Returns before it is up.
    pub(crate) fn boot(
        spec: &GuestSpec<'_>,
        folder: &Path,
        programs: &NodePrograms,
        netns: &Netns,
    ) -> Result<Self, Error> {
        let GuestSpec { name, nics, software } = spec;
        fs::create_dir_all(folder.join("door")).map_err(Error::file("create", folder))?;
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            fs::write(&path, text).map_err(Error::file("write", &path))
        };
        write("init", INIT)?;
        let init = folder.join("init");
        make_runnable(&init)?;
        write("network", &network(nics))?;
        write("rules", &rules(nics, IpAddr::is_ipv4))?;
        write("rules6", &rules(nics, IpAddr::is_ipv6))?;
        let mut settings = settings(name, programs);
        if let Some(software) = software {
            settings += &software.write(folder, name, nics, programs)?;
        }
        write("settings", &settings)?;

        let (process, line) = launch(name, folder, nics, programs, netns)?;
        let door = Door::new(name, folder, line);
        let (name, folder, nics) = (name.clone(), folder.to_owned(), nics.clone());
        Ok(Self { name, folder, nics, process: Mutex::new(process), door })
    }

    /// Cuts its power, and boots it again from the same files. Of all that was written in it only `/var/lib/spidernet` is still there.
    pub(crate) fn reboot(&self, programs: &NodePrograms, netns: &Netns) -> Result<(), Error> {
        {
            let mut process = self.process();
            end(&mut process);
            thread::sleep(POWER_OFF);
            let (again, line) = launch(&self.name, &self.folder, &self.nics, programs, netns)?;
            *process = again;
            self.door.lead_to(line);
        }
        self.wait_up()
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        // What it holds is always one process, whole.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until commands can be run.
    pub(crate) fn wait_up(&self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let console = self.log("console");
            if console.contains("is up") {
                return Ok(());
            }
            let ended = !matches!(self.process().try_wait(), Ok(None));
            if ended || begun.elapsed() > BOOT {
                return Err(Error::Node {
                    node: self.name.clone(),
                    wanted: "up",
                    seconds: begun.elapsed().as_secs(),
                    tail: tail(&console, 20),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder on the host, with its logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text of one of its logs: `console`, `kubelet`, `containerd`, `kube-proxy`, `agent`. Empty when there is none.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a bash script in the guest, as root, beside any others, for two minutes at most.
    ///
    /// # Errors
    /// When the guest does not run it to its end; the script's own failure is in [`Output::status`].
    pub fn run(&self, script: &str) -> Result<Output, Error> {
        self.run_for(script, PATIENCE)
    }

    /// As [`Guest::run`], with another patience. What runs longer goes on in the guest.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn run_for(&self, script: &str, patience: Duration) -> Result<Output, Error> {
        self.door.run(script, patience)
    }

    /// Runs a command in the background, and again whenever it ends, with its output in the log `name`.
    ///
    /// In the guest, `/run/<name>.pid` holds the id of its process, `/run/<name>.keeper` that of who starts it again.
    ///
    /// # Errors
    /// As [`Guest::sh`].
    pub fn keep(&self, name: &str, command: &str) -> Result<(), Error> {
        let log = self.folder.join(format!("{name}.log"));
        let keeper = format!(
            "echo $BASHPID > /run/{name}.keeper\nwhile :; do\n {command} &\n echo $! > /run/{name}.pid\n wait\n sleep 0.2\ndone"
        );
        self.sh(&format!("{{\n{keeper}\n}} >> '{}' 2>&1 < /dev/null &\n", log.display())).map(drop)
    }

    /// Ends what [`Guest::keep`] started under this name, at once. Done already is fine.
    ///
    /// # Errors
    /// As [`Guest::sh`].
    pub fn end(&self, name: &str) -> Result<(), Error> {
        self.sh(&format!(
            "for file in /run/{name}.keeper /run/{name}.pid; do kill -9 \"$(cat $file)\"; rm $file; done 2> /dev/null; true"
        ))
        .map(drop)
    }

    /// Runs a bash script that must succeed, and returns what it wrote on stdout.
    ///
    /// # Errors
    /// As [`Guest::run`], and when the script's status is not 0: with what it wrote.
    pub fn sh(&self, script: &str) -> Result<String, Error> {
        let Output { status, stdout, stderr } = self.run(script)?;
        if status == 0 {
            return Ok(stdout);
        }
        Err(Error::InGuest {
            node: self.name.clone(),
            script: script.to_owned(),
            status,
            said: stdout + &stderr,
        })
    }

    /// As [`Guest::run`], a command in the network namespace of a pod that runs here: its ways through the network are those of the pod's
    /// own processes, at a third of what `kubectl exec` costs an emulated node. `uid` is the pod's.
    ///
    /// # Errors
    /// As [`Guest::run`]. That no sandbox of the pod is here is in [`Output::status`] and [`Output::stderr`].
    pub fn run_in_pod(&self, uid: &str, command: &str) -> Result<Output, Error> {
        // What the runtime was told of the sandbox. Without a program but the command itself: each takes its time here.
        let script = format!(
            r#"for file in /run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json; do
                read -r -d '' config < $file
                [[ $config == *'"io.kubernetes.cri.sandbox-uid":"{uid}"'* ]] || continue
                [[ $config =~ '"network","path":"'([^\"]+) ]] || continue
                exec nsenter --net=${{BASH_REMATCH[1]}} {command}
            done
            echo 'no sandbox of the pod {uid} is here' >&2
            exit 1"#
        );
        self.run(&script)
    }
}

/// Runs a bash script in a guest of another process, whose files are in `folder`.
///
/// # Errors
/// When there is no such guest, or it does not run the script to its end within an hour.
pub fn run_in(folder: &Path, script: &str) -> Result<Output, Error> {
    let path = folder.join(PID);
    let pid = fs::read_to_string(&path).map_err(Error::file("find the guest of", &path))?;
    // Its console's input is a pipe, which can be opened a second time.
    let pipe = PathBuf::from(format!("/proc/{pid}/fd/0"));
    let line = File::options().write(true).open(&pipe).map_err(Error::file("talk to the guest at", &pipe))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Door::new(&name, folder, line).run(script, Duration::from_hours(1))
}

impl Drop for Guest {
    fn drop(&mut self) {
        // All it has is thrown away, so there is nothing a gentle end could save.
        end(&mut self.process());
    }
}

fn end(process: &mut Child) {
    if process.kill().is_ok() {
        drop(process.wait());
    }
}

/// Starts the kernel; returns it and the end of its console's input.
fn launch(
    name: &str,
    folder: &Path,
    nics: &[GuestNic],
    programs: &NodePrograms,
    netns: &Netns,
) -> Result<(Child, File), Error> {
    let log = folder.join("console.log");
    let console = File::create(&log).map_err(Error::file("create", &log))?;
    let errors = console.try_clone().map_err(Error::file("open", &log))?;
    let mut command = command(name, folder, nics, programs);
    command.stdin(Stdio::piped()).stdout(console).stderr(errors).current_dir("/").process_group(0);
    netns.place(&mut command);
    let start = |source| Error::Start { program: format!("the guest {name}"), source };
    let mut process = spawn_tied(command, Signal::KILL).map_err(start)?;
    let line = process.stdin.take().ok_or_else(|| start(std::io::Error::other("it has no stdin")))?;
    let path = folder.join(PID);
    fs::write(&path, process.id().to_string()).map_err(Error::file("write", &path))?;
    Ok((process, File::from(OwnedFd::from(line))))
}

/// The command that boots a guest.
fn command(name: &str, folder: &Path, nics: &[GuestNic], programs: &NodePrograms) -> Command {
    // A guest is many processes; in a process namespace of their own they all end when the first one does.
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(programs.kernel());
    command.args([MEMORY, "rootfstype=hostfs", "rw", "quiet", "con=null", "con0=fd:0,fd:1"]);
    command.arg(format!("umid={name}")).arg(format!("uml_dir={}", folder.join("uml").display()));
    command.arg(format!("init={}", folder.join("init").display()));
    command.arg(format!("folder={}", folder.display()));
    for (k, GuestNic { tap, mac, .. }) in nics.iter().enumerate() {
        // Whoever sends to a guest hands over large segments whole (TSO), which a guest that does not take them (gro) drops.
        command.arg(format!("vec{k}:transport=tap,ifname={tap},mac={mac},gro=1"));
    }
    command
}

/// What PID 1 must know.
fn settings(name: &str, programs: &NodePrograms) -> String {
    let kubernetes = [&programs.kubelet, &programs.kube_proxy].map(|program| program.parent());
    let folders: Vec<String> = kubernetes
        .into_iter()
        .flatten()
        .chain([programs.containerd.as_path()])
        .map(|folder| folder.display().to_string())
        .collect();
    format!(
        "node='{name}'\ndebian='{}'\nlibraries='{}'\nprograms='{}'\n",
        programs.debian.display(),
        programs.libraries().display(),
        folders.join(":")
    )
}

/// The routing table of `eth0`, and the preference of its rule; those of further NICs follow.
const FIRST_TABLE: usize = 10_000;

/// What `ip -batch` in the guest makes of its NICs.
fn network(nics: &[GuestNic]) -> String {
    // Writing into a String cannot fail.
    let mut plan = "link set lo up\n".to_owned();
    for (k, GuestNic { addresses, gateways, .. }) in nics.iter().enumerate() {
        let _ = writeln!(plan, "link set vec{k} name eth{k}\nlink set eth{k} up");
        for (address, length) in addresses {
            let flag = if address.is_ipv6() { " nodad" } else { "" };
            let _ = writeln!(plan, "addr add {address}/{length} dev eth{k}{flag}");
        }
        let table = FIRST_TABLE + k;
        for subnet in subnets(addresses) {
            let _ = writeln!(plan, "route add {subnet} dev eth{k} table {table}");
        }
        for gateway in gateways {
            if k == 0 {
                let _ = writeln!(plan, "route add default via {gateway} dev eth{k}");
            }
            // Where a NIC has no address of the family there is no way.
            if addresses.iter().any(|(address, _)| address.is_ipv6() == gateway.is_ipv6()) {
                let _ = writeln!(plan, "route add default via {gateway} dev eth{k} table {table}");
            }
        }
    }
    plan
}

/// The blocks in which a NIC's addresses are.
fn subnets(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = IpNet> {
    let nets = addresses.iter().filter_map(|(address, length)| IpNet::new(*address, *length).ok());
    nets.map(|net| net.trunc())
}

/// The rules of one family, which `ip` adds only when it is told the family.
///
/// As clouds' own images do it on machines of several NICs, what is sent from a NIC's address leaves by that NIC, also to those
/// whose subnet another NIC is in: the cloud drops it elsewhere. The first NIC's way elsewhere is in the table main, with the ways to
/// what is on the node itself.
fn rules(nics: &[GuestNic], is_of: fn(&IpAddr) -> bool) -> String {
    let mut plan = String::new();
    for (k, nic) in nics.iter().enumerate() {
        let table = FIRST_TABLE + k;
        for (address, _) in nic.addresses.iter().filter(|(address, _)| is_of(address)) {
            let others = nics.iter().skip(1).flat_map(|other| subnets(&other.addresses));
            let to: Vec<String> = match k {
                0 => others.filter(|net| is_of(&net.addr())).map(|net| format!("to {net} ")).collect(),
                _ => vec![String::new()],
            };
            for to in to {
                // Writing into a String cannot fail.
                let _ = writeln!(plan, "rule add from {address} {to}lookup {table} pref {table}");
            }
        }
    }
    plan
}

fn make_runnable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(Error::file("make runnable", path))
}
