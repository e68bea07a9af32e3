use proptest::prelude::*;

use super::*;
use crate::holder::PodName;

const LONG_AGO: Duration = Duration::from_mins(1);
const UID: &str = "u1";

fn holder() -> Holder {
    let pod = PodName { namespace: "default".into(), name: "web-0".into() };
    Holder { pod, uid: UID.into(), node: "n1".into(), ..Holder::default() }
}

fn pod(uid: &str, life: Life) -> Sight {
    Sight::Present(Pod { uids: vec![uid.into()], node: "n1".into(), life })
}

/// A record in a pool of node n1 that has been without its pod for long, of a node that is ready.
fn facts<'a>(holder: &'a Holder, pod: &'a Sight) -> Facts<'a> {
    Facts {
        holder,
        binding: Binding::Node("n1"),
        pod,
        ended: LONG_AGO,
        sandbox: Sandbox::Unknown,
        node: NodeSight::Ready,
        fixed: Fixed::No,
        endpoint: Endpoint::Silent,
        zombies: Zombies::default(),
    }
}

/// Judges the usual record with some facts changed.
fn judged(pod: &Sight, change: impl FnOnce(&mut Facts<'_>)) -> Verdict {
    let holder = holder();
    let mut facts = facts(&holder, pod);
    change(&mut facts);
    verdict(&facts)
}

fn overdue(seconds: u64) -> Life {
    Life::Terminating { overdue: Some(Duration::from_secs(seconds)) }
}

const TERMINATING: Life = Life::Terminating { overdue: None };

#[test]
fn a_pod_that_is_gone_is_freed_when_its_del_had_its_time() {
    assert!(judged(&Sight::Absent, |_| {}).frees());
    let soon = judged(&Sight::Absent, |facts| facts.ended = Duration::from_secs(3));
    assert!(matches!(soon, Verdict::Keep(Why::AwaitingDel(_))), "{soon:?}");
    // It had it: its DEL came, or nobody is there to send one.
    for change in
        [(|facts: &mut Facts<'_>| facts.sandbox = Sandbox::Departed) as fn(&mut Facts<'_>), |facts| {
            facts.node = NodeSight::Absent;
        }]
    {
        let verdict = judged(&Sight::Absent, |facts| {
            facts.ended = Duration::ZERO;
            change(facts);
        });
        assert!(matches!(verdict, Verdict::Free(Why::PodGone(_))), "{verdict:?}");
    }
}

#[test]
fn a_sandbox_that_the_runtime_has_keeps_the_address_of_a_pod_that_is_gone() {
    for sight in [Sight::Absent, pod("u2", Life::Alive), pod(UID, Life::Finished), pod(UID, overdue(60))] {
        let verdict = judged(&sight, |facts| facts.sandbox = Sandbox::Listed);
        assert!(matches!(verdict, Verdict::Keep(Why::SandboxListed(_))), "{verdict:?}");
    }
}

#[test]
fn the_uid_decides_and_not_the_name() {
    let verdict = judged(&pod("u2", Life::Alive), |_| {});
    assert!(matches!(verdict, Verdict::Free(Why::OtherPod { .. })), "{verdict:?}");
}

#[test]
fn a_static_pod_is_known_by_either_of_its_uids() {
    let uids = vec!["mirror".into(), UID.into()];
    let sight = Sight::Present(Pod { uids, node: "n1".into(), life: Life::Alive });
    assert!(matches!(judged(&sight, |_| {}), Verdict::Keep(Why::PodAlive(_))));
}

#[test]
fn a_finished_pod_gives_its_address_back() {
    assert!(matches!(judged(&pod(UID, Life::Finished), |_| {}), Verdict::Free(Why::PodFinished(_))));
}

#[test]
fn a_pod_that_is_ending_keeps_its_address_for_its_grace_period() {
    for life in [TERMINATING, overdue(3)] {
        let verdict = judged(&pod(UID, life), |_| {});
        assert!(matches!(verdict, Verdict::Keep(Why::PodTerminating(_))), "{verdict:?}");
    }
    assert!(matches!(judged(&pod(UID, overdue(11)), |_| {}), Verdict::Free(Why::PodOverdue(..))));
}

#[test]
fn a_sandbox_that_departed_frees_the_moment_its_pod_is_ending() {
    let verdict = judged(&pod(UID, TERMINATING), |facts| facts.sandbox = Sandbox::Departed);
    assert!(matches!(verdict, Verdict::Free(Why::SandboxDeparted(_))), "{verdict:?}");
    let verdict = judged(&pod(UID, Life::Alive), |facts| facts.sandbox = Sandbox::Departed);
    assert!(matches!(verdict, Verdict::Keep(Why::PodAlive(_))), "its next sandbox gets it: {verdict:?}");
}

#[test]
fn a_pod_that_is_ending_on_a_node_that_is_gone_is_freed_at_once() {
    let verdict = judged(&pod(UID, TERMINATING), |facts| facts.node = NodeSight::Absent);
    assert!(matches!(verdict, Verdict::Free(Why::NodeGone { .. })), "{verdict:?}");
}

#[test]
fn each_switch_is_about_the_nodes_of_its_kind() {
    let wait = |zombies: Zombies, node: NodeSight| {
        let verdict = judged(&pod(UID, overdue(60)), |facts| (facts.zombies, facts.node) = (zombies, node));
        matches!(verdict, Verdict::Keep(Why::ZombieKept(..)))
    };
    let ready = Zombies { ready: Overdue::Wait, ..Zombies::default() };
    let not_ready = Zombies { not_ready: Overdue::Wait, ..Zombies::default() };
    for (zombies, node, waits) in [
        (ready, NodeSight::Ready, true),
        (ready, NodeSight::NotReady, false),
        (ready, NodeSight::Unknown, true),
        (not_ready, NodeSight::Ready, false),
        (not_ready, NodeSight::NotReady, true),
        (not_ready, NodeSight::Unknown, true),
        (Zombies::default(), NodeSight::Unknown, false),
    ] {
        assert_eq!(wait(zombies, node), waits, "{zombies:?} {node:?}");
    }
}

#[test]
fn a_fixed_address_waits_for_the_next_pod_of_its_name() {
    for sight in [Sight::Absent, pod("u2", Life::Alive), pod(UID, Life::Finished), pod(UID, overdue(60))] {
        let verdict = judged(&sight, |facts| facts.fixed = Fixed::Valid);
        assert!(matches!(verdict, Verdict::Keep(Why::FixedAddress(_))), "{verdict:?}");
    }
}

#[test]
fn a_fixed_address_whose_owner_is_gone_or_scaled_down_is_freed() {
    assert!(judged(&Sight::Absent, |facts| facts.fixed = Fixed::Invalid).frees());
}

#[test]
fn a_fixed_address_that_is_of_no_use_any_more_is_freed() {
    let elsewhere = Sight::Present(Pod { uids: vec!["u2".into()], node: "n2".into(), life: Life::Alive });
    let verdict = judged(&elsewhere, |facts| facts.fixed = Fixed::Valid);
    assert!(matches!(verdict, Verdict::Free(Why::MovedAway { .. })), "{verdict:?}");
    let shared = judged(&elsewhere, |facts| {
        (facts.fixed, facts.binding) = (Fixed::Valid, Binding::Shared);
    });
    assert!(matches!(shared, Verdict::Keep(Why::FixedAddress(_))), "{shared:?}");
    let unscheduled = Sight::Present(Pod { uids: vec!["u2".into()], node: String::new(), life: Life::Alive });
    let verdict = judged(&unscheduled, |facts| facts.fixed = Fixed::Valid);
    assert!(matches!(verdict, Verdict::Keep(Why::FixedAddress(_))), "it may come back here: {verdict:?}");
    let verdict = judged(&pod("u2", Life::Alive), |facts| {
        (facts.fixed, facts.endpoint) = (Fixed::Valid, Endpoint::Elsewhere);
    });
    assert!(matches!(verdict, Verdict::Free(Why::OtherAddress(_))), "{verdict:?}");
    let verdict =
        judged(&Sight::Absent, |facts| (facts.fixed, facts.node) = (Fixed::Valid, NodeSight::Absent));
    assert!(matches!(verdict, Verdict::Free(Why::PodGone(_))), "{verdict:?}");
}

#[test]
fn a_record_that_does_not_say_whose_it_is_stays() {
    let nobody = Holder { pod: PodName::default(), ..holder() };
    assert_eq!(verdict(&facts(&nobody, &Sight::Absent)), Verdict::Keep(Why::Nameless));
    let somewhere = PodName { namespace: String::new(), name: "web-0".into() };
    let half = Holder { pod: somewhere, ..holder() };
    assert_eq!(verdict(&facts(&half, &Sight::Absent)), Verdict::Keep(Why::Nameless));
    let any = Holder { uid: String::new(), ..holder() };
    let verdict_of = |sight: &Sight| verdict(&facts(&any, sight));
    assert!(matches!(verdict_of(&pod("u2", Life::Alive)), Verdict::Keep(Why::UidUnknown(_))));
    assert!(verdict_of(&Sight::Absent).frees(), "whichever it was, it is gone");
}

#[test]
fn every_reason_is_one_sentence() {
    let name = holder().pod;
    let all = [
        Why::Nameless,
        Why::PodUnknown(name.clone()),
        Why::UidUnknown(name.clone()),
        Why::PodAlive(name.clone()),
        Why::PodTerminating(name.clone()),
        Why::ZombieKept(name.clone(), LONG_AGO),
        Why::FixedAddress(name.clone()),
        Why::OwnerUnknown(name.clone()),
        Why::SandboxListed(name.clone()),
        Why::AwaitingDel(name.clone()),
        Why::PodGone(name.clone()),
        Why::OtherPod { pod: name.clone(), uid: UID.into() },
        Why::PodFinished(name.clone()),
        Why::SandboxDeparted(name.clone()),
        Why::PodOverdue(name.clone(), LONG_AGO),
        Why::NodeGone { pod: name.clone(), node: "n1".into() },
        Why::MovedAway { pod: name.clone(), node: "n2".into() },
        Why::OtherAddress(name),
    ];
    for why in all {
        let text = why.to_string();
        assert!(text.contains("default/web-0") || why == Why::Nameless, "{text}");
        assert!(!text.ends_with('.') && text.starts_with(char::is_lowercase), "{text}");
    }
}

fn lives() -> impl Strategy<Value = Life> {
    prop_oneof![
        Just(Life::Alive),
        Just(Life::Finished),
        proptest::option::of(0..100u64)
            .prop_map(|s| Life::Terminating { overdue: s.map(Duration::from_secs) }),
    ]
}

fn sights() -> impl Strategy<Value = Sight> {
    let pods =
        (proptest::sample::subsequence(vec!["u1", "u2", ""], 1..=2), prop_oneof!["", "n1", "n2"], lives());
    prop_oneof![
        Just(Sight::Unknown),
        Just(Sight::Absent),
        pods.prop_map(|(uids, node, life)| {
            let uids = uids.into_iter().map(str::to_owned).collect();
            Sight::Present(Pod { uids, node, life })
        }),
    ]
}

#[derive(Debug, Clone)]
struct Any {
    holder: Holder,
    shared: Option<()>,
    pod: Sight,
    ended: u64,
    sandbox: Sandbox,
    node: NodeSight,
    fixed: Fixed,
    endpoint: Endpoint,
    zombies: Zombies,
}

impl Any {
    fn facts(&self) -> Facts<'_> {
        Facts {
            holder: &self.holder,
            binding: self.shared.map_or(Binding::Node("n1"), |()| Binding::Shared),
            pod: &self.pod,
            ended: Duration::from_secs(self.ended),
            sandbox: self.sandbox,
            node: self.node,
            fixed: self.fixed,
            endpoint: self.endpoint,
            zombies: self.zombies,
        }
    }
}

