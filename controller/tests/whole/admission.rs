//! The webhook of SpiderIPPools: a real API server asks the real binary.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use api::{SpiderIPPool, labels};
use base64::Engine;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::stage::{Controller, Stage, eventually};

/// Writes a certificate for loopback, and returns the one of the authority that signed it: a new one each time.
fn certify(dir: &Path) -> String {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    std::fs::write(dir.join("tls.crt"), server.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
    authority_certificate.pem()
}

/// `controller/webhook.yaml`, turned to an address on this machine.
fn configuration(address: SocketAddr, authority: &str) -> ValidatingWebhookConfiguration {
    let mut hook: Value = serde_saphyr::from_str(include_str!("../../webhook.yaml")).unwrap();
    let webhook = &mut hook["webhooks"][0];
    let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap().to_owned();
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority);
    webhook["clientConfig"] = json!({"url": format!("https://{address}{path}"), "caBundle": bundle});
    serde_json::from_value(hook).unwrap()
}

async fn register(client: &Client, address: SocketAddr, authority: &str) {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let hook = configuration(address, authority);
    let force = PatchParams::apply("test").force();
    api.patch(&hook.name_any(), &force, &Patch::Apply(&hook)).await.unwrap();
}

/// Two pools that shared addresses before there was a webhook.
const FORMER: [&str; 2] = ["former-a", "former-b"];

/// Which of the controllers the API server asks.
#[derive(PartialEq)]
enum Asked {
    Leader,
    Standby,
}

/// A stage whose API server asks its controller.
struct Play {
    // Before the stage: they look at its folder when they end.
    controller: Controller,
    _leader: Option<Controller>,
    stage: Stage,
    plane: ControlPlane,
    address: SocketAddr,
    pools: Api<SpiderIPPool>,
}

impl Play {
    async fn begin(asked: Asked) -> Self {
        let (stage, plane) = Stage::on_a_plane_of_its_own().await;
        stage.with_two_nodes().await;
        stage.namespace().await;
        let mut leader = None;
        if asked == Asked::Standby {
            leader = Some(stage.controller());
            stage.synced(&["a", "b"]).await;
        }
        let authority = certify(stage.dir.path());
        let controller = stage.controller_with(&[
            "--webhook-listen",
            "127.0.0.1:0",
            "--webhook-certs",
            stage.dir.path().to_str().unwrap(),
        ]);
        let line: Value = serde_json::from_str(&controller.says("\"webhook listening\"").await).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        let ready = async || controller.get("/readyz").await.contains("200 OK").then_some(());
        eventually("it is ready", ready).await;
        let pools: Api<SpiderIPPool> = Api::all(stage.client.clone());
        for name in FORMER {
            pools.create(&PostParams::default(), &pool(name, &["10.9.8.1-10.9.8.9"])).await.unwrap();
        }
        register(&stage.client, address, &authority).await;
        let play = Self { stage, plane, _leader: leader, controller, address, pools };
        play.asked().await;
        play
    }

    /// Waits until the API server asks: it learns of webhooks by a watch of its own.
    async fn asked(&self) {
        let bad = pool("probe", &["10.9.9.9"]);
        self.pools.create(&PostParams::default(), &pool("held", &["10.9.9.9"])).await.unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the API server asks", async || self.pools.create(&dry, &bad).await.err()).await;
    }

    async fn create(&self, name: &str, ips: &[&str]) -> Result<SpiderIPPool, String> {
        let created = self.pools.create(&PostParams::default(), &pool(name, ips)).await;
        created.map_err(|error| error.to_string())
    }

    async fn change(&self, name: &str, patch: Value) -> Result<SpiderIPPool, String> {
        let changed = self.pools.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        changed.map_err(|error| error.to_string())
    }
}

