-- The floor of publishing: the columns and the indexes of pubsub.db_events, but for the fingerprint, without partitions, checks and trigger.
create sequence bare_id;
create table bare (
    xid          xid8 not null default pg_current_xact_id(),
    id           bigint not null default nextval('bare_id'),
    channel      text collate "C" not null,
    key          text,
    payload      jsonb not null,
    headers      jsonb,
    version      integer not null default 1,
    published_at timestamptz not null default clock_timestamp(),
    primary key (channel, id)
);
create index on bare (xid, channel, id);
