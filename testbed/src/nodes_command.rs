//! `testbed cluster`: real nodes with the product on them, until a signal or, detached, until `testbed down`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use testbed::aliyun::Topology;
use testbed::{Families, Nodes, Output, Owner, Product, Programs, Setup, run_in};

use crate::up::{listening, print_export};

const POLL: Duration = Duration::from_millis(100);
/// How the last line begins.
const EXPORT: &str = "export KUBECONFIG=";

/// Which addresses nodes, pods and services have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stack {
    /// IPv4 only
    V4,
    /// IPv6 only
    V6,
    /// Both
    #[default]
    Dual,
}

impl From<Stack> for Families {
    fn from(stack: Stack) -> Self {
        match stack {
            Stack::V4 => Self::V4,
            Stack::V6 => Self::V6,
            Stack::Dual => Self::Dual,
        }
    }
}

/// What runs on the nodes.
pub(crate) enum Content {
    /// What makes them nodes.
    Bare,
    /// The product too: its programs in this folder, or else in that of this program.
    Product(Option<PathBuf>),
}

/// Brings the cluster up in `dir` and stays until a signal says to end it.
pub(crate) fn attached(dir: &Path, stack: Stack, content: Content) -> anyhow::Result<ExitCode> {
    if up_already(dir)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut setup = Setup::new(Topology::seed()).families(stack.into()).folder(dir);
    if let Content::Product(folder) = content {
        let folder = match folder {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::current_exe()?.parent().context("this program is in no folder")?.to_owned(),
        };
        setup = setup.product(Product::in_folder(&folder)?);
    }
    let mut nodes = setup.start()?;
    // The folder may be in a checkout.
    let ignore = nodes.plane().folder().join(".gitignore");
    std::fs::write(&ignore, "*\n").with_context(|| format!("cannot write {}", ignore.display()))?;
    listening(async |signals| {
        explain(&nodes)?;
        print_export(nodes.plane().kubeconfig());
        while !signals.arrived(POLL).await {
            nodes.check()?;
        }
        eprintln!("testbed: taking the nodes down");
        drop(nodes);
        Ok(ExitCode::SUCCESS)
    })
}

/// Brings the cluster up in `dir` and leaves it there.
pub(crate) fn detached(dir: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    if up_already(dir)? {
        return Ok(ExitCode::SUCCESS);
    }
    // Without a name: it is gone with the cluster.
    let log = tempfile::NamedTempFile::new().context("cannot make a file for what the cluster says")?;
    let mut said = log.reopen().context("cannot open what the cluster says")?;
    let (out, err) = (log.reopen()?, log.into_file());
    // A session of its own: it shall not end with the terminal.
    let mut command = Command::new("setsid");
    command.arg(std::env::current_exe()?).args(arguments);
    command.stdin(Stdio::null()).stdout(append(&out)?).stderr(append(&err)?);
    let mut child = command.spawn().context("cannot start setsid")?;
    follow(&mut child, &mut said)
}

/// Both of its outputs go into one file, so each must write at the end that the other moved.
fn append(file: &File) -> anyhow::Result<File> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().append(true).open(path).context("cannot open what the cluster says")
}

/// Repeats what the cluster says until it is up.
fn follow(child: &mut Child, said: &mut File) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    loop {
        let ended = child.try_wait().context("cannot watch the cluster")?;
        said.read_to_string(&mut text).context("cannot read what the cluster says")?;
        while let Some((line, rest)) = text.split_once('\n') {
            if line.starts_with(EXPORT) {
                println!("{line}");
                return Ok(ExitCode::SUCCESS);
            }
            // A terminal that is gone does not keep the cluster from coming up.
            drop(writeln!(std::io::stderr(), "{line}"));
            text = rest.to_owned();
        }
        if let Some(status) = ended {
            bail!("the cluster ended before it was up ({status})");
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a command on a node of the cluster in `dir`.
pub(crate) fn sh(dir: &Path, node: &str, command: &[String]) -> anyhow::Result<ExitCode> {
    let folder = std::path::absolute(dir)?.join("nodes").join(node);
    if !matches!(Owner::of(dir)?, Owner::Alive(_)) {
        bail!("no cluster is up in {}; `testbed cluster --dir {0}` brings one up", dir.display());
    }
    if !folder.is_dir() {
        bail!("there is no node {node} in {}", dir.display());
    }
    // One word is a script; several are a command, each word as it is.
    let script = match command {
        [script] => script.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    };
    let Output { status, stdout, stderr } = run_in(&folder, &script)?;
    print!("{stdout}");
    eprint!("{stderr}");
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn up_already(dir: &Path) -> anyhow::Result<bool> {
    let Owner::Alive(pid) = Owner::of(dir)? else { return Ok(false) };
    eprintln!("testbed: process {pid} has it up already");
    print_export(&std::fs::canonicalize(dir)?.join("kubeconfig"));
    Ok(true)
}

/// Says how to look around.
fn explain(nodes: &Nodes) -> anyhow::Result<()> {
    let folder = nodes.plane().folder().display();
    eprintln!("testbed: logs are in {folder} and in {folder}/nodes/NODE");
    for guest in nodes.guests() {
        eprintln!("testbed: a command on {0}: testbed sh --dir {folder} {0} -- ip address", guest.name());
    }
    if let Some(control) = &nodes.cloud().endpoints().control {
        eprintln!("testbed: the cloud: curl -s {control}/control/state");
    }
    eprintln!("testbed: `testbed down --dir {folder}` takes all of it down");
    let programs = Programs::ensure()?;
    let kubectl = programs.paths().into_iter().find(|(name, _)| *name == "kubectl");
    let folder = kubectl.and_then(|(_, path)| path.parent()).context("the testbed has no kubectl")?;
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|entry| entry == folder));
    if !on_path {
        println!("export PATH={}:$PATH", folder.display());
    }
    Ok(())
}
