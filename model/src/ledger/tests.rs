use proptest::prelude::*;

use super::*;
use crate::address::Family;

const REST: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(items: &[&str]) -> AddressSet {
    AddressSet::parse(items).unwrap()
}

fn holder(uid: &str, nic: &str, container: &str) -> Holder {
    let pod = PodName { namespace: "default".into(), name: uid.split('#').next().unwrap().into() };
    Holder { pod, uid: uid.into(), nic: nic.into(), container: container.into(), ..Holder::default() }
}

fn claim(uid: &str) -> Claim {
    Claim { holder: holder(uid, "eth0", "c1"), prefer: None }
}

fn ledger(items: &[&str]) -> Ledger {
    let mut ledger = Ledger::new(REST, 5000);
    ledger.adopt(set(items), BTreeMap::new(), at(0));
    ledger
}

fn nic(uid: &str, container: &str) -> Release {
    Release::Nic { uid: uid.into(), nic: "eth0".into(), container: container.into() }
}

#[test]
fn the_lowest_address_that_was_never_used_comes_first_then_the_longest_rested() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.3"]);
    for (uid, expected) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        assert_eq!(ledger.take(&claim(uid), at(0)).unwrap().address, ip(expected));
    }
    ledger.free(&nic("b", "c1"), at(1));
    ledger.free(&nic("a", "c1"), at(2));
    assert_eq!(ledger.take(&claim("c"), at(100)).unwrap().address, ip("10.0.0.3"));
    assert_eq!(ledger.take(&claim("d"), at(100)).unwrap().address, ip("10.0.0.2"));
    assert_eq!(ledger.take(&claim("e"), at(100)).unwrap().address, ip("10.0.0.1"));
}

#[test]
fn an_address_that_rests_is_not_given_out_and_the_refusal_says_until_when() {
    let mut ledger = ledger(&["10.0.0.1"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    let refusal = ledger.take(&claim("b"), at(1)).unwrap_err();
    assert_eq!(refusal, Refusal::Exhausted { resting_until: None, offered: 1, held: 1 });
    ledger.free(&nic("a", "c1"), at(5));
    let refusal = ledger.take(&claim("b"), at(14)).unwrap_err();
    assert_eq!(refusal, Refusal::Exhausted { resting_until: Some(at(15)), offered: 1, held: 0 });
    assert!(ledger.take(&claim("b"), at(15)).is_ok());
}

#[test]
fn an_address_in_conflict_rests_long() {
    let mut ledger = ledger(&["10.0.0.1"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.free(&Release::Conflict { address: ip("10.0.0.1"), uid: "a".into() }, at(0));
    assert!(ledger.take(&claim("b"), at(599)).is_err());
    assert!(ledger.take(&claim("b"), at(600)).is_ok());
}

#[test]
fn a_claim_that_is_repeated_gets_the_same_address_and_changes_nothing() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    let first = ledger.take(&claim("a"), at(0)).unwrap();
    ledger.commit();
    let second = ledger.take(&claim("a"), at(1)).unwrap();
    assert_eq!(second, Grant { address: first.address, standing: Standing::Same });
    assert!(!ledger.changed());
}

#[test]
fn a_new_sandbox_takes_the_record_over_and_the_old_ones_release_frees_nothing() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.commit();
    let again = Claim { holder: holder("a", "eth0", "c2"), prefer: None };
    assert_eq!(ledger.take(&again, at(1)).unwrap().standing, Standing::Same);
    assert!(ledger.changed());
    assert!(ledger.free(&nic("a", "c1"), at(2)).is_empty());
    assert_eq!(ledger.free(&nic("a", "c2"), at(2)).len(), 1);
}

#[test]
fn two_nics_of_one_pod_share_a_pool() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    let other = Claim { holder: holder("a", "net1", "c1"), prefer: None };
    assert_eq!(ledger.take(&claim("a"), at(0)).unwrap().address, ip("10.0.0.1"));
    assert_eq!(ledger.take(&other, at(0)).unwrap().address, ip("10.0.0.2"));
    assert_eq!(ledger.free(&nic("a", "c1"), at(1))[0].0, ip("10.0.0.1"));
    assert_eq!(ledger.free(&Release::Pod { uid: "a".into() }, at(1))[0].0, ip("10.0.0.2"));
}

#[test]
fn a_record_of_upstream_counts_as_the_nics_when_it_is_the_only_one() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.adopt(set(&["10.0.0.1-10.0.0.9"]), [(ip("10.0.0.5"), holder("a", "", ""))].into(), at(0));
    assert_eq!(ledger.take(&claim("a"), at(0)).unwrap().address, ip("10.0.0.5"));
    assert_eq!(ledger.records()[&ip("10.0.0.5")], holder("a", "eth0", "c1"), "and is completed");
    let other = Claim { holder: holder("a", "net1", "c1"), prefer: None };
    assert_eq!(ledger.take(&other, at(0)).unwrap().address, ip("10.0.0.1"));
}

