//! How fast the API server takes pools from anybody: the same objects, created with nothing in between.

use std::time::Instant;

use api::SpiderIPPool;
use futures::{StreamExt, stream};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use crate::row;
use crate::stage::Stage;

/// Measures each rate with this many pools.
pub(crate) async fn measure(stage: &Stage, pools: usize) {
    let api: Api<SpiderIPPool> = Api::all(stage.client.clone());
    let model = api.list(&ListParams::default().limit(1)).await.unwrap().items.remove(0);
    let mut alone = None;
    for at_once in [1, 16, 32, 64] {
        let copies = (0..pools).map(|at| copy(&model, &format!("raw-{at_once}-{at}")));
        let begun = Instant::now();
        let created = copies.map(async |pool| api.create(&PostParams::default(), &pool).await.unwrap());
        let created: Vec<_> = stream::iter(created).buffer_unordered(at_once).collect().await;
        let rate = f64::from(u32::try_from(created.len()).unwrap()) / begun.elapsed().as_secs_f64();
        let ratio = rate / *alone.get_or_insert(rate);
        row(
            &format!("the API server alone, {at_once} creates at once"),
            &format!("{rate:.0}/s"),
            &format!("{ratio:.1} x one at a time"),
        );
    }
    let delete = (0..pools).flat_map(|at| [1, 16, 32, 64].map(|at_once| format!("raw-{at_once}-{at}")));
    let deleted = delete.map(async |name| drop(api.delete(&name, &DeleteParams::default()).await));
    stream::iter(deleted).buffer_unordered(32).collect::<Vec<()>>().await;
}

/// The same pool under another name, and nobody's.
fn copy(model: &SpiderIPPool, name: &str) -> SpiderIPPool {
    SpiderIPPool::new(name, model.spec.clone())
}
