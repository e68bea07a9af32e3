//! Requests to the shared API server, as strict about unknown fields as kubectl is.

use kube::api::DynamicObject;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, Request};
use kube::{Client, Config, CustomResourceExt};
use serde_json::{Value, json};
use testbed::Cluster;

/// The shared cluster with our CRDs.
pub(crate) fn cluster() -> &'static Cluster {
    let cluster = testbed::shared();
    cluster.apply_crds().unwrap();
    cluster
}

/// Runs `test` with a client of the shared cluster.
pub(crate) fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Server) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(cluster().kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        test(Server { client: Client::try_from(config).unwrap() }).await;
    });
}

/// Whether a request only asks, or also writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Ask,
    Write,
}

pub(crate) struct Server {
    client: Client,
}

impl Server {
    /// Creates an object; the error is the API server's message.
    pub(crate) async fn create(&self, intent: Intent, object: &Value) -> Result<Value, String> {
        let body = serde_json::to_vec(object).unwrap();
        let mut request =
            Request::new(collection(object)).create(&kube::api::PostParams::default(), body).unwrap();
        *request.uri_mut() = strict(request.uri().path(), intent).parse().unwrap();
        self.client.request(request).await.map_err(message)
    }

    /// Replaces an object; the error is the API server's message.
    pub(crate) async fn replace(&self, intent: Intent, object: &Value) -> Result<Value, String> {
        let body = serde_json::to_vec(object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let mut request =
            Request::new(collection(object)).replace(name, &kube::api::PostParams::default(), body).unwrap();
        *request.uri_mut() = strict(request.uri().path(), intent).parse().unwrap();
        self.client.request(request).await.map_err(message)
    }

    pub(crate) async fn get(&self, object: &Value) -> Value {
        let request = Request::new(collection(object))
            .get(object["metadata"]["name"].as_str().unwrap(), &kube::api::GetParams::default())
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn delete(&self, object: &Value) {
        let request = Request::new(collection(object))
            .delete(object["metadata"]["name"].as_str().unwrap(), &kube::api::DeleteParams::default())
            .unwrap();
        let _: Value = self.client.request(request).await.unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }
}

/// An object of one of our kinds, in the namespace `default` where the kind has one.
pub(crate) fn object(kind: &str, name: &str) -> Value {
    let mut object =
        json!({"apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": kind, "metadata": {"name": name}});
    if ["SpiderEndpoint", "SpiderMultusConfig"].contains(&kind) {
        object["metadata"]["namespace"] = "default".into();
    }
    object
}

fn resource(kind: &str) -> ApiResource {
    let resources = [
        api::SpiderIPPool::api_resource(),
        api::SpiderSubnet::api_resource(),
        api::SpiderEndpoint::api_resource(),
        api::SpiderReservedIP::api_resource(),
        api::SpiderCoordinator::api_resource(),
        api::SpiderMultusConfig::api_resource(),
        api::SpiderNode::api_resource(),
    ];
    resources.into_iter().find(|resource| resource.kind == kind).unwrap()
}

fn collection(object: &Value) -> String {
    let resource = resource(object["kind"].as_str().unwrap());
    <DynamicObject as kube::Resource>::url_path(&resource, object["metadata"]["namespace"].as_str())
}

fn strict(path: &str, intent: Intent) -> String {
    let dry_run = if intent == Intent::Ask { "&dryRun=All" } else { "" };
    format!("{path}?fieldValidation=Strict{dry_run}")
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("the API server could not be asked: {other}"),
    }
}
