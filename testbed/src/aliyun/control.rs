//! A control port, so that a person can change the cloud with curl while something watches it.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::refusal::Refusal;
use super::simulator::Shared;
use super::world::NicSpec;

/// One change, as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", tag = "do")]
enum Change {
    Assign {
        nic: String,
        ips: Vec<IpAddr>,
    },
    Unassign {
        nic: String,
        ips: Vec<IpAddr>,
    },
    Move {
        from: String,
        to: String,
        ips: Vec<IpAddr>,
    },
    AddInstance {
        id: String,
        name: String,
        #[serde(rename = "type")]
        kind: String,
        vswitch: String,
    },
    RemoveInstance {
        id: String,
    },
    AttachPrimary {
        instance: String,
        nic: String,
        vswitch: String,
    },
    AttachSecondary {
        instance: String,
        nic: String,
        vswitch: String,
    },
    Detach {
        nic: String,
    },
}

pub(super) fn router(shared: Shared) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

/// `GET /control/state` shows what exists; `POST /control/<verb>` with a JSON body changes it.
async fn handle(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(verb) = head.uri.path().strip_prefix("/control/") else {
        return answer(404, &usage());
    };
    if head.method == "GET" && verb == "state" {
        return answer(200, &state(&shared.lock()));
    }
    if head.method != "POST" {
        return answer(405, &usage());
    }
    let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
        return answer(413, &usage());
    };
    let parsed = serde_json::from_slice::<Value>(&body).and_then(|mut body| {
        if let Some(body) = body.as_object_mut() {
            body.insert("do".to_owned(), verb.into());
        }
        serde_json::from_value::<Change>(body)
    });
    let change = match parsed {
        Ok(change) => change,
        Err(error) => return answer(400, &json!({ "error": error.to_string(), "usage": usage() })),
    };
    match apply(&mut shared.lock(), change) {
        Ok(()) => answer(200, &json!({ "done": verb })),
        Err(refusal) => answer(refusal.status(), &json!({ "error": refusal.to_string() })),
    }
}

fn apply(cloud: &mut Cloud, change: Change) -> Result<(), Refusal> {
    match change {
        Change::Assign { nic, ips } => cloud.assign(&nic, &ips),
        Change::Unassign { nic, ips } => cloud.unassign(&nic, &ips),
        Change::Move { from, to, ips } => cloud.move_ips(&from, &to, &ips),
        Change::AddInstance { id, name, kind, vswitch } => cloud.add_instance(id, name, kind, &vswitch),
        Change::RemoveInstance { id } => {
            cloud.remove_instance(&id);
            Ok(())
        }
        Change::AttachPrimary { instance, nic, vswitch } => {
            cloud.attach(&instance, NicSpec::primary(nic, vswitch))
        }
        Change::AttachSecondary { instance, nic, vswitch } => {
            let index = u32::try_from(cloud.world().nics_of(&instance).len()).ok();
            cloud.attach(&instance, NicSpec::secondary(nic, vswitch).device_index(index))
        }
        Change::Detach { nic } => cloud.detach_nic(&nic),
    }
}

fn state(cloud: &Cloud) -> Value {
    let world = cloud.world();
    let instances: Vec<Value> = world
        .instances()
        .map(|it| {
            let nics: Vec<Value> = world
                .nics_of(&it.id)
                .into_iter()
                .map(|nic| {
                    json!({
                        "id": nic.id, "type": nic.kind.as_str(), "status": nic.status.as_str(), "mac": nic.mac,
                        "vswitch": nic.vswitch, "primary": nic.primary, "ipv4": nic.secondary, "ipv6": nic.ipv6,
                        "ipv4Prefixes": nic.ipv4_prefixes, "ipv6Prefixes": nic.ipv6_prefixes,
                    })
                })
                .collect();
            json!({ "id": it.id, "name": it.name, "type": it.instance_type, "status": it.status.as_str(), "nics": nics })
        })
        .collect();
    let vswitches: Vec<Value> = world
        .vswitches()
        .map(|it| json!({ "id": it.id, "vpc": it.vpc, "zone": it.zone, "cidr": it.cidr, "ipv6Cidr": it.ipv6_cidr }))
        .collect();
    json!({ "region": cloud.region, "vswitches": vswitches, "instances": instances, "calls": cloud.log.calls.by_action() })
}

fn usage() -> Value {
    json!([
        "GET /control/state",
        "POST /control/assign {\"nic\": ID, \"ips\": [IP]}",
        "POST /control/unassign {\"nic\": ID, \"ips\": [IP]}",
        "POST /control/move {\"from\": ID, \"to\": ID, \"ips\": [IP]}",
        "POST /control/addInstance {\"id\": ID, \"name\": NODE, \"type\": TYPE, \"vswitch\": ID}",
        "POST /control/attachPrimary {\"instance\": ID, \"nic\": ID, \"vswitch\": ID}",
        "POST /control/attachSecondary {\"instance\": ID, \"nic\": ID, \"vswitch\": ID}",
        "POST /control/detach {\"nic\": ID}",
        "POST /control/removeInstance {\"id\": ID}",
    ])
}

fn answer(status: u16, body: &Value) -> Response {
    use axum::response::IntoResponse as _;
    let mut response = Json(body).into_response();
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    response
}
