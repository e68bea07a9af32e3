//! How the program is called.

mod records;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use model::MultusName;

use crate::console;
use crate::failure::Failure;
pub(crate) use records::{
    Care, Consent, Effect, GcArguments, IpTask, ListArguments, ListFormat, ReleaseArguments, ShowArguments,
};

/// The name under which kubectl finds the program as a plugin.
const PLUGIN: &str = "kubectl-spiderpool";

const EXAMPLES: &str = "\
Examples:
  spiderpoolctl plan --config cloud.yaml                          what the controller would change in the cluster
  kubectl get nodes -o yaml | spiderpoolctl plan --config cloud.yaml --nodes -
  spiderpoolctl inventory --config cloud.yaml                     what the clouds show
  spiderpoolctl why web-0 -n shop                                 why a pod has its addresses, or none
  spiderpoolctl ip list --node worker                             who holds which address
  spiderpoolctl gc --dry-run                                      which addresses are held for nobody
  source <(spiderpoolctl completion bash)

Exit status: 0 done, 1 failed, 2 wrong usage, configuration or nodes file";

const PLAN_EXAMPLES: &str = "\
Examples:
  spiderpoolctl plan --config cloud.yaml -o table                 what would change in the cluster of $KUBECONFIG
  spiderpoolctl plan --config cloud.yaml --all | kubectl diff -f -
  spiderpoolctl plan --config cloud.yaml --nodes nodes.yaml       for nodes from a file, as if no pool existed yet
  kubectl get nodes -o yaml | spiderpoolctl plan --config cloud.yaml --nodes -

Warnings go to stderr, one line each: a node that matches no instance does not stop the rest.
When a provider cannot be read, nothing is planned for its nodes, everything is for the others, and the exit status is 1.

Exit status: 0 done, 1 a provider or the API server could not be read, 2 wrong usage, configuration or nodes file";

const INVENTORY_EXAMPLES: &str = "\
Examples:
  spiderpoolctl inventory --config cloud.yaml                     NICs, then subnets, as tables
  spiderpoolctl inventory --config cloud.yaml -o json

When a provider cannot be read, the others are printed, and the exit status is 1.

Exit status: 0 done, 1 a provider could not be read, 2 wrong usage or configuration";

const WHY_EXAMPLES: &str = "\
Examples:
  spiderpoolctl why web-0 -n shop                                 which pools were considered, in which order, and why not
  spiderpoolctl why web-0 --nic net1 --all                        one NIC, with the default pools of other nodes
  spiderpoolctl why web-0 -o json

It works out the choice anew from what the cluster says now, with the code that the agent runs; so it also tells of a pod
that got no address.

Exit status: 0 done, 1 the pod or the cluster could not be read, 2 wrong usage";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  source <(spiderpoolctl completion bash)
  spiderpoolctl completion zsh > \"${fpath[1]}/_spiderpoolctl\"
  spiderpoolctl completion fish > ~/.config/fish/completions/spiderpoolctl.fish";

/// Long enough for the slowest healthy listing, whose own limit is 55 s with its credentials; below the minute after
/// which people stop waiting.
const TIMEOUT: &str = "57s";

/// Shows what the clouds hold and what spiderpool-controller would make of it, and who holds which address.
#[derive(Debug, Parser)]
#[command(name = "spiderpoolctl", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Prints the objects that the controller would apply, and touches nothing
    Plan(PlanArguments),
    /// Prints what the providers see: NICs, addresses and subnets
    Inventory(InventoryArguments),
    /// Explains which pools serve a pod, in which order, and why the others do not
    Why(WhyArguments),
    /// Lists, shows and releases addresses that pods hold
    #[command(subcommand)]
    Ip(IpTask),
    /// Frees the addresses that are held for nobody
    Gc(GcArguments),
    /// Prints the completion script of a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) reading: ReadingArguments,
    /// The nodes: a List as of `kubectl get nodes -o yaml`, several documents, or JSON; `-` is stdin. Default: the
    /// cluster itself, with the pools it has
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) extent: Extent,
}

#[derive(Debug, Args)]
#[command(after_help = INVENTORY_EXAMPLES)]
pub(crate) struct InventoryArguments {
    #[command(flatten)]
    pub(crate) reading: ReadingArguments,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = WHY_EXAMPLES)]
