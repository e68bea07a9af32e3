//! The clauses of the contract, one function each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{AddressSet, Claim, Family, InstanceId, Inventory, Nic, NicUse, Node, ProviderName, Scope};

use super::machines::{self, Machine, MachineNic, Owner};
use super::{Fault, Harness, Limit, World};
use crate::{Class, Error, Provider};

/// The longest that any call may take: what `spiderpoolctl` promises its user.
const DEADLINE: Duration = Duration::from_mins(1);

fn name() -> ProviderName {
    ProviderName::from("under-test")
}

/// What the suite compares of a NIC: everything but the names that only its own world knows.
#[derive(Debug, PartialEq, Eq)]
struct View {
    index: Option<u32>,
    primary: Vec<IpAddr>,
    addresses: AddressSet,
    blocks: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    owner: Owner,
}

impl View {
    fn of_nic(nic: &Nic, inventory: &Inventory) -> Self {
        let subnet = inventory.subnets.get(&nic.subnet);
        let subnet = subnet
            .unwrap_or_else(|| broken(&format!("subnet {} of {} is in the reading", nic.subnet, nic.id)));
        Self {
            index: nic.index,
            primary: nic.primary.clone(),
            addresses: nic.addresses.clone(),
            blocks: Family::ALL.into_iter().filter_map(|family| subnet.block(family)).collect(),
            gateways: Family::ALL.into_iter().filter_map(|family| subnet.gateway(family)).collect(),
            owner: if nic.use_ == NicUse::Pods { Owner::Pods } else { Owner::Somebody },
        }
    }

    fn of_machine<H: Harness>(nic: &MachineNic, index: u32, harness: &H) -> Self {
        let marks_primary = !harness.limits().contains_key(&Limit::NoPrimaryAddresses);
        let blocks: Vec<IpNet> = nic.v4.map(IpNet::V4).into_iter().chain([IpNet::V6(nic.v6)]).collect();
        Self {
            index: Some(index),
            primary: nic.primary.into_iter().filter(|_| marks_primary).collect(),
            addresses: nic.pool(),
            gateways: blocks.iter().filter_map(|block| harness.gateway(*block)).collect(),
            blocks,
            owner: nic.owner,
        }
    }
}

pub(super) async fn an_empty_world_is_a_complete_reading<H: Harness>(harness: &H) {
    let world = harness.arrange(&name(), &[]).await;
    let reading = in_time("list", world.provider().list()).await;
    let inventory = ok("a world without machines is a reading, not an error", reading);
    same("an empty world has no instance", &inventory.instances.len(), &0);
    same("list covers the whole world", &inventory.scope, &Scope::Whole);
}

pub(super) async fn every_machine_is_an_instance_of_its_own<H: Harness>(harness: &H) {
    let zoo = machines::zoo(&harness.limits());
    let world = harness.arrange(&name(), &zoo).await;
    same("a provider has the name that it was given", world.provider().name(), &name());
    let claimed = claims(&world, &zoo);
    let distinct: BTreeSet<&InstanceId> = claimed.values().collect();
    same("two machines are two instances", &distinct.len(), &zoo.len());
    let stranger = Node {
        name: "stranger".to_owned(),
        uid: String::new(),
        provider_id: Some("elsewhere://zone/machine".to_owned()),
        addresses: Vec::new(),
    };
    same("a node of another cloud is not claimed", &world.provider().claim(&stranger), &Claim::NotMine);
}

pub(super) async fn a_listing_is_the_whole_world<H: Harness>(harness: &H) {
    let zoo = machines::zoo(&harness.limits());
    let world = harness.arrange(&name(), &zoo).await;
    let inventory = list(&world).await;
    same("list covers the whole world", &inventory.scope, &Scope::Whole);
    compare(harness, &world, &zoo, &inventory);
    if !harness.limits().contains_key(&Limit::NoMacs) {
        let macs: BTreeSet<_> = inventory.instances.values().flatten().map(|nic| nic.mac).collect();
        same("no NIC is without MAC", &macs.contains(&None), &false);
        same("every NIC has a MAC of its own", &macs.len(), &inventory.nic_count());
    }
    same("an unchanged world is listed alike", &list(&world).await, &inventory);
}

pub(super) async fn a_description_covers_what_was_asked<H: Harness>(harness: &H) {
    let zoo = machines::zoo(&harness.limits());
    let world = harness.arrange(&name(), &zoo).await;
    let claimed = claims(&world, &zoo);
    let listing = list(&world).await;

    let two: Vec<Machine> = zoo.iter().take(2).cloned().collect();
    let asked: BTreeSet<InstanceId> = claims(&world, &two).into_values().collect();
    let described = describe(&world, &asked).await;
    same("a description covers what was asked", &described.scope, &Scope::Instances(asked.clone()));
    compare(harness, &world, &two, &described);

    let every: BTreeSet<InstanceId> = claimed.into_values().collect();
    same(
        "describing all shows what listing shows",
        &describe(&world, &every).await.instances,
        &listing.instances,
    );

    let elsewhere = world.unknown_instance();
    let mixed: BTreeSet<InstanceId> = asked.iter().cloned().chain([elsewhere.clone()]).collect();
    let described = describe(&world, &mixed).await;
    same("an unknown instance is absent", &described.instances.contains_key(&elsewhere), &false);
    same("the known ones are there all the same", &described.instances.keys().cloned().collect(), &asked);
    same("the unknown one was asked for", &described.scope, &Scope::Instances(mixed));

    let nothing = describe(&world, &BTreeSet::new()).await;
    same("who asks for nothing gets nothing", &nothing.instances.len(), &0);
}

