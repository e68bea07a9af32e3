//! `testbed`: brings the local world up, runs a command in it, takes it down.

mod demo;
mod licences;
mod nodes_command;
mod screen;
mod tour;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};
use nodes_command::{Content, Stack};
use testbed::image::Archive;
use testbed::kernels::Kernel;
use testbed::{NodePrograms, Plugins, Programs};

/// Where `cluster` keeps its things, unless told otherwise.
const CLUSTER: &str = ".testbed-cluster";

const EXAMPLES: &str = "\
Examples:
  testbed ensure                         fetch or build all that is needed, once (about 8 minutes)
  testbed up                             a control plane until Ctrl-C; prints the line that sets KUBECONFIG
  testbed up --dir /tmp/a & testbed up --dir /tmp/b &    two side by side
  testbed down --dir /tmp/a              end the one that runs there
  testbed run -- kubectl get nodes       a control plane for the time of one command
  testbed run -- cargo test -p api       one control plane shared by all tests of the command
  testbed demo                           the main job on show: a simulated VPC's NICs become pools; then stays up
  testbed cluster                        two real nodes with the product on them, until Ctrl-C (as root)
  testbed cluster --detach               the same, until `testbed down --dir .testbed-cluster`
  testbed tour                           the walkthrough for Alibaba Cloud, step by step (as root)
  testbed sh master -- ip address        a command on a node
  testbed licences                       check the licence and the source of every dependency against deny.toml

Environment:
  SPIDERPOOL_TESTBED_CACHE   where built programs are kept (default: ~/.cache/spiderpool-testbed)
  KUBEBUILDER_ASSETS         a folder with programs to use as they are, before those on PATH
  CONTROLLER_BIN, DEMO_EXIT  as --controller and --exit of `testbed demo`";

/// A real Kubernetes control plane on this machine, for tests and demos.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetches or builds every program that the testbed needs.
    Ensure,
    /// Brings a control plane up and stays until Ctrl-C, SIGTERM or `testbed down`.
    Up {
        /// The folder for its kubeconfig, data and logs; must not exist or be empty, and is removed at the end.
        #[arg(long, default_value = ".testbed")]
        dir: PathBuf,
    },
    /// Ends the control plane that runs in a folder, and removes the folder. Done already is fine.
    Down {
        /// The folder that `up` was given.
        #[arg(long, default_value = ".testbed")]
        dir: PathBuf,
    },
    /// Brings a control plane up, runs a command with KUBECONFIG set, takes it down; exits with the command's status.
    Run {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Shows the main job: a simulated VPC, the real controller, and how pools follow the cloud; stays up until Ctrl-C.
    Demo {
        /// The controller's binary; default: the one beside this program
        #[arg(long, env = "CONTROLLER_BIN")]
        controller: Option<PathBuf>,
        /// End by itself after the last step
        #[arg(long, env = "DEMO_EXIT", value_parser = FalseyValueParser::new())]
        exit: bool,
    },
    /// Brings up two real nodes of two NICs each in a simulated cloud, with controller, agents and plugins; stays until Ctrl-C.
    Cluster {
        /// The folder for its kubeconfig, data and logs; must not exist or be empty, and is removed at the end.
        #[arg(long, default_value = CLUSTER)]
        dir: PathBuf,
        /// Which addresses nodes, pods and services have
        #[arg(long, value_enum, default_value_t)]
        families: Stack,
        /// The folder of the product's programs; default: that of this program
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
        /// Without the product: nodes with a network of their own each, to try something else on
        #[arg(long, conflicts_with = "programs")]
        bare: bool,
        /// Return when it is up; `testbed down` ends it
        #[arg(long)]
        detach: bool,
    },
    /// Takes the walkthrough for Alibaba Cloud step by step on two real nodes, and shows what each step shows (as root).
    Tour {
        /// The folder of the product's programs; default: that of this program
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
    },
    /// Runs a command on a node of `testbed cluster`, and exits with its status.
    Sh {
        /// The folder that `cluster` was given.
        #[arg(long, default_value = CLUSTER)]
        dir: PathBuf,
        /// The node.
        node: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Checks the licence and the source of every dependency against deny.toml.
    Licences {
        /// The folder of the workspace.
        #[arg(long, default_value = ".")]
        workspace: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let result = match command {
        Task::Ensure => ensure(),
        Task::Up { dir } => up::up(&dir),
        Task::Down { dir } => up::down(&dir),
        Task::Run { command } => up::run(&command),
        Task::Demo { controller, exit } => {
            demo::demo(controller, if exit { demo::Ending::Exit } else { demo::Ending::Stay })
        }
        Task::Cluster { dir, families, programs, bare, detach: false } => {
            let content = if bare { Content::Bare } else { Content::Product(programs) };
            nodes_command::attached(&dir, families, content)
        }
        Task::Cluster { dir, detach: true, .. } => {
            let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--detach").collect();
            nodes_command::detached(&dir, &arguments)
        }
        Task::Tour { programs } => tour::tour(programs),
        Task::Sh { dir, node, command } => nodes_command::sh(&dir, &node, &command),
        Task::Licences { workspace } => licences::check(&workspace),
    };
    result.unwrap_or_else(|error| {
        eprintln!("testbed: {error:#}");
        ExitCode::FAILURE
    })
}

fn ensure() -> anyhow::Result<ExitCode> {
    let programs = Programs::ensure().context("cannot bring what the testbed needs")?;
    for (name, path) in programs.paths() {
        println!("{name:<24} {}", path.display());
    }
    let nodes = NodePrograms::ensure().context("cannot bring what nodes need")?;
    for (name, path) in nodes.paths() {
        println!("{name:<24} {}", path.display());
    }
    for (name, path) in Kernel::Cloud.ensure().context("cannot bring another kernel")? {
        println!("{name:<24} {}", path.display());
    }
    let plugins = Plugins::ensure().context("cannot bring the testbed's CNI plugins")?;
    println!("{:<24} {}", "multus", plugins.multus().display());
    println!("{:<24} {}", "images", Archive::of_nodes()?.display());
    let python = testbed::python_with(testbed::ALIBABA_SDK).context("cannot bring the vendor's SDK")?;
    println!("{:<24} {}", "python3", python.display());
    Ok(ExitCode::SUCCESS)
}