pub(crate) struct WhyArguments {
    /// The pod
    pub(crate) pod: String,
    /// The pod's namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Only this NIC of the pod. Default: eth0 and those of its networks annotation
    #[arg(long, value_name = "NIC")]
    pub(crate) nic: Option<String>,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// Spiderpool's own namespace: its settings (config map spiderpool-conf) are read there, and a network without a
    /// namespace is in it
    #[arg(long = "spiderpool-namespace", value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) home: String,
    /// The network behind eth0 of pods that name none. Default: what the settings say
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) cluster_network: Option<MultusName>,
    /// How long to wait for the cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

/// What both commands read, and how patiently.
#[derive(Debug, Args)]
pub(crate) struct ReadingArguments {
    /// The configuration file of the controller
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How long to wait for clouds and cluster, all in all
    #[arg(long, value_name = "TIME", default_value = TIMEOUT)]
    pub(crate) timeout: Timeout,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For kubectl and for reading
    Yaml,
    /// For people
    Table,
    /// For programs
    Json,
}

/// Which objects of a plan are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those that would be written.
    Changes,
    /// Also those that the cluster already has as they should be.
    All,
}

/// What is logged to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing: results, warnings and failures are no log.
    Quiet,
    /// Every call and what became of it.
    Verbose,
}

/// A shell that can complete what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Declares a two-valued enum that is chosen by the presence of one flag.
macro_rules! flag {
    ($type:ident, $id:literal, $absent:ident, $present:ident, $argument:expr) => {
        impl Args for $type {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.arg($argument.action(clap::ArgAction::SetTrue))
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $type {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                Ok(if matches.get_flag($id) { Self::$present } else { Self::$absent })
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

use flag;

flag!(
    Extent,
    "all",
    Changes,
    All,
    clap::Arg::new("all").long("all").help(
        "Print also what is left out for brevity: objects that the cluster has as they should be (plan; tables always show them), default pools of other nodes (why)"
    )
);

flag!(
    Verbosity,
    "verbose",
    Quiet,
    Verbose,
    clap::Arg::new("verbose")
        .short('v')
        .long("verbose")
        .global(true)
        .help("Log to stderr what is asked and answered")
);

/// A time to wait: more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Option<jiff::SignedDuration> = text.parse().ok();
        let wait = span.and_then(|span| Duration::try_from(span).ok()).filter(|wait| !wait.is_zero());
        wait.map(Self).ok_or_else(|| "a time like 500ms, 30s or 1m is needed, more than 0".to_owned())
    }
}

/// Returns the command line's grammar, in the words of whoever calls: the shell, or kubectl as its plugin.
pub(crate) fn command(program: Option<&OsString>) -> clap::Command {
    let command = Arguments::command();
    match program.and_then(|path| Path::new(path).file_stem()) {
        Some(name) if name == PLUGIN => {
            let examples = |text: &str| text.replace("spiderpoolctl", "kubectl spiderpool");
            command
                .bin_name("kubectl spiderpool")
                .after_help(examples(EXAMPLES))
                .mut_subcommand("plan", |plan| plan.after_help(examples(PLAN_EXAMPLES)))
                .mut_subcommand("inventory", |it| it.after_help(examples(INVENTORY_EXAMPLES)))
                .mut_subcommand("why", |it| it.after_help(examples(WHY_EXAMPLES)))
                .mut_subcommand("gc", |it| it.after_help(examples(records::GC)))
                .mut_subcommand("ip", |ip| {
                    records::EXAMPLES.into_iter().fold(ip, |ip, (name, text)| {
                        ip.mut_subcommand(name, |it| it.after_help(examples(text)))
                    })
                })
        }
        _ => command,
    }
}

/// Prints the completion script of a shell.
pub(crate) fn completion(shell: Shell, command: &mut clap::Command) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "spiderpoolctl", &mut script);
    console::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_usual_patience_is_less_than_a_minute() {
        let Timeout(wait) = TIMEOUT.parse().unwrap();
        assert!(wait < Duration::from_mins(1) && wait > Duration::from_secs(55), "{wait:?}");
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for text in ["", "0s", "-5s", "5", "soon"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
        assert_eq!("1m30s".parse(), Ok(Timeout(Duration::from_secs(90))));
    }

    #[test]
    fn as_a_plugin_it_speaks_of_itself_as_kubectl_does() {
        let plugin = OsString::from("/usr/local/bin/kubectl-spiderpool");
        let help = command(Some(&plugin)).render_help().to_string();
        assert!(help.contains("Usage: kubectl spiderpool") && !help.contains("spiderpoolctl"), "{help}");
    }
}
