//! Asks the API server for what the cluster shows of its CIDRs: eight small reads at once, none of which stops another.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::time::timeout;

use super::facts::{CalicoPool, Component, Facts, Named, Sight};
use super::sources::COMPONENTS;

/// Where kubeadm, the control plane and Cilium keep theirs.
const NAMESPACE: &str = "kube-system";
/// Longest time that one read may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads all of it.
pub(super) async fn facts(client: &Client) -> Facts {
    let (services, kubeadm, components, calico, cilium, cilium_pools) = tokio::join!(
        // v1 from Kubernetes 1.33 on, v1beta1 in 1.31 and 1.32 if it is switched on.
        list(client, "networking.k8s.io", &["v1", "v1beta1"], "ServiceCIDR", "servicecidrs"),
        config_map(client, "kubeadm-config"),
        components(client),
        list(client, "crd.projectcalico.org", &["v1"], "IPPool", "ippools"),
        config_map(client, "cilium-config"),
        list(client, "cilium.io", &["v2alpha1", "v2"], "CiliumPodIPPool", "ciliumpodippools"),
    );
    Facts {
        services: services
            .map(|objects| objects.iter().map(|object| named(object, &["/spec/cidrs"])).collect()),
        kubeadm: match kubeadm {
            Sight::There(mut data) => match data.remove("ClusterConfiguration") {
                Some(text) => Sight::There(text),
                None => Sight::Absent,
            },
            Sight::Absent => Sight::Absent,
            Sight::Denied(why) => Sight::Denied(why),
            Sight::Unread(why) => Sight::Unread(why),
        },
        components,
        calico: calico.map(|objects| objects.iter().map(calico_pool).collect()),
        cilium,
        cilium_pools: cilium_pools.map(|objects| {
            objects.iter().map(|object| named(object, &["/spec/ipv4/cidrs", "/spec/ipv6/cidrs"])).collect()
        }),
    }
}

impl<T> Sight<T> {
    fn map<U>(self, look: impl FnOnce(T) -> U) -> Sight<U> {
        match self {
            Self::There(there) => Sight::There(look(there)),
            Self::Absent => Sight::Absent,
            Self::Denied(why) => Sight::Denied(why),
            Self::Unread(why) => Sight::Unread(why),
        }
    }
}

async fn ask<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Sight<T> {
    match timeout(PATIENCE, request).await {
        Err(_) => Sight::Unread(format!("no answer in {PATIENCE:?}")),
        Ok(Ok(there)) => Sight::There(there),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Sight::Absent,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Sight::Denied(status.message),
        Ok(Err(error)) => Sight::Unread(error.to_string()),
    }
}

async fn config_map(client: &Client, name: &str) -> Sight<BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    ask(api.get(name)).await.map(|map| map.data.unwrap_or_default())
}

async fn components(client: &Client) -> Sight<Vec<Component>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    ask(api.list(&ListParams::default().labels(COMPONENTS))).await.map(|list| {
        let mut components: Vec<Component> = list.items.iter().map(component).collect();
        // Replicas may differ for a moment: always the same one speaks.
        components.sort_by(|one, other| one.pod.cmp(&other.pod));
        components
    })
}

fn component(pod: &Pod) -> Component {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let words = containers.flat_map(|it| it.command.iter().flatten().chain(it.args.iter().flatten()));
    Component { pod: pod.name_any(), words: words.cloned().collect() }
}

/// Lists objects of a kind that the cluster need not know, in the first of the versions that it does.
async fn list(
    client: &Client,
    group: &str,
    versions: &[&str],
    kind: &str,
    plural: &str,
) -> Sight<Vec<DynamicObject>> {
    for version in versions {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        match ask(api.list(&ListParams::default())).await {
            Sight::Absent => {}
            sight => {
                return sight.map(|list| {
                    let mut items = list.items;
                    items.sort_by_key(ResourceExt::name_any);
                    items
                });
            }
        }
    }
    Sight::Absent
}

fn named(object: &DynamicObject, lists: &[&str]) -> Named {
    let cidrs = lists.iter().flat_map(|list| texts(&object.data, list)).collect();
    Named { name: object.name_any(), cidrs }
}

fn calico_pool(object: &DynamicObject) -> CalicoPool {
    let cidr = object.data.pointer("/spec/cidr").and_then(Value::as_str).unwrap_or_default();
    CalicoPool {
        name: object.name_any(),
        cidr: cidr.to_owned(),
        uses: texts(&object.data, "/spec/allowedUses").collect(),
    }
}

fn texts(data: &Value, list: &str) -> impl Iterator<Item = String> {
    let items = data.pointer(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned)
}
