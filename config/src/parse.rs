//! From the file's text to a checked configuration, or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::ErrorKind;
use std::str::FromStr;
use std::time::Duration;

use model::{Coordinator, InterfaceTemplate, ProviderName};
use providers::{Path, Problem};
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter, Options, UserMessageFormatter};

use crate::cloud::{Section, Settings};
use crate::locate::Places;
use crate::{Config, Error, Mistake, Provider, Share, file, values};

/// Below this a resync would list the cloud all the time.
const RESYNC_MIN: Duration = Duration::from_secs(1);
/// What the contract names.
const RESYNC: Duration = Duration::from_mins(1);
/// Long enough for the nodes that one scaling step brings, too short to be noticed in a node's start.
const JOIN_WINDOW: Duration = Duration::from_millis(500);
/// Beyond a resync's usual length a window would only delay.
const JOIN_WINDOW_MAX: Duration = Duration::from_mins(1);

impl Config {
    /// Reads the file. Blocks for the time of one small read.
    ///
    /// # Errors
    /// A file that is missing or unreadable, or everything that is wrong in its text.
    pub fn read(path: &std::path::Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
            _ => Error::Unreadable { path: path.to_owned(), source },
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a file; `origin` is the file's name for messages.
    ///
    /// # Errors
    /// The first thing that is no YAML or has the wrong shape; or, if there is none, every value that is wrong.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let file = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| Error::Wrong { mistakes: vec![misshapen(&error, origin)] })?;
        check(file).map_err(|problems| {
            let places = Places::of(text);
            let mut mistakes: Vec<Mistake> = problems
                .iter()
                .map(|problem| {
                    let place = places.find(&problem.path);
                    Mistake {
                        origin: origin.to_owned(),
                        line: place.map(|place| place.line),
                        column: place.map(|place| place.column),
                        message: problem.to_string(),
                    }
                })
                .collect();
            mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Error::Wrong { mistakes }
        })
    }
}

/// Returns how YAML is read: strictly, and with room for the largest cluster.
pub(crate) fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        // 5,000 static nodes with 4 dual-stack NICs have 340,000 nodes of YAML; the reader's own 250,000 are
        // meant for texts of strangers. Depth and aliases stay limited.
        budget: serde_saphyr::budget! { max_nodes: 10_000_000, max_events: 40_000_000 },
    }
}

/// Says in our words what the YAML reader found.
fn misshapen(error: &serde_saphyr::Error, origin: &str) -> Mistake {
    let error = error.without_snippet();
    let place = error.location();
    let message = match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let known = expected.join(", ");
            match nearest(field, expected) {
                Some(key) => format!("unknown key {field:?}, did you mean {key:?}? Known here: {known}"),
                None => format!("unknown key {field:?}. Known here: {known}"),
            }
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => format!("key {field:?} is missing here"),
        serde_saphyr::Error::Eof { .. } => "the file ends here, and \"providers\" is missing".to_owned(),
        serde_saphyr::Error::Unexpected { expected: "sequence start", .. } => {
            "a list is expected here".to_owned()
        }
        serde_saphyr::Error::Unexpected { expected: "mapping start", .. } => {
            "a mapping of keys to values is expected here".to_owned()
        }
        serde_saphyr::Error::Unexpected { expected: "string scalar", .. } => {
            "a single text or number is expected here".to_owned()
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    };
    Mistake {
        origin: origin.to_owned(),
        line: place.map(|place| place.line()),
        column: place.map(|place| place.column()),
        message,
    }
}

/// Returns the known word that `word` is most likely a slip of: at most two edits, letter case not counted.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |key: &str| edits(&word.to_lowercase(), &key.to_lowercase());
    known
        .iter()
        .copied()
        .map(|key| (distance(key), key))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, key)| key)
}

/// Counts the letters to insert, drop or replace between two words (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((y, above), diagonal) in b.chars().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != y));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Reads `text` by its own grammar, or reports why not and returns the default.
pub(crate) fn value<T: FromStr>(text: Option<&String>, default: T, at: Path, problems: &mut Vec<Problem>) -> T
where
    T::Err: Display,
{
    match text.map(|text| text.parse()) {
        None => default,
        Some(Ok(value)) => value,
        Some(Err(error)) => {
            problems.push(Problem::new(at, error.to_string()));
            default
        }
    }
}

