use std::collections::BTreeSet;

use super::*;

fn finding(certainty: Certainty, blocks: &[&str]) -> Finding {
    let blocks: BTreeSet<_> = blocks.iter().map(|block| block.parse().unwrap()).collect();
    Finding { blocks, certainty, reason: "Test", message: "it is a test".to_owned() }
}

fn findings(services: Finding) -> Findings {
    Findings { services, overlay: finding(Certainty::Known, &[]) }
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(status: Option<SpiderCoordinatorStatus>) -> SpiderCoordinator {
    let mut object = SpiderCoordinator::new("default", api::SpiderCoordinatorSpec::default());
    object.metadata.generation = Some(3);
    object.status = status;
    object
}

fn synced(services: &[&str]) -> SpiderCoordinatorStatus {
    SpiderCoordinatorStatus {
        phase: SYNCED.into(),
        service_cidr: services.iter().map(|&it| it.into()).collect(),
        ..SpiderCoordinatorStatus::default()
    }
}

#[test]
fn what_is_known_is_answered_with() {
    let status = status(&object(None), &findings(finding(Certainty::Known, &["10.96.0.0/12"])), None, now(7));
    assert_eq!((status.phase.as_str(), &status.reason), ("Synced", &None));
    assert_eq!(status.service_cidr, ["10.96.0.0/12"]);
    let condition = status.conditions.iter().find(|it| it.type_ == SERVICE_CIDR_KNOWN).unwrap();
    assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)));
}

#[test]
fn what_the_cluster_does_not_tell_is_a_condition_and_no_outage() {
    for certainty in [Certainty::Unknown, Certainty::Denied] {
        let status = status(&object(None), &findings(finding(certainty, &[])), None, now(7));
        assert_eq!((status.phase.as_str(), &status.reason), ("Synced", &None), "{certainty:?}");
        assert_ne!(status.conditions[0].status, "True");
    }
}

#[test]
fn before_the_first_answer_pods_wait() {
    let status = status(&object(None), &findings(finding(Certainty::Unread, &[])), None, now(7));
    assert_eq!((status.phase.as_str(), status.reason.as_deref()), ("NotReady", Some("it is a test")));
}

#[test]
fn what_could_not_be_read_takes_nothing_away() {
    for certainty in [Certainty::Denied, Certainty::Unread] {
        for (had, found, stays) in [
            (&["10.96.0.0/12"][..], &[][..], &["10.96.0.0/12"][..]),
            (&["10.96.0.0/12"], &["10.97.0.0/16"], &["10.96.0.0/12"]),
            (&[], &["10.97.0.0/16"], &["10.97.0.0/16"]),
            (&[], &[], &[]),
        ] {
            let status =
                status(&object(Some(synced(had))), &findings(finding(certainty, found)), None, now(7));
            assert_eq!(
                (status.phase.as_str(), &status.service_cidr[..]),
                ("Synced", &stays.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()[..])
            );
            assert_eq!(status.conditions[0].status, "Unknown");
        }
    }
}

#[test]
fn what_the_cluster_no_longer_tells_is_taken_away() {
    let status = status(
        &object(Some(synced(&["10.96.0.0/12"]))),
        &findings(finding(Certainty::Unknown, &[])),
        None,
        now(7),
    );
    assert_eq!((status.phase.as_str(), status.service_cidr.len()), ("Synced", 0));
}

#[test]
fn nothing_new_is_the_same_status_later_and_other_conditions_stay() {
    let mut first =
        status(&object(None), &findings(finding(Certainty::Known, &["10.96.0.0/12"])), None, now(7));
    let foreign = Condition { type_: "Foreign".into(), ..first.conditions[0].clone() };
    first.conditions.push(foreign);
    let again = status(
        &object(Some(first.clone())),
        &findings(finding(Certainty::Known, &["10.96.0.0/12"])),
        None,
        now(99),
    );
    assert_eq!(first, again);
    let changed =
        status(&object(Some(first.clone())), &findings(finding(Certainty::Unknown, &[])), None, now(99));
    assert_eq!(changed.conditions[0].last_transition_time, Time(now(99)));
    assert_eq!(changed.conditions[2], first.conditions[2]);
}

#[test]
fn what_a_node_said_goes_with_the_node() {
    let known = || findings(finding(Certainty::Known, &["10.96.0.0/12"]));
    let mut first = status(&object(None), &known(), None, now(7));
    for kind in ["a/ServiceReplies", "b/ServiceReplies", "b/Foreign"] {
        first.conditions.push(Condition { type_: kind.into(), ..first.conditions[0].clone() });
    }
    let kinds = |nodes: Option<&BTreeSet<String>>| -> Vec<String> {
        let status = status(&object(Some(first.clone())), &known(), nodes, now(9));
        status.conditions.into_iter().skip(2).map(|condition| condition.type_).collect()
    };
    assert_eq!(kinds(None).len(), 3, "before the nodes were listed nothing is concluded");
    assert_eq!(kinds(Some(&BTreeSet::from(["a".to_owned()]))), ["a/ServiceReplies", "b/Foreign"]);
}
