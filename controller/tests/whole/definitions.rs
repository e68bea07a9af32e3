//! The definitions that SpiderMultusConfigs lead to, on a real API server with a real garbage collector.

use std::time::Duration;

use api::{NetworkAttachmentDefinition, READY, SpiderMultusConfig, labels};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::stage::{Stage, eventually};

/// One object of each type.
fn types() -> [(&'static str, Value); 8] {
    let pools = json!({"ipv4": ["pool-a"], "ipv6": ["pool-b"]});
    [
        (
            "macvlan",
            json!({"cniType": "macvlan", "macvlan": {"master": ["eth0"], "vlanID": 7, "ippools": pools}}),
        ),
        ("ipvlan", json!({"cniType": "ipvlan", "enableCoordinator": false, "ipvlan": {"master": ["eth0"]}})),
        ("vlan", json!({"cniType": "vlan", "vlan": {"master": ["eth0"], "vlanID": 7}})),
        ("sriov", json!({"cniType": "sriov", "sriov": {"resourceName": "spidernet.io/vf", "mtu": 1400}})),
        ("ib-sriov", json!({"cniType": "ib-sriov", "ibsriov": {"resourceName": "spidernet.io/ib"}})),
        ("ipoib", json!({"cniType": "ipoib", "ipoib": {"master": "ib0"}})),
        ("ovs", json!({"cniType": "ovs", "ovs": {"bridge": "br1"}})),
        ("custom", json!({"cniType": "custom", "customCNI": "{\"type\":\"calico\"}"})),
    ]
}

/// The objects of a stage's namespace.
struct Networks {
    configs: Api<SpiderMultusConfig>,
    definitions: Api<NetworkAttachmentDefinition>,
}

impl Networks {
    fn of(stage: &Stage) -> Self {
        Self {
            configs: Api::namespaced(stage.client.clone(), &stage.name),
            definitions: Api::namespaced(stage.client.clone(), &stage.name),
        }
    }

    async fn create(&self, name: &str, spec: Value) -> SpiderMultusConfig {
        self.create_with(name, json!({}), spec).await
    }

    async fn create_with(&self, name: &str, annotations: Value, spec: Value) -> SpiderMultusConfig {
        let object = json!({
            "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderMultusConfig",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        });
        self.configs.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// A definition that nobody's controller owns.
    async fn create_foreign(&self, name: &str) -> NetworkAttachmentDefinition {
        let object = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name}, "spec": {"config": "{\"type\":\"mine\"}"},
        });
        self.definitions
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap()
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.configs.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn patch_definition(&self, name: &str, patch: Value) {
        self.definitions.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Waits for the object's condition to have this reason for its present generation; returns the message.
    async fn until(&self, name: &str, reason: &str) -> String {
        eventually(&format!("{name} is {reason}"), async || {
            let object = self.configs.get(name).await.unwrap();
            let status =
                object.status.filter(|status| status.observed_generation == object.metadata.generation)?;
            let ready = status.conditions.into_iter().find(|condition| condition.type_ == READY)?;
            assert_eq!(ready.status == "True", ready.reason == "Generated", "{ready:?}");
            (ready.reason == reason).then_some(ready.message)
        })
        .await
    }

    async fn definition(&self, name: &str) -> Option<NetworkAttachmentDefinition> {
        self.definitions.get_opt(name).await.unwrap()
    }

    async fn gone(&self, name: &str) {
        eventually(&format!("definition {name} is gone"), async || {
            self.definition(name).await.is_none().then_some(())
        })
        .await;
    }

    /// The types of a definition's plugins.
    async fn chain(&self, name: &str) -> Vec<String> {
        let Some(definition) = self.definition(name).await else { return Vec::new() };
        let config: Value = serde_json::from_str(&definition.spec.config.unwrap()).unwrap();
        let plugins = config["plugins"].as_array().cloned().unwrap_or_default();
        plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_leads_to_its_definition_also_those_of_the_generated_pools() {
    let stage = Stage::two_nodes().await;
    let controller = stage.play().await;
    let networks = Networks::of(&stage);
    for (name, spec) in types() {
        networks.create(name, spec).await;
    }
    for (name, _) in types() {
        networks.until(name, "Generated").await;
        let definition = networks.definition(name).await.unwrap();
        let config: SpiderMultusConfig = networks.configs.get(name).await.unwrap();
        assert_eq!(definition.owner_references()[0].uid, config.uid().unwrap());
        let wanted = api::attachment::definition(&config).unwrap();
        assert_eq!(definition.spec, wanted.spec, "{name}");
        let said = config.status.unwrap().network_attachment_definition;
        assert_eq!(said, Some(format!("{}/{name}", stage.name)));
    }
    assert_eq!(networks.chain("macvlan").await, ["ifacer", "macvlan", "coordinator"]);
    let sriov = networks.definition("sriov").await.unwrap();
    assert_eq!(sriov.annotations()[api::attachment::RESOURCE_NAME], "spidernet.io/vf");

    stage.synced(&["a", "b"]).await;
    for interface in ["ipvlan-eth0", "ipvlan-eth1"] {
        networks.until(interface, "Generated").await;
        assert_eq!(networks.chain(interface).await, ["ifacer", "ipvlan", "coordinator"]);
    }
    // A NIC that takes larger packets than the cloud's image has it take: what people add stays, and goes to both plugins.
    networks.patch("ipvlan-eth1", json!({"spec": {"ipvlan": {"mtu": 8500}}})).await;
    let plugins = eventually("the definition has it", async || {
        let text = networks.definition("ipvlan-eth1").await?.spec.config?;
        let config: Value = serde_json::from_str(&text).unwrap();
        (config["plugins"][1]["mtu"] == 8500).then(|| config["plugins"].clone())
    })
    .await;
    assert_eq!(plugins[0], json!({"type": "ifacer", "interfaces": ["eth1"], "mtu": 8500}));
    assert_eq!((&plugins[1]["type"], &plugins[1]["master"]), (&json!("ipvlan"), &json!("eth1")));
    assert!(
        (controller.counter("spiderpool_cloud_attachments{reason=\"Generated\"}").await - 10.0).abs() < 0.5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_people_change_or_delete_is_repaired() {
    let stage = Stage::empty().await;
    let _controller = stage.play().await;
    let networks = Networks::of(&stage);
    networks.create_with("net", json!({"team": "web"}), types()[1].1.clone()).await;
    networks.until("net", "Generated").await;
    let good = networks.definition("net").await.unwrap();

    let damages = [
        json!({"spec": {"config": "{\"type\":\"bridge\"}"}}),
        json!({"spec": {"config": null}}),
        json!({"metadata": {"annotations": {"team": "db"}}}),
        json!({"metadata": {"labels": {labels::MANAGED_BY: null}}, "spec": {"config": "{}"}}),
        json!({"metadata": {"ownerReferences": null}}),
    ];
    for damage in damages {
        networks.patch_definition("net", damage.clone()).await;
        eventually(&format!("{damage} is repaired"), async || {
            let now = networks.definition("net").await?;
            (now.spec == good.spec
                && now.annotations() == good.annotations()
                && now.labels() == good.labels()
                && now.owner_references() == good.owner_references())
            .then_some(())
        })
        .await;
    }
    networks.definitions.delete("net", &DeleteParams::default()).await.unwrap();
    eventually("it comes back", async || {
        networks.definition("net").await.filter(|now| now.spec == good.spec)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_follows_its_object_and_goes_with_it() {
    let stage = Stage::empty().await;
    let _controller = stage.play().await;
    let networks = Networks::of(&stage);
    networks.create_with("net", json!({"team": "web"}), types()[1].1.clone()).await;
    networks.until("net", "Generated").await;
    let change = json!({
        "metadata": {"annotations": {"team": null, "floor": "3"}},
        "spec": {"enableCoordinator": true, "ipvlan": {"mtu": 1400}},
    });
    networks.patch_definition("net", json!({"metadata": {"annotations": {"added": "by somebody"}}})).await;
    networks.patch("net", change).await;
    eventually("it says so", async || {
        (networks.chain("net").await == ["ipvlan", "coordinator"]).then_some(())
    })
    .await;
    let annotations = networks.definition("net").await.unwrap().annotations().clone();
    assert!(!annotations.contains_key("team") && annotations["floor"] == "3", "{annotations:?}");
    assert_eq!(annotations["added"], "by somebody");

    networks.configs.delete("net", &DeleteParams::default()).await.unwrap();
    networks.gone("net").await;

    // The same name at once again: what is left of the first is not taken for somebody else's.
    networks.create("net", types()[1].1.clone()).await;
    networks.until("net", "Generated").await;
    networks.configs.delete("net", &DeleteParams::default()).await.unwrap();
    let second = networks.create("net", types()[1].1.clone()).await;
    eventually("it is the second's", async || {
        let definition = networks.definition("net").await?;
        (definition.owner_references()[0].uid == second.uid().unwrap()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_somebody_else_is_left_alone_until_it_goes() {
    let stage = Stage::empty().await;
    let controller = stage.play().await;
    let networks = Networks::of(&stage);
    let foreign = networks.create_foreign("net").await;
    networks.create("net", types()[1].1.clone()).await;
    let message = networks.until("net", "Conflict").await;
    assert!(message.contains(&format!("{}/net", stage.name)) && message.contains("delete it"), "{message}");

    // A second object that asks for a definition of the first.
    networks.create("first", types()[1].1.clone()).await;
    networks.until("first", "Generated").await;
    networks.create_with("second", json!({labels::MULTUS_CR_NAME: "first"}), types()[0].1.clone()).await;
    let message = networks.until("second", "Conflict").await;
    assert!(message.contains("belongs to SpiderMultusConfig first"), "{message}");
    assert_eq!(networks.chain("first").await, ["ipvlan"]);

    let writes = controller.counter("spiderpool_cloud_writes_total").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!((controller.counter("spiderpool_cloud_writes_total").await - writes).abs() < 0.5);
    let now = networks.definition("net").await.unwrap();
    assert_eq!(now.resource_version(), foreign.resource_version(), "it was touched");

    networks.configs.delete("first", &DeleteParams::default()).await.unwrap();
    networks.definitions.delete("net", &DeleteParams::default()).await.unwrap();
    networks.until("net", "Generated").await;
    networks.until("second", "Generated").await;
    let events: Api<Event> = Api::namespaced(stage.client.clone(), &stage.name);
    let about = |reason: &'static str| {
        let events = events.clone();
        async move {
            let list = events.list(&ListParams::default()).await.unwrap().items;
            let mut list = list.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
            list.find(|event| event.regarding.as_ref().is_some_and(|on| on.name.as_deref() == Some("net")))
        }
    };
    for reason in ["Conflict", "Created", "Generated"] {
        eventually(&format!("an Event {reason}"), async || about(reason).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_wrong_says_so_and_keeps_the_definition_it_had() {
    let stage = Stage::empty().await;
    let _controller = stage.play().await;
    let networks = Networks::of(&stage);
    networks.create("net", types()[1].1.clone()).await;
    networks.until("net", "Generated").await;
    let good = networks.definition("net").await.unwrap();
    networks.patch("net", json!({"spec": {"chainCNIJsonData": ["{,}"]}})).await;
    let message = networks.until("net", "Invalid").await;
    assert!(message.contains("spec.chainCNIJsonData[0] is no JSON object"), "{message}");
    assert_eq!(networks.definition("net").await.unwrap().resource_version(), good.resource_version());
    let status = networks.configs.get("net").await.unwrap().status.unwrap();
    assert_eq!(status.network_attachment_definition, Some(format!("{}/net", stage.name)));
    networks.patch("net", json!({"spec": {"chainCNIJsonData": null}})).await;
    networks.until("net", "Generated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_moves_the_definition() {
    let stage = Stage::empty().await;
    let _controller = stage.play().await;
    let networks = Networks::of(&stage);
    networks.create_with("net", json!({labels::MULTUS_CR_NAME: "one"}), types()[1].1.clone()).await;
    networks.until("net", "Generated").await;
    assert!(networks.definition("net").await.is_none());

    // To a name that is taken: the old one stays until the new one can be had.
    networks.create_foreign("two").await;
    networks.patch("net", json!({"metadata": {"annotations": {labels::MULTUS_CR_NAME: "two"}}})).await;
    networks.until("net", "Conflict").await;
    assert!(networks.definition("one").await.is_some());
    networks.patch("net", json!({"metadata": {"annotations": {labels::MULTUS_CR_NAME: null}}})).await;
    networks.gone("one").await;
    assert!(networks.definition("net").await.is_some());
    networks.until("net", "Generated").await;
    let status = networks.configs.get("net").await.unwrap().status.unwrap();
    assert_eq!(status.network_attachment_definition, Some(format!("{}/net", stage.name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_means_no_write_to_a_definition_either() {
    let stage = Stage::empty().await;
    let mut controller = stage.play().await;
    let networks = Networks::of(&stage);
    for (name, spec) in types() {
        networks.create(name, spec).await;
        networks.until(name, "Generated").await;
    }
    let versions = async || {
        let definitions = networks.definitions.list(&ListParams::default()).await.unwrap().items;
        let configs = networks.configs.list(&ListParams::default()).await.unwrap().items;
        let definitions = definitions.iter().map(ResourceExt::resource_version);
        definitions.chain(configs.iter().map(ResourceExt::resource_version)).collect::<Vec<_>>()
    };
    let before = versions().await;
    // Neither a change that says nothing new, nor a new leader.
    networks.patch("ovs", json!({"metadata": {"labels": {"a": "b"}}})).await;
    networks.patch("ovs", json!({"metadata": {"labels": null}})).await;
    let after_label = versions().await;
    assert_ne!(before, after_label);
    tokio::time::sleep(Duration::from_secs(1)).await;
    controller.signal("TERM");
    controller.ended().await;
    let second = stage.controller();
    eventually("it looked at all", async || {
        (second.counter("spiderpool_cloud_attachments").await > 7.5).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(versions().await, after_label);
    assert!(second.counter("spiderpool_cloud_writes_total").await < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_kind_nothing_breaks_and_with_it_all_is_made() {
    let (stage, plane) = Stage::on_a_plane_of_its_own().await;
    let crd = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../charts/spiderpool/crds/k8s.cni.cncf.io_network-attachment-definitions.yaml"
    );
    plane.kubectl(&["delete", "-f", crd, "--timeout=30s"]).unwrap();
    let controller = stage.play().await;
    let networks = Networks::of(&stage);
    networks.create("net", types()[1].1.clone()).await;
    let message = networks.until("net", "KindNotInstalled").await;
    assert!(message.contains("install Multus"), "{message}");
    // What it has to write of nodes and NICs may come later than that.
    let written = async || controller.counter("spiderpool_cloud_writes_total").await;
    let writes = eventually("it has written the rest", async || {
        let before = written().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ((written().await - before).abs() < 0.5).then_some(before)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!((written().await - writes).abs() < 0.5);
    let log = controller.log();
    assert_eq!(log.matches("does not know NetworkAttachmentDefinitions").count(), 1, "{log}");
    assert!(!log.contains("watch interrupted"), "{log}");

    plane.kubectl(&["apply", "-f", crd]).unwrap();
    networks.until("net", "Generated").await;
    // Gone again while it is watched.
    plane.kubectl(&["delete", "-f", crd, "--timeout=30s"]).unwrap();
    networks.until("net", "KindNotInstalled").await;
    plane.kubectl(&["apply", "-f", crd]).unwrap();
    networks.until("net", "Generated").await;
}
