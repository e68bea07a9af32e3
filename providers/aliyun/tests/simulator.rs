//! The provider against the simulated cloud, which verifies every signature.

#![expect(clippy::unwrap_used, reason = "a test's own functions may fail it")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::{InstanceId, Inventory, Nic, NicUse};
use providers::{Class, Error, Provider};
use providers_aliyun::{Aliyun, Environment, Settings};
use testbed::aliyun::{
    EmptyLists, Fault, KEY, LastToken, Mode, NicStatus, Role, SECRET, Simulator, Topology, When,
};

const NICS: &str = "DescribeNetworkInterfaces";
const ROLE_ARN: &str = "acs:ram::1234567890123456:role/cni";
const OIDC_ARN: &str = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c1";

async fn seed() -> Simulator {
    start(Topology::seed()).await
}

async fn start(topology: Topology) -> Simulator {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let simulator = Simulator::start().await.unwrap();
    simulator.edit(|cloud| topology.build(cloud)).unwrap();
    simulator
}

fn settings(simulator: &Simulator) -> Settings {
    let endpoint = |text: &str| Some(text.parse().unwrap());
    let mut settings = Settings::new("hz".into());
    settings.region = Some("cn-hangzhou".to_owned());
    settings.vpc_id =
        simulator.edit(|cloud| cloud.world().vswitches().next().map(|vswitch| vswitch.vpc.clone()));
    settings.endpoints.ecs = endpoint(&simulator.endpoints().ecs);
    settings.endpoints.vpc = endpoint(&simulator.endpoints().vpc);
    settings.endpoints.sts = endpoint(&simulator.endpoints().sts);
    settings.endpoints.metadata = endpoint(&simulator.endpoints().metadata);
    settings.timeouts.call = Duration::from_secs(5);
    settings
}

fn key(id: &str, secret: &str) -> Environment {
    [("ALIBABA_CLOUD_ACCESS_KEY_ID", id), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret)].into_iter().collect()
}

fn open(simulator: &Simulator, environment: &Environment) -> Aliyun {
    Aliyun::with_environment(settings(simulator), environment).unwrap()
}

fn provider(simulator: &Simulator) -> Aliyun {
    open(simulator, &key(KEY, SECRET))
}

fn nic<'a>(inventory: &'a Inventory, id: &str) -> &'a Nic {
    inventory.instances.values().flatten().find(|nic| nic.id.as_str() == id).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn without_secrets(error: &Error, secrets: &[&str]) {
    for secret in secrets {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

// === Reading ===

#[tokio::test]
async fn the_seed_is_read_as_it_was_built() {
    let simulator = seed().await;
    let inventory = provider(&simulator).list().await.unwrap();
    assert_eq!(inventory.warnings, Vec::<String>::new());
    assert_eq!((inventory.instances.len(), inventory.nic_count(), inventory.subnets.len()), (2, 4, 2));
    let worker = nic(&inventory, "eni-bp1worker1");
    assert_eq!(
        worker.addresses.to_strings(),
        ["192.168.0.161-192.168.0.165", "2001:db8:31:c0c0::161-2001:db8:31:c0c0::163"]
    );
    assert_eq!((worker.primary.as_slice(), &worker.use_), (&[address("192.168.0.155")][..], &NicUse::Pods));
    let subnet = &inventory.subnets[&worker.subnet];
    assert_eq!(subnet.v4_gateway.unwrap().to_string(), "192.168.0.253");
    assert_eq!(subnet.v6_gateway.unwrap().to_string(), "2001:db8:31:c0c0:ffff:ffff:ffff:fff7");
    assert_eq!(nic(&inventory, "eni-bp1master0").index, Some(0));
}

#[tokio::test]
async fn twelve_hundred_nics_take_three_calls_and_the_vswitches_one() {
    let simulator = start(Topology::large(300, 4, 2)).await;
    let provider = provider(&simulator);
    simulator.reset_calls();
    let inventory = provider.list().await.unwrap();
    assert_eq!(inventory.nic_count(), 1_200);
    assert_eq!((simulator.calls().of(NICS), simulator.calls().of("DescribeVSwitches")), (3, 1));
    assert_eq!(simulator.calls().total(), 4);
    provider.list().await.unwrap();
    assert_eq!((simulator.calls().of(NICS), simulator.calls().of("DescribeVSwitches")), (6, 1));
}

#[tokio::test]
async fn every_way_to_write_an_empty_list_reads_the_same() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    let first = provider.list().await.unwrap();
    for empty in [EmptyLists::Written, EmptyLists::Absent, EmptyLists::EmptyWrapper, EmptyLists::Mixed(7)] {
        for last in [LastToken::EmptyText, LastToken::Absent] {
            simulator.edit(|cloud| {
                cloud.style.empty_lists = empty;
                cloud.style.last_token = last;
            });
            assert_eq!(provider.list().await.unwrap(), first, "{empty:?} {last:?}");
        }
    }
}

#[tokio::test]
async fn a_change_in_the_cloud_is_in_the_next_reading() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    provider.list().await.unwrap();
    let added = address("192.168.0.200");
    simulator.edit(|cloud| cloud.assign("eni-bp1worker1", &[added])).unwrap();
    assert!(nic(&provider.list().await.unwrap(), "eni-bp1worker1").addresses.contains(added));
    simulator.edit(|cloud| cloud.unassign("eni-bp1worker1", &[added])).unwrap();
    assert!(!nic(&provider.list().await.unwrap(), "eni-bp1worker1").addresses.contains(added));
    simulator.edit(|cloud| cloud.remove_instance("i-bp1worker"));
    let inventory = provider.list().await.unwrap();
    assert_eq!(inventory.instances.keys().map(InstanceId::as_str).collect::<Vec<_>>(), ["i-bp1master"]);
}

