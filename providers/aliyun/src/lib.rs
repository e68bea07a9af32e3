//! Alibaba Cloud: V3 signature, ECS and VPC calls, credentials and metadata, mapped to the model.

mod aliyun;
mod api;
mod budget;
mod claim;
mod credentials;
mod deadline;
mod environment;
mod fault;
mod http;
mod inventory;
mod metadata;
mod pages;
mod place;
mod secret;
mod settings;
mod signature;
mod vswitches;
mod wire;

pub use aliyun::Aliyun;
pub use api::{Observer, Outcome};
pub use environment::Environment;
pub use settings::{Endpoint, EndpointError, Endpoints, Limits, Settings, Tag, Timeouts};