fn check(file: file::File) -> Result<Config, Vec<Problem>> {
    let file::File { resync, join_window, node_selector, removal, providers } = file;
    let (top, mut problems) = (Path::default(), Vec::new());
    let share = removal.and_then(|removal| removal.max_share);
    let config = Config {
        resync: within(resync.as_ref(), RESYNC, RESYNC_MIN..=Duration::MAX, top.key("resync"), &mut problems),
        join_window: within(
            join_window.as_ref(),
            JOIN_WINDOW,
            Duration::ZERO..=JOIN_WINDOW_MAX,
            top.key("joinWindow"),
            &mut problems,
        ),
        node_selector: value(
            node_selector.as_ref(),
            crate::NodeSelector::default(),
            top.key("nodeSelector"),
            &mut problems,
        ),
        max_removal: value(share.as_ref(), Share::QUARTER, top.key("removal").key("maxShare"), &mut problems),
        providers: check_providers(&providers, &top.key("providers"), &mut problems),
    };
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn within(
    text: Option<&String>,
    default: Duration,
    bounds: std::ops::RangeInclusive<Duration>,
    at: Path,
    problems: &mut Vec<Problem>,
) -> Duration {
    let Some(text) = text else { return default };
    let message = match values::duration(text) {
        Ok(duration) if bounds.contains(&duration) => return duration,
        Ok(duration) if duration < *bounds.start() => {
            format!("{text} is too short, at least {:?}", bounds.start())
        }
        Ok(_) => format!("{text} is too long, at most {:?}", bounds.end()),
        Err(message) => message,
    };
    problems.push(Problem::new(at, message));
    default
}

fn check_providers(providers: &[file::Provider], at: &Path, problems: &mut Vec<Problem>) -> Vec<Provider> {
    if providers.is_empty() {
        problems.push(Problem::new(at.clone(), "the list is empty; at least one provider is needed"));
    }
    let mut first: BTreeMap<&str, Path> = BTreeMap::new();
    let mut checked = Vec::new();
    for (i, provider) in providers.iter().enumerate() {
        let at = at.index(i);
        let name = provider.name.as_str();
        if !is_label(name) {
            let message = format!(
                "{name:?} is not a name: lower-case letters, digits, and '-' inside, at most 63 bytes"
            );
            problems.push(Problem::new(at.key("name"), message));
        } else if let Some(other) = first.get(name) {
            let message = format!("{name:?} is the name of {other} too; names must differ");
            problems.push(Problem::new(at.key("name"), message));
        }
        first.entry(name).or_insert_with(|| at.clone());
        checked.extend(check_provider(provider, &at, problems));
    }
    checked
}

fn check_provider(provider: &file::Provider, at: &Path, problems: &mut Vec<Problem>) -> Option<Provider> {
    let multus = value(
        provider.multus_name.as_ref(),
        model::MultusTemplate::default(),
        at.key("multusName"),
        problems,
    );
    let interface = value(
        provider.interface_name.as_ref(),
        InterfaceTemplate::default(),
        at.key("interfaceName"),
        problems,
    );
    let name = ProviderName::from(provider.name.as_str());
    let section = Section { name: &name, given: provider, multus: &multus, at };
    let settings = match Settings::check(&section) {
        Ok(settings) => settings,
        Err(more) => {
            problems.extend(more);
            return None;
        }
    };
    Some(Provider {
        name,
        interface,
        multus,
        default: provider.default.unwrap_or(true),
        coordinator: match provider.enable_coordinator {
            Some(true) | None => Coordinator::Chained,
            Some(false) => Coordinator::Absent,
        },
        settings,
    })
}

/// A name that fits into a label's value and an object's name: a DNS-1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let known = ["region", "resync", "vpcID"];
        assert_eq!(nearest("regoin", &known), Some("region"));
        assert_eq!(nearest("vpcid", &known), Some("vpcID"));
        assert_eq!(nearest("banana", &known), None);
    }

    #[test]
    fn edits_are_counted_both_ways() {
        assert_eq!((edits("", "abc"), edits("abc", ""), edits("kitten", "sitting")), (3, 3, 3));
    }
}
