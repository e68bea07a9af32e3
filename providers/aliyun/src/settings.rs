//! What one Alibaba Cloud provider is told: plain values, already validated where they have a grammar.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::ProviderName;
use reqwest::Url;

/// The configuration of one provider: one account's view of one VPC in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name that the configuration gave this provider.
    pub name: ProviderName,
    /// The region, like `cn-hangzhou`; `None` asks the metadata service once.
    pub region: Option<String>,
    /// The VPC, like `vpc-0abc`; `None` asks the metadata service once.
    pub vpc_id: Option<String>,
    /// Where the services are, when not at the cloud's own addresses.
    pub endpoints: Endpoints,
    /// A NIC that carries this tag is left alone. Default: `cloud.spidernet.io/unmanaged=true`.
    pub unmanaged_tag: Tag,
    /// How often the API may be called.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
}

impl Settings {
    /// Builds settings with every default, for a provider of this name.
    #[must_use]
    pub fn new(name: ProviderName) -> Self {
        Self {
            name,
            region: None,
            vpc_id: None,
            endpoints: Endpoints::default(),
            unmanaged_tag: Tag::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Where the services are; `None` is the cloud's own address for the region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Elastic Compute Service.
    pub ecs: Option<Endpoint>,
    /// Virtual Private Cloud.
    pub vpc: Option<Endpoint>,
    /// Security Token Service.
    pub sts: Option<Endpoint>,
    /// The metadata service; the cloud's own is `http://100.100.100.200`.
    pub metadata: Option<Endpoint>,
}

/// The address of a service: `http` or `https`, a host, perhaps a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    authority: String,
}

impl Endpoint {
    /// Returns the host, with the port when it is not the scheme's own: the text of the `host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the address with this path and query, which must already be percent-encoded.
    pub(crate) fn join(&self, path: &str, query: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Tells whether the service runs on this machine, so that no proxy can stand in between.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.authority)
    }
}

/// Why a text is no [`Endpoint`]. The text is not repeated, for it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an endpoint like https://ecs.cn-hangzhou.aliyuncs.com: {reason}")]
pub struct EndpointError {
    reason: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let error = |reason: &str| EndpointError { reason: reason.to_owned() };
        let url = Url::parse(text).map_err(|e| error(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(error("the scheme must be http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it must not hold a user name or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(error("nothing may follow the host and port"));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| error("it has no host"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { url, authority })
    }
}

/// A tag of a cloud resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value; compared exactly.
    pub value: String,
}

impl Default for Tag {
    /// The tag that marks a NIC as somebody else's: `cloud.spidernet.io/unmanaged=true`.
    fn default() -> Self {
        Self { key: "cloud.spidernet.io/unmanaged".to_owned(), value: "true".to_owned() }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// How often the API may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls per minute by action, in place of the built-in figure; 0 counts as 1.
    pub per_minute: BTreeMap<String, u32>,
    /// The length of the cloud's throttling window. After a throttled call that does not say how long to wait, the
    /// action rests until the next window begins. The cloud counts by the minute.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_minute: BTreeMap::new(), window: Duration::from_mins(1) }
    }
}

/// How long anything may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to an API endpoint.
    pub connect: Duration,
    /// For one API call, its reply included. The vendor's SDK allows the slowest describing call 17 s.
    pub call: Duration,
    /// For one whole reading (`list`, `describe`) with all its pages, waits and retries. With `metadata` it stays below
    /// the 60 s after which the command line promises an answer.
    pub reading: Duration,
    /// For one question to the metadata service, retries included. It answers in milliseconds or not at all.
    pub metadata: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(20),
            reading: Duration::from_secs(50),
            metadata: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_names_the_port_only_when_it_is_unusual() {
        let authority = |text: &str| text.parse::<Endpoint>().unwrap().authority().to_owned();
        assert_eq!(authority("https://ecs.example"), "ecs.example");
        assert_eq!(authority("https://ecs.example:443/"), "ecs.example");
        assert_eq!(authority("http://127.0.0.1:8080"), "127.0.0.1:8080");
        assert_eq!(authority("http://[::1]:8080"), "[::1]:8080");
    }

    #[test]
    fn what_is_more_than_a_host_and_port_is_refused() {
        for text in ["", "ecs.example", "ftp://a", "https://a/b", "https://a?b", "https://u:p@a", "https://"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        let error = "https://user:hunter2@ecs.example".parse::<Endpoint>().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn loopback_is_recognised_in_both_families() {
        let loopback = |text: &str| text.parse::<Endpoint>().unwrap().is_loopback();
        assert!(
            loopback("http://127.0.0.1:1") && loopback("http://[::1]:1") && loopback("http://localhost:1")
        );
        assert!(!loopback("http://100.100.100.200"));
    }
}
