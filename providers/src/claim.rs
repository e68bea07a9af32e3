//! Which provider a node belongs to.

use std::collections::BTreeMap;

use model::{Claim, Match, Node, ProviderName, Reading, Sight};

use crate::Provider;

/// Asks the providers in their order whose instance a node is: the first that claims it has it.
///
/// Where several do (two VPCs of one region look alike in a providerID), one that has read the instance goes before one
/// that has not, and one that was never read before one that knows it is not there.
pub fn claim<'a, P: Provider + 'a>(
    providers: impl IntoIterator<Item = &'a P>,
    node: &Node,
    readings: &BTreeMap<ProviderName, Reading>,
) -> Match {
    let (mut asked, mut unreadable, mut claims) = (Vec::new(), None, Vec::new());
    for provider in providers {
        match provider.claim(node) {
            Claim::Instance(instance) => claims.push((provider.name(), instance)),
            Claim::NotMine => asked.push(provider.name().as_str()),
            Claim::Unreadable(why) => unreadable = unreadable.or(Some(why)),
        }
    }
    let doubt = |(provider, instance): &(&ProviderName, _)| match readings
        .get(*provider)
        .map_or(Sight::Unknown, |reading| reading.sight(instance))
    {
        Sight::Present(..) => 0,
        Sight::Unknown => 1,
        Sight::Absent(_) => 2,
    };
    if let Some((provider, instance)) = claims.into_iter().min_by_key(doubt) {
        return Match::Instance { provider: provider.clone(), instance };
    }
    Match::None(match (unreadable, &node.provider_id) {
        (Some(why), _) => why,
        (None, Some(id)) => {
            format!("no configured provider ({}) knows spec.providerID {id}", asked.join(", "))
        }
        (None, None) => format!(
            "spec.providerID is empty and no static inventory ({}) names the node: set spec.providerID, or add the \
             node to a static provider",
            asked.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{InstanceId, Inventory, ProviderName};

    use super::*;
    use crate::Error;

    /// Gives every node the same answer, and has nothing to list.
    struct Stubborn(ProviderName, Claim);

    impl Provider for Stubborn {
        fn name(&self) -> &ProviderName {
            &self.0
        }

        fn claim(&self, _: &Node) -> Claim {
            self.1.clone()
        }

        async fn list(&self) -> Result<Inventory, Error> {
            Ok(Inventory::default())
        }

        async fn describe(&self, _: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
            Ok(Inventory::default())
        }
    }

    fn asked(answers: &[(&str, Claim)], provider_id: Option<&str>) -> Match {
        let providers: Vec<Stubborn> =
            answers.iter().map(|(name, claim)| Stubborn((*name).into(), claim.clone())).collect();
        let provider_id = provider_id.map(str::to_owned);
        let node = Node { name: "n".to_owned(), uid: String::new(), provider_id, addresses: Vec::new() };
        claim(&providers, &node, &BTreeMap::new())
    }

    #[test]
    fn the_first_provider_that_claims_a_node_has_it() {
        let mine = |id: &str| Claim::Instance(id.into());
        let unreadable = Claim::Unreadable("odd".to_owned());
        let found =
            asked(&[("a", Claim::NotMine), ("b", unreadable), ("c", mine("1")), ("d", mine("2"))], None);
        assert_eq!(found, Match::Instance { provider: "c".into(), instance: "1".into() });
    }

    #[test]
    fn of_two_that_claim_a_node_the_one_that_shows_it_has_it() {
        let providers = ["a", "b"].map(|name| Stubborn(name.into(), Claim::Instance("i-1".into())));
        let node =
            Node { name: "n".to_owned(), uid: String::new(), provider_id: None, addresses: Vec::new() };
        let read = |instances: BTreeMap<InstanceId, Vec<model::Nic>>| {
            let mut reading = Reading::default();
            reading.absorb(Inventory { instances, ..Inventory::default() }, model::Moment::default());
            reading
        };
        let mut readings = BTreeMap::from([("a".into(), read(BTreeMap::new()))]);
        let of = |readings: &BTreeMap<ProviderName, Reading>| match claim(&providers, &node, readings) {
            Match::Instance { provider, .. } => provider.to_string(),
            Match::None(why) => why,
        };
        assert_eq!(of(&readings), "b", "not read yet is better than not there");
        readings.insert("b".into(), read(BTreeMap::from([("i-1".into(), Vec::new())])));
        assert_eq!(of(&readings), "b");
        readings.insert("a".into(), read(BTreeMap::from([("i-1".into(), Vec::new())])));
        assert_eq!(of(&readings), "a", "the first of equals");
    }

    #[test]
    fn a_node_that_nobody_claims_is_told_why() {
        let Match::None(why) = asked(&[("a", Claim::NotMine), ("b", Claim::NotMine)], Some("gce://x")) else {
            panic!("nobody claims it")
        };
        assert!(why.contains("(a, b)") && why.contains("gce://x"), "{why}");
        let Match::None(why) = asked(&[("a", Claim::NotMine)], None) else { panic!("nobody claims it") };
        assert!(why.contains("providerID is empty"), "{why}");
    }

    #[test]
    fn what_one_provider_cannot_read_is_the_reason() {
        let unreadable = Claim::Unreadable("providerID is cut".to_owned());
        let found = asked(&[("a", Claim::NotMine), ("b", unreadable)], Some("alicloud://"));
        assert_eq!(found, Match::None("providerID is cut".to_owned()));
    }
}