#[tokio::test]
async fn a_nic_that_is_being_detached_is_left_alone_until_it_is_gone() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    simulator.edit(|cloud| cloud.set_nic_status("eni-bp1worker1", NicStatus::Detaching)).unwrap();
    let inventory = provider.list().await.unwrap();
    let leaving = nic(&inventory, "eni-bp1worker1");
    assert_eq!(leaving.use_, NicUse::Unclear("status Detaching".to_owned()));
    assert!(!leaving.addresses.is_empty());
    simulator.edit(|cloud| cloud.detach_nic("eni-bp1worker1")).unwrap();
    assert_eq!(provider.list().await.unwrap().nic_count(), 3);
}

#[tokio::test]
async fn joins_share_their_calls_and_an_unknown_instance_is_absent() {
    let simulator = start(Topology::large(120, 4, 2)).await;
    let provider = provider(&simulator);
    let whole = provider.list().await.unwrap();
    simulator.reset_calls();
    let asked: BTreeSet<InstanceId> =
        whole.instances.keys().cloned().chain([InstanceId::from("i-unknown")]).collect();
    let described = provider.describe(&asked).await.unwrap();
    assert_eq!(described.instances, whole.instances);
    assert_eq!((simulator.calls().of("DescribeInstances"), simulator.calls().of(NICS)), (2, 5));
    assert_eq!(simulator.calls().total(), 7);
}

#[tokio::test]
async fn duplicates_stay_and_strays_go_and_both_are_reported() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    let sound = provider.list().await.unwrap();
    simulator.edit(|cloud| cloud.faults.add(NICS, When::Next(1), Fault::StrayAddress));
    let inventory = provider.list().await.unwrap();
    assert_eq!(inventory.instances, sound.instances);
    assert!(inventory.warnings[0].contains("is outside vSwitch"), "{:?}", inventory.warnings);
    // Two NICs of one vSwitch, so that the address is outside neither.
    let twice = address("192.168.0.160");
    simulator.edit(|cloud| cloud.plant("eni-bp1worker1", &[twice])).unwrap();
    let inventory = provider.list().await.unwrap();
    assert!(nic(&inventory, "eni-bp1worker1").addresses.contains(twice));
    assert!(nic(&inventory, "eni-bp1master1").addresses.contains(twice));
    assert_eq!(inventory.warnings, ["NICs eni-bp1master1 and eni-bp1worker1 both show 192.168.0.160"]);
}

#[tokio::test]
async fn region_and_vpc_are_found_by_metadata() {
    let simulator = seed().await;
    let mut settings = settings(&simulator);
    (settings.region, settings.vpc_id) = (None, None);
    let provider = Aliyun::with_environment(settings, &key(KEY, SECRET)).unwrap();
    assert_eq!(provider.list().await.unwrap().nic_count(), 4);
}

// === Bad weather ===

#[tokio::test]
async fn spoilt_pages_are_read_again_and_lasting_ones_reported() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    for fault in [
        Fault::Unavailable,
        Fault::HtmlBadGateway,
        Fault::HtmlOk,
        Fault::CutJson,
        Fault::CutBody,
        Fault::ReplyLost,
    ] {
        simulator.edit(|cloud| cloud.faults.add(NICS, When::Next(1), fault.clone()));
        assert_eq!(provider.list().await.unwrap().nic_count(), 4, "{fault:?}");
        simulator.edit(|cloud| cloud.faults.add(NICS, When::Always, fault.clone()));
        let error = provider.list().await.unwrap_err();
        assert_eq!(error.class, Class::Transient, "{fault:?}: {error}");
        without_secrets(&error, &[SECRET, KEY]);
        simulator.edit(|cloud| cloud.faults.clear());
    }
}

