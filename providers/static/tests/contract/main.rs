//! The provider contract over an inventory file, and that its suite finds who breaks it.

#![expect(clippy::expect_used, reason = "a world that cannot be arranged ends the test")]

mod inventories;
mod liars;

use inventories::Inventories;
use providers::conformance;

#[tokio::test]
async fn the_static_provider_keeps_the_contract() {
    conformance::run(&Inventories).await;
}
