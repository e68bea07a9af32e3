//! The commands about records of addresses: `ip` and `gc`.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::{Extent, Format, TIMEOUT, Timeout};

const LIST_EXAMPLES: &str = "\
Examples:
  spiderpoolctl ip list                                           every address that a pod holds
  spiderpoolctl ip list --node worker -o wide
  spiderpoolctl ip list --namespace shop --pod web-0 -o json

A pool whose records cannot be read is left out, with a warning, and the exit status is 1.

Exit status: 0 done, 1 the cluster or a pool could not be read, 2 wrong usage";

const SHOW_EXAMPLES: &str = "\
Examples:
  spiderpoolctl ip show 10.0.0.12                                 which pool has it, which pod holds it, and whether it may go
  spiderpoolctl ip show 2001:db8::12 -o yaml

Exit status: 0 done, 1 no pool has the address or the cluster could not be read, 2 wrong usage";

const RELEASE_EXAMPLES: &str = "\
Examples:
  spiderpoolctl ip release 10.0.0.12                              asks before it writes
  spiderpoolctl ip release 10.0.0.12 --uid 6c1a8f0e --yes         only if that pod still holds it

What a pod that is alive holds is not released, and neither is what a StatefulSet or a virtual machine will want back.
--force releases it nevertheless: the address is then given to another pod, and two pods use it at once.

Exit status: 0 done, 1 not released, 2 wrong usage";

const GC_EXAMPLES: &str = "\
Examples:
  spiderpoolctl gc --dry-run                                      what would be freed, and what is kept though no pod lives
  spiderpoolctl gc --dry-run --all -o json                        every record of the cluster, judged
  spiderpoolctl gc                                                free it

Agents and controller do this by themselves all the time; this is to see what they see, and for when they are not running.
What is found is looked at once more, ten seconds later and before it is freed: a pod that ended just now may still have
its address.

Exit status: 0 done, 1 something could not be read or freed, 2 wrong usage";

/// Records of addresses.
#[derive(Debug, Subcommand)]
pub(crate) enum IpTask {
    /// Lists the addresses that pods hold
    List(ListArguments),
    /// Shows what is known of one address
    Show(ShowArguments),
    /// Frees an address that is held for nobody
    Release(ReleaseArguments),
}

#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArguments {
    /// Only of this pool
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Only of this node: of its own pools, and those that its pods hold of others
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Only of pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Only of pods of this name
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
    /// How long to wait for the cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArguments {
    /// The address
    pub(crate) address: IpAddr,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// How long to wait for the cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

#[derive(Debug, Args)]
#[command(after_help = RELEASE_EXAMPLES)]
pub(crate) struct ReleaseArguments {
    /// The address
    pub(crate) address: IpAddr,
    /// Only if it is held for the pod with this UID
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<String>,
    /// The pool, when several hold a record of the address
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) care: Care,
    /// How long to wait for the cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

#[derive(Debug, Args)]
#[command(after_help = GC_EXAMPLES)]
pub(crate) struct GcArguments {
    #[command(flatten)]
    pub(crate) effect: Effect,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// How long to wait for the cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    Table,
    /// For people, with UIDs and sandboxes
    Wide,
    /// For programs
    Json,
    /// For programs and for reading
    Yaml,
}

/// Whether a person is asked before something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// To be asked for.
    Asked,
    /// Given.
    Given,
}

/// Whether what is in use is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It is.
    Careful,
    /// It is not.
    Force,
}

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is.
    Real,
    /// It is only said.
    Dry,
}

super::flag!(
    Consent,
    "yes",
    Asked,
    Given,
    clap::Arg::new("yes").short('y').long("yes").help("Do not ask before releasing")
);

super::flag!(
    Care,
    "force",
    Careful,
    Force,
    clap::Arg::new("force")
        .long("force")
        .help("Release it even if a pod uses it: another pod gets it then, and two pods have one address")
);

super::flag!(
    Effect,
    "dry-run",
    Real,
    Dry,
    clap::Arg::new("dry-run").long("dry-run").help("Say what would be freed, and write nothing")
);

/// The examples of the commands, for those who call them by another name.
pub(super) const EXAMPLES: [(&str, &str); 3] =
    [("list", LIST_EXAMPLES), ("show", SHOW_EXAMPLES), ("release", RELEASE_EXAMPLES)];
/// As above, of `gc`.
pub(super) const GC: &str = GC_EXAMPLES;
