use std::path::PathBuf;

use cni::{Error, Network};
use plugin::{Keys, Level, Rotation};

const POOLS: &str = "a list of pool names";

/// The `ipam` object of the network configuration, with upstream's keys; others are left to whoever knows them.
#[derive(Debug)]
pub(crate) struct Config {
    /// `log_level`.
    pub(crate) level: Level,
    /// `log_file_path` and what keeps it small.
    pub(crate) rotation: Rotation,
    /// `default_ipv4_ippool`.
    pub(crate) ipv4_pools: Vec<String>,
    /// `default_ipv6_ippool`.
    pub(crate) ipv6_pools: Vec<String>,
    /// `clean_gateway`.
    pub(crate) clean_gateway: bool,
    /// `match_master_subnet`.
    pub(crate) match_master_subnet: bool,
    /// `ipam_unix_socket_path`.
    pub(crate) socket: PathBuf,
    /// `del_queue_dir`, which upstream does not have.
    pub(crate) queue: PathBuf,
}

impl Config {
    pub(crate) fn read(network: &Network) -> Result<Self, Error> {
        let keys = Keys::of(network, "ipam.")?;
        Ok(Self {
            level: match keys.text("log_level")? {
                None => Level::Info,
                Some(level) => Level::parse(level)
                    .ok_or_else(|| keys.wrong("log_level", "one of debug, info, warn, error"))?,
            },
            rotation: Rotation {
                path: keys.path("log_file_path", "/var/log/spidernet/spiderpool.log")?,
                max_megabytes: keys.number("log_file_max_size", 100)?,
                max_days: keys.number("log_file_max_age", 30)?,
                max_files: keys.number("log_file_max_count", 7)?,
            },
            ipv4_pools: keys.texts("default_ipv4_ippool", POOLS)?,
            ipv6_pools: keys.texts("default_ipv6_ippool", POOLS)?,
            clean_gateway: keys.flag("clean_gateway")?,
            match_master_subnet: keys.flag("match_master_subnet")?,
            socket: keys.path("ipam_unix_socket_path", wire::SOCKET)?,
            queue: keys.path("del_queue_dir", wire::DEL_QUEUE)?,
        })
    }
}
