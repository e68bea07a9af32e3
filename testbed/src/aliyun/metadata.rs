//! The metadata service of one instance, out of the same world.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;

use super::calls::{Call, Fate};
use super::clock::{iso, later};
use super::cloud::Cloud;
use super::gate::spoil_metadata;
use super::keys::Temporary;
use super::simulator::Product;
use super::wire::{Answer, Incoming, Page};
use super::world::{Nic, World};

/// Whether a token must be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Normal: a GET without a token is answered, one with a dead token is not.
    #[default]
    Compatible,
    /// Hardened only: a GET without a live token gets 401.
    Strict,
    /// Normal without any token service: PUT gets 404.
    Tokenless,
    /// Switched off: everything gets 403.
    Disabled,
}

/// The RAM role of the served instance.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// How long a credential lasts.
    pub lasts: Duration,
    /// The reply's `Code`; `Success` unless something is wrong.
    pub code: String,
    current: Option<Temporary>,
}

impl Role {
    /// A role whose credentials last so long.
    pub fn new(name: impl Into<String>, lasts: Duration) -> Self {
        Self { name: name.into(), lasts, code: "Success".to_owned(), current: None }
    }

    /// Makes the reply carry another `Code`, and no credential.
    #[must_use]
    pub fn failing(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }
}

/// Which instance the metadata service serves, and how.
#[derive(Debug, Default)]
pub struct Metadata {
    /// The instance that asks, unless the client's address is one of an instance's; without one everything is 404.
    pub instance: Option<String>,
    /// Whether a token must be shown.
    pub mode: Mode,
    /// Its RAM role.
    pub role: Option<Role>,
    tokens: BTreeMap<String, Timestamp>,
}

/// A new credential appears so long before the old one ends. Source: the vendor's page on RAM roles.
const OVERLAP: Duration = Duration::from_mins(30);

/// Answers one request and writes it into the log.
pub(crate) fn answer(cloud: &mut Cloud, incoming: &Incoming) -> Answer {
    let path = incoming.path.trim_end_matches('/').to_owned();
    let put = incoming.method == "PUT" && path == "/latest/api/token";
    let action = if put { "MetadataToken" } else { "Metadata" };
    let fault = cloud.faults.strike(action);
    let page = if cloud.metadata.mode == Mode::Disabled {
        Page::html(403, "403 - Forbidden")
    } else if put {
        token(cloud, incoming)
    } else {
        get(cloud, incoming)
    };
    let good = page.status < 400;
    let answer = spoil_metadata(page, fault.as_ref());
    let status = match &answer {
        Answer::Whole(page) | Answer::Half(page) => page.status,
        Answer::Hang | Answer::Close => 0,
    };
    let fate = match fault {
        Some(_) => Fate::Spoilt,
        None if good => Fate::Ok,
        None => Fate::Refused,
    };
    cloud.log.add(Call {
        at: cloud.clock.now(),
        product: Product::Metadata,
        action: action.to_owned(),
        key: None,
        parameters: BTreeMap::from([("Path".to_owned(), incoming.path.clone())]),
        status,
        code: None,
        fate,
    });
    answer
}

fn token(cloud: &mut Cloud, incoming: &Incoming) -> Page {
    if cloud.metadata.mode == Mode::Tokenless {
        return not_found();
    }
    if incoming.header("x-forwarded-for").is_some() {
        return Page::html(403, "403 - Forbidden");
    }
    let seconds =
        incoming.header("x-aliyun-ecs-metadata-token-ttl-seconds").and_then(|text| text.parse().ok());
    let Some(seconds @ 1..=21_600_u64) = seconds else {
        return Page::html(400, "400 - Bad Request");
    };
    let now = cloud.clock.now();
    cloud.metadata.tokens.retain(|_, expires| *expires > now);
    let token = format!("simulatedtoken{:06}==", cloud.log.calls.total());
    cloud.metadata.tokens.insert(token.clone(), later(now, Duration::from_secs(seconds)));
    Page::text(token)
}