pub(super) async fn every_page_is_read<H: Harness>(harness: &H) {
    let crowd = machines::crowd(harness);
    let world = harness.arrange(&name(), &crowd).await;
    compare(harness, &world, &crowd, &list(&world).await);
    let every: BTreeSet<InstanceId> = claims(&world, &crowd).into_values().collect();
    compare(harness, &world, &crowd, &describe(&world, &every).await);
}

pub(super) async fn what_cannot_be_read_is_an_error<H: Harness>(harness: &H) {
    for fault in Fault::ALL {
        if harness.limits().contains_key(&Limit::Never(fault)) {
            continue;
        }
        // The fault about later pages needs some; the others are as good with few machines.
        let limits = harness.limits();
        let machines =
            if fault == Fault::LaterPage { machines::crowd(harness) } else { machines::zoo(&limits) };
        let world = harness.arrange(&name(), &machines).await;
        let asked: BTreeSet<InstanceId> = claims(&world, &machines).into_values().collect();
        world.break_with(Some(fault)).await;
        let listed = in_time("list", world.provider().list()).await;
        fails(&world, "list", fault, listed);
        let described = in_time("describe", world.provider().describe(&asked)).await;
        fails(&world, "describe", fault, described);
        world.break_with(None).await;
        compare(harness, &world, &machines, &list(&world).await);
    }
}

fn fails<W: World>(world: &W, call: &str, fault: Fault, reading: Result<Inventory, Error>) {
    let error = match reading {
        Err(error) => error,
        Ok(short) => {
            broken(&format!("{call} fails under {fault:?}, never a reading of {} NICs", short.nic_count()))
        }
    };
    let expected = match fault {
        Fault::Throttled => &[Class::Throttled][..],
        Fault::Denied => &[Class::Denied],
        Fault::CutReply | Fault::Silence => &[Class::Transient],
        // Whatever the later page was answered with.
        Fault::LaterPage => &[Class::Transient, Class::Throttled, Class::Denied, Class::Invalid],
    };
    same(&format!("{call} tells the class of {fault:?}: {error}"), &expected.contains(&error.class), &true);
    let text = format!("{error} {error:?}");
    for secret in world.secrets() {
        same(
            &format!("no secret is in the error of {call} under {fault:?}"),
            &text.contains(&secret),
            &false,
        );
    }
}

/// Compares a reading with the machines that it has to show: these, and no other.
fn compare<H: Harness>(harness: &H, world: &H::World, machines: &[Machine], inventory: &Inventory) {
    let claimed = claims(world, machines);
    let expected: BTreeSet<&InstanceId> = claimed.values().collect();
    same("the instances are exactly the machines", &inventory.instances.keys().collect(), &expected);
    for machine in machines {
        let nics = claimed.get(machine.name.as_str()).and_then(|id| inventory.instances.get(id));
        let mut seen: Vec<View> =
            nics.into_iter().flatten().map(|nic| View::of_nic(nic, inventory)).collect();
        seen.sort_by_key(|view| view.index);
        let wanted: Vec<View> =
            (0..).zip(&machine.nics).map(|(i, nic)| View::of_machine(nic, i, harness)).collect();
        same(&format!("the NICs of {} are as arranged", machine.name), &seen, &wanted);
    }
    let text = format!("{inventory:?}");
    for secret in world.secrets() {
        same("no secret is in a reading", &text.contains(&secret), &false);
    }
}

/// Asks the provider for the instance of each machine, by the machine's name.
fn claims<'a, W: World>(world: &W, machines: &'a [Machine]) -> BTreeMap<&'a str, InstanceId> {
    let claim = |machine: &'a Machine| match world.provider().claim(&world.node(&machine.name)) {
        Claim::Instance(id) => (machine.name.as_str(), id),
        other => broken(&format!("the node of {} is claimed, not {other:?}", machine.name)),
    };
    machines.iter().map(claim).collect()
}

async fn list<W: World>(world: &W) -> Inventory {
    ok("list reads a sound world", in_time("list", world.provider().list()).await)
}

async fn describe<W: World>(world: &W, asked: &BTreeSet<InstanceId>) -> Inventory {
    ok("describe reads a sound world", in_time("describe", world.provider().describe(asked)).await)
}

async fn in_time<T>(call: &str, answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    answer.unwrap_or_else(|_| broken(&format!("{call} ends within {DEADLINE:?}")))
}

fn ok<T>(clause: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| broken(&format!("{clause}, but: {error}")))
}

#[track_caller]
fn same<T: PartialEq + Debug>(clause: &str, seen: &T, wanted: &T) {
    assert!(seen == wanted, "broken clause: {clause}\n  seen:   {seen:?}\n  wanted: {wanted:?}");
}

#[expect(clippy::panic, reason = "a test suite reports by panicking")]
fn broken(clause: &str) -> ! {
    panic!("broken clause: {clause}")
}
