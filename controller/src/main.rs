//! `spiderpool-controller`: keeps SpiderIPPools, SpiderNodes and SpiderMultusConfigs as the clouds' NICs are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use controller::lease::Timing;
use controller::{Options, Scope, run, server};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Keeps SpiderIPPools, SpiderNodes and SpiderMultusConfigs as the clouds' NICs are.
///
/// Runs in a pod, or beside a kubeconfig ($KUBECONFIG, ~/.kube/config). Several may run: one leads.
#[derive(Debug, Parser)]
#[command(
    name = "spiderpool-controller",
    version,
    after_help = "Examples:\n  spiderpool-controller --config cloud.yaml\n  KUBECONFIG=admin.conf spiderpool-controller \
                  --config cloud.yaml --namespace kube-system --listen 127.0.0.1:0"
)]
struct Args {
    /// The configuration file; read again when it changes
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The namespace of the lease
    #[arg(long, value_name = "NS", env = "SPIDERPOOL_POD_NAMESPACE", default_value = "kube-system")]
    namespace: String,
    /// Where health (/healthz, /readyz) and /metrics are served; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = server::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a tracing filter
    #[arg(long, value_name = "FILTER", env = "SPIDERPOOL_LOG_LEVEL", default_value = "info")]
    log: String,
    /// Where NetworkAttachmentDefinitions are made of SpiderMultusConfigs: namespaces with commas between, "*" for all,
    /// "" for none (upstream's controller does it)
    #[arg(long, value_name = "NS,…", env = "SPIDERPOOL_ATTACHMENT_NAMESPACES", default_value_t = Scope::Everywhere)]
    attachment_namespaces: Scope,
    /// The name in the lease and in Events
    #[arg(long, value_name = "NAME", env = "SPIDERPOOL_POD_NAME", default_value = "spiderpool-controller")]
    identity: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// Text for people
    Text,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { config, namespace, listen, log_format, log, attachment_namespaces, identity } = Args::parse();
    // A second installation is no matter: the first one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = match EnvFilter::try_new(&log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("spiderpool-controller: --log {log}: {error}");
            return ExitCode::from(2);
        }
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log_format {
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
        LogFormat::Text => subscriber.init(),
    }
    let timing = Timing::default();
    let options = Options { config, namespace, listen, identity, attachments: attachment_namespaces, timing };
    match start(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            match failure.downcast_ref::<config::Error>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}

async fn start(options: Options) -> anyhow::Result<()> {
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
    let client = kube::Client::try_default().await.map_err(|error| {
        anyhow::Error::new(error).context("cannot find the API server: run in a pod or set KUBECONFIG")
    })?;
    run(options, client, shutdown).await
}
