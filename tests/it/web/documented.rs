//! `docs/actix-web.md` is true: its program compiles, and shows clients no error of the database.

use super::extractors::Shop;
use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Data;
use deadpool_postgres::Pool;
use pubsub::Target;
use pubsub_tests::{Sms, TestDatabase};

mod shop {
    use super::{Pool, Shop, Sms};

    include!("snippets/shop.rs");

    pub(super) fn service() -> impl actix_web::dev::HttpServiceFactory {
        sign_up
    }
}

#[test]
fn the_document_shows_a_program_that_compiles() {
    let program = concat!("```rust\n", include_str!("snippets/shop.rs"), "```\n");
    let document = include_str!("../../../docs/actix-web.md");
    assert!(document.contains(program), "docs/actix-web.md does not show snippets/shop.rs");
}

#[actix::test]
async fn the_program_shows_clients_no_error_of_the_database() {
    // Without its table.
    let db = TestDatabase::new().await;
    let pool = Target::parse(db.url()).unwrap().pool(1);
    let app = init_service(App::new().app_data(Data::new(pool)).service(shop::service())).await;
    let request = TestRequest::post().uri("/users").set_payload("Ada").to_request();
    let response = call_service(&app, request).await;
    assert_eq!(response.status(), 500);
    assert_eq!(read_body(response).await, "something went wrong on our side");
}
