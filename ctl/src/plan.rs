//! `spiderpoolctl plan`: what the controller's next pass would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};

use config::{Cloud, Config};
use jiff::Timestamp;
use model::{
    Change, Input, Match, Memory, Moment, Node, NodeReport, Origin, Owner, Plan, PoolSpec, ProviderName,
    Reading, Truth,
};

use crate::arguments::{Extent, Format, PlanArguments, ReadingArguments};
use crate::cluster::Cluster;
use crate::document::{self, Action};
use crate::failure::Failure;
use crate::readings::Listed;
use crate::session::Session;
use crate::{console, nodes, readings, table};

/// Plans, and prints the plan.
pub(crate) async fn run(arguments: PlanArguments) -> Result<(), Failure> {
    let PlanArguments { reading: ReadingArguments { config, timeout }, nodes, output, extent } = arguments;
    let config = Config::read(&config)?;
    let given = nodes.as_deref().map(nodes::read).transpose()?;
    let clouds = readings::open(&config)?;
    let session = Session::begin(timeout);
    let cluster = async {
        match given {
            Some(nodes) => Ok(Cluster::of(nodes)),
            None => session.wait("the API server", Cluster::read()).await.unwrap_or_else(|late| {
                Err(Failure::Failed(format!("cannot read the cluster: {late} from the API server")))
            }),
        }
    };
    let all = async { tokio::try_join!(async { Ok(readings::list(&clouds, &session).await) }, cluster) };
    let (listed, cluster) = Box::pin(session.watched(all)).await?;
    let failure = readings::failure(&listed);
    let plan = planned(&config, &clouds, &cluster, listed, Moment(session.elapsed()));
    tell(&plan, &cluster);
    let text = match output {
        Format::Table => pools(&plan, &cluster),
        Format::Yaml | Format::Json => {
            let documents = document::documents(&plan, &cluster, Timestamp::now())?;
            document::text(&documents, extent, output)?
        }
    };
    let is_empty = plan.steps.is_empty() && plan.nodes.is_empty();
    match failure {
        // An empty List would read as "nothing to do".
        Some(failure) if is_empty => return Err(failure),
        None if output == Format::Table && text.is_empty() => console::inform("no pool is there or wanted"),
        None if text.is_empty() && extent == Extent::Changes => {
            let count = plan.pools.len();
            console::inform(&format!(
                "nothing to write, all is as it should be (pools: {count}; --all prints them)"
            ));
        }
        _ => {}
    }
    console::print(&text)?;
    failure.map_or(Ok(()), Err)
}

/// Asks the providers which instance each node is; one that is not selected belongs to none.
fn claimed(
    config: &Config,
    clouds: &[Cloud],
    cluster: &Cluster,
    readings: &BTreeMap<ProviderName, Reading>,
) -> BTreeMap<String, (Node, Match)> {
    let selector = &config.node_selector;
    let matched = |facts: &nodes::NodeFacts| {
        if selector.matches(&facts.labels) {
            providers::claim(clouds, &facts.node, readings)
        } else {
            Match::None(format!("nodeSelector {selector} does not select it"))
        }
    };
    cluster.nodes.iter().map(|(name, facts)| (name.clone(), (facts.node.clone(), matched(facts)))).collect()
}

/// Plans as the controller does at its start. Nodes of which nothing could be read are left out of the result.
fn planned(config: &Config, clouds: &[Cloud], cluster: &Cluster, listed: Vec<Listed>, now: Moment) -> Plan {
    let (mut readings, mut unread) = (BTreeMap::<ProviderName, Reading>::new(), BTreeSet::new());
    for (provider, outcome) in listed {
        let reading = readings.entry(provider.clone()).or_default();
        match outcome {
            Ok(inventory) => reading.absorb(inventory, Moment::default()),
            Err(error) => {
                reading.fail(error.message, error.class.failure());
                unread.insert(provider);
            }
        }
    }
    let policy = config.policy();
    let nodes = claimed(config, clouds, cluster, &readings);
    let input = Input { now, policy: &policy, nodes: &nodes, readings: &readings, pools: &cluster.pools };
    let mut plan = model::plan(&input, Memory::default());
    let selector = &config.node_selector;
    plan.nodes.retain(|name, report| {
        let selected = cluster.nodes.get(name).is_some_and(|facts| selector.matches(&facts.labels));
        selected && report.provider.as_ref().is_none_or(|provider| !unread.contains(provider))
    });
    plan
}

/// Says on stderr what deserves attention: what is odd, what is wrong with a node, what would be deleted.
fn tell(plan: &Plan, cluster: &Cluster) {
    for sentence in cluster.problems.iter().chain(&plan.notes) {
        console::warn(sentence);
    }
    for report in plan.nodes.values() {
        for trouble in troubles(report) {
            console::warn(&format!("node {}: {trouble}", report.node));
        }
    }
    if plan.held_back > 0 {
        console::warn(&format!(
            "{} addresses stay for now: too many would go at once (removal.maxShare)",
            plan.held_back
        ));
    }
    for step in &plan.steps {
        if let Change::Delete { name, why, .. } = &step.change {
            console::inform(&format!("would delete pool {name}: {why}"));
        }
    }
}

fn troubles(report: &NodeReport) -> Vec<&str> {
    if report.discovered.status != Truth::True {
        return vec![&report.discovered.message];
    }
    let verdicts = [&report.synced, &report.sufficient];
    verdicts.into_iter().filter(|it| it.status != Truth::True).map(|it| it.message.as_str()).collect()
}

/// Returns the table of all pools, as they will be; those that go, as they are.
fn pools(plan: &Plan, cluster: &Cluster) -> String {
    let mut actions = BTreeMap::new();
    for step in &plan.steps {
        let action = match &step.change {
            Change::Create(_) => Action::Create,
            Change::Update(_) => Action::Update,
            Change::Delete { .. } => Action::Delete,
        };
        // A pool that is created empty and then filled is created.
        actions.entry(step.change.pool()).or_insert(action);
    }
    let action = |name: &str| actions.get(name).copied().unwrap_or(Action::Keep);
    let mut rows: Vec<_> = plan
        .pools
        .values()
        .map(|target| row(&target.name, &target.origin, &target.spec, action(&target.name)))
        .collect();
    let going = actions
        .iter()
        .filter(|(name, action)| **action == Action::Delete && !plan.pools.contains_key(**name));
    for (name, action) in going {
        if let Some(Owner::Ours(origin, spec)) = cluster.pools.get(*name).map(|pool| &pool.owner) {
            rows.push(row(name, origin, spec, *action));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    rows.sort_by(|a, b| (&a[1], &a[2], &a[3], &a[0]).cmp(&(&b[1], &b[2], &b[3], &b[0])));
    let header = ["POOL", "NODE", "INTERFACE", "FAMILY", "SUBNET", "ADDRESSES", "COUNT", "ACTION"];
    table::text(header, rows)
}

fn row(name: &str, origin: &Origin, spec: &PoolSpec, action: Action) -> [String; 8] {
    let offered = spec.offered();
    [
        name.to_owned(),
        origin.node.clone(),
        origin.interface.clone(),
        format!("IP{}", spec.family()),
        spec.subnet.to_string(),
        table::shortened(&offered),
        offered.count().to_string(),
        action.as_str().to_owned(),
    ]
}
