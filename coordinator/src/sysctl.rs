//! The sysctls of the namespace that the calling thread is in.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use netlink::{Error, Family};

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    path: PathBuf,
    value: String,
}

impl Setting {
    /// One of an interface, or of `all`.
    pub(crate) fn new(family: Family, interface: &str, name: &str, value: u8) -> Self {
        let family = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        // Not one text: an interface's name may have dots, and the kernel's own separator is the slash.
        let path = ["/proc/sys/net", family, "conf", interface, name].iter().collect();
        Self { path, value: value.to_string() }
    }
}

/// Writes those that are not so already, and keeps what was there before. A kernel without the family has no such file.
pub(crate) fn write(settings: &[Setting], before: &mut Vec<Setting>) -> Result<(), Error> {
    for Setting { path, value } in settings {
        let failed = |source| Error::Kernel { doing: format!("set {} to {value}", path.display()), source };
        let held = match fs::read_to_string(path) {
            Ok(held) => held,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        if held.trim() == value {
            continue;
        }
        fs::write(path, value).map_err(failed)?;
        before.push(Setting { path: path.clone(), value: held.trim().to_owned() });
    }
    Ok(())
}

/// Which of these are not so.
pub(crate) fn wrong(settings: &[Setting]) -> Vec<String> {
    let differs =
        |setting: &&Setting| fs::read_to_string(&setting.path).is_ok_and(|held| held.trim() != setting.value);
    settings.iter().filter(differs).map(|it| format!("set {} to {}", it.path.display(), it.value)).collect()
}
