//! A small signing client. That its signatures are right is shown by the published vectors and by the vendor's SDK.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use testbed::aliyun::{KEY, SECRET, Signed, Simulator, Topology, hash, sign};

pub(crate) async fn seed() -> Simulator {
    let sim = Simulator::start().await.unwrap();
    sim.edit(|cloud| Topology::seed().build(cloud)).unwrap();
    sim
}

/// One client for all tests. Every test has a runtime of its own, so no connection may outlive its call.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Another test may have been first.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.timeout(Duration::from_secs(10)).build().unwrap()
    });
    &CLIENT
}

/// One call, with everything that a test may want wrong.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) url: String,
    pub(crate) action: String,
    pub(crate) version: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) nonce: String,
    pub(crate) date: String,
    /// Sent, but not signed.
    pub(crate) unsigned: Vec<(String, String)>,
    /// Sent after signing, in place of the empty body.
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.json["Code"].as_str().unwrap_or_default()
    }

    pub(crate) fn list(&self, pointer: &str) -> &[Value] {
        self.json.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn texts(&self, pointer: &str) -> Vec<&str> {
        self.list(pointer).iter().filter_map(Value::as_str).collect()
    }
}

static NONCE: AtomicU64 = AtomicU64::new(0);

impl Ask {
    pub(crate) fn ecs(sim: &Simulator, action: &str, query: &[(&str, &str)]) -> Self {
        Self::new(&sim.endpoints().ecs, "2014-05-26", sim, action, query)
    }

    pub(crate) fn vpc(sim: &Simulator, action: &str, query: &[(&str, &str)]) -> Self {
        Self::new(&sim.endpoints().vpc, "2016-04-28", sim, action, query)
    }

    fn new(url: &str, version: &str, sim: &Simulator, action: &str, query: &[(&str, &str)]) -> Self {
        let region = ("RegionId", "cn-hangzhou");
        let query = query.iter().chain([&region]).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self {
            url: url.to_owned(),
            action: action.to_owned(),
            version: version.to_owned(),
            query,
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
            token: None,
            nonce: format!("nonce-{}", NONCE.fetch_add(1, Ordering::Relaxed)),
            date: sim.edit(|cloud| cloud.clock.now()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            unsigned: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.query.retain(|(held, _)| held != name);
        self
    }

    pub(crate) async fn send(&self) -> Result<Answer, reqwest::Error> {
        let mut headers: Vec<(String, String)> = [
            ("host", self.url.trim_start_matches("http://")),
            ("x-acs-action", &self.action),
            ("x-acs-content-sha256", &hash(b"")),
            ("x-acs-date", &self.date),
            ("x-acs-signature-nonce", &self.nonce),
            ("x-acs-version", &self.version),
        ]
        .into_iter()
        .chain(self.token.iter().map(|token| ("x-acs-security-token", token.as_str())))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        headers.sort();
        let names: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
        let signed = Signed {
            method: "POST",
            path: "/",
            query: &self.query,
            headers: &headers,
            payload_hash: &hash(b""),
        };
        let signature = sign(&signed.string_to_sign(&names), &self.secret);
        let authorization = format!(
            "ACS3-HMAC-SHA256 Credential={},SignedHeaders={},Signature={signature}",
            self.key,
            names.join(";")
        );
        let mut request = http().post(&self.url).query(&self.query).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| name != "host").chain(&self.unsigned) {
            request = request.header(name, value);
        }
        let reply = request.body(self.body.clone()).send().await?;
        let status = reply.status().as_u16();
        let retry_after =
            reply.headers().get("x-acs-retry-after").map(|value| value.to_str().unwrap().to_owned());
        let text = reply.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, retry_after, text, json })
    }

    pub(crate) async fn answer(&self) -> Answer {
        self.send().await.unwrap()
    }
}

/// Follows the tokens of `DescribeNetworkInterfaces` to the end, at most 50 pages.
pub(crate) async fn all_nics(sim: &Simulator, query: &[(&str, &str)]) -> Vec<Value> {
    let mut nics = Vec::new();
    let mut token = String::new();
    for _ in 0..50 {
        let mut query = query.to_vec();
        query.push(("NextToken", &token));
        query.push(("MaxResults", "500"));
        let answer = Ask::ecs(sim, "DescribeNetworkInterfaces", &query).answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        nics.extend_from_slice(answer.list("/NetworkInterfaceSets/NetworkInterfaceSet"));
        let next = answer.json["NextToken"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
        token = next;
    }
    nics
}

/// The secondary IPv4 addresses that the listing shows for a NIC.
pub(crate) async fn listed(sim: &Simulator, nic: &str) -> Vec<String> {
    let answer = Ask::ecs(sim, "DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", nic)]).answer().await;
    answer
        .list("/NetworkInterfaceSets/NetworkInterfaceSet/0/PrivateIpSets/PrivateIpSet")
        .iter()
        .filter(|entry| entry["Primary"] == false)
        .filter_map(|entry| entry["PrivateIpAddress"].as_str())
        .map(str::to_owned)
        .collect()
}