#[test]
fn a_record_without_uid_is_nobodys() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.2"]);
    ledger.adopt(set(&["10.0.0.1-10.0.0.2"]), [(ip("10.0.0.1"), holder("", "", ""))].into(), at(0));
    assert_eq!(ledger.take(&claim(""), at(0)).unwrap().address, ip("10.0.0.2"));
}

#[test]
fn a_fixed_address_passes_to_the_pod_of_the_same_name_and_to_no_other() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("web-0#1"), at(0)).unwrap();
    let prefer = Some(ip("10.0.0.1"));
    let stranger = Claim { prefer, ..claim("other#1") };
    assert_eq!(ledger.take(&stranger, at(1)).unwrap().address, ip("10.0.0.2"));
    let next = Claim { prefer, ..claim("web-0#2") };
    let grant = ledger.take(&next, at(1)).unwrap();
    assert_eq!(grant, Grant { address: ip("10.0.0.1"), standing: Standing::Inherited });
    assert!(ledger.free(&nic("web-0#1", "c1"), at(2)).is_empty());
}

#[test]
fn a_fixed_address_that_is_offered_no_more_is_not_given_again() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("web-0#1"), at(0)).unwrap();
    ledger.reoffer(set(&["10.0.0.2-10.0.0.9"]));
    let next = Claim { prefer: Some(ip("10.0.0.1")), ..claim("web-0#2") };
    assert_eq!(ledger.take(&next, at(1)).unwrap().address, ip("10.0.0.2"));
}

#[test]
fn a_preferred_address_need_not_have_rested() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.free(&nic("a", "c1"), at(1));
    let again = Claim { prefer: Some(ip("10.0.0.1")), ..claim("b") };
    assert_eq!(ledger.take(&again, at(1)).unwrap().address, ip("10.0.0.1"));
}

#[test]
fn an_address_that_left_the_offer_stays_with_its_sandbox_and_is_never_given_again() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.commit();
    ledger.reoffer(set(&["10.0.0.2-10.0.0.9"]));
    assert_eq!(
        ledger.take(&claim("a"), at(1)).unwrap().address,
        ip("10.0.0.1"),
        "the answer may have been lost"
    );
    let anew = Claim { holder: holder("a", "eth0", "c2"), prefer: None };
    let grant = ledger.take(&anew, at(1)).unwrap();
    assert_eq!(grant, Grant { address: ip("10.0.0.2"), standing: Standing::New });
    assert_eq!(ledger.records().len(), 1, "one record for one NIC");
    assert!(ledger.free_count(at(1000)) == 7);
}

