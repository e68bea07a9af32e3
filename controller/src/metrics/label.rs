//! The closed sets of label values.

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Returns the label's value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}
pub(super) use label;

label! {
    /// How a pass ended.
    PassOutcome {
        /// All that was planned was done, nothing included.
        Done = "done",
        /// Some of it was not, and is tried again.
        Partial = "partial",
        /// Nothing could be planned.
        Failed = "failed",
        /// We stopped leading, or were told to stop.
        Interrupted = "interrupted",
    }
}

label! {
    /// What a step does to a pool.
    Change {
        /// Creates it.
        Create = "create",
        /// Changes it.
        Update = "update",
        /// Deletes it.
        Delete = "delete",
    }
}

label! {
    /// What became of a step or a write.
    Outcome {
        /// It is done.
        Done = "done",
        /// Somebody else wrote first.
        Conflict = "conflict",
        /// The API server said no.
        Refused = "refused",
        /// The API server did not answer.
        Unreachable = "unreachable",
        /// It was not tried: what it needs did not succeed, or we do not lead any more.
        Skipped = "skipped",
    }
}

label! {
    /// The kind of object that is written.
    Kind {
        /// `SpiderIPPool`.
        Pool = "SpiderIPPool",
        /// `SpiderNode`.
        Node = "SpiderNode",
        /// `SpiderMultusConfig`.
        Multus = "SpiderMultusConfig",
        /// `NetworkAttachmentDefinition`.
        Definition = "NetworkAttachmentDefinition",
        /// `SpiderCoordinator`.
        Coordinator = "SpiderCoordinator",
        /// `SpiderEndpoint`.
        Endpoint = "SpiderEndpoint",
        /// `Event`.
        Event = "Event",
    }
}

label! {
    /// The verb of a write.
    Verb {
        /// `create`.
        Create = "create",
        /// `update`.
        Update = "update",
        /// `patch`, apply included.
        Patch = "patch",
        /// `patch` or `update` of the status.
        Status = "status",
        /// `delete`.
        Delete = "delete",
    }
}

label! {
    /// What became of a change of the configuration file.
    ReloadOutcome {
        /// It is in force.
        Applied = "applied",
        /// The text changed, what it says did not.
        Unchanged = "unchanged",
        /// It is wrong; the last good one stays in force.
        Invalid = "invalid",
        /// It is gone or cannot be read; the last good one stays in force.
        Unreadable = "unreadable",
    }
}
