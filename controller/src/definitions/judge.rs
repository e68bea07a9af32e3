//! What is to be done about one definition: decided from what is there, without any request.

use std::collections::BTreeMap;

use api::{NetworkAttachmentDefinition, SpiderMultusConfig, attachment, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use model::{Truth, Verdict};

use crate::world::World;

/// What is to be done.
pub(super) enum Judgement {
    /// Nothing.
    Well,
    /// It says something else than it should.
    Repair,
    /// Nothing can be done, and this is why.
    Leave(Verdict),
}

/// The reasons of the condition, besides those of writes.
pub(super) const GENERATED: &str = "Generated";
pub(super) const INVALID: &str = "Invalid";
pub(super) const CONFLICT: &str = "Conflict";
pub(super) const TERMINATING: &str = "Terminating";
pub(super) const UNKNOWN_KIND: &str = "KindNotInstalled";
pub(super) const WRITE_FAILED: &str = "WriteFailed";

/// Judges a definition that has the name of the one that the object wants.
pub(super) fn judge(
    config: &SpiderMultusConfig,
    there: &NetworkAttachmentDefinition,
    wanted: &NetworkAttachmentDefinition,
    world: &World,
) -> Judgement {
    let key = super::write::key(there);
    let by = match belongs(config, there) {
        Belongs::Us => None,
        // What a person took both the owner and the label from is theirs; one of them is a slip.
        Belongs::Nobody if is_labelled(there) => None,
        Belongs::Nobody => Some("nobody's controller".to_owned()),
        Belongs::Other(owner) if was_ours(config, owner, world) => {
            let message = format!(
                "NetworkAttachmentDefinition {key} belongs to an earlier object of this name and goes with it; then it is \
                 made again"
            );
            return Judgement::Leave(not_ready(TERMINATING, message));
        }
        Belongs::Other(owner) => Some(format!("{} {}", owner.kind, owner.name)),
    };
    if let Some(owner) = by {
        let message = format!(
            "NetworkAttachmentDefinition {key} is there and belongs to {owner}: delete it, or name another one in \
             annotation {}",
            labels::MULTUS_CR_NAME
        );
        return Judgement::Leave(not_ready(CONFLICT, message));
    }
    if there.metadata.deletion_timestamp.is_some() {
        let message =
            format!("NetworkAttachmentDefinition {key} is being deleted; when it is gone it is made again");
        return Judgement::Leave(not_ready(TERMINATING, message));
    }
    if attachment::says(there, wanted) { Judgement::Well } else { Judgement::Repair }
}

/// The definitions that carry our label, by the UID of the object that controls them.
pub(super) struct Owned<'a>(BTreeMap<&'a str, Vec<&'a NetworkAttachmentDefinition>>);

impl<'a> Owned<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let mut owned = BTreeMap::<_, Vec<_>>::new();
        for there in world.definitions() {
            if let Some(owner) = controller(there) {
                owned.entry(owner.uid.as_str()).or_default().push(there);
            }
        }
        Self(owned)
    }

    /// Returns those of an object.
    pub(super) fn by(
        &self,
        config: &SpiderMultusConfig,
    ) -> impl Iterator<Item = &'a NetworkAttachmentDefinition> {
        let of = config.metadata.uid.as_deref().and_then(|uid| self.0.get(uid));
        of.into_iter().flatten().copied()
    }

    /// Returns those of an object that have another name than it asks for now.
    pub(super) fn former(&self, config: &SpiderMultusConfig) -> Vec<&'a NetworkAttachmentDefinition> {
        let Ok(name) = attachment::definition_name(config) else { return Vec::new() };
        let live = self.by(config).filter(|there| there.metadata.deletion_timestamp.is_none());
        live.filter(|there| there.metadata.name.as_ref() != Some(&name)).collect()
    }
}

/// Whether what stands in the way may go without any watch telling us.
pub(super) fn nobody_tells(verdict: &Verdict) -> bool {
    verdict.reason == CONFLICT || verdict.reason == TERMINATING
}

pub(super) fn not_ready(reason: &'static str, message: String) -> Verdict {
    Verdict { status: Truth::False, reason, message }
}

/// Whose a definition is.
enum Belongs<'a> {
    Us,
    Nobody,
    Other(&'a OwnerReference),
}

fn belongs<'a>(config: &SpiderMultusConfig, there: &'a NetworkAttachmentDefinition) -> Belongs<'a> {
    match controller(there) {
        None => Belongs::Nobody,
        Some(owner) if config.uid().is_some_and(|uid| uid == owner.uid) => Belongs::Us,
        Some(owner) => Belongs::Other(owner),
    }
}

fn controller(there: &NetworkAttachmentDefinition) -> Option<&OwnerReference> {
    there.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Whether an owner is an object that was there before, under the name of this one or another: the garbage collector
/// follows.
fn was_ours(config: &SpiderMultusConfig, owner: &OwnerReference, world: &World) -> bool {
    let namespace = config.namespace();
    let lives = |uid: &str| {
        let mut there = world.multus_configs().filter(|other| other.namespace() == namespace);
        there.any(|other| other.uid().is_some_and(|other| other == uid))
    };
    owner.kind == SpiderMultusConfig::kind(&())
        && owner.api_version == SpiderMultusConfig::api_version(&())
        && !lives(&owner.uid)
}

fn is_labelled(there: &NetworkAttachmentDefinition) -> bool {
    there.labels().get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGER)
}
