//! The programs of a control plane, and where each comes from.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::error::Error;
use crate::progress::say;
use crate::{cache, etcd, kubernetes};

/// The oldest API server that evaluates everything our CRDs ask for.
const OLDEST: (u32, u32) = (1, 31);

/// The programs that a control plane is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    pub(crate) etcd: PathBuf,
    pub(crate) kube_apiserver: PathBuf,
    pub(crate) kube_controller_manager: PathBuf,
    pub(crate) kube_scheduler: PathBuf,
    pub(crate) kubectl: PathBuf,
}

impl Programs {
    /// Finds each program in `KUBEBUILDER_ASSETS`, on `PATH` or in the cache, or else fetches or builds it into the cache.
    ///
    /// The first time on a machine this takes minutes and says so on stderr; after that it takes milliseconds.
    ///
    /// # Errors
    /// When a program cannot be had, or an API server was found that is older than 1.31.
    pub fn ensure() -> Result<Self, Error> {
        static FOUND: OnceLock<Programs> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::find()?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn find() -> Result<Self, Error> {
        let cache = cache::folder()?;
        let given = given_folders();
        let kube = |name: &str| {
            let cached = kubernetes::cached(&cache, name);
            locate(name, &given, &cached).map_or_else(|| kubernetes::build(&cache, name), Ok)
        };
        let kube_apiserver = kube("kube-apiserver")?;
        check_version(&kube_apiserver)?;
        let programs = Self {
            kube_apiserver,
            kube_controller_manager: kube("kube-controller-manager")?,
            kube_scheduler: kube("kube-scheduler")?,
            kubectl: kube("kubectl")?,
            etcd: locate("etcd", &given, &etcd::cached(&cache)).map_or_else(|| etcd::unpack(&cache), Ok)?,
        };
        Ok(programs)
    }

    /// The path of each program, by name.
    #[must_use]
    pub fn paths(&self) -> [(&'static str, &Path); 5] {
        let Self { etcd, kube_apiserver, kube_controller_manager, kube_scheduler, kubectl } = self;
        [
            ("etcd", etcd),
            ("kube-apiserver", kube_apiserver),
            ("kube-controller-manager", kube_controller_manager),
            ("kube-scheduler", kube_scheduler),
            ("kubectl", kubectl),
        ]
    }
}

/// The folders where a user may have put programs, the most deliberate first.
pub(crate) fn given_folders() -> Vec<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    assets.into_iter().chain(std::env::split_paths(&path)).collect()
}

/// Looks in the folders that the user gave, then in the cache.
pub(crate) fn locate(name: &str, given: &[PathBuf], cached: &Path) -> Option<PathBuf> {
    let given = given.iter().map(|dir| dir.join(name));
    given.chain([cached.to_owned()]).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn check_version(apiserver: &Path) -> Result<(), Error> {
    let start = |source| Error::Start { program: apiserver.display().to_string(), source };
    let output = Command::new(apiserver).arg("--version").output().map_err(start)?;
    let found = judge_version(apiserver, &String::from_utf8_lossy(&output.stdout))?;
    say(&format!("kube-apiserver {found} at {}", apiserver.display()));
    Ok(())
}

/// Returns the version that an API server says it is, unless it is too old.
fn judge_version(apiserver: &Path, said: &str) -> Result<String, Error> {
    let found = said.trim().trim_start_matches("Kubernetes ").to_owned();
    if major_minor(&found).is_some_and(|version| version >= OLDEST) {
        return Ok(found);
    }
    Err(Error::TooOld { path: apiserver.to_owned(), found, needed: "1.31" })
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(dir: &Path) -> PathBuf {
        let path = dir.join("kube-apiserver");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn an_api_server_older_than_1_31_is_refused_with_what_to_do() {
        let error = judge_version(Path::new("/x"), "Kubernetes v1.30.14\n").unwrap_err().to_string();
        assert!(error.contains("v1.30.14") && error.contains("1.31 or newer"), "{error}");
    }

    #[test]
    fn an_api_server_of_1_31_or_newer_is_used() {
        let found = |said| judge_version(Path::new("/x"), said).unwrap();
        assert_eq!(found("Kubernetes v1.31.0-rc.1\n"), "v1.31.0-rc.1");
        assert_eq!(found("Kubernetes v2.0.0\n"), "v2.0.0");
    }

    #[test]
    fn the_users_folders_come_in_their_order_and_before_the_cache() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [first, second, cache] = dirs.each_ref().map(|dir| dir.path().to_owned());
        let cached = program(&cache);
        let given = [first.clone(), second.clone()];
        assert_eq!(locate("kube-apiserver", &given, &cached).unwrap(), cached);
        let on_path = program(&second);
        assert_eq!(locate("kube-apiserver", &given, &cached).unwrap(), on_path);
        let asset = program(&first);
        assert_eq!(locate("kube-apiserver", &given, &cached).unwrap(), asset);
        assert_eq!(locate("etcd", &given, &cache.join("etcd")), None);
    }

    #[test]
    fn a_file_that_cannot_be_run_is_not_taken_for_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd");
        std::fs::write(&path, "").unwrap();
        assert!(!is_program(&path));
    }
}
