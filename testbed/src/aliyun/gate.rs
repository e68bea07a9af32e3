//! What every signed call passes: who asks, when, how often; then the action; then what goes wrong on purpose.

use serde_json::{Map, Value, json};

use super::actions::{self, Ask};
use super::calls::{Call, Fate};
use super::cloud::Cloud;
use super::faults::Fault;
use super::keys;
use super::parameters::{Parameters, decode_pairs};
use super::refusal::Refusal;
use super::reply::{error_body, request_id};
use super::signature::{self, Authorization, Signed};
use super::simulator::Product;
use super::sts;
use super::throttle::RetryAfter;
use super::wire::{Answer, Incoming, Page};

/// Answers one call and writes it into the log.
pub(crate) fn answer(cloud: &mut Cloud, product: Product, incoming: &Incoming) -> Answer {
    let pairs = decode_pairs(&incoming.query);
    let mut parameters = pairs.clone();
    if incoming
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    {
        parameters.extend(decode_pairs(&String::from_utf8_lossy(&incoming.body)));
    }
    let parameters = Parameters::new(parameters);
    // Only a call that is not signed names its action among the parameters.
    let named = incoming.header("x-acs-action").or_else(|| parameters.get("Action"));
    let action = named.unwrap_or_default().to_owned();
    let key = incoming
        .header("authorization")
        .and_then(|text| Authorization::parse(text).ok())
        .map(|it| it.credential);

    let done = perform(cloud, product, &action, incoming, &pairs, &parameters);
    let number = cloud.log.calls.total();
    let Done { outcome, fault, wait } = done;
    let id = request_id(number);
    let code = outcome.as_ref().err().map(|refusal| refusal.code.clone());
    let mut fate = match &outcome {
        Ok(_) => Fate::Ok,
        Err(refusal) if refusal.is_throttling() => Fate::Throttled,
        Err(_) => Fate::Refused,
    };
    let page = match outcome {
        Ok(mut reply) => {
            reply.insert("RequestId".to_owned(), json!(id));
            if product == Product::Sts && parameters.get("Format") != Some("JSON") && wants_xml(incoming) {
                Page::new(200, "text/xml;charset=utf-8", sts::xml(&action, &reply))
            } else {
                Page::json(200, &Value::Object(reply))
            }
        }
        Err(refusal) => {
            let host = incoming.header("host").unwrap_or_default();
            let mut page = Page::json(refusal.status(), &error_body(&refusal, &id, host));
            if let Some(wait) = wait {
                page.headers.push(("x-acs-retry-after", wait.to_string()));
            }
            page
        }
    };
    let status = page.status;
    let answer = spoil(page, fault.as_ref());
    if !matches!(&answer, Answer::Whole(page) if page.status == status && fault.is_none()) && fate == Fate::Ok
    {
        fate = Fate::Spoilt;
    }
    let status = match &answer {
        Answer::Whole(page) | Answer::Half(page) => page.status,
        Answer::Hang | Answer::Close => 0,
    };
    let shown =
        parameters.iter().filter(|(name, _)| !matches!(*name, "OIDCToken" | "SecurityToken" | "Signature"));
    let parameters = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    cloud.log.add(Call { at: cloud.clock.now(), product, action, key, parameters, status, code, fate });
    answer
}

/// What an action came to, before the reply is written.
struct Done {
    outcome: Result<Map<String, Value>, Refusal>,
    fault: Option<Fault>,
    /// Milliseconds for `x-acs-retry-after`.
    wait: Option<u64>,
}

impl Done {
    fn refused(refusal: Refusal) -> Self {
        Self { outcome: Err(refusal), fault: None, wait: None }
    }
}

