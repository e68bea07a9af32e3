//! `type: static`, whose NICs are listed in the file itself.

use providers::{Error, Problem};
use providers_static::Static;

use super::Section;

pub(crate) const SOURCE: &str = "configuration";

pub(crate) const KEYS: &[&str] = &["nodes"];

/// A static provider has no more to open than its entries.
pub(crate) type Settings = Static;

pub(crate) fn check(section: &Section<'_>) -> Result<Settings, Vec<Problem>> {
    let at = section.at.key("nodes");
    let Some(nodes) = &section.given.nodes else {
        return Err(vec![Problem::new(section.at.clone(), "type static needs the key \"nodes\"")]);
    };
    let mut problems = Vec::new();
    for (name, entries) in nodes {
        for (i, entry) in entries.iter().enumerate() {
            // What is no interface name at all is reported by the provider.
            if model::check_interface(&entry.interface).is_ok()
                && let Err(error) = section.multus.render(&entry.interface)
            {
                problems.push(Problem::new(at.key(name).index(i).key("interface"), error.to_string()));
            }
        }
    }
    match Static::new(section.name.clone(), nodes, &at) {
        Ok(settings) if problems.is_empty() => Ok(settings),
        other => {
            problems.extend(other.err().unwrap_or_default());
            Err(problems)
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature that every type has")]
pub(crate) fn open(settings: &Settings) -> Result<Static, Error> {
    Ok(settings.clone())
}
