//! `spiderpoolctl inventory`: what the providers see.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{Config, Provider};
use model::{Family, InstanceId, Inventory, Nic, NicUse, Subnet};

use crate::arguments::{Format, InventoryArguments, ReadingArguments};
use crate::document::{pretty, yaml};
use crate::failure::Failure;
use crate::session::Session;
use crate::{console, readings, table};

/// Lists every provider, and prints what it showed.
pub(crate) async fn run(arguments: InventoryArguments) -> Result<(), Failure> {
    let InventoryArguments { reading: ReadingArguments { config, timeout }, output } = arguments;
    let config = Config::read(&config)?;
    let clouds = readings::open(&config)?;
    let session = Session::begin(timeout);
    let listed = session.watched(readings::list(&clouds, &session)).await;
    let failure = readings::failure(&listed);
    let shown: Vec<(&Provider, &Inventory)> = config
        .providers
        .iter()
        .zip(&listed)
        .filter_map(|(provider, (_, outcome))| Some((provider, outcome.as_ref().ok()?)))
        .collect();
    for (provider, inventory) in &shown {
        for warning in &inventory.warnings {
            console::warn(&format!("provider {}: {warning}", provider.name));
        }
    }
    if !shown.is_empty() {
        let by_name = || -> BTreeMap<&str, &Inventory> {
            shown.iter().map(|(provider, inventory)| (provider.name.as_str(), *inventory)).collect()
        };
        console::print(&match output {
            Format::Table => tables(&shown),
            Format::Yaml => yaml(&by_name())?,
            Format::Json => pretty(&by_name())?,
        })?;
    }
    failure.map_or(Ok(()), Err)
}

/// Returns the NICs, and below them the subnets.
fn tables(shown: &[(&Provider, &Inventory)]) -> String {
    let nics = shown.iter().flat_map(|(provider, inventory)| {
        inventory.instances.iter().flat_map(|(instance, nics)| rows(provider, instance, nics))
    });
    let subnets = shown
        .iter()
        .flat_map(|(provider, inventory)| inventory.subnets.values().map(|it| subnet(provider, it)));
    let nics = table::text(
        ["PROVIDER", "INSTANCE", "INDEX", "INTERFACE", "NIC", "MAC", "SUBNET", "USE", "PRIMARY", "ADDRESSES"],
        nics,
    );
    let subnets =
        table::text(["PROVIDER", "SUBNET", "ZONE", "IPV4", "IPV4 GATEWAY", "IPV6", "IPV6 GATEWAY"], subnets);
    format!("{nics}\n{subnets}")
}

fn rows(provider: &Provider, instance: &InstanceId, nics: &[Nic]) -> Vec<[String; 10]> {
    if nics.is_empty() {
        let mut row: [String; 10] = Default::default();
        row[0] = provider.name.to_string();
        row[1] = instance.to_string();
        return vec![row];
    }
    let mut nics: Vec<&Nic> = nics.iter().collect();
    nics.sort_by_key(|nic| (nic.index.unwrap_or(u32::MAX), &nic.id));
    nics.into_iter().map(|it| nic(provider, instance, it)).collect()
}

fn nic(provider: &Provider, instance: &InstanceId, nic: &Nic) -> [String; 10] {
    let Nic { id, mac, index, interface, subnet, primary, addresses, use_ } = nic;
    let rendered = || index.and_then(|index| provider.interface.render(index).ok());
    [
        provider.name.to_string(),
        instance.to_string(),
        index.map(|index| index.to_string()).unwrap_or_default(),
        interface.clone().or_else(rendered).unwrap_or_default(),
        id.to_string(),
        mac.map(|mac| mac.to_string()).unwrap_or_default(),
        subnet.to_string(),
        match use_ {
            NicUse::Pods => "pods".to_owned(),
            NicUse::LeftAlone(why) => format!("left alone: {why}"),
            NicUse::Unclear(why) => format!("waits: {why}"),
        },
        primary.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(","),
        Family::ALL
            .map(|family| table::shortened(&addresses.of(family)))
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(","),
    ]
}

fn subnet(provider: &Provider, subnet: &Subnet) -> [String; 7] {
    let block = |family| subnet.block(family).map(|block| block.to_string()).unwrap_or_default();
    let gateway = |family| subnet.gateway(family).map(|gateway| gateway.to_string()).unwrap_or_default();
    [
        provider.name.to_string(),
        subnet.id.to_string(),
        subnet.zone.clone(),
        block(Family::V4),
        gateway(Family::V4),
        block(Family::V6),
        gateway(Family::V6),
    ]
}
