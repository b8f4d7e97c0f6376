//! The shop's HTTP interface. Every route publishes in the transaction that makes the event true.
//!
//! The statements name the types of their parameters. Then the driver does not prepare them, so that they also run through a pooler in
//! transaction mode.

use crate::events::{Email, EmailType, InstantMessage, Scheduling, Sms};
use crate::input::{self, NewMeeting, NewOrder, NewUser};
use crate::problem::{ApiError, FieldProblem};
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use actix_web::{Error, HttpResponse};
use deadpool_postgres::Pool;
use pubsub::{PubSub, publish};
use serde_json::json;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .route("/users", web::post().to(create_user))
        .route("/orders", web::post().to(create_order))
        .route("/orders/{id}/approve", web::post().to(approve_order))
        .route("/meetings", web::post().to(create_meeting));
}

/// Creates the user, the text message and the e-mail in one transaction.
async fn create_user(body: Bytes, pool: Data<Pool>) -> Result<HttpResponse, ApiError> {
    let NewUser { name, email } = input::read(&body)?;
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let insert = "insert into quickstart.users (name, email) values ($1, $2) returning id";
    let id: i32 =
        transaction.query_typed_one(insert, &[(&name, Type::TEXT), (&email, Type::TEXT)]).await?.get(0);
    publish(&transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    publish(&transaction, &Email { email_type: EmailType::ClientWelcome, receiver: email.clone() }).await?;
    match transaction.commit().await {
        Ok(()) => Ok(HttpResponse::Created().json(json!({ "user": id }))),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            Err(ApiError::Conflict(format!("there is a user with the address {email} already")))
        }
        Err(error) => Err(error.into()),
    }
}

async fn create_order(body: Bytes, pool: Data<Pool>) -> Result<HttpResponse, ApiError> {
    let NewOrder { customer, item } = input::read(&body)?;
    let insert = "insert into quickstart.orders (customer, item) values ($1, $2) returning id";
    match pool.get().await?.query_typed_one(insert, &[(&customer, Type::INT4), (&item, Type::TEXT)]).await {
        Ok(row) => Ok(HttpResponse::Created().json(json!({ "order": row.get::<_, i32>(0) }))),
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
            Err(ApiError::Invalid(vec![FieldProblem::new("customer", "there is no such user")]))
        }
        Err(error) => Err(error.into()),
    }
}

/// Approves an order once. The update finds only an order that is not approved, so a second request publishes nothing.
async fn approve_order(id: Path<i32>, pool: Data<Pool>) -> Result<HttpResponse, ApiError> {
    let id = id.into_inner();
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let approve = "update quickstart.orders o
                      set approved_at = clock_timestamp()
                     from quickstart.users u
                    where o.id = $1 and o.approved_at is null and u.id = o.customer
                returning u.email, u.name, o.item";
    let Some(order) = transaction.query_typed_opt(approve, &[(&id, Type::INT4)]).await? else {
        let exists = "select exists (select from quickstart.orders where id = $1)";
        return Err(match transaction.query_typed_one(exists, &[(&id, Type::INT4)]).await?.get(0) {
            true => ApiError::Conflict(format!("order {id} is approved already")),
            false => ApiError::NotFound(format!("there is no order {id}")),
        });
    };
    let (receiver, name, item): (String, String, String) = (order.get(0), order.get(1), order.get(2));
    publish(&transaction, &Email { email_type: EmailType::PurchaseOrder, receiver }).await?;
    publish(&transaction, &InstantMessage { msg: format!("order {id} is approved: {item} for {name}") })
        .await?;
    transaction.commit().await?;
    Ok(HttpResponse::Ok().json(json!({ "order": id, "approved": true })))
}

/// Publishes the event in a transaction of its own, because there is nothing to store.
async fn create_meeting(body: Bytes, pubsub: PubSub) -> Result<HttpResponse, ApiError> {
    let (start, end) = match input::read(&body)? {
        NewMeeting { start: Some(start), end: Some(end) } => (start, end),
        NewMeeting { .. } => unreachable!("`input::read` has checked both"),
    };
    publish(&pubsub, &Scheduling { start, end }).await?;
    Ok(HttpResponse::Created().json(json!({ "start": start, "end": end })))
}

/// Logs each request and its answer.
pub(crate) async fn narrate(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let asked = format!("{} {}", request.method(), request.path());
    let response = next.call(request).await?;
    let status = response.status();
    match response.response().error() {
        Some(error) => tracing::info!(channel = "http", "{asked}: {status}, {error}"),
        None => tracing::info!(channel = "http", "{asked}: {status}"),
    }
    Ok(response)
}
