//! Where the VPC is, and by which names its services are reached.

use std::fmt;

use crate::environment::Environment;
use crate::settings::{Endpoint, Endpoints};

/// Which of the cloud's two names of a service is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Internet,
    /// `ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED=true`.
    Vpc,
}

/// Where the VPC is, once that is known.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) vpc_id: String,
    pub(crate) ecs: Endpoint,
    pub(crate) vpc: Endpoint,
}

impl Place {
    /// Returns how error messages call the place.
    pub(crate) fn subject(&self) -> String {
        format!("VPC {} in {}", self.vpc_id, self.region)
    }

    /// Returns the parameters with the region before them, which nearly every action requires.
    pub(crate) fn with_region(&self, parameters: &[(String, String)]) -> Vec<(String, String)> {
        [("RegionId".to_owned(), self.region.clone())].into_iter().chain(parameters.iter().cloned()).collect()
    }

    /// Names some things in an error message: one by its id, more by their number.
    pub(crate) fn some<T: fmt::Display>(&self, ids: &[T], noun: &str) -> String {
        match ids {
            [only] => format!("{noun} {only} of {}", self.subject()),
            more => format!("{} {noun}s of {}", more.len(), self.subject()),
        }
    }
}

/// Tells whether a text can be a region's id. It becomes part of a host name.
pub(crate) fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(plain)
}

/// Returns what a service name has behind it.
pub(crate) fn suffix(from: Reach) -> &'static str {
    match from {
        Reach::Internet => "",
        Reach::Vpc => "-vpc",
    }
}

/// Reads an address that we put together.
pub(crate) fn own_endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Picks the token service: the configuration's, the environment's, that of the region that the environment names, and
/// else the central one, which only the internet reaches; inside a VPC without it, that of our own region.
pub(crate) fn sts_endpoint(
    endpoints: &Endpoints,
    environment: &Environment,
    region: Option<&str>,
    from: Reach,
) -> Result<Endpoint, String> {
    if let Some(endpoint) = &endpoints.sts {
        return Ok(endpoint.clone());
    }
    if let Some(host) = environment.get("ALIBABA_CLOUD_STS_ENDPOINT") {
        let text = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
        return text.parse().map_err(|error| format!("ALIBABA_CLOUD_STS_ENDPOINT: {error}"));
    }
    let named = environment.get("ALIBABA_CLOUD_STS_REGION").filter(|region| is_region(region));
    match (named, from, region) {
        (Some(region), _, _) | (None, Reach::Vpc, Some(region)) => {
            own_endpoint(&format!("https://sts{}.{region}.aliyuncs.com", suffix(from)))
        }
        (None, _, _) => own_endpoint("https://sts.aliyuncs.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sts(variables: &[(&str, &str)], region: Option<&str>, from: Reach) -> String {
        let environment: Environment = variables.iter().copied().collect();
        sts_endpoint(&Endpoints::default(), &environment, region, from).unwrap().to_string()
    }

    #[test]
    fn the_token_service_is_picked_in_the_vendors_order() {
        let region = Some("cn-hangzhou");
        let (named, asked) =
            (("ALIBABA_CLOUD_STS_REGION", "cn-beijing"), ("ALIBABA_CLOUD_STS_ENDPOINT", "sts.example"));
        assert_eq!(sts(&[], region, Reach::Internet), "https://sts.aliyuncs.com");
        assert_eq!(sts(&[], region, Reach::Vpc), "https://sts-vpc.cn-hangzhou.aliyuncs.com");
        assert_eq!(sts(&[named], region, Reach::Internet), "https://sts.cn-beijing.aliyuncs.com");
        assert_eq!(sts(&[named], region, Reach::Vpc), "https://sts-vpc.cn-beijing.aliyuncs.com");
        assert_eq!(sts(&[named, asked], region, Reach::Vpc), "https://sts.example");
        let endpoints =
            Endpoints { sts: Some("http://127.0.0.1:1".parse().unwrap()), ..Endpoints::default() };
        let environment: Environment = [named, asked].into_iter().collect();
        let own = sts_endpoint(&endpoints, &environment, region, Reach::Vpc).unwrap();
        assert_eq!(own.to_string(), "http://127.0.0.1:1");
    }

    #[test]
    fn what_could_change_a_host_name_is_no_region() {
        for text in ["", "evil.example/", "CN-HANGZHOU", "-x", "cn_hangzhou"] {
            assert!(!is_region(text), "{text}");
        }
        assert!(is_region("cn-hangzhou") && is_region("ap-southeast-1"));
    }
}
