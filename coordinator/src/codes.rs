//! The codes of failures that are this plugin's own; below 110 they are as the IPAM plugin's.

use cni::Code;

/// 103: CHECK found something missing.
pub(crate) const CHANGED: Code = Code::Plugin(103);
/// 110: the kernel refused; what was made before is gone again.
pub(crate) const NOT_MADE: Code = Code::Plugin(110);
/// 111: the mode does not go with this interface of this pod.
pub(crate) const WRONG_PLACE: Code = Code::Plugin(111);
/// 112: what the `SpiderCoordinator` says cannot be used.
pub(crate) const CLUSTER: Code = Code::Plugin(112);
/// 113: the pod or its node is not as it must be.
pub(crate) const UNFIT: Code = Code::Plugin(113);
