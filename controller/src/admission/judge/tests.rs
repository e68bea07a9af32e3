use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::*;

fn pool(ips: &[&str]) -> SpiderIPPool {
    let mut pool = SpiderIPPool::new("mine", api::SpiderIPPoolSpec::default());
    pool.spec.subnet = "10.0.0.0/8".into();
    pool.spec.ips = ips.iter().map(ToString::to_string).collect();
    pool
}

fn without(ips: &[&str], excluded: &[&str]) -> SpiderIPPool {
    let mut pool = pool(ips);
    pool.spec.exclude_ips = excluded.iter().map(ToString::to_string).collect();
    pool
}

fn held(mut pool: SpiderIPPool, allocated: &str) -> SpiderIPPool {
    pool.status = Some(api::SpiderIPPoolStatus {
        allocated_ips: Some(allocated.to_owned()),
        ..api::SpiderIPPoolStatus::default()
    });
    pool
}

fn generated(mut pool: SpiderIPPool) -> SpiderIPPool {
    pool.labels_mut().insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    pool
}

fn set(items: &[&str]) -> AddressSet {
    AddressSet::parse(items).unwrap()
}

fn added(old: Option<&SpiderIPPool>, new: &SpiderIPPool) -> AddressSet {
    match claim(old, new).unwrap() {
        Claim::Nothing => AddressSet::new(),
        Claim::Addresses { added, .. } => added,
    }
}

fn refused(added: &AddressSet, others: &[(&str, &AddressSet)]) -> Option<String> {
    let others = others.iter().map(|(name, offered)| Other { name, offered, standing: Standing::Seen });
    shared(added, others).err()
}

#[test]
fn a_new_pool_claims_what_it_gives_out() {
    let mut new = without(&["10.0.0.1-10.0.0.9"], &["10.0.0.2"]);
    new.spec.gateway = Some("10.0.0.9".into());
    assert_eq!(added(None, &new), set(&["10.0.0.1", "10.0.0.3-10.0.0.8"]));
}

#[test]
fn a_change_claims_only_what_it_adds() {
    let old = without(&["10.0.0.1-10.0.0.9"], &["10.0.0.5"]);
    assert_eq!(added(Some(&old), &pool(&["10.0.0.1-10.0.0.10"])), set(&["10.0.0.5", "10.0.0.10"]));
    assert_eq!(
        claim(Some(&old), &without(&["10.0.0.1-10.0.0.9"], &["10.0.0.5-10.0.0.6"])),
        Ok(Claim::Nothing)
    );
}

#[test]
fn a_gateway_that_moves_frees_an_address_for_pods() {
    let mut old = pool(&["fd00::1-fd00::9"]);
    old.spec.gateway = Some("fd00::5".into());
    let mut new = old.clone();
    new.spec.gateway = Some("fd00::6".into());
    assert_eq!(added(Some(&old), &new), set(&["fd00::5"]));
}

#[test]
fn what_cannot_be_read_is_refused_when_it_is_written_and_left_when_it_is_not() {
    let old = pool(&["fd00::9-fd00::1"]);
    let said = claim(None, &old).unwrap_err();
    assert!(said.contains("spec.ips") && said.contains("fd00::9-fd00::1"), "{said}");
    let mut edited = old.clone();
    edited.finalizers_mut().push("a".into());
    assert_eq!(claim(Some(&old), &edited), Ok(Claim::Nothing));
    let said = claim(Some(&old), &without(&["fd00::1"], &["fd00::2-fd00::1"])).unwrap_err();
    assert!(said.contains("spec.excludeIPs"), "{said}");
}

#[test]
fn pools_of_the_controller_claim_nothing() {
    let new = generated(pool(&["10.0.0.1", "fd00::9-fd00::1"]));
    assert_eq!(claim(None, &new), Ok(Claim::Nothing));
    assert_eq!(claim(Some(&generated(pool(&[]))), &new), Ok(Claim::Nothing));
}

