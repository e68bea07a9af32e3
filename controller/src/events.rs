//! Kubernetes Events: why the controller did what it did, beside the objects it did it to.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::debug;

use crate::metrics::Metrics;

/// How many Events wait at most: beyond that the API server is too slow to be told more.
const QUEUE: usize = 1024;

/// Longest note that the API takes: 1,024 bytes (events.k8s.io/v1).
const LONGEST: usize = 1024;

/// Who reports.
const CONTROLLER: &str = "spiderpool-cloud-controller";

/// A handle that takes Events and never waits.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    queue: Sender<(Event, ObjectReference)>,
    metrics: Metrics,
}

/// How serious an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Events {
    /// Makes the handle, and the task that writes what it takes until every handle is dropped.
    pub(crate) fn new(
        client: Client,
        instance: &str,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, waiting) = channel(QUEUE);
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(instance.to_owned()) };
        (Self { queue, metrics }, write(Recorder::new(client, reporter), waiting))
    }

    /// Reports on an object. When too many wait already, this one is dropped and counted.
    pub(crate) fn report(
        &self,
        on: ObjectReference,
        severity: Severity,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(shorten(note)),
            action: action.to_owned(),
            secondary: None,
        };
        if self.queue.try_send((event, on)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

async fn write(recorder: Recorder, mut waiting: Receiver<(Event, ObjectReference)>) {
    while let Some((event, on)) = waiting.recv().await {
        if let Err(error) = recorder.publish(&event, &on).await {
            debug!(reason = event.reason, on = on.name, "event not written: {error}");
        }
    }
}

fn shorten(note: &str) -> String {
    if note.len() <= LONGEST {
        return note.to_owned();
    }
    // Room for the ellipsis, which is three bytes.
    let cut = (0..=LONGEST - 3).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", note.get(..cut).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_to_what_the_api_takes() {
        let note = "ä".repeat(2000);
        assert!(shorten(&note).len() <= LONGEST);
        assert_eq!(shorten("short"), "short");
    }
}
