//! One HTTP exchange: time-limited, size-limited, never redirected.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, ClientBuilder, Request};

use crate::settings::Endpoint;

/// The largest reply that is read: some ten times a page of 500 NICs with 50 addresses each.
const LARGEST_REPLY: usize = 64 << 20;

/// A reply, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns what the reply says it is, for an error message.
    pub(crate) fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type")
    }
}

/// The HTTP clients: one that obeys the proxy variables of the environment, and one that does not.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    proxied: Client,
    direct: Client,
}

impl Http {
    /// Builds both clients; the reason when TLS cannot be set up.
    pub(crate) fn new(connect: Duration) -> Result<Self, String> {
        // reqwest would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("the program has installed no TLS crypto provider".to_owned());
        }
        // A signature is for one host: a redirect can only lead to a wrong place.
        let builder = || {
            ClientBuilder::new()
                .connect_timeout(connect)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("spiderpool-cloud/", env!("CARGO_PKG_VERSION")))
        };
        let reason = |error: reqwest::Error| describe(&error);
        Ok(Self {
            proxied: builder().build().map_err(reason)?,
            direct: builder().no_proxy().build().map_err(reason)?,
        })
    }

    /// Returns the client for an API endpoint: a proxy is never between this machine and itself.
    pub(crate) fn api(&self, endpoint: &Endpoint) -> &Client {
        if endpoint.is_loopback() { &self.direct } else { &self.proxied }
    }

    /// Returns the client for the metadata service, which refuses what a proxy forwards.
    pub(crate) fn direct(&self) -> &Client {
        &self.direct
    }
}

/// Sends a request and reads the whole reply within `limit`; the error says why there is none.
pub(crate) async fn exchange(client: &Client, request: Request, limit: Duration) -> Result<Answer, String> {
    let transfer = async {
        let mut response = client.execute(request).await.map_err(|error| describe(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
            if body.len() + chunk.len() > LARGEST_REPLY {
                return Err(format!("the reply is larger than {} MiB", LARGEST_REPLY >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    };
    match tokio::time::timeout(limit, transfer).await {
        Ok(result) => result,
        Err(_) => Err(format!("no complete reply within {:.1} s", limit.as_secs_f64())),
    }
}

/// Returns an error with its causes, for the outermost alone says only "error sending request".
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() && error.is_connect() {
        "connecting timed out".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else if error.is_body() || error.is_decode() {
        "the reply broke off".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
