//! The table of provider types: one line for each, and all that follows from it.
//!
//! A new type is its crate, its line in the table, its module here, and in `file.rs` the keys that no other type has.

#[cfg(feature = "aliyun")]
mod aliyun;
mod listed;

use std::collections::BTreeSet;

use model::{Claim, InstanceId, Inventory, MultusTemplate, Node, ProviderName};
use providers::{Error, Path, Problem};

use crate::file;
use crate::parse::nearest;

/// One provider's section of the file, its common keys already read.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a ProviderName,
    pub(crate) given: &'a file::Provider,
    pub(crate) multus: &'a MultusTemplate,
    pub(crate) at: &'a Path,
}

/// Declares [`Cloud`] and [`Settings`] from lines of `type => Variant(provider, its module here)`. The module has
/// `SOURCE` (what it reads, for people), `KEYS` (the keys that not every type has), `Settings`, `check` (a section to settings, or all that is
/// wrong with it) and `open` (settings to a provider, without a call).
macro_rules! clouds {
    ($($(#[$only:meta])* $type:literal => $variant:ident($provider:ty, $module:ident)),+ $(,)?) => {
        /// Any of the providers, told apart at compile time: no boxes, no dynamic calls.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "one a provider, made once: a box would save nothing")]
        #[non_exhaustive]
        pub enum Cloud {
            $($(#[$only])* #[doc = concat!("`type: ", $type, "`.")] $variant($provider),)+
        }

        /// What only one type of provider is told.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "one a provider, made once: a box would save nothing")]
        #[non_exhaustive]
        pub enum Settings {
            $($(#[$only])* #[doc = concat!("`type: ", $type, "`.")] $variant($module::Settings),)+
        }

        impl Settings {
            /// The provider types that this program was built with.
            pub const TYPES: &[&str] = &[$($(#[$only])* $type),+];

            /// Returns the provider's type, as the file calls it.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[$only])* Self::$variant(_) => $type,)+
                }
            }

            /// Returns what the provider reads, for people.
            #[must_use]
            pub fn source(&self) -> &'static str {
                match self {
                    $($(#[$only])* Self::$variant(_) => $module::SOURCE,)+
                }
            }

            /// Reads a section by its type.
            pub(crate) fn check(section: &Section<'_>) -> Result<Self, Vec<Problem>> {
                match section.given.kind.as_str() {
                    $($(#[$only])* $type => {
                        let mut problems = foreign_keys(section, $module::KEYS);
                        let settings = $module::check(section).map(Self::$variant);
                        match settings {
                            Ok(settings) if problems.is_empty() => Ok(settings),
                            settings => {
                                problems.extend(settings.err().unwrap_or_default());
                                Err(problems)
                            }
                        }
                    })+
                    unknown => Err(vec![unknown_type(unknown, section.at)]),
                }
            }
        }

        impl Cloud {
            /// Opens the provider of these settings. Makes no call.
            ///
            /// # Errors
            /// What its own set-up needs and cannot have: TLS roots, for example.
            pub fn open(settings: &Settings) -> Result<Self, Error> {
                match settings {
                    $($(#[$only])* Settings::$variant(settings) => $module::open(settings).map(Self::$variant),)+
                }
            }
        }

        impl providers::Provider for Cloud {
            fn name(&self) -> &ProviderName {
                match self {
                    $($(#[$only])* Self::$variant(provider) => provider.name(),)+
                }
            }

            fn claim(&self, node: &Node) -> Claim {
                match self {
                    $($(#[$only])* Self::$variant(provider) => provider.claim(node),)+
                }
            }

            async fn list(&self) -> Result<Inventory, Error> {
                match self {
                    $($(#[$only])* Self::$variant(provider) => provider.list().await,)+
                }
            }

            async fn describe(&self, instances: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
                match self {
                    $($(#[$only])* Self::$variant(provider) => provider.describe(instances).await,)+
                }
            }
        }
    };
}

clouds! {
    #[cfg(feature = "aliyun")]
    "aliyun" => Aliyun(providers_aliyun::Aliyun, aliyun),
    "static" => Static(providers_static::Static, listed),
}

/// Reports the keys that mean nothing to this type.
fn foreign_keys(section: &Section<'_>, keys: &[&str]) -> Vec<Problem> {
    let file::Provider { kind, .. } = section.given;
    let known: Vec<&str> = file::Provider::COMMON.iter().chain(keys).copied().collect();
    let foreign = section.given.special_keys().into_iter().filter(|key| !keys.contains(key));
    foreign
        .map(|key| {
            let message = format!("type {kind} has no such key. It knows {}", known.join(", "));
            Problem::new(section.at.key(key), message)
        })
        .collect()
}

fn unknown_type(unknown: &str, at: &Path) -> Problem {
    let known = Settings::TYPES.join(", ");
    let message = match nearest(unknown, Settings::TYPES) {
        Some(kind) => format!("unknown provider type {unknown:?}, did you mean {kind:?}? Known: {known}"),
        None => format!("unknown provider type {unknown:?}. Known: {known}"),
    };
    Problem::new(at.key("type"), message)
}
