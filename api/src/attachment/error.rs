//! Why no definition can be made of an object: what is wrong in it, and what to do.

/// What is wrong in a `SpiderMultusConfig`. The CEL rules refuse most of it, but not in objects that are older.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// The block of the `cniType` is not there.
    #[error("spec.{block} is missing: cniType {kind} is described there")]
    Block {
        /// The `cniType`.
        kind: &'static str,
        /// Its block.
        block: &'static str,
    },
    /// A field that the plugin cannot do without is missing or empty.
    #[error("{field} is missing: {wants}")]
    Missing {
        /// The way to the field.
        field: String,
        /// What belongs there.
        wants: &'static str,
    },
    /// Several masters, and nothing that makes one of them.
    #[error("spec.{block}.bond is missing: {masters} interfaces in master need a bond, or leave one of them")]
    Bond {
        /// The block.
        block: &'static str,
        /// How many masters there are.
        masters: usize,
    },
    /// An interface that would have to be made cannot be called so.
    #[error(
        "the interface {name} cannot be made: its name has {} bytes, the kernel takes {} at most; {advice}",
        name.len(),
        super::plugins::INTERFACE_NAME_MAX
    )]
    InterfaceName {
        /// The name.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// A field that holds JSON holds something else.
    #[error("{field} is no JSON object ({reason}): write one CNI configuration in braces")]
    Json {
        /// The way to the field.
        field: String,
        /// What the parser says.
        reason: String,
    },
    /// A chained plugin without a type.
    #[error("{field} has no text under \"type\": the plugin to call is named there")]
    PluginType {
        /// The way to the field.
        field: String,
    },
    /// An annotation that cannot be followed.
    #[error("annotation {key} is {value:?}: it must be {wants}, or be removed")]
    Annotation {
        /// The annotation.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        wants: String,
    },
    /// The configuration could not be written as JSON.
    #[error("the CNI configuration cannot be written as JSON: {0}")]
    Write(String),
}
