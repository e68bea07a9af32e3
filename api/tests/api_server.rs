//! What a real API server makes of our CRDs: it refuses bad objects with a reason, and keeps good ones as they are.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of it is test code, also what stands outside of #[test]"
)]

#[path = "api_server/columns.rs"]
mod columns;
#[path = "api_server/manifests.rs"]
mod manifests;
#[path = "api_server/server.rs"]
mod server;
#[path = "api_server/size.rs"]
mod size;
#[path = "api_server/table.rs"]
mod table;
#[path = "api_server/upgrade.rs"]
mod upgrade;
