//! Everything that the choice of a pod's pools depends on, read once from the API server.

use std::collections::BTreeMap;
use std::fmt::Debug;

use api::{SpiderEndpoint, SpiderIPPool, SpiderReservedIP, annotations};
use k8s_openapi::api::core::v1;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use model::select::{Application, Behind, SubnetFeature, Wishes};
use model::{Family, MultusName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cni::{self, Ipam};
use crate::arguments::WhyArguments;
use crate::cluster::all;
use crate::failure::{Failure, with_causes};

/// The config map that upstream's chart makes, and the keys in it.
const CONFIG_MAP: &str = "spiderpool-conf";
const CONF: &str = "conf.yml";
const CLUSTER_NETWORK: &str = "clusterNetwork";
/// An owner of an owner: none that Kubernetes brings has more.
const OWNERS: usize = 4;

/// What was read.
pub(super) struct Facts {
    pub(super) pod: v1::Pod,
    pub(super) wishes: Wishes,
    pub(super) application: Option<Application>,
    pub(super) node: Option<v1::Node>,
    pub(super) namespace: Option<v1::Namespace>,
    pub(super) pools: Vec<SpiderIPPool>,
    pub(super) reserved: Vec<SpiderReservedIP>,
    pub(super) endpoint: Option<SpiderEndpoint>,
    pub(super) events: Vec<v1::Event>,
    pub(super) settings: Settings,
    /// What gives the addresses, by network.
    pub(super) networks: BTreeMap<String, Ipam>,
    /// What deserves attention, one sentence each.
    pub(super) notes: Vec<String>,
}

/// What the agents were told.
pub(super) struct Settings {
    pub(super) families: Vec<Family>,
    pub(super) subnets: SubnetFeature,
    pub(super) cluster_network: Option<MultusName>,
}

/// The keys of upstream's `conf.yml` that the choice depends on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Conf {
    #[serde(rename = "enableIPv4")]
    v4: bool,
    #[serde(rename = "enableIPv6")]
    v6: bool,
    enable_spider_subnet: bool,
}

impl Default for Conf {
    fn default() -> Self {
        Self { v4: true, v6: true, enable_spider_subnet: false }
    }
}

impl Facts {
    /// Reads all of it.
    pub(super) async fn read(arguments: &WhyArguments) -> Result<Self, Failure> {
        let client = Client::try_default().await.map_err(|error| {
            Failure::Failed(format!(
                "no cluster to read the pod from (set KUBECONFIG): {}",
                with_causes(&error)
            ))
        })?;
        let WhyArguments { pod: name, namespace, home, cluster_network, .. } = arguments;
        let pods: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
        let (pod, pools) =
            tokio::try_join!(one(&pods, name, "Pod"), all::<SpiderIPPool>(&client, "SpiderIPPools"),)?;
        let mut notes = Vec::new();
        let pools = pools.unwrap_or_else(|| {
            notes.push("the cluster does not know kind SpiderIPPool: install the CRDs first".to_owned());
            Vec::new()
        });
        let Some(pod) = pod else {
            return Err(gone(namespace, name, &pools));
        };
        let wishes = annotations::pod(pod.annotations(), namespace, home);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let (node_api, namespaces) =
            (Api::<v1::Node>::all(client.clone()), Api::<v1::Namespace>::all(client.clone()));
        let endpoints = Api::<SpiderEndpoint>::namespaced(client.clone(), namespace);
        let maps = Api::<v1::ConfigMap>::namespaced(client.clone(), home);
        let (node, namespace_object, reserved, endpoint, map, events, application) = tokio::join!(
            async { if node.is_empty() { Ok(None) } else { one(&node_api, &node, "Node").await } },
            one(&namespaces, namespace, "Namespace"),
            all::<SpiderReservedIP>(&client, "SpiderReservedIPs"),
            one(&endpoints, name, "SpiderEndpoint"),
            one(&maps, CONFIG_MAP, "ConfigMap"),
            events(&client, namespace, name),
            application(&client, &pod),
        );
        let mut collected = Noted(&mut notes);
        let mut settings = settings(collected.some(map).flatten(), home, &mut collected);
        settings.cluster_network = cluster_network.clone().or(settings.cluster_network);
        let networks = networks(&client, &wishes, &settings, &mut collected).await;
        Ok(Self {
            application: collected.some(application).flatten(),
            node: node?,
            namespace: namespace_object?,
            reserved: collected.some(reserved).flatten().unwrap_or_default(),
            endpoint: collected.some(endpoint).flatten(),
            events: collected.some(events).unwrap_or_default(),
            pod,
            wishes,
            pools,
            settings,
            networks,
            notes,
        })
    }
}

/// Collects the failures of what can be done without.
struct Noted<'a>(&'a mut Vec<String>);

