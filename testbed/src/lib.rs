//! The local world that the tests and the demo run in: a real Kubernetes control plane and simulated clouds. Never shipped.

pub mod aliyun;
pub mod cache;
mod child;
mod cluster;
mod control_plane;
mod debian;
mod error;
mod etcd;
pub mod image;
mod kubeconfig;
mod kubernetes;
mod pki;
mod plugins;
mod probe;
mod programs;
mod progress;
mod python;
mod scratch;
mod shared;

pub use child::spawn_tied;
pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use error::Error;
pub use plugins::Plugins;
pub use programs::Programs;
pub use python::{ALIBABA_SDK, python_with};
pub use rustix::process::Signal;
pub use scratch::Owner;
pub use shared::{SHARED_KUBECONFIG, shared, unique};
