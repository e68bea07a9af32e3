use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::{Code, Error, Network, Verb};

/// The runtime's name of a container (for Kubernetes: of the pod's sandbox).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes what the specification allows: a letter or digit, then letters, digits, `_`, `.` and `-`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(
                "CNI_CONTAINERID",
                text,
                "start with a letter or digit and go on with letters, digits, '_', '.' or '-'",
            ))
        }
    }

    /// As text; safe as a part of a file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an interface in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfName(String);

impl IfName {
    /// Takes what the specification and the kernel allow: 1 to 15 bytes, no `/`, `:` or white space, neither `.` nor `..`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = (1..=15).contains(&text.len()) && text != "." && text != "..";
        if fits && !text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(
                "CNI_IFNAME",
                text,
                "have 1 to 15 bytes, no '/', ':' or white space, and be neither '.' nor '..'",
            ))
        }
    }

    /// As text; safe as a part of a file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pairs of `CNI_ARGS`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Takes `KEY=VALUE;KEY=VALUE`; a value may hold further `=`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        text.split(';')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(invalid("CNI_ARGS", text, "be KEY=VALUE pairs with ';' between them")),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The last value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// One interface of one container on one network: what ADD, DEL and CHECK are about.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The container.
    pub container_id: ContainerId,
    /// The interface in it.
    pub if_name: IfName,
    /// The container's network namespace; DEL may come without, when it is gone.
    pub netns: Option<PathBuf>,
    /// The runtime's arguments.
    pub args: Args,
    /// The network configuration.
    pub network: Network,
}

impl Attachment {
    pub(crate) fn read(
        verb: Verb,
        lookup: &dyn Fn(&str) -> Option<OsString>,
        network: Network,
    ) -> Result<Self, Error> {
        let container_id = ContainerId::parse(&required(verb, "CNI_CONTAINERID", lookup)?)?;
        let if_name = IfName::parse(&required(verb, "CNI_IFNAME", lookup)?)?;
        let netns = match (variable("CNI_NETNS", lookup)?, verb) {
            (Some(path), _) => Some(PathBuf::from(path)),
            (None, Verb::Del) => None,
            (None, _) => Some(PathBuf::from(required(verb, "CNI_NETNS", lookup)?)),
        };
        let args =
            variable("CNI_ARGS", lookup)?.as_deref().map_or_else(|| Ok(Args::default()), Args::parse)?;
        Ok(Self { container_id, if_name, netns, args, network })
    }
}

/// The grammar that the specification gives container IDs and network names.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A variable that is set and not empty.
pub(crate) fn variable(
    name: &str,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, Error> {
    let Some(value) = lookup(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    value.into_string().map(Some).map_err(|value| invalid(name, &value.to_string_lossy(), "be UTF-8"))
}

fn required(verb: Verb, name: &str, lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<String, Error> {
    variable(name, lookup)?.ok_or_else(|| {
        Error::new(Code::InvalidEnvironment, format!("{verb} needs the environment variable {name}, which is missing or empty: the runtime must set it"))
    })
}

fn invalid(name: &str, value: &str, must: &str) -> Error {
    Error::new(
        Code::InvalidEnvironment,
        format!("the environment variable {name} must {must}, and is {value:?}"),
    )
}
