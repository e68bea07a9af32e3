//! Writes the `CustomResourceDefinitions` into a folder of the chart; with `--check`, says whether they are up to date.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the chart keeps them, seen from the root of the checkout.
const FOLDER: &str = "charts/spiderpool/crds";

const USAGE: &str = "usage: crdgen [--check] [FOLDER]";

enum Mode {
    Write,
    Check,
}

fn main() -> ExitCode {
    let mut mode = Mode::Write;
    let mut folder = PathBuf::from(FOLDER);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => mode = Mode::Check,
            option if option.starts_with('-') => {
                eprintln!("unknown option {option}\n{USAGE}");
                return ExitCode::from(2);
            }
            path => folder = path.into(),
        }
    }
    match run(&mode, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &Mode, folder: &Path) -> Result<(), String> {
    let files = api::crd_files().map_err(|error| format!("cannot write the CRDs as YAML: {error}"))?;
    let mut stale = String::new();
    for (name, text) in files {
        let path = folder.join(name);
        let same = fs::read_to_string(&path).is_ok_and(|committed| committed == text);
        match mode {
            Mode::Check if !same => {
                let _ = writeln!(stale, "{} differs from the types in api/", path.display());
            }
            Mode::Write if !same => {
                fs::create_dir_all(folder)
                    .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
                fs::write(&path, text)
                    .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
            Mode::Check | Mode::Write => {}
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("{stale}run `cargo run -p api --bin crdgen` and commit the result"))
    }
}
