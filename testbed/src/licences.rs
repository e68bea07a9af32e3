//! Checks every dependency against deny.toml without needing cargo-deny: licences, sources, and double versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use serde::Deserialize;
use spdx::{Expression, LicenseReq};

#[derive(Deserialize)]
struct Policy {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// Prints one line per offence; succeeds when there is none.
pub(crate) fn check(workspace: &Path) -> anyhow::Result<ExitCode> {
    let policy = read_policy(&workspace.join("deny.toml"))?;
    let packages = read_packages(workspace)?;
    let offences = offences(&policy, &packages);
    for offence in &offences {
        println!("{offence}");
    }
    if offences.is_empty() {
        println!(
            "{} packages: every licence allowed, every source a registry, no version doubled without a reason",
            packages.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// The packages that a build really uses: `cargo metadata` also lists optional ones that nobody turned on.
fn read_packages(workspace: &Path) -> anyhow::Result<Vec<Package>> {
    let used = cargo(workspace, &["tree", "--locked", "--workspace", "--prefix=none", "--format={p}"])?;
    let used: BTreeSet<&str> = used.lines().map(name_and_version).collect();
    let metadata = cargo(workspace, &["metadata", "--locked", "--format-version=1"])?;
    let Metadata { mut packages } =
        serde_json::from_str(&metadata).context("cannot understand cargo metadata")?;
    packages.retain(|package| used.contains(format!("{} v{}", package.name, package.version).as_str()));
    Ok(packages)
}

/// `name v1.2.3 (source) (*)` without what follows the version.
fn name_and_version(line: &str) -> &str {
    let end = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
    &line[..end]
}

fn cargo(workspace: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new("cargo").args(args).current_dir(workspace).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("cargo wrote no text")
}

fn offences(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let allowed: BTreeSet<&str> = policy.licenses.allow.iter().map(String::as_str).collect();
    let mut found: Vec<String> = packages.iter().filter_map(|package| offence(&allowed, package)).collect();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    // A skip is written `name@version`, and excuses the older of two versions.
    let excused =
        |name: &str| policy.bans.skip.iter().any(|skip| skip.name.split(['@', ':']).next() == Some(name));
    let doubled = versions.into_iter().filter(|(name, all)| all.len() > 1 && !excused(name));
    found.extend(doubled.map(|(name, all)| {
        format!("{name}: {} versions ({})", all.len(), all.into_iter().collect::<Vec<_>>().join(", "))
    }));
    found
}

fn offence(allowed: &BTreeSet<&str>, package: &Package) -> Option<String> {
    let Package { name, version, license, source } = package;
    if let Some(source) = source
        && !source.starts_with("registry+")
    {
        return Some(format!("{name} {version}: comes from {source}, not from a registry"));
    }
    let Some(license) = license else {
        return Some(format!("{name} {version}: states no licence"));
    };
    let accepts = |wanted: &LicenseReq| allowed.contains(wanted.to_string().as_str());
    match Expression::parse_mode(license, spdx::ParseMode::LAX) {
        Ok(expression) if expression.evaluate(accepts) => None,
        Ok(_) => Some(format!("{name} {version}: licence {license} is not allowed by deny.toml")),
        Err(error) => {
            Some(format!("{name} {version}: licence {license:?} cannot be understood: {}", error.reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        toml::from_str("[licenses]\nallow = ['MIT', 'Apache-2.0 WITH LLVM-exception']\n[bans]\nskip = [{ crate = 'old@1.0.0', reason = 'x' }]").unwrap()
    }

    fn package(name: &str, version: &str, license: &str) -> Package {
        let source = Some("registry+index".to_owned());
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()),
            source,
        }
    }

    #[test]
    fn one_allowed_alternative_is_enough() {
        let all = [
            package("a", "1", "MIT OR GPL-3.0-only"),
            package("b", "1", "GPL-3.0-only/MIT"),
            package("c", "1", "Apache-2.0 WITH LLVM-exception"),
        ];
        assert_eq!(offences(&policy(), &all), Vec::<String>::new());
    }

    #[test]
    fn every_part_of_a_conjunction_must_be_allowed() {
        let found = offences(&policy(), &[package("a", "1", "MIT AND GPL-3.0-only")]);
        assert_eq!(found, ["a 1: licence MIT AND GPL-3.0-only is not allowed by deny.toml"]);
    }

    #[test]
    fn a_package_from_elsewhere_or_without_licence_is_refused() {
        let mut git = package("a", "1", "MIT");
        git.source = Some("git+ssh".to_owned());
        let mut bare = package("b", "1", "MIT");
        bare.license = None;
        assert_eq!(offences(&policy(), &[git, bare]).len(), 2);
    }

    #[test]
    fn a_doubled_version_needs_a_reason() {
        let all = [
            package("old", "1.0.0", "MIT"),
            package("old", "2.0.0", "MIT"),
            package("new", "1", "MIT"),
            package("new", "2", "MIT"),
        ];
        assert_eq!(offences(&policy(), &all), ["new: 2 versions (1, 2)"]);
    }
}