fn get(cloud: &mut Cloud, incoming: &Incoming) -> Page {
    if !matches!(incoming.method.as_str(), "GET" | "HEAD") {
        return Page::html(405, "405 - Method Not Allowed");
    }
    let now = cloud.clock.now();
    let shown = incoming.header("x-aliyun-ecs-metadata-token");
    let live = shown.map(|token| cloud.metadata.tokens.get(token).is_some_and(|expires| *expires > now));
    match (cloud.metadata.mode, live) {
        (Mode::Strict, None) | (_, Some(false)) => return Page::html(401, "401 - Unauthorized"),
        _ => {}
    }
    let role = cloud.metadata.role.as_ref().map(|role| format!("ram/security-credentials/{}", role.name));
    let world = cloud.seen_by_metadata();
    let Some(tree) = tree(cloud, &world, incoming.peer, role.as_deref()) else {
        return not_found();
    };
    let rest = incoming.path.strip_prefix("/latest/").or_else(|| incoming.path.strip_prefix("/2016-01-01/"));
    let Some(rest) = rest else { return not_found() };
    let rest = rest.trim_end_matches('/');
    if role.is_some_and(|role| rest == format!("meta-data/{role}")) {
        return role_credential(cloud);
    }
    if let Some(value) = tree.get(rest) {
        return Page::text(value);
    }
    let prefix = format!("{rest}/");
    let mut entries: Vec<String> = Vec::new();
    for path in tree.keys().filter_map(|path| path.strip_prefix(&prefix)) {
        let entry = match path.split_once('/') {
            // A role's name is listed bare, although there is something below it.
            Some((directory, _)) => format!("{directory}/"),
            None => path.to_owned(),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    if entries.is_empty() { not_found() } else { Page::text(entries.join("\n")) }
}

/// Every path below the version, with its text. None when the instance is not known.
fn tree(cloud: &Cloud, world: &World, peer: IpAddr, role: Option<&str>) -> Option<BTreeMap<String, String>> {
    let asks = world.nics().find(|nic| nic.addresses().contains(&peer));
    let asks = asks.and_then(|nic| Some(nic.attachment.as_ref()?.instance.as_str()));
    let instance = world.instance(asks.or(cloud.metadata.instance.as_deref())?)?;
    let nics = world.nics_of(&instance.id);
    let mut tree = BTreeMap::new();
    let mut put = |path: &str, value: String| tree.insert(format!("meta-data/{path}"), value);
    put("instance-id", instance.id.clone());
    put("instance/instance-type", instance.instance_type.clone());
    put("instance/instance-name", instance.name.clone());
    put("hostname", instance.name.clone());
    put("owner-account-id", cloud.account.to_string());
    put("region-id", cloud.region.clone());
    put("zone-id", instance.zone.clone());
    put("network-type", "vpc".to_owned());
    put("vpc-id", instance.vpc.clone());
    if let Some(vpc) = world.vpc(&instance.vpc) {
        put("vpc-cidr-block", vpc.cidr.to_string());
    }
    if let Some(role) = role {
        put(role, String::new());
    }
    if let Some(primary) = nics.first() {
        put("mac", primary.mac.clone());
        put("vswitch-id", primary.vswitch.clone());
        if let Some(vswitch) = world.vswitch(&primary.vswitch) {
            put("vswitch-cidr-block", vswitch.cidr.to_string());
        }
        if let Some(own) = primary.primary {
            put("private-ipv4", own.to_string());
        }
    }
    for nic in nics {
        for (name, value) in of_nic(world, nic) {
            put(&format!("network/interfaces/macs/{}/{name}", nic.mac), value);
        }
    }
    let document = json!({
        "account-id": cloud.account.to_string(), "instance-id": instance.id, "region-id": cloud.region,
        "zone-id": instance.zone, "instance-type": instance.instance_type,
    });
    tree.insert("dynamic/instance-identity/document".to_owned(), document.to_string());
    Some(tree)
}

/// What is known of one NIC; what is absent is 404.
fn of_nic(world: &World, nic: &Nic) -> Vec<(&'static str, String)> {
    let mut items = vec![
        ("network-interface-id", nic.id.clone()),
        ("vswitch-id", nic.vswitch.clone()),
        ("vpc-id", nic.vpc.clone()),
    ];
    let ipv4: Vec<String> = nic.primary.iter().chain(&nic.secondary).map(ToString::to_string).collect();
    if let Some(own) = nic.primary {
        items.push(("primary-ip-address", own.to_string()));
    }
    items.push(("private-ipv4s", json!(ipv4).to_string()));
    if let Some(vswitch) = world.vswitch(&nic.vswitch) {
        items.push(("netmask", vswitch.cidr.netmask().to_string()));
        items.push(("gateway", vswitch.gateway().to_string()));
        items.push(("vswitch-cidr-block", vswitch.cidr.to_string()));
        // Without an IPv6 address the NIC knows nothing of IPv6.
        if !nic.ipv6.is_empty()
            && let (Some(cidr), Some(gateway)) = (vswitch.ipv6_cidr, vswitch.ipv6_gateway())
        {
            items.push(("ipv6-gateway", gateway.to_string()));
            items.push(("vswitch-ipv6-cidr-block", cidr.to_string()));
        }
    }
    if let Some(vpc) = world.vpc(&nic.vpc) {
        items.push(("vpc-cidr-block", vpc.cidr.to_string()));
        if let Some(cidr) = vpc.ipv6_cidr.filter(|_| !nic.ipv6.is_empty()) {
            items.push(("vpc-ipv6-cidr-blocks", unquoted([cidr])));
        }
    }
    if !nic.ipv6.is_empty() {
        items.push(("ipv6s", unquoted(&nic.ipv6)));
    }
    if !nic.ipv4_prefixes.is_empty() {
        items.push(("ipv4-prefixes", unquoted(nic.ipv4_prefixes.iter().copied().map(IpNet::V4))));
    }
    items
}

/// The service's odd list: brackets, no quotes, a comma and a space between.
fn unquoted(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

fn role_credential(cloud: &mut Cloud) -> Page {
    let now = cloud.clock.now();
    let Some(Role { lasts, code, current, .. }) = &mut cloud.metadata.role else {
        return not_found();
    };
    if code != "Success" {
        return Page::text(json!({ "Code": code, "LastUpdated": iso(now) }).to_string());
    }
    // A credential that lasts less than the overlap renews at half its life.
    let overlap = OVERLAP.min(*lasts / 2);
    let fresh = current.take().filter(|credential| later(now, overlap) < credential.expires);
    let credential = fresh.unwrap_or_else(|| cloud.keys.mint(now, *lasts));
    let page = json!({
        "AccessKeyId": credential.id,
        "AccessKeySecret": credential.secret,
        "Expiration": iso(credential.expires),
        "SecurityToken": credential.token,
        "LastUpdated": iso(now),
        "Code": "Success",
    });
    *current = Some(credential);
    Page::text(page.to_string())
}

fn not_found() -> Page {
    Page::html(404, "404 - Not Found")
}
