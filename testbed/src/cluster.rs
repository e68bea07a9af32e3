//! A cluster as its users see it: kubeconfigs, kubectl, our CRDs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, tail};
use crate::pki::Pki;
use crate::{kubeconfig, pki};

const KUBECONFIG: &str = "kubeconfig";
const SERVER: &str = "server";
/// The checkout's generated CRDs; the testbed is never shipped, so it always runs beside its checkout.
const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/spiderpool/crds");

/// Seen: well under a second; this is for a machine whose cores all compile something else.
const ROUTED_WITHIN: Duration = Duration::from_secs(30);
/// The same for rights.
const GRANTED_WITHIN: Duration = Duration::from_mins(1);

/// A running cluster, and the means to use it as its administrator or as anybody else.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    kubeconfig: PathBuf,
    server: String,
    pki: Pki,
    kubectl: PathBuf,
    crds: Mutex<Crds>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crds {
    Absent,
    Applied,
}

impl Cluster {
    /// Leaves in `dir` all that [`Cluster::open`] needs.
    pub(crate) fn create(dir: &Path, server: &str, pki: Pki, kubectl: PathBuf) -> Result<Self, Error> {
        let administrator = pki.client("kubernetes-admin", Some("system:masters"))?;
        let path = dir.join(KUBECONFIG);
        kubeconfig::write(&path, server, &pki.authority()?, "kubernetes-admin", &administrator)?;
        pki::write_private(&dir.join(SERVER), server)?;
        Ok(Self {
            dir: dir.to_owned(),
            kubeconfig: path,
            server: server.to_owned(),
            pki,
            kubectl,
            crds: Mutex::new(Crds::Absent),
        })
    }

    /// Opens the cluster that another process brought up, by its kubeconfig.
    pub(crate) fn open(kubeconfig: &Path, kubectl: PathBuf) -> Result<Self, Error> {
        let dir = kubeconfig.parent().unwrap_or(Path::new(".")).to_owned();
        let path = dir.join(SERVER);
        let server = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let pki = Pki::at(&dir);
        Ok(Self {
            dir,
            kubeconfig: kubeconfig.to_owned(),
            server,
            pki,
            kubectl,
            crds: Mutex::new(Crds::Absent),
        })
    }

    /// The administrator's kubeconfig. It verifies the server and may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The authority that signed all of it.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The address of the API server, `https://127.0.0.1:port`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Writes a kubeconfig with which one is `user`, and in `group`, by certificate, and may do what RBAC grants them: at first, nothing.
    ///
    /// A `ServiceAccount` is `system:serviceaccount:<namespace>:<name>`.
    ///
    /// # Errors
    /// When the certificate cannot be signed or the file cannot be written.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let path = self.dir.join(format!("{}.kubeconfig", user.replace(['/', ':'], "-")));
        self.write_kubeconfig(&path, &self.server, user, group)?;
        Ok(path)
    }

    /// As [`Cluster::kubeconfig_for`], at a path, for those who reach the API server at another address.
    pub(crate) fn write_kubeconfig(
        &self,
        path: &Path,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<(), Error> {
        let identity = self.pki.client(user, group)?;
        kubeconfig::write(path, server, &self.pki.authority()?, user, &identity)
    }

    /// Waits until the API server knows that `user` may do all of this, which it learns a moment after it stored the rights.
    ///
    /// Each question is what `kubectl auth can-i` takes: `["list", "pods", "-n", "kube-system"]`.
    ///
    /// # Errors
    /// When it still says no after a minute.
    pub fn wait_granted(&self, user: &str, questions: &[&[&str]]) -> Result<(), Error> {
        let begun = Instant::now();
        for question in questions {
            let args = [&["auth", "can-i"], *question, &["--as", user]].concat();
            while let Err(error) = self.kubectl(&args) {
                if begun.elapsed() > GRANTED_WITHIN {
                    return Err(error);
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// Runs `kubectl` as the administrator and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Command`] with what kubectl said on stderr, such as the message of a refusal.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.kubectl_as(&self.kubeconfig, args, "")
    }

    /// Runs `kubectl` as the administrator with `input` on its stdin (`-f -`).
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String, Error> {
        self.kubectl_as(&self.kubeconfig, args, input)
    }

    /// Runs `kubectl` with another kubeconfig, such as one of [`Cluster::kubeconfig_for`].
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str], input: &str) -> Result<String, Error> {
        let start = |source| Error::Start { program: self.kubectl.display().to_string(), source };
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(args);
        // Its discovery cache is the cluster's, not the user's: a port number is reused with another cluster behind it.
        command.env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            scope.spawn(|| {
                // A kubectl that fails early does not read on; its exit status tells why.
                if let Some(mut stdin) = stdin {
                    drop(stdin.write_all(input.as_bytes()));
                }
            });
            child.wait_with_output()
        });
        let output = output.map_err(start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let command = format!("kubectl {}", args.join(" "));
        Err(Error::Command {
            command,
            status: output.status,
            tail: tail(&String::from_utf8_lossy(&output.stderr), 40),
        })
    }

    /// Installs the CRDs of `charts/spiderpool/crds` and waits until they are served; once per process, later calls return at once.
    ///
    /// # Errors
    /// When the API server refuses one: with its reason.
    pub fn apply_crds(&self) -> Result<(), Error> {
        let mut crds = self.crds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *crds == Crds::Applied {
            return Ok(());
        }
        let apply = || self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", CRDS]);
        // Another test process may be applying the same at the same moment: that conflict passes.
        apply().or_else(|_| apply())?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", CRDS])?;
        self.wait_served()?;
        *crds = Crds::Applied;
        Ok(())
    }

    /// Established is said a moment before the API server routes the new paths.
    fn wait_served(&self) -> Result<(), Error> {
        let path = "/apis/{.spec.group}/{.spec.versions[0].name}/{.spec.names.plural}?limit=1";
        let template = format!("jsonpath={{range .items[*]}}{path}{{'\\n'}}{{end}}");
        let paths = self.kubectl(&["get", "-f", CRDS, "-o", &template])?;
        let begun = Instant::now();
        for path in paths.lines() {
            while let Err(error) = self.kubectl(&["get", "--raw", path]) {
                if begun.elapsed() > ROUTED_WITHIN {
                    return Err(error);
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}