#[tokio::test]
async fn empty_pages_are_passed_and_endless_tokens_noticed() {
    let simulator = seed().await;
    let provider = provider(&simulator);
    simulator.edit(|cloud| cloud.faults.add(NICS, When::Next(1), Fault::EmptyPage));
    assert_eq!(provider.list().await.unwrap().nic_count(), 4);
    simulator.edit(|cloud| cloud.faults.add(NICS, When::Always, Fault::EndlessToken));
    let begun = Instant::now();
    let error = provider.list().await.unwrap_err();
    assert!(error.class == Class::Transient && error.message.contains("never end"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_key_and_a_wrong_clock_are_denied() {
    let simulator = seed().await;
    let wrong = "WRONGSECRETwrongsecret";
    let error = open(&simulator, &key(KEY, wrong)).list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains("SignatureDoesNotMatch"), "{error}");
    without_secrets(&error, &[wrong, SECRET]);
    let error = open(&simulator, &key("LTAI5tUNKNOWNKEY", SECRET)).list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains("InvalidAccessKeyId"), "{error}");
    without_secrets(&error, &["LTAI5tUNKNOWNKEY", SECRET]);
    simulator.edit(|cloud| cloud.clock.advance(Duration::from_mins(20)));
    let error = provider(&simulator).list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains("set this machine's clock"), "{error}");
}

#[tokio::test]
async fn a_key_with_a_token_is_accepted_until_the_token_expires() {
    let simulator = seed().await;
    let temporary = simulator.edit(|cloud| cloud.add_sts_credential(Duration::from_mins(5)));
    let environment: Environment = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", temporary.id.as_str()),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", temporary.secret.as_str()),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", temporary.token.as_str()),
    ]
    .into_iter()
    .collect();
    let provider = open(&simulator, &environment);
    provider.list().await.unwrap();
    simulator.edit(|cloud| cloud.clock.advance(Duration::from_mins(6)));
    let error = provider.list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains("InvalidSecurityToken"), "{error}");
    without_secrets(&error, &[&temporary.secret, &temporary.token]);
}

// === RRSA ===

struct Rrsa {
    simulator: Simulator,
    file: tempfile::NamedTempFile,
    provider: Aliyun,
}

