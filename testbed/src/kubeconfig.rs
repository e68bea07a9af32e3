//! Kubeconfig files that verify the server and carry their credentials inside.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::error::Error;
use crate::pki::{Identity, write_private};

/// Writes the kubeconfig of `user` for the API server at `server`, whose certificate `authority` signed.
pub(crate) fn write(
    path: &Path,
    server: &str,
    authority: &str,
    user: &str,
    identity: &Identity,
) -> Result<(), Error> {
    let Identity { certificate, key } = identity;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "current-context": "testbed",
    });
    // JSON is YAML too.
    write_private(path, &format!("{config:#}\n"))
}
