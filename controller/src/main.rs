//! `spiderpool-controller`: keeps SpiderIPPools, SpiderNodes and SpiderMultusConfigs as the clouds' NICs are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use controller::admission::{CertificateError, Webhook};
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
    /// Where the API server asks whether a SpiderIPPool may be written (HTTPS); a port alone is on all addresses; not
    /// served without it
    #[arg(long, value_name = "ADDR", env = "SPIDERPOOL_WEBHOOK_PORT", value_parser = address)]
    webhook_listen: Option<SocketAddr>,
    /// The folder of the webhook's tls.crt and tls.key; read again when they change
    #[arg(long, value_name = "DIR", default_value = "/etc/tls")]
    webhook_certs: PathBuf,
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
    /// The SpiderCoordinator whose status says where services and the overlay's pods are; "" for none (upstream's
    /// controller does it)
    #[arg(long, value_name = "NAME", env = "SPIDERPOOL_COORDINATOR_NAME", default_value = "default")]
    coordinator: String,
    /// The name in the lease and in Events
    #[arg(long, value_name = "NAME", env = "SPIDERPOOL_POD_NAME", default_value = "spiderpool-controller")]
    identity: String,
}

/// Reads an address with its port, or a port alone, as upstream's variable has it.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    text.parse()
        .map_err(|_| "an address with its port, as in 0.0.0.0:5722, [::]:5722 or 5722, is needed".to_owned())
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
    let Args {
        config,
        namespace,
        listen,
        webhook_listen,
        webhook_certs,
        log_format,
        log,
        attachment_namespaces,
        coordinator,
        identity,
    } = Args::parse();
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
    let webhook = webhook_listen.map(|listen| Webhook { listen, certs: webhook_certs });
    let attachments = attachment_namespaces;
    let options = Options { config, namespace, listen, identity, attachments, coordinator, webhook, timing };
    match start(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            if failure.is::<config::Error>() || failure.is::<CertificateError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
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
