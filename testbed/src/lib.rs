//! The local world that the tests and the demo run in: a real Kubernetes control plane and simulated clouds. Never shipped.

pub mod aliyun;
