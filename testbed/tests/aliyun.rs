//! The Alibaba Cloud simulator, over its wire.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

#[path = "aliyun/actions.rs"]
mod actions;
#[path = "aliyun/behaviour.rs"]
mod behaviour;
#[path = "aliyun/client.rs"]
mod client;
#[path = "aliyun/gate.rs"]
mod gate;
#[path = "aliyun/instance_metadata.rs"]
mod instance_metadata;