fn any_facts() -> impl Strategy<Value = Any> {
    let names = (prop_oneof!["", "web-0"], prop_oneof!["", "u1", "u2"], prop_oneof!["", "n1", "n2"]);
    let holders = names.prop_map(|(name, uid, node)| {
        let pod = PodName { namespace: "default".into(), name };
        Holder { pod, uid, node, ..Holder::default() }
    });
    let overdue = || prop_oneof![Just(Overdue::Free), Just(Overdue::Wait)];
    let zombies = (overdue(), overdue()).prop_map(|(ready, not_ready)| Zombies { ready, not_ready });
    let sandboxes = prop_oneof![Just(Sandbox::Unknown), Just(Sandbox::Departed), Just(Sandbox::Listed)];
    let nodes = prop_oneof![
        Just(NodeSight::Unknown),
        Just(NodeSight::Absent),
        Just(NodeSight::Ready),
        Just(NodeSight::NotReady)
    ];
    let fixed = prop_oneof![Just(Fixed::No), Just(Fixed::Valid), Just(Fixed::Invalid), Just(Fixed::Unknown)];
    let endpoints = prop_oneof![Just(Endpoint::Silent), Just(Endpoint::Here), Just(Endpoint::Elsewhere)];
    let shared = proptest::option::of(Just(()));
    (holders, shared, sights(), 0..100u64, sandboxes, nodes, fixed, endpoints, zombies).prop_map(
        |(holder, shared, pod, ended, sandbox, node, fixed, endpoint, zombies)| Any {
            holder,
            shared,
            pod,
            ended,
            sandbox,
            node,
            fixed,
            endpoint,
            zombies,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn an_unknown_pod_never_frees(mut any in any_facts()) {
        any.pod = Sight::Unknown;
        prop_assert!(!verdict(&any.facts()).frees());
    }

    #[test]
    fn a_live_uid_is_never_freed(mut any in any_facts(), node in "n[1-3]") {
        any.pod = Sight::Present(Pod { uids: vec!["x".into(), any.holder.uid.clone()], node, life: Life::Alive });
        prop_assert!(!verdict(&any.facts()).frees());
    }

    #[test]
    fn an_unknown_owner_frees_only_what_is_of_no_use(mut any in any_facts()) {
        any.fixed = Fixed::Unknown;
        let of_no_use = any.node == NodeSight::Absent && any.shared.is_none();
        prop_assert!(!verdict(&any.facts()).frees() || of_no_use);
    }

    #[test]
    fn a_sandbox_that_the_runtime_has_never_frees(mut any in any_facts()) {
        any.sandbox = Sandbox::Listed;
        prop_assert!(!verdict(&any.facts()).frees());
    }

    /// Time alone frees more and never less: a verdict that was reached is not taken back by waiting.
    #[test]
    fn what_may_go_may_go_later(any in any_facts(), wait in 0..100u64) {
        let later = Any { ended: any.ended + wait, ..any.clone() };
        prop_assert!(!verdict(&any.facts()).frees() || verdict(&later.facts()).frees());
    }

    /// Without a fixed address every record goes in the end when its pod has.
    #[test]
    fn nothing_leaks(mut any in any_facts(), life in lives()) {
        any.holder = holder();
        any.fixed = Fixed::No;
        any.ended = 60;
        any.zombies = Zombies::default();
        any.sandbox = Sandbox::Unknown;
        any.pod = match life {
            Life::Alive => Sight::Absent,
            Life::Finished => pod(UID, Life::Finished),
            Life::Terminating { .. } => pod(UID, overdue(60)),
        };
        prop_assert!(verdict(&any.facts()).frees());
    }
}