impl Noted<'_> {
    fn some<T>(&mut self, outcome: Result<T, Failure>) -> Option<T> {
        outcome.map_err(|failure| self.0.push(failure.to_string())).ok()
    }
}

/// Reads one object; none when it is not there, or its kind is unknown.
async fn one<K>(api: &Api<K>, name: &str, kind: &str) -> Result<Option<K>, Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.get_opt(name).await.map_err(|error| {
        Failure::Failed(format!("cannot read {kind} {name} at the API server: {}", with_causes(&error)))
    })
}

/// The failure of a pod that is not there; what is still recorded for its name is said.
fn gone(namespace: &str, name: &str, pools: &[SpiderIPPool]) -> Failure {
    let whole = format!("{namespace}/{name}");
    let records = super::records(pools).filter(|(_, _, holder)| holder.pod.to_string() == whole);
    let records: Vec<String> =
        records.map(|(pool, address, _)| format!("{address} of pool {pool}")).collect();
    let held = match records.as_slice() {
        [] => "no pool has an address recorded for that name".to_owned(),
        some => format!("still recorded for that name: {}", some.join(", ")),
    };
    Failure::Failed(format!("there is no pod {whole} ({held}); is the namespace right (-n NAMESPACE)?"))
}

async fn events(client: &Client, namespace: &str, pod: &str) -> Result<Vec<v1::Event>, Failure> {
    let api: Api<v1::Event> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={pod}"));
    let list = api.list(&params).await.map_err(|error| {
        Failure::Failed(format!(
            "cannot list the Events of the pod at the API server: {}",
            with_causes(&error)
        ))
    })?;
    Ok(list.items)
}

/// Reads what the agents were told, as far as the chart's config map says it.
fn settings(map: Option<v1::ConfigMap>, home: &str, noted: &mut Noted<'_>) -> Settings {
    let data = map.and_then(|map| map.data).unwrap_or_default();
    let conf = match data.get(CONF) {
        Some(text) => noted
            .some(serde_saphyr::from_str::<Conf>(text).map_err(|error| {
                Failure::Failed(format!(
                    "cannot read {CONF} in ConfigMap {home}/{CONFIG_MAP}, so the defaults are taken: {error}"
                ))
            }))
            .unwrap_or_default(),
        None => Conf::default(),
    };
    let Conf { v4, v6, enable_spider_subnet } = conf;
    let on = [(Family::V4, v4), (Family::V6, v6)].into_iter().filter(|(_, on)| *on);
    let cluster_network = data.get(CLUSTER_NETWORK).filter(|text| !text.is_empty());
    Settings {
        families: on.map(|(family, _)| family).collect(),
        subnets: if enable_spider_subnet { SubnetFeature::Refused } else { SubnetFeature::Ignored },
        cluster_network: cluster_network.and_then(|text| network_name(text, home)),
    }
}

/// Reads a network's name; without a namespace it is in Spiderpool's own.
fn network_name(text: &str, home: &str) -> Option<MultusName> {
    if text.contains('/') { text.parse().ok() } else { format!("{home}/{text}").parse().ok() }
}

/// Reads what gives the addresses of each network of the pod.
async fn networks(
    client: &Client,
    wishes: &Wishes,
    settings: &Settings,
    noted: &mut Noted<'_>,
) -> BTreeMap<String, Ipam> {
    let mut networks = BTreeMap::new();
    for nic in wishes.networks.nics() {
        let Behind::Network(name) = wishes.networks.behind(&nic, settings.cluster_network.as_ref()) else {
            continue;
        };
        let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
        let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), name.namespace(), &resource);
        let found = noted.some(one(&api, name.name(), "NetworkAttachmentDefinition").await);
        let ipam = match found {
            Some(Some(object)) => cni::ipam(object.data["spec"]["config"].as_str()),
            Some(None) => Ipam::Unknown(format!("NetworkAttachmentDefinition {name} does not exist")),
            None => Ipam::Unknown("it cannot be read".to_owned()),
        };
        networks.insert(name.to_string(), ipam);
    }
    networks
}

/// Follows the controllers of a pod up to the first that is not Kubernetes' own, or has none.
async fn application(client: &Client, pod: &v1::Pod) -> Result<Option<Application>, Failure> {
    let namespace = pod.namespace().unwrap_or_default();
    let (mut top, mut owners) = (None, pod.owner_references().to_vec());
    for _ in 0..OWNERS {
        let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else { break };
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        top = Some(Application {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: owner.kind.clone(),
            namespace: namespace.clone(),
            name: owner.name.clone(),
        });
        if !matches!(group, "apps" | "batch") {
            break;
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &ApiResource::from_gvk(&kind));
        let object = one(&api, &owner.name, &owner.kind).await?;
        owners = object.map(|object| object.owner_references().to_vec()).unwrap_or_default();
    }
    Ok(top)
}
