//! `docs/actix-web.md` is true: its program compiles.

use super::extractors::Shop;
use deadpool_postgres::Pool;
use pubsub_tests::Sms;

mod shop {
    use super::{Pool, Shop, Sms};

    include!("snippets/shop.rs");
}

#[test]
fn the_document_shows_a_program_that_compiles() {
    let program = concat!("```rust\n", include_str!("snippets/shop.rs"), "```\n");
    let document = include_str!("../../../docs/actix-web.md");
    assert!(document.contains(program), "docs/actix-web.md does not show snippets/shop.rs");
}
