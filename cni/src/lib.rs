//! The CNI protocol once, for every plugin of ours: environment, stdin, versions, results, errors.
//!
//! A plugin implements [`Plugin`] and hands itself to [`serve`]. Nothing here panics, whatever the runtime sends, and only
//! [`serve`] writes to stdout, which belongs to the protocol.

mod cidr;
mod environment;
mod error;
mod network;
mod serve;
mod success;
mod verb;
mod version;

pub use cidr::Cidr;
pub use environment::{Args, Attachment, ContainerId, IfName};
pub use error::{Code, Error};
pub use network::Network;
pub use serve::{Answer, Plugin, answer, serve};
pub use success::{Dns, Interface, Ip, Route, Success};
pub use verb::Verb;
pub use version::Version;