impl Rrsa {
    async fn start(lasts: Duration) -> Self {
        let simulator = seed().await;
        simulator.edit(|cloud| {
            cloud.sts.trust(ROLE_ARN, OIDC_ARN);
            cloud.sts.accept_token("oidc-token-one");
            cloud.sts.lasts = Some(lasts);
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "oidc-token-one\n").unwrap();
        let environment: Environment = [
            ("ALIBABA_CLOUD_ROLE_ARN", ROLE_ARN),
            ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", OIDC_ARN),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file.path().to_str().unwrap()),
        ]
        .into_iter()
        .collect();
        let provider = open(&simulator, &environment);
        Self { simulator, file, provider }
    }

    fn exchanges(&self) -> u64 {
        self.simulator.calls().of("AssumeRoleWithOIDC")
    }
}

#[tokio::test]
async fn one_exchange_serves_many_callers_for_long() {
    let rrsa = Rrsa::start(Duration::from_hours(1)).await;
    let provider = &rrsa.provider;
    let (a, b, c, d) = tokio::join!(provider.list(), provider.list(), provider.list(), provider.list());
    for reading in [a, b, c, d] {
        assert_eq!(reading.unwrap().nic_count(), 4);
    }
    provider.list().await.unwrap();
    assert_eq!(rrsa.exchanges(), 1);
}

#[tokio::test]
async fn credentials_are_renewed_before_they_end_with_the_token_that_is_then_in_the_file() {
    // With less than three minutes left every call renews.
    let rrsa = Rrsa::start(Duration::from_secs(170)).await;
    rrsa.provider.list().await.unwrap();
    let before = rrsa.exchanges();
    rrsa.simulator.edit(|cloud| {
        cloud.sts.expire_token("oidc-token-one");
        cloud.sts.accept_token("oidc-token-two");
    });
    std::fs::write(rrsa.file.path(), "oidc-token-two").unwrap();
    rrsa.provider.list().await.unwrap();
    assert!(rrsa.exchanges() > before);
}

#[tokio::test]
async fn old_credentials_serve_on_while_they_are_valid_and_cannot_be_renewed() {
    let rrsa = Rrsa::start(Duration::from_secs(170)).await;
    rrsa.provider.list().await.unwrap();
    rrsa.simulator.edit(|cloud| cloud.sts.expire_token("oidc-token-one"));
    assert_eq!(rrsa.provider.list().await.unwrap().nic_count(), 4);
    // By the cloud's clock they are over now, and there are no new ones.
    rrsa.simulator.edit(|cloud| cloud.clock.advance(Duration::from_secs(200)));
    let error = rrsa.provider.list().await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
    for part in ["AssumeRoleWithOIDC", ROLE_ARN, "AuthenticationFail"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    without_secrets(&error, &["oidc-token-one"]);
}

#[tokio::test]
async fn a_token_that_dies_early_is_replaced_once() {
    let rrsa = Rrsa::start(Duration::from_hours(1)).await;
    let expired = Fault::code("InvalidSecurityToken.Expired");
    rrsa.simulator.edit(|cloud| cloud.faults.add(NICS, When::Next(1), expired.clone()));
    assert_eq!(rrsa.provider.list().await.unwrap().nic_count(), 4);
    assert_eq!(rrsa.exchanges(), 2);
    rrsa.simulator.edit(|cloud| cloud.faults.add(NICS, When::Always, expired));
    assert_eq!(rrsa.provider.list().await.unwrap_err().class, Class::Denied);
    assert_eq!(rrsa.exchanges(), 3);
}

#[tokio::test]
async fn a_missing_token_file_is_named() {
    let rrsa = Rrsa::start(Duration::from_hours(1)).await;
    let Rrsa { simulator, file, provider } = rrsa;
    let path = file.path().to_str().unwrap().to_owned();
    drop(file);
    let error = provider.list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains(&path), "{error}");
    assert_eq!(simulator.calls().total(), 0);
}

#[tokio::test]
async fn the_exchange_is_anonymous_and_its_token_travels_in_the_body() {
    let rrsa = Rrsa::start(Duration::from_hours(1)).await;
    rrsa.provider.list().await.unwrap();
    let log = rrsa.simulator.log();
    let call = log.iter().find(|call| call.action == "AssumeRoleWithOIDC").unwrap();
    assert_eq!(call.key, None);
    assert!(log.iter().filter(|call| call.action == NICS).all(|call| call.key.is_some()));
}

// === RAM role of the instance ===

async fn with_role(mode: Mode, role: Option<Role>) -> Simulator {
    let simulator = seed().await;
    simulator.edit(|cloud| {
        cloud.metadata.mode = mode;
        cloud.metadata.role = role;
    });
    simulator
}

fn hour() -> Role {
    Role::new("cni", Duration::from_hours(1))
}

#[tokio::test]
async fn the_role_is_taken_with_a_token_and_kept() {
    let simulator = with_role(Mode::Strict, Some(hour())).await;
    let provider = open(&simulator, &Environment::default());
    provider.list().await.unwrap();
    let asked = simulator.calls().of("Metadata");
    assert_eq!((simulator.calls().of("MetadataToken"), asked), (1, 2));
    provider.list().await.unwrap();
    assert_eq!(simulator.calls().of("Metadata"), asked);
}

#[tokio::test]
async fn a_named_role_is_not_asked_for() {
    let simulator = with_role(Mode::Strict, Some(hour())).await;
    let environment = [("ALIBABA_CLOUD_ECS_METADATA", "cni")].into_iter().collect();
    open(&simulator, &environment).list().await.unwrap();
    assert_eq!(simulator.calls().of("Metadata"), 1);
}

#[tokio::test]
async fn a_service_without_tokens_is_asked_without_unless_that_is_off() {
    let simulator = with_role(Mode::Tokenless, Some(hour())).await;
    open(&simulator, &Environment::default()).list().await.unwrap();
    let environment = [("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")].into_iter().collect();
    let error = open(&simulator, &environment).list().await.unwrap_err();
    assert!(error.class == Class::Denied && error.message.contains("IMDSV1_DISABLED"), "{error}");
}

#[tokio::test]
async fn without_any_source_the_error_names_them_all() {
    let simulator = with_role(Mode::Strict, None).await;
    let off = [("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "TRUE")].into_iter().collect();
    for environment in [Environment::default(), off] {
        let error = open(&simulator, &environment).list().await.unwrap_err();
        assert_eq!(error.class, Class::Denied, "{error}");
        for part in ["ALIBABA_CLOUD_ACCESS_KEY_ID", "RRSA", "role"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn a_role_that_is_not_ready_or_a_service_that_is_off_is_denied() {
    let failing = Some(hour().failing("Failed"));
    for (mode, role) in [(Mode::Strict, failing), (Mode::Disabled, Some(hour()))] {
        let simulator = with_role(mode, role).await;
        let error = open(&simulator, &Environment::default()).list().await.unwrap_err();
        assert_eq!(error.class, Class::Denied, "{error}");
    }
}