#[test]
fn an_address_that_somebody_else_freed_rests_too() {
    let mut ledger = ledger(&["10.0.0.1"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.commit();
    ledger.adopt(set(&["10.0.0.1"]), BTreeMap::new(), at(50));
    assert!(ledger.take(&claim("b"), at(59)).is_err());
    assert!(ledger.take(&claim("b"), at(60)).is_ok());
}

#[test]
fn what_was_never_written_does_not_rest() {
    let mut ledger = ledger(&["10.0.0.1"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.adopt(set(&["10.0.0.1"]), BTreeMap::new(), at(0));
    assert!(ledger.take(&claim("b"), at(0)).is_ok());
}

#[test]
fn a_full_pool_says_so() {
    let mut ledger = Ledger::new(REST, 2);
    ledger.adopt(set(&["10.0.0.1-10.0.0.9"]), BTreeMap::new(), at(0));
    ledger.take(&claim("a"), at(0)).unwrap();
    ledger.take(&claim("b"), at(0)).unwrap();
    assert_eq!(ledger.take(&claim("c"), at(0)), Err(Refusal::Full { cap: 2 }));
    assert!(ledger.take(&claim("a"), at(0)).is_ok());
}

#[test]
fn a_release_without_uid_goes_by_name_and_sandbox() {
    let mut ledger = ledger(&["10.0.0.1-10.0.0.9"]);
    ledger.take(&claim("a"), at(0)).unwrap();
    let pod = holder("a", "", "").pod;
    let release = |container: &str| Release::Sandbox {
        pod: pod.clone(),
        container: container.into(),
        nic: String::new(),
    };
    assert!(ledger.free(&release(""), at(0)).is_empty());
    assert!(ledger.free(&release("c9"), at(0)).is_empty());
    assert_eq!(ledger.free(&release("c1"), at(0)).len(), 1);
}

#[test]
fn a_huge_prefix_is_never_enumerated() {
    let mut ledger = ledger(&["2001:db8::/64"]);
    let started = std::time::Instant::now();
    for round in 0..20_000_u64 {
        let uid = round.to_string();
        ledger.take(&claim(&uid), at(round)).unwrap();
        if round >= 4000 {
            assert_eq!(ledger.free(&Release::Pod { uid: (round - 4000).to_string() }, at(round)).len(), 1);
        }
        ledger.commit();
    }
    assert!(ledger.rest.len() <= REMEMBERED, "the memory is bounded");
    assert!(started.elapsed() < Duration::from_secs(20), "40,000 steps took {:?}", started.elapsed());
}

/// The same rules, enumerated: affordable because the offers are small.
#[derive(Clone, Debug, Default)]
struct Naive {
    offer: BTreeSet<IpAddr>,
    held: BTreeMap<IpAddr, Holder>,
    rest: BTreeMap<IpAddr, Moment>,
    cap: usize,
}

impl Naive {
    fn take(&mut self, claim: &Claim, now: Moment) -> Result<IpAddr, ()> {
        let Holder { uid, nic, container, .. } = &claim.holder;
        let own = self.held.iter().find(|(_, h)| h.uid == *uid && h.nic == *nic).map(|(address, _)| *address);
        if let Some(address) = own
            && (self.offer.contains(&address) || self.held[&address].container == *container)
        {
            self.held.insert(address, claim.holder.clone());
            return Ok(address);
        }
        let mut free: Vec<(Option<Moment>, IpAddr)> = self
            .offer
            .iter()
            .filter(|address| !self.held.contains_key(address))
            .map(|address| (self.rest.get(address).copied(), *address))
            .collect();
        free.sort_unstable();
        let preferred = free.iter().find(|(_, address)| claim.prefer == Some(*address));
        let rested = free.iter().find(|(until, _)| until.is_none_or(|until| until <= now));
        let address = preferred.or(rested).ok_or(())?.1;
        if own.is_none() && self.held.len() >= self.cap {
            return Err(());
        }
        if let Some(own) = own {
            self.held.remove(&own);
            self.rest.insert(own, now.after(REST));
        }
        self.rest.remove(&address);
        self.held.insert(address, claim.holder.clone());
        Ok(address)
    }

    fn free(&mut self, uid: &str, nic: &str, container: &str, now: Moment) {
        let held = &mut self.held;
        let found = held.iter().find(|(_, h)| h.uid == uid && h.nic == nic && h.container == container);
        if let Some(address) = found.map(|(address, _)| *address) {
            held.remove(&address);
            self.rest.insert(address, now.after(REST));
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take {
        uid: u8,
        nic: u8,
        container: u8,
        prefer: Option<u8>,
    },
    Free {
        uid: u8,
        nic: u8,
        container: u8,
    },
    Commit,
    RollBack,
    Offer(u16),
    /// Somebody else frees the record at this position.
    Lose(usize),
    Wait(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..6u8, 0..2u8, 0..2u8, proptest::option::of(0..12u8))
            .prop_map(|(uid, nic, container, prefer)| Op::Take { uid, nic, container, prefer }),
        4 => (0..6u8, 0..2u8, 0..2u8).prop_map(|(uid, nic, container)| Op::Free { uid, nic, container }),
        3 => Just(Op::Commit),
        1 => Just(Op::RollBack),
        1 => any::<u16>().prop_map(Op::Offer),
        1 => (0..8usize).prop_map(Op::Lose),
        2 => (0..6u8).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 1..80)
}

/// Addresses 0 to 11 of one family, by the bits of a number.
fn small_offer(bits: u16, family: Family) -> AddressSet {
    (0..12).filter(|n| bits & (1 << n) != 0).filter_map(|n| family.address(n)).collect()
}

proptest! {
    #[test]
    fn the_ledger_agrees_with_an_enumerating_oracle(ops in ops(), bits in any::<u16>(), six in any::<bool>()) {
        let family = if six { Family::V6 } else { Family::V4 };
        let members = |bits: u16| (0..12).filter(|n| bits & (1 << n) != 0).filter_map(|n| family.address(n)).collect();
        let mut ledger = Ledger::new(REST, 7);
        ledger.adopt(small_offer(bits, family), BTreeMap::new(), at(0));
        let mut naive = Naive { offer: members(bits), cap: 7, ..Naive::default() };
        let mut durable = naive.clone();
        let mut now = at(0);
        for op in ops {
            match op {
                Op::Take { uid, nic, container, prefer } => {
                    let names = (format!("u{uid}"), format!("n{nic}"), format!("c{container}"));
                    let prefer = prefer.and_then(|n| family.address(u128::from(n)));
                    let claim = Claim { holder: holder(&names.0, &names.1, &names.2), prefer };
                    let before = ledger.clone();
                    let grant = ledger.take(&claim, now);
                    prop_assert_eq!(grant.as_ref().map(|grant| grant.address).map_err(drop), naive.take(&claim, now));
                    if let Ok(grant) = grant {
                        let again = ledger.take(&claim, now);
                        prop_assert_eq!(again, Ok(Grant { standing: Standing::Same, ..grant }));
                    } else {
                        prop_assert_eq!(&ledger, &before);
                    }
                }
                Op::Free { uid, nic, container } => {
                    let names = (format!("u{uid}"), format!("n{nic}"), format!("c{container}"));
                    naive.free(&names.0, &names.1, &names.2, now);
                    let release = Release::Nic { uid: names.0, nic: names.1, container: names.2 };
                    ledger.free(&release, now);
                    prop_assert!(ledger.free(&release, now).is_empty());
                }
                Op::Commit => {
                    ledger.commit();
                    durable = naive.clone();
                }
                Op::RollBack => {
                    ledger.roll_back();
                    naive = durable.clone();
                }
                Op::Offer(bits) => {
                    ledger.reoffer(small_offer(bits, family));
                    durable.offer = members(bits);
                    naive = durable.clone();
                }
                Op::Lose(at) => {
                    let mut held = durable.held.clone();
                    let lost = held.keys().nth(at).copied();
                    if let Some(address) = lost {
                        held.remove(&address);
                        durable.rest.insert(address, now.after(REST));
                    }
                    ledger.adopt(ledger.offer().clone(), held.clone(), now);
                    durable.held = held;
                    naive = durable.clone();
                }
                Op::Wait(seconds) => now = now.after(Duration::from_secs(u64::from(seconds))),
            }
            prop_assert_eq!(ledger.records(), &naive.held);
            prop_assert_eq!(&ledger.rest, &naive.rest);
            let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
            for holder in ledger.records().values() {
                prop_assert!(seen.insert((&holder.uid, &holder.nic)), "a NIC holds two addresses");
            }
            let free = naive.offer.iter().filter(|address| {
                !naive.held.contains_key(address) && naive.rest.get(address).is_none_or(|until| *until <= now)
            });
            prop_assert_eq!(ledger.free_count(now), free.count() as u128);
        }
    }

    #[test]
    fn taking_and_rolling_back_is_identity(ops in ops(), bits in any::<u16>()) {
        let mut ledger = Ledger::new(REST, 7);
        ledger.adopt(small_offer(bits, Family::V4), BTreeMap::new(), at(0));
        for (number, op) in ops.into_iter().enumerate() {
            let before = ledger.clone();
            match op {
                Op::Take { uid, nic, container, prefer } => {
                    let holder = holder(&format!("u{uid}"), &format!("n{nic}"), &format!("c{container}"));
                    let prefer = prefer.and_then(|n| Family::V4.address(u128::from(n)));
                    drop(ledger.take(&Claim { holder, prefer }, at(number as u64)));
                }
                Op::Free { uid, .. } => drop(ledger.free(&Release::Pod { uid: format!("u{uid}") }, at(number as u64))),
                _ => continue,
            }
            let after = ledger.clone();
            ledger.roll_back();
            prop_assert_eq!(ledger.records(), before.records());
            prop_assert_eq!((&ledger.fresh, &ledger.rest, &ledger.queue), (&before.fresh, &before.rest, &before.queue));
            ledger = after;
            ledger.commit();
        }
    }
}