#[test]
fn a_pool_that_loses_the_controllers_label_claims_all_it_has() {
    let new = pool(&["10.0.0.1"]);
    assert_eq!(added(Some(&generated(new.clone())), &new), set(&["10.0.0.1"]));
}

#[test]
fn a_pool_that_gets_the_controllers_label_loses_nothing_that_is_held() {
    let old = held(pool(&["10.0.0.1"]), r#"{"10.0.0.1": {"pod": "a/b"}}"#);
    assert!(claim(Some(&old), &generated(pool(&[]))).is_err());
    assert_eq!(claim(Some(&old), &generated(pool(&["10.0.0.1"]))), Ok(Claim::Nothing));
}

#[test]
fn a_pool_that_is_being_deleted_is_left_alone() {
    let old = held(pool(&["10.0.0.1"]), r#"{"10.0.0.1": {"pod": "a/b"}}"#);
    let mut new = pool(&["nonsense"]);
    new.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(claim(Some(&old), &new), Ok(Claim::Nothing));
}

#[test]
fn an_address_that_a_pod_holds_cannot_be_removed_but_excluded() {
    let old = held(
        pool(&["10.0.0.1-10.0.0.9"]),
        r#"{"10.0.0.2": {"pod": "shop/web-0", "podUid": "u"}, "10.0.0.3": {"pod": "shop/web-1", "podUid": "u"}}"#,
    );
    let said = claim(Some(&old), &pool(&["10.0.0.1-10.0.0.2"])).unwrap_err();
    assert!(said.contains("10.0.0.3 (pod shop/web-1)") && said.contains("spec.excludeIPs"), "{said}");
    assert!(!said.contains("web-0"), "{said}");
    assert_eq!(claim(Some(&old), &pool(&["10.0.0.2-10.0.0.3"])), Ok(Claim::Nothing));
    assert_eq!(claim(Some(&old), &without(&["10.0.0.1-10.0.0.9"], &["10.0.0.3"])), Ok(Claim::Nothing));
}

#[test]
fn an_address_cannot_be_removed_while_its_records_cannot_be_read() {
    let old = held(pool(&["10.0.0.1-10.0.0.9"]), "{broken");
    let said = claim(Some(&old), &pool(&["10.0.0.1"])).unwrap_err();
    assert!(said.contains("10.0.0.2-10.0.0.9") && said.contains("allocatedIPs"), "{said}");
    assert!(claim(Some(&old), &pool(&["10.0.0.1-10.0.0.10"])).is_ok(), "to add is no removal");
}

#[test]
fn the_sentence_names_addresses_pool_and_what_to_do() {
    let said = refused(&set(&["10.0.0.1-10.0.0.9", "10.0.1.1"]), &[("a", &set(&["10.0.2.0/24"]))]);
    assert_eq!(said, None);
    let said = refused(&set(&["10.0.0.1-10.0.0.9"]), &[("a", &set(&["10.0.0.8-10.0.0.20"]))]).unwrap();
    assert_eq!(
        said,
        "10.0.0.8-10.0.0.9 (2 addresses) of spec.ips are in SpiderIPPool a already, and two pods would get one address: \
         leave them out, or add them to spec.excludeIPs here or there"
    );
}

#[test]
fn a_sentence_about_much_stays_short() {
    let odd: Vec<String> = (0..100).map(|n| format!("10.0.0.{}", n * 2 + 1)).collect();
    let (mine, theirs) = (set(&["10.0.0.0/16"]), AddressSet::parse(&odd).unwrap());
    let names: Vec<String> = (0..50).map(|n| format!("pool-{n}")).collect();
    let others: Vec<_> = names.iter().map(|name| (name.as_str(), &theirs)).collect();
    let said = refused(&mine, &others).unwrap();
    assert!(said.contains("and 97 more (100 addresses)") && said.contains("and 46 more"), "{said}");
    assert!(said.len() < 800, "{}", said.len());
}

#[test]
fn families_do_not_meet() {
    assert_eq!(refused(&set(&["0.0.0.1-0.0.0.9"]), &[("a", &set(&["::1-::9"]))]), None);
}