fn perform(
    cloud: &mut Cloud,
    product: Product,
    action: &str,
    incoming: &Incoming,
    pairs: &[(String, String)],
    parameters: &Parameters,
) -> Done {
    let version = incoming.header("x-acs-version").or_else(|| parameters.get("Version")).unwrap_or_default();
    let passed = match product {
        // Anonymous by design: it is the way to get a key.
        Product::Sts if action == "AssumeRoleWithOIDC" => Ok(()),
        _ => authenticate(cloud, incoming, pairs),
    };
    if let Err(refusal) = passed.and_then(|()| actions::check(product, action, version)) {
        return Done::refused(refusal);
    }
    if let Err(wait) = cloud.throttle.spend(action, cloud.clock.now()) {
        return throttled(cloud, wait);
    }
    let fault = cloud.faults.strike(action);
    match &fault {
        Some(Fault::Throttled) => return throttled(cloud, 1_000),
        Some(Fault::Unavailable) => {
            let message = "The request has failed due to a temporary failure of the server.";
            return Done::refused(Refusal::new("ServiceUnavailable", message));
        }
        Some(Fault::Code(code)) => {
            return Done::refused(Refusal::new(code.clone(), "The request was refused on purpose."));
        }
        // Nothing is done: the call never reached the service.
        Some(Fault::HtmlBadGateway | Fault::HtmlOk | Fault::Hang) => {
            return Done { outcome: Ok(Map::new()), fault, wait: None };
        }
        _ => {}
    }
    let outcome = if product == Product::Sts {
        sts::assume_role(cloud, parameters)
    } else {
        actions::run(cloud, product, &Ask { action, parameters, fault: fault.as_ref() })
    };
    Done { outcome, fault, wait: None }
}

fn throttled(cloud: &Cloud, wait: u64) -> Done {
    let refusal = Refusal::new("Throttling.User", "Request was denied due to user flow control.");
    let wait = (cloud.throttle.retry_after == RetryAfter::Header).then_some(wait);
    Done { outcome: Err(refusal), fault: None, wait }
}

/// Checks date, key, token, body hash, signature and nonce, in this order.
fn authenticate(cloud: &mut Cloud, incoming: &Incoming, pairs: &[(String, String)]) -> Result<(), Refusal> {
    let now = cloud.clock.now();
    let header = |name: &str| {
        incoming.header(name).ok_or_else(|| {
            Refusal::new("MissingParameter", format!("The header {name} that is mandatory is not supplied."))
        })
    };
    let text = incoming
        .header("authorization")
        .ok_or_else(|| Refusal::new("IncompleteSignature", "The request carries no Authorization header."))?;
    let authorization = Authorization::parse(text)?;
    keys::check_date(header("x-acs-date")?, now)?;
    let token = incoming.header("x-acs-security-token");
    let secret = cloud.keys.secret(&authorization.credential, token, now)?;
    let payload_hash = header("x-acs-content-sha256")?;
    let nonce = header("x-acs-signature-nonce")?;
    let signed = Signed {
        method: &incoming.method,
        path: &incoming.path,
        query: pairs,
        headers: &incoming.headers,
        payload_hash,
    };
    signed.verify(&authorization, secret)?;
    if signature::hash(&incoming.body) != payload_hash {
        return Err(Refusal::new(
            "SignatureDoesNotMatch",
            "The hash in x-acs-content-sha256 is not the hash of the body that arrived.",
        ));
    }
    cloud.keys.spend_nonce(&authorization.credential, nonce, now)
}

fn wants_xml(incoming: &Incoming) -> bool {
    incoming.header("x-acs-action").is_none()
}

fn spoil(page: Page, fault: Option<&Fault>) -> Answer {
    match fault {
        Some(Fault::HtmlBadGateway) => Answer::Whole(Page::html(502, "502 Bad Gateway")),
        Some(Fault::HtmlOk) => Answer::Whole(Page::html(200, "Sign in to the network")),
        Some(Fault::Hang) => Answer::Hang,
        Some(Fault::ReplyLost) => Answer::Close,
        Some(Fault::CutBody) => Answer::Half(page),
        Some(Fault::CutJson) => {
            let half = page.body.get(..page.body.len() / 2).unwrap_or_default().to_owned();
            Answer::Whole(Page { body: half, ..page })
        }
        _ => Answer::Whole(page),
    }
}

/// What goes wrong with the metadata service, which knows no codes.
pub(crate) fn spoil_metadata(page: Page, fault: Option<&Fault>) -> Answer {
    match fault {
        Some(Fault::Throttled | Fault::Code(_)) => Answer::Whole(Page::html(429, "429 Too Many Requests")),
        Some(Fault::Unavailable) => Answer::Whole(Page::html(503, "503 Service Unavailable")),
        other => spoil(page, other),
    }
}
