-- The shop's own tables, in a schema of their own.
create schema if not exists quickstart;

-- The address is checked at the commit, not at the insert, so that a duplicate fails after its events were published:
-- the rollback takes them along.
create table if not exists quickstart.users (
    id    integer generated always as identity,
    name  text not null,
    email text not null,
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email) deferrable initially deferred
);

create table if not exists quickstart.orders (
    id          integer generated always as identity,
    customer    integer not null,
    item        text not null,
    approved_at timestamptz,
    constraint orders_pkey primary key (id),
    constraint orders_customer_fkey foreign key (customer) references quickstart.users (id)
);
