//! What exists in the simulated region: VPCs, vSwitches, instances, NICs. Every product answers from this one model.

mod book;
mod instance;
mod nic;
mod spec;
mod vswitch;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

pub use instance::{Instance, InstanceStatus, InstanceType};
pub use nic::{Attachment, Nic, NicKind, NicStatus, TrafficMode};
pub use spec::NicSpec;
pub(crate) use spec::Primary;
pub use vswitch::{VSwitch, Vpc};

use super::refusal::Refusal;

/// How a NIC's transitional state ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Attached,
    Detached,
    Deleted,
}

/// Everything that exists. Cheap to copy: the parts are shared.
#[derive(Clone, Debug, Default)]
pub struct World {
    vpcs: BTreeMap<String, Arc<Vpc>>,
    vswitches: BTreeMap<String, Arc<VSwitch>>,
    instances: BTreeMap<String, Arc<Instance>>,
    nics: BTreeMap<String, Arc<Nic>>,
    types: BTreeMap<String, Arc<InstanceType>>,
    pending: Vec<(Timestamp, String, Outcome)>,
    made: u64,
}

impl World {
    /// Returns a VPC.
    #[must_use]
    pub fn vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.get(id).map(AsRef::as_ref)
    }

    /// Returns a vSwitch.
    #[must_use]
    pub fn vswitch(&self, id: &str) -> Option<&VSwitch> {
        self.vswitches.get(id).map(AsRef::as_ref)
    }

    /// Returns an instance.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id).map(AsRef::as_ref)
    }

    /// Returns a NIC.
    #[must_use]
    pub fn nic(&self, id: &str) -> Option<&Nic> {
        self.nics.get(id).map(AsRef::as_ref)
    }

    /// Returns an instance type.
    #[must_use]
    pub fn instance_type(&self, id: &str) -> Option<&InstanceType> {
        self.types.get(id).map(AsRef::as_ref)
    }

    /// Returns every vSwitch, by id.
    pub fn vswitches(&self) -> impl Iterator<Item = &VSwitch> {
        self.vswitches.values().map(AsRef::as_ref)
    }

    /// Returns every instance, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().map(AsRef::as_ref)
    }

    /// Returns every NIC, by id.
    pub fn nics(&self) -> impl Iterator<Item = &Nic> {
        self.nics.values().map(AsRef::as_ref)
    }

    /// Returns every instance type, by id.
    pub fn instance_types(&self) -> impl Iterator<Item = &InstanceType> {
        self.types.values().map(AsRef::as_ref)
    }

    /// Returns the NICs that an instance holds, the primary one first, then by device index and id.
    #[must_use]
    pub fn nics_of(&self, instance: &str) -> Vec<&Nic> {
        self.nics_of_each(&[instance]).remove(instance).unwrap_or_default()
    }

    /// The NICs of some instances, in one pass over all NICs.
    pub(crate) fn nics_of_each(&self, instances: &[&str]) -> HashMap<String, Vec<&Nic>> {
        let mut all: HashMap<String, Vec<&Nic>> =
            instances.iter().map(|id| ((*id).to_owned(), Vec::new())).collect();
        for nic in self.nics() {
            if let Some(at) = &nic.attachment
                && let Some(held) = all.get_mut(&at.instance)
            {
                held.push(nic);
            }
        }
        for held in all.values_mut() {
            // The NICs came by id, and the sort keeps that order among equals.
            held.sort_by_key(|nic| {
                (nic.kind != NicKind::Primary, nic.attachment.as_ref().and_then(|at| at.device_index))
            });
        }
        all
    }

    /// NICs whose id comes after `after`, in order: what a page starts with.
    pub(crate) fn nics_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a Nic> + use<'a> {
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.nics.range::<str, _>(from).map(|(_, nic)| nic.as_ref())
    }

    pub(crate) fn put_vpc(&mut self, vpc: Vpc) {
        self.vpcs.insert(vpc.id.clone(), Arc::new(vpc));
    }

    pub(crate) fn put_vswitch(&mut self, vswitch: VSwitch) {
        self.vswitches.insert(vswitch.id.clone(), Arc::new(vswitch));
    }

    pub(crate) fn put_instance(&mut self, instance: Instance) {
        self.instances.insert(instance.id.clone(), Arc::new(instance));
    }

    pub(crate) fn put_nic(&mut self, nic: Nic) {
        self.nics.insert(nic.id.clone(), Arc::new(nic));
    }

    pub(crate) fn put_type(&mut self, kind: InstanceType) {
        self.types.insert(kind.id.clone(), Arc::new(kind));
    }

    /// Takes an instance out, with its primary NIC and those that go with it.
    pub(crate) fn remove_instance(&mut self, id: &str) {
        self.instances.remove(id);
        let held: Vec<String> = self.nics_of(id).into_iter().map(|nic| nic.id.clone()).collect();
        for nic in held {
            let goes =
                self.nic(&nic).is_some_and(|nic| nic.kind == NicKind::Primary || nic.delete_on_release);
            if goes {
                self.nics.remove(&nic);
            } else if let Ok(nic) = self.nic_mut(&nic) {
                nic.attachment = None;
                nic.status = NicStatus::Available;
            }
        }
    }

    pub(crate) fn remove_nic(&mut self, id: &str) {
        self.nics.remove(id);
    }

    pub(crate) fn nic_mut(&mut self, id: &str) -> Result<&mut Nic, Refusal> {
        self.nics.get_mut(id).map(Arc::make_mut).ok_or_else(|| no_nic(id))
    }

    pub(crate) fn instance_mut(&mut self, id: &str) -> Result<&mut Instance, Refusal> {
        self.instances.get_mut(id).map(Arc::make_mut).ok_or_else(|| no_instance(id))
    }

    pub(crate) fn need_nic(&self, id: &str) -> Result<&Nic, Refusal> {
        self.nic(id).ok_or_else(|| no_nic(id))
    }

    pub(crate) fn need_instance(&self, id: &str) -> Result<&Instance, Refusal> {
        self.instance(id).ok_or_else(|| no_instance(id))
    }

    pub(crate) fn need_vswitch(&self, id: &str) -> Result<&VSwitch, Refusal> {
        self.vswitch(id).ok_or_else(|| {
            Refusal::new(
                "InvalidVSwitchId.NotFound",
                format!("The specified VSwitch \"{id}\" does not exist."),
            )
        })
    }

    /// A number that was not given out before, for ids and MACs.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Remembers how a transitional state ends, and when.
    pub(crate) fn end_later(&mut self, at: Timestamp, nic: &str, outcome: Outcome) {
        self.pending.push((at, nic.to_owned(), outcome));
    }

    /// When the next transitional state ends, if that is due.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.pending.iter().any(|(at, ..)| *at <= now)
    }

    /// Ends every transitional state that is due.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(at, ..)| *at <= now);
        self.pending = rest;
        for (_, id, outcome) in due {
            match outcome {
                Outcome::Deleted => self.remove_nic(&id),
                Outcome::Attached | Outcome::Detached => {
                    let Ok(nic) = self.nic_mut(&id) else { continue };
                    if outcome == Outcome::Attached {
                        nic.status = NicStatus::InUse;
                    } else {
                        nic.status = NicStatus::Available;
                        nic.attachment = None;
                    }
                }
            }
        }
    }
}

fn no_nic(id: &str) -> Refusal {
    Refusal::new("InvalidEniId.NotFound", format!("The specified EniId \"{id}\" is not found."))
}

fn no_instance(id: &str) -> Refusal {
    Refusal::new("InvalidInstanceId.NotFound", format!("The specified InstanceId \"{id}\" does not exist."))
}
