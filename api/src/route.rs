//! A route that a pool hands to its pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A route: a destination and its next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The destination in CIDR form; unique in its list.
    #[schemars(length(max = 49))]
    pub dst: String,
    /// The address of the next hop.
    #[schemars(length(max = 45))]
    pub gw: String,
}
