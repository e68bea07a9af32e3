//! Alibaba Cloud, simulated: ECS 2014-05-26, VPC 2016-04-28, STS 2015-04-01 and the metadata service, from one shared model.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use testbed::aliyun::{Simulator, Topology};
//!
//! let sim = Simulator::start().await?;
//! sim.edit(|cloud| Topology::seed().build(cloud))?;
//! sim.edit(|cloud| cloud.assign("eni-bp1worker1", &["192.168.0.200".parse().unwrap()]))?;
//! println!("{:?} {:?}", sim.endpoints(), sim.calls().by_action());
//! # Ok(())
//! # }
//! ```

mod actions;
mod calls;
mod clock;
mod cloud;
mod control;
mod faults;
mod gate;
mod keys;
mod metadata;
mod paging;
mod parameters;
mod refusal;
mod reply;
mod signature;
mod simulator;
mod sts;
mod throttle;
mod topology;
mod wire;
mod world;

pub use calls::{Call, Calls, Fate};
pub use clock::Clock;
pub use cloud::{Cloud, Delays};
pub use faults::{Fault, Faults, STRAY, When};
pub use keys::{Keys, Temporary};
pub use metadata::{Metadata, Mode, Role};
pub use refusal::Refusal;
pub use reply::{EmptyLists, LastToken, Style};
pub use signature::{Authorization, Signed, hash, sign};
pub use simulator::{Addresses, Endpoints, Product, Simulator, StartError};
pub use sts::Sts;
pub use throttle::{Budget, RetryAfter, Throttle};
pub use topology::{KEY, SECRET, Topology};
pub use world::{
    Attachment, Instance, InstanceStatus, InstanceType, Nic, NicKind, NicSpec, NicStatus, TrafficMode,
    VSwitch, Vpc, World,
};
