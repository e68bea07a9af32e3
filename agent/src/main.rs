//! `spiderpool-agent`: gives out this node's addresses on a unix socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent::run;
use agent::settings::{
    self, CONFIG_FILE, ConflictRelease, Detection, File, FileError, HEALTH_PORT, Keep, MAX_ALLOCATED,
    NodeNetwork, OWN_NETWORK, POD_NETWORKS, Settings,
};
use anyhow::Context;
use clap::Parser;
use ifacer::assert::{Places, RECORDS};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model::select::SubnetFeature;
use model::{Family, MultusName};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// Gives out this node's addresses on a unix socket.
///
/// Runs in a pod, or beside a kubeconfig. Several may run on one machine, each with its node name, socket and port.
#[derive(Debug, Parser)]
#[command(
    name = "spiderpool-agent",
    version,
    after_help = "Examples:\n  spiderpool-agent --node-name \"$(hostname)\"\n  KUBECONFIG=admin.conf spiderpool-agent \
                  --node-name node-a --socket /run/a/spiderpool.sock --listen 127.0.0.1:0\n\nThe plugin finds the agent by \
                  ipam_unix_socket_path of the CNI configuration."
)]
struct Args {
    /// The node whose pods are served
    #[arg(long, value_name = "NAME", env = "SPIDERPOOL_NODE_NAME")]
    node_name: String,
    /// The socket that plugins talk to; otherwise what the configuration file says, or the usual one
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file (upstream's conf.yml); must exist when it is given
    #[arg(long, visible_alias = "config-path", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the probes and /metrics are served; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The port of --listen, on all addresses, when that is not given
    #[arg(long, value_name = "PORT", env = "SPIDERPOOL_HEALTH_PORT", default_value_t = HEALTH_PORT)]
    health_port: u16,
    /// How to reach the API server; otherwise $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Spiderpool's own namespace: that of networks that a pool names without one
    #[arg(long, value_name = "NS", env = "SPIDERPOOL_POD_NAMESPACE", default_value = "kube-system")]
    namespace: String,
    /// The folder in which plugins leave the DELs that they could not tell
    #[arg(long, value_name = "DIR", default_value = wire::DEL_QUEUE)]
    del_queue: PathBuf,
    /// How many addresses of one pool pods may hold
    #[arg(long, value_name = "N", env = "SPIDERPOOL_IPPOOL_MAX_ALLOCATED_IPS", default_value_t = MAX_ALLOCATED)]
    max_allocated_ips: usize,
    /// Whether a plugin may give back addresses that it found to be in use by somebody else
    #[arg(
        long,
        value_name = "BOOL",
        env = "SPIDERPOOL_ENABLED_RELEASE_CONFLICT_IPS",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    release_conflict_ips: bool,
    /// The network behind eth0 of pods that name none: NAMESPACE/NAME
    #[arg(long, value_name = "NAD", env = "MULTUS_CLUSTER_NETWORK")]
    cluster_network: Option<String>,
    /// Looks after the network of the node and its running pods; only where the agent is on that node. The node's
    /// network namespace, otherwise the agent's own
    #[arg(long, value_name = "NETNS", num_args = 0..=1, require_equals = true, default_missing_value = OWN_NETWORK)]
    node_network: Option<PathBuf>,
    /// The folder in which the runtime keeps the pods' network namespaces, for --node-network
    #[arg(long, value_name = "DIR", default_value = POD_NETWORKS)]
    netns_dir: PathBuf,
    /// The folder of the ifacer's records, for --node-network: interfaces that a reboot took away are made again
    #[arg(long, value_name = "DIR", default_value = RECORDS)]
    ifacer_dir: PathBuf,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a tracing filter
    #[arg(long, value_name = "FILTER", env = "SPIDERPOOL_LOG_LEVEL", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// Text for people
    Text,
}

// One thread: what an agent does is wait, and each further thread costs memory on every node.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    // A second installation is no matter: the first one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("spiderpool-agent: --log {}: {error}", args.log);
            return ExitCode::from(2);
        }
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
        LogFormat::Text => subscriber.init(),
    }
    match start(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            match failure.downcast_ref::<FileError>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}

async fn start(args: Args) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
    });
    let client = client(args.kubeconfig.as_deref()).await?;
    run::run(settings(args)?, client, shutdown).await
}

async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {}", path.display()))?
        }
        None => Config::infer()
            .await
            .context("cannot find the API server: run in a pod, set KUBECONFIG or say --kubeconfig")?,
    };
    Client::try_from(config).context("cannot make a client of the API server")
}

/// Joins command line, environment and file: what is nearer to the call counts.
fn settings(args: Args) -> anyhow::Result<Settings> {
    let Args {
        node_name,
        socket,
        config,
        listen,
        health_port,
        kubeconfig: _,
        namespace,
        del_queue,
        max_allocated_ips,
        release_conflict_ips,
        cluster_network,
        node_network,
        netns_dir,
        ifacer_dir,
        log_format: _,
        log: _,
    } = args;
    let path = config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let read = File::read(path)?;
    if read.is_none()
        && let Some(path) = &config
    {
        return Err(FileError::Missing { path: path.clone() }.into());
    }
    if read.is_some() {
        info!(file = %path.display(), "configuration read");
    }
    let read = read.unwrap_or_default();
    for key in read.unknown {
        warn!(file = %path.display(), key, "no version of Spiderpool knows this key: ignored");
    }
    let file = read.file;
    if file.iaas_network_provider.is_some_and(|provider| !provider.server_url.is_empty()) {
        warn!("iaasNetworkProvider is not served: addresses come from pools alone");
    }
    let cluster_network = cluster_network.filter(|name| !name.is_empty());
    let cluster_network = cluster_network.map(|name| name.parse::<MultusName>()).transpose();
    let cluster_network = cluster_network.context("--cluster-network (MULTUS_CLUSTER_NETWORK)")?;
    let families = [(Family::V4, file.enable_ipv4), (Family::V6, file.enable_ipv6)];
    let interfaces = Places { records: ifacer_dir, ..Places::default() };
    let node_network = node_network.map(|namespace| NodeNetwork { namespace, pods: netns_dir, interfaces });
    Ok(Settings {
        node: node_name,
        home: namespace,
        socket: socket.or(file.ipam_unix_socket_path).unwrap_or_else(|| wire::SOCKET.into()),
        queue: del_queue,
        listen: listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), health_port)),
        families: families.into_iter().filter(|(_, on)| *on).map(|(family, _)| family).collect(),
        stateful_set: Keep::from_switch(file.enable_stateful_set),
        kubevirt: Keep::from_switch(file.enable_kubevirt_static_ip),
        conflict_detection: Detection::from_switch(file.enable_ip_conflict_detection),
        gateway_detection: Detection::from_switch(file.enable_gateway_detection),
        conflict_release: ConflictRelease::from_switch(release_conflict_ips),
        // Automatic pools are not served: whoever has switched SpiderSubnet on is told so by the pods that ask for one.
        subnets: if file.enable_spider_subnet { SubnetFeature::Refused } else { SubnetFeature::Ignored },
        max_allocated: max_allocated_ips,
        rest: file.address_rest_seconds.map_or(settings::REST, Duration::from_secs),
        cluster_network,
        node_network,
    })
}
