//! The same by iptables' programs, for kernels that know nothing else. They run in the calling thread's namespace.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, io};

use netlink::Family;

use crate::cable::POD_END;
use crate::plan::REPLY_MARK;

/// Where the programs are when the runtime gives its plugins no `PATH`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];
const INCOMING: &str = "SPIDERPOOL-IN";
const OUTGOING: &str = "SPIDERPOOL-OUT";

/// Whether it was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    There,
    Missing,
}

/// Has the rules there; else says why they cannot be.
pub(super) fn ensure(family: Family) -> Result<Was, String> {
    if is_there(family)? {
        return Ok(Was::There);
    }
    let mark = format!("{REPLY_MARK:#x}/{REPLY_MARK:#x}");
    // Chains are emptied when they are there; only what jumps to them could come twice.
    let rules = format!(
        "*mangle\n:{INCOMING} - [0:0]\n:{OUTGOING} - [0:0]\n\
         -A {INCOMING} -i {POD_END} -m conntrack --ctstate NEW -j CONNMARK --set-xmark {mark}\n\
         -A {OUTGOING} -m connmark --mark {mark} -j MARK --set-xmark {mark}\n\
         -A PREROUTING -j {INCOMING}\n-A OUTPUT -j {OUTGOING}\nCOMMIT\n"
    );
    restore(family, &rules).map(|()| Was::Missing)
}

/// Whether both chains are jumped to.
pub(super) fn is_there(family: Family) -> Result<bool, String> {
    let output = run(family, "save", &["-t", "mangle"], "")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let has = |rule: String| text.lines().any(|line| line == rule);
    Ok(has(format!("-A PREROUTING -j {INCOMING}")) && has(format!("-A OUTPUT -j {OUTGOING}")))
}

/// Takes the rules away; what is not there is not missed.
pub(super) fn remove(family: Family) {
    let rules = format!(
        "*mangle\n-D PREROUTING -j {INCOMING}\n-D OUTPUT -j {OUTGOING}\n-F {INCOMING}\n-F {OUTGOING}\n-X {INCOMING}\n-X {OUTGOING}\nCOMMIT\n"
    );
    restore(family, &rules).unwrap_or_default();
}

fn restore(family: Family, rules: &str) -> Result<(), String> {
    run(family, "restore", &["-w", "5", "--noflush"], rules).map(|_| ())
}

fn run(family: Family, what: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
    let base = if family == Family::V4 { "iptables" } else { "ip6tables" };
    // The legacy programs first: those that only look like iptables speak to nftables, which this kernel has not.
    let names = [format!("{base}-legacy-{what}"), format!("{base}-{what}")];
    let program = names.iter().find_map(|name| find(name)).ok_or_else(|| {
        format!(
            "neither {} is in PATH or {}: install iptables on this node",
            names.join(" nor "),
            FOLDERS.join(":")
        )
    })?;
    let failed = |error: io::Error| format!("{} cannot be run: {error}", program.display());
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that fails at once does not read it, and says why below.
        stdin.write_all(input.as_bytes()).unwrap_or_default();
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed: {}", program.display(), words.trim()))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}
