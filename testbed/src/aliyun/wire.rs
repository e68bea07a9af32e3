//! HTTP: accepts connections for one product and writes whole, broken or no answers.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::simulator::{Product, Shared};
use super::{control, gate, metadata};

/// A body beyond this is refused; an OIDC token has at most 20,000 characters.
const BODY: usize = 1 << 20;

/// A request as the simulator looks at it.
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Who asks.
    pub(crate) peer: IpAddr,
}

impl Incoming {
    /// The first header of that lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

/// What goes back.
pub(crate) enum Answer {
    Whole(Page),
    /// The connection stays open and silent.
    Hang,
    /// The connection closes without a byte.
    Close,
    /// The head promises the whole body, half of it follows, the connection closes.
    Half(Page),
}

/// A reply with its body.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json;charset=utf-8", body.to_string())
    }

    pub(crate) fn text(body: impl Into<String>) -> Self {
        Self::new(200, "text/plain; charset=utf-8", body)
    }

    pub(crate) fn html(status: u16, title: &str) -> Self {
        let body = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        Self::new(status, "text/html", body)
    }
}

/// Serves one listener until its task is dropped; the connections go with it.
pub(crate) async fn serve(listener: TcpListener, product: Option<Product>, shared: Shared) {
    let router = |peer| -> Router {
        match product {
            Some(product) => Router::new().fallback(handle).with_state((product, shared.clone(), peer)),
            None => control::router(shared.clone()),
        }
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that ended before it was taken, or a moment without file descriptors: the next one may do.
                let Ok((stream, peer)) = accepted else {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                };
                let service = TowerToHyperService::new(router(peer.ip()));
                connections.spawn(async move {
                    let builder = hyper::server::conn::http1::Builder::new();
                    // A client that goes away, or a body that we broke on purpose, ends the connection: nothing to do.
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn handle(
    State((product, shared, peer)): State<(Product, Shared, IpAddr)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let Ok(body) = axum::body::to_bytes(body, BODY).await else {
        return write(Page::html(413, "413 Request Entity Too Large"));
    };
    let incoming = Incoming {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        peer,
    };
    let answer = {
        let mut cloud = shared.lock();
        cloud.settle();
        match product {
            Product::Metadata => metadata::answer(&mut cloud, &incoming),
            Product::Ecs | Product::Vpc | Product::Sts => gate::answer(&mut cloud, product, &incoming),
        }
    };
    match answer {
        Answer::Whole(page) => write(page),
        Answer::Hang => std::future::pending().await,
        Answer::Close => broken(Page::json(200, &serde_json::Value::Null), ""),
        Answer::Half(page) => {
            let half = page.body.get(..page.body.len() / 2).unwrap_or_default().to_owned();
            broken(page, &half)
        }
    }
}

fn write(page: Page) -> Response {
    let Page { status, content_type, headers, body } = page;
    let mut response = Response::builder().status(status).header("content-type", content_type);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap_or_default()
}

/// Sends the head and some of the body, then fails: hyper closes the connection. Without any of the body the failure
/// comes before the head was flushed, so not a byte is sent.
fn broken(page: Page, sent: &str) -> Response {
    let length = page.body.len();
    let (mut head, _) = write(page).into_parts();
    head.headers.insert("content-length", length.into());
    let fail = stream::once(async { Err::<Bytes, _>(std::io::Error::other("broken on purpose")) });
    if sent.is_empty() {
        return Response::from_parts(head, Body::from_stream(fail));
    }
    let part = Bytes::from(sent.to_owned());
    let part = stream::once(async move { Ok::<_, Infallible>(part) })
        .map(|part| part.map_err(|never| match never {}));
    // Time for what was written to leave before the failure.
    let fail = stream::once(tokio::time::sleep(std::time::Duration::from_millis(20)))
        .flat_map(move |()| stream::iter([Err::<Bytes, _>(std::io::Error::other("broken on purpose"))]));
    Response::from_parts(head, Body::from_stream(part.chain(fail)))
}
