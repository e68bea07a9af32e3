//! The annotations of Multus: a list with commas, `namespace/name@interface`, or the JSON of the Network Plumbing Working
//! Group's specification.

use model::MultusName;
use model::select::Network;

use super::json::{self, Fault, Spot};

/// What Multus takes for JSON: none of these stands in a name.
const JSON: [char; 3] = ['[', '{', '"'];

/// Reads the annotation of the default network: the first one, whatever its form. `home` is the namespace of one that has
/// none.
pub(super) fn default(text: &str, home: &str) -> Result<MultusName, Fault> {
    let mut networks = further(text, home)?;
    match networks.len() {
        1 => Ok(networks.remove(0).name),
        0 => Err(Fault::at("at its top".into(), "it names no network: expected namespace/name".into())),
        many => Err(Fault::at(
            "at its top".into(),
            format!("it names {many} networks, and only one is the default"),
        )),
    }
}

/// Reads the annotation of the further networks. `namespace` is that of a network that has none.
pub(super) fn further(text: &str, namespace: &str) -> Result<Vec<Network>, Fault> {
    if text.contains(JSON) {
        let value = json::read(text)?;
        let top = Spot::top(&value);
        return top.items("a list of networks")?.map(|spot| element(&spot, namespace)).collect();
    }
    let items = text.split(',').map(str::trim).enumerate();
    items
        .map(|(at, item)| {
            selection(item, namespace).map_err(|why| Fault::at(format!("at item {}", at + 1), why))
        })
        .collect()
}

/// Reads one element of the JSON form.
fn element(spot: &Spot<'_>, namespace: &str) -> Result<Network, Fault> {
    let object = spot.object(r#"{"name": "NETWORK", "namespace": "NAMESPACE", "interface": "NIC"}"#)?;
    let text = |key: &str| match object.get(key) {
        Some(spot) => spot.text("a name").map(|text| Some(text).filter(|text| !text.is_empty())),
        None => Ok(None),
    };
    let name = text("name")?.ok_or_else(|| spot.fault("it has no name: the network's is needed"))?;
    // The second is what Multus read before the specification had the first.
    let interface = text("interface")?.or(text("interfaceRequest")?);
    network(text("namespace")?.unwrap_or(namespace), name, interface).map_err(|why| spot.fault(why))
}

/// Reads one item of the list with commas.
fn selection(item: &str, namespace: &str) -> Result<Network, String> {
    let (place, interface) = match item.split_once('@') {
        Some((place, interface)) => (place, Some(interface.trim())),
        None => (item, None),
    };
    let (namespace, name) = place.split_once('/').unwrap_or((namespace, place));
    if name.is_empty() {
        return Err(format!(
            "{item:?} names no network: expected namespace/name, or namespace/name@interface"
        ));
    }
    network(namespace.trim(), name.trim(), interface)
}

fn network(namespace: &str, name: &str, interface: Option<&str>) -> Result<Network, String> {
    let name: MultusName =
        format!("{namespace}/{name}").parse().map_err(|error: model::TemplateError| error.to_string())?;
    if let Some(interface) = interface {
        model::check_interface(interface).map_err(|error| error.to_string())?;
    }
    Ok(Network { name, interface: interface.map(str::to_owned) })
}
