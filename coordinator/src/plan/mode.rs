use super::Unfit;
use crate::config::Mode;

/// What is to be done for one interface of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The pod has a cable of its own to its node; this is the interface that brings it.
    UnderlayFirst,
    /// A further interface of such a pod.
    UnderlayLater,
    /// A further interface of a pod whose first one is an overlay network's.
    Overlay,
}

/// Decides; nothing when the coordinator has nothing to do.
pub fn way(mode: Mode, nic: &str, first_nic: &str, has_cable: bool) -> Result<Option<Way>, Unfit> {
    let is_first = nic == first_nic;
    match mode {
        Mode::Disabled => Ok(None),
        Mode::Auto | Mode::Underlay if is_first => Ok(Some(Way::UnderlayFirst)),
        Mode::Auto | Mode::Underlay if has_cable => Ok(Some(Way::UnderlayLater)),
        Mode::Underlay => Err(Unfit(format!(
            "mode underlay for the interface {nic} needs the interface veth0 in the pod, which the coordinator makes with {first_nic}: have the configuration of {first_nic} run the coordinator in mode underlay or auto, or use mode auto or overlay here"
        ))),
        Mode::Overlay if is_first => Err(Unfit(format!(
            "mode overlay is for interfaces beside {first_nic}, which an overlay network makes, and this is {nic}: use mode auto or underlay"
        ))),
        Mode::Overlay if has_cable => Err(Unfit(format!(
            "mode overlay for the interface {nic} does not go with veth0, which shows that {first_nic} is in mode underlay: use mode auto or underlay here"
        ))),
        Mode::Auto | Mode::Overlay => Ok(Some(Way::Overlay)),
    }
}
