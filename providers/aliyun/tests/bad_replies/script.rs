//! A cloud that answers every request with what a test says, byte for byte: for replies that no faithful simulator
//! would give.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use providers_aliyun::{Aliyun, Endpoint, Environment, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) const KEY_ID: &str = "LTAI5tEXAMPLEKEYID";
pub(super) const KEY_SECRET: &str = "EXAMPLESECRETexamplesecret0123";
pub(super) const TOKEN: &str = "EXAMPLETOKENexampletoken";

/// One request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
    /// `x-acs-action`, or `Action` in the query, or the path for the metadata service.
    pub(super) action: String,
    /// How many requests of this action came before.
    pub(super) earlier: usize,
}

impl Asked {
    /// Tells whether the query holds this text, in encoded form.
    pub(super) fn has(&self, text: &str) -> bool {
        self.target.contains(text)
    }
}

/// What a test answers.
pub(super) enum Reply {
    Full {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The headers promise the whole body, and the connection ends in its middle.
    BrokenOff(String),
    Silence,
}

pub(super) fn ok(mut body: Value) -> Reply {
    body["RequestId"] = json!("REQUEST-1");
    Reply::Full {
        status: 200,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    }
}

pub(super) fn text(status: u16, body: &str) -> Reply {
    Reply::Full { status, headers: vec![("content-type", "text/html".to_owned())], body: body.to_owned() }
}

pub(super) fn refuse(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"RequestId": "REQUEST-1", "HostId": "h", "Code": code, "Message": message});
    Reply::Full { status, headers: Vec::new(), body: body.to_string() }
}

pub(super) fn with_header(reply: Reply, name: &'static str, value: &str) -> Reply {
    match reply {
        Reply::Full { status, mut headers, body } => {
            headers.push((name, value.to_owned()));
            Reply::Full { status, headers, body }
        }
        other => other,
    }
}

pub(super) struct Cloud {
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Cloud {
    pub(super) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let answer = Arc::new(answer);
        let log = Arc::clone(&asked);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                connections.spawn(async move { serve(stream, &log, answer.as_ref()).await });
            }
        });
        Self { address, asked, server }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn count(&self, action: &str) -> usize {
        self.asked().iter().filter(|asked| asked.action == action).count()
    }

    pub(super) fn settings(&self) -> Settings {
        let endpoint: Option<Endpoint> = Some(self.address.parse().unwrap());
        let mut settings = Settings::new("hz".into());
        settings.region = Some("cn-hangzhou".to_owned());
        settings.vpc_id = Some("vpc-1".to_owned());
        settings.endpoints.ecs.clone_from(&endpoint);
        settings.endpoints.vpc.clone_from(&endpoint);
        settings.endpoints.sts.clone_from(&endpoint);
        settings.endpoints.metadata = endpoint;
        settings.timeouts.call = Duration::from_secs(3);
        settings
    }

    /// Opens a provider with the fixed key.
    pub(super) fn provider(&self) -> Aliyun {
        Aliyun::with_environment(self.settings(), &key()).unwrap()
    }
}

pub(super) fn key() -> Environment {
    [("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET)]
        .into_iter()
        .collect()
}

pub(super) fn key_and_token() -> Environment {
    [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", TOKEN),
    ]
    .into_iter()
    .collect()
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
) {
    while let Some(mut asked) = receive(&mut stream).await {
        {
            let mut log = log.lock().unwrap();
            asked.earlier = log.iter().filter(|other| other.action == asked.action).count();
            log.push(asked.clone());
        }
        match answer(&asked) {
            Reply::Silence => {
                tokio::time::sleep(Duration::from_mins(10)).await;
            }
            Reply::BrokenOff(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let half = &body[..body.len() / 2];
                let _ = stream.write_all(format!("{head}{half}").as_bytes()).await;
                return;
            }
            Reply::Full { status, headers, body } => {
                let mut reply = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    let _ = write!(reply, "{name}: {value}\r\n");
                }
                if stream.write_all(format!("{reply}\r\n{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&chunk[..read]);
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let named = query.split('&').find_map(|pair| pair.strip_prefix("Action=").map(ToOwned::to_owned));
    let action = headers.get("x-acs-action").cloned().or(named).unwrap_or_else(|| path.to_owned());
    Some(Asked { method, headers, body: String::from_utf8(body).ok()?, action, earlier: 0, target })
}

/// A NIC of `instance` in the vSwitch `vsw-1`, `10.0.0.0/16`.
pub(super) fn nic(id: u8, instance: &str) -> Value {
    json!({
        "NetworkInterfaceId": format!("eni-{id}"), "Type": "Secondary", "Status": "InUse", "InstanceId": instance,
        "VpcId": "vpc-1", "VSwitchId": "vsw-1", "MacAddress": format!("00:16:3e:00:00:{id:02x}"),
        "PrivateIpAddress": format!("10.0.{id}.1"),
        "PrivateIpSets": {"PrivateIpSet": [
            {"PrivateIpAddress": format!("10.0.{id}.1"), "Primary": true},
            {"PrivateIpAddress": format!("10.0.{id}.2")},
        ]},
    })
}

pub(super) fn nics(list: &[Value], next: &str) -> Reply {
    ok(json!({"NextToken": next, "NetworkInterfaceSets": {"NetworkInterfaceSet": list}}))
}

pub(super) fn vswitches() -> Reply {
    let vswitch = json!({"VSwitchId": "vsw-1", "CidrBlock": "10.0.0.0/16", "ZoneId": "z"});
    ok(json!({"TotalCount": 1, "VSwitches": {"VSwitch": [vswitch]}}))
}

/// Answers as a sound cloud with one node would, except where `special` has an answer.
pub(super) fn sound(
    special: impl Fn(&Asked) -> Option<Reply> + Send + Sync,
) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| {
        if let Some(reply) = special(asked) {
            return reply;
        }
        match asked.action.as_str() {
            "DescribeNetworkInterfaces" => nics(&[nic(1, "i-a")], ""),
            "DescribeVSwitches" => vswitches(),
            "DescribeInstances" => ok(json!({"Instances": {"Instance": [{
                "InstanceId": "i-a", "VpcAttributes": {"VpcId": "vpc-1"},
                "NetworkInterfaces": {"NetworkInterface": [{"NetworkInterfaceId": "eni-1"}]},
            }]}})),
            _ => text(404, "<html>not found</html>"),
        }
    }
}