fn pool(name: &str, ips: &[&str]) -> SpiderIPPool {
    let pool = json!({
        "apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderIPPool",
        "metadata": {"name": name}, "spec": {"subnet": "10.9.0.0/16", "ips": ips},
    });
    serde_json::from_value(pool).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_two_pools_of_people_would_share() {
    let play = Play::begin(Asked::Leader).await;
    // Pools that the controller makes are written as ever.
    play.stage.synced(&["a", "b"]).await;
    assert_eq!(play.stage.pools().await.len(), 8);

    play.create("first", &["10.9.0.10-10.9.0.20"]).await.unwrap();
    // At once: no watch is that fast.
    let said = play.create("second", &["10.9.0.5-10.9.0.12"]).await.unwrap_err();
    assert!(said.contains("10.9.0.10-10.9.0.12 (3 addresses)") && said.contains("first"), "{said}");
    play.create("second", &["10.9.0.5-10.9.0.9"]).await.unwrap();
    let refused = play.controller.counter("spiderpool_cloud_admissions_total{outcome=\"refused\"}").await;
    assert!(refused > 0.5, "{refused}");

    let said = play.change("second", json!({"spec": {"ips": ["10.9.0.5-10.9.0.10"]}})).await.unwrap_err();
    assert!(said.contains("10.9.0.10") && said.contains("spec.excludeIPs"), "{said}");
    play.change("second", json!({"spec": {"ips": ["10.9.0.5-10.9.0.10"], "excludeIPs": ["10.9.0.10"]}}))
        .await
        .unwrap();

    play.stage.allocate("second", &["10.9.0.7".parse().unwrap()]).await;
    let said = play.change("second", json!({"spec": {"ips": ["10.9.0.5-10.9.0.6"]}})).await.unwrap_err();
    assert!(said.contains("10.9.0.7 (pod default/web-0)"), "{said}");
    play.change("second", json!({"spec": {"ips": ["10.9.0.7"]}})).await.unwrap();

    // What the watch knows, another name of: the memory of a moment ago is over.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let said = play.create("third", &["10.9.0.7"]).await.unwrap_err();
    assert!(said.contains("second") && !said.contains("a moment ago"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_stays_editable_and_without_an_answer_agents_and_controller_write_on() {
    let play = Play::begin(Asked::Leader).await;
    let as_it_is =
        include_str!("../../webhook.yaml").replace("name: spiderpool-cloud-controller", "name: as-it-is");
    play.plane
        .kubectl_with(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &as_it_is)
        .unwrap();

    let [one, other] = FORMER;
    play.change(one, json!({"metadata": {"finalizers": ["test.spidernet.io/kept"]}})).await.unwrap();
    play.change(one, json!({"spec": {"disable": true}})).await.unwrap();
    play.change(one, json!({"spec": {"ips": ["10.9.8.1-10.9.8.5"]}})).await.unwrap();
    let said = play.change(one, json!({"spec": {"ips": ["10.9.8.1-10.9.8.6"]}})).await.unwrap_err();
    assert!(said.contains("10.9.8.6 of spec.ips is in SpiderIPPool former-b"), "{said}");
    // It goes, and whoever holds it back can let it go.
    play.pools.delete(one, &DeleteParams::default()).await.unwrap();
    play.change(one, json!({"metadata": {"finalizers": null}})).await.unwrap();

    drop(play.controller);
    play.stage.allocate(other, &["10.9.8.7".parse().unwrap()]).await;
    let mut generated = pool("generated", &["10.9.7.1"]);
    generated.labels_mut().insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    play.pools.create(&PostParams::default(), &generated).await.unwrap();
    let error = play.pools.create(&PostParams::default(), &pool("late", &["10.9.7.2"])).await.unwrap_err();
    assert!(error.to_string().contains("failed calling webhook"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_and_silent_clients_stop_no_question() {
    let play = Play::begin(Asked::Leader).await;
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(play.address).unwrap()).collect();
    let began = Instant::now();
    play.create("first", &["10.9.0.1"]).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);

    let authority = certify(play.stage.dir.path());
    play.controller.says("certificate was read again").await;
    register(&play.stage.client, play.address, &authority).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let said = eventually("the API server trusts the new one", async || {
        let error = play.pools.create(&dry, &pool("second", &["10.9.0.1"])).await.err()?.to_string();
        error.contains("first").then_some(error)
    })
    .await;
    // The new authority did not sign the old certificate: what was asked was asked with the new one.
    assert!(!said.contains("x509"), "{said}");
    play.create("second", &["10.9.0.2"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pools_that_are_made_at_once_one_is_stored() {
    let play = Play::begin(Asked::Standby).await;
    assert!(
        play.controller.counter("spiderpool_cloud_leader").await < 0.5,
        "whoever leads, every replica answers"
    );
    for round in 0..20 {
        let address = format!("10.9.1.{round}");
        let (one, other) = (format!("one-{round}"), format!("other-{round}"));
        let ips = [address.as_str()];
        let (a, b) = tokio::join!(play.create(&one, &ips), play.create(&other, &ips));
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_a_certificate_ends_the_start() {
    let stage = Stage::empty().await;
    let dir = stage.dir.path().to_str().unwrap();
    let mut controller = stage.controller_with(&["--webhook-listen", "127.0.0.1:0", "--webhook-certs", dir]);
    assert_eq!(controller.ended().await, 2);
    assert!(controller.log().contains("tls.crt"), "{}", controller.log());
}
