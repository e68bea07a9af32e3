//! The codes of failures that are this plugin's own, as the coordinator's.

use cni::Code;

/// 103: CHECK found something missing.
pub(crate) const CHANGED: Code = Code::Plugin(103);
/// 110: the kernel refused; what was made before is gone again.
pub(crate) const NOT_MADE: Code = Code::Plugin(110);
/// 113: the node is not as it must be.
pub(crate) const UNFIT: Code = Code::Plugin(113);
