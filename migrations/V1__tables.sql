-- The tables of pubsub: the log, its readers, and the deliveries.
--
-- Locks: none that matter, everything is new.
--
-- The log is for the first attempt; the mailbox is for everything else. A handled event costs one insert, its own; a lease row
-- and a cursor row are paid once per claimed batch. Only inserts into pubsub.db_events and the functions (migrations/functions)
-- are a public contract (docs/sql-contract.md). The tables are private.

create schema if not exists pubsub;

comment on schema pubsub is 'Durable publish/subscribe. Private, but for inserts into db_events and the functions.';

-- Declared channels.
--   version            the newest version of the payload that any process has declared
--   max_payload_bytes  the longest payload with its headers, as JSON text
--   retention          how long an event stays in the log after all subscriptions have read it; null: without limit
--   dedupe_window      how long after an event the same deduplication key is a duplicate of it; null: without limit
--   strict             whether payloads are checked against the schema of their version
--   plain_bytes        the size up to which the trigger does not look at an event more closely
create table pubsub.channels (
    name              text collate "C" not null,
    id                integer generated always as identity,
    version           integer not null default 1,
    description       text not null default '',
    max_payload_bytes integer not null default 262144,
    declared_at       timestamptz not null default clock_timestamp(),
    retention         interval default interval '7 days',
    dedupe_window     interval default interval '1 day',
    strict            boolean not null default false,
    plain_bytes       integer not null generated always as (case when strict then -1 else max_payload_bytes end) stored,
    constraint channels_pkey primary key (name),
    constraint channels_id_key unique (id),
    constraint channels_name_check check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    constraint channels_version_check check (version >= 1),
    constraint channels_max_payload_bytes_check check (max_payload_bytes > 0),
    constraint channels_retention_check check (retention >= interval '0'),
    constraint channels_dedupe_window_check check (dedupe_window > interval '0')
);

-- The log: insert-only, read in id order by every subscription's cursor.
-- Column order matters: `xid` stands before `id`, so that a row's transaction id is assigned before its id is drawn. The
-- cursor's proof rests on that (pubsub.claim). The sequence must keep its cache of 1.
-- The fingerprint is that of the payload's shape, if the publisher knows it. It is only for people.
-- The table has no check constraints, because the server parses them again for every statement, which costs more than the whole
-- trigger for one event. The trigger checks instead (pubsub.after_publish).
create sequence pubsub.db_events_id_seq as bigint;

create table pubsub.db_events (
    xid          xid8 not null default pg_current_xact_id(),
    id           bigint not null default nextval('pubsub.db_events_id_seq'),
    channel      text collate "C" not null,
    key          text collate "C",
    payload      jsonb not null,
    headers      jsonb,
    version      integer not null default 1,
    published_at timestamptz not null default clock_timestamp(),
    fingerprint  bigint,
    constraint db_events_pkey primary key (channel, id)
) partition by range (id);

-- For the few transactions that were in flight when a window was opened (pubsub.claim).
create index db_events_xid_idx on pubsub.db_events (xid, channel, id);

-- The partitions of the log, called db_events_<first_id>. Each is made ahead, opened, closed, sealed, and removed.
--   first_id, end_id  its ids: from first_id on, and below end_id
--   opened_at         when it was noticed that its first id is drawn
--   skipped           ids that were drawn and discarded, so that it closes earlier
--   fence             a transaction id drawn after its last id: each of its events has a lower one. Null until it is closed
--   sealed_at         when it was noticed that all transactions below the fence have ended: nothing in it changes any more
--   tried, tried_at   the last step of its removal that was tried, and when
create table pubsub.partitions (
    first_id  bigint not null,
    end_id    bigint not null,
    opened_at timestamptz,
    skipped   bigint not null default 0,
    fence     xid8,
    sealed_at timestamptz,
    tried     text,
    tried_at  timestamptz,
    constraint partitions_pkey primary key (first_id),
    constraint partitions_end_id_key unique (end_id),
    constraint partitions_ids_check check (first_id < end_id),
    constraint partitions_tried_check check (tried in ('detach', 'finalize', 'drop'))
);

-- Durable named interests in a channel.
--   max_attempts  starts of a delivery before it becomes a dead letter
--   max_panics    how many of them may end with a panic of the handler
--   max_crashes   how many of them may end with the death of the process
--   lanes         0: unordered. Otherwise the events of one key are handled one after another, in publish order: each key
--                 belongs to one of this many lanes, and no two processes hold leases of one lane at the same time
--   lanes_wanted  the next value of `lanes`, once nothing is leased; null: no change
--   unread_limit  how long events may stay unread, without a claim that moves the cursor, before it is suspended; null: without
--                 limit
--   suspended_at  when it was suspended: it claims nothing from the log, and the log does not wait for it
--   missed        events that left the log unread by it since then
--   resumed_at    when it was last resumed
create table pubsub.subscriptions (
    id            integer generated always as identity,
    channel       text collate "C" not null,
    name          text collate "C" not null,
    max_attempts  integer not null,
    max_panics    integer not null default 3,
    max_crashes   integer not null default 3,
    lanes         integer not null default 0,
    lanes_wanted  integer,
    subscribed_at timestamptz not null default clock_timestamp(),
    unread_limit  interval default interval '14 days',
    suspended_at  timestamptz,
    missed        bigint not null default 0,
    resumed_at    timestamptz,
    constraint subscriptions_pkey primary key (id),
    constraint subscriptions_channel_name_key unique (channel, name),
    constraint subscriptions_channel_fkey foreign key (channel) references pubsub.channels (name),
    constraint subscriptions_name_check check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    constraint subscriptions_max_attempts_check check (max_attempts >= 1),
    constraint subscriptions_max_panics_check check (max_panics >= 1),
    constraint subscriptions_max_crashes_check check (max_crashes >= 1),
    constraint subscriptions_lanes_check check (lanes between 0 and 64),
    constraint subscriptions_lanes_wanted_check check (lanes_wanted between 0 and 64),
    constraint subscriptions_unread_limit_check check (unread_limit >= interval '0')
);

-- The positions of subscriptions in the log, one for each lane. An unordered subscription has only lane 0, an ordered one has
-- lanes from 1. The table is insert-only, and the row with the highest seq is the position, so that an old snapshot somewhere
-- in the cluster cannot slow down the query for it.
--   read_snapshot      every event visible in it has been claimed
--   read_sequence      the log's sequence, read before read_fence was drawn
--   read_fence         a transaction id drawn before read_snapshot was taken: a row with xid >= read_fence has
--                      id > read_sequence
--   window_*           the same three for the window being read; null while none is open
--   window_end         the log's sequence, read after window_snapshot: the window's last possible id
--   window_stragglers  transactions in flight at read_snapshot and finished in window_snapshot: they may own ids up to
--                      read_sequence
--   window_position    id of the last event claimed from the window
--   oldest_lease       the lane's leases have this token or a higher one; in an ordered subscription
--   moved_at           when the row was written
create table pubsub.cursors (
    subscription      integer not null,
    lane              integer not null,
    seq               bigint not null,
    read_snapshot     pg_snapshot not null,
    read_sequence     bigint not null,
    read_fence        bigint not null,
    window_snapshot   pg_snapshot,
    window_sequence   bigint,
    window_fence      bigint,
    window_end        bigint,
    window_stragglers xid8[],
    window_position   bigint,
    oldest_lease      bigint not null default 0,
    moved_at          timestamptz not null default clock_timestamp(),
    constraint cursors_pkey primary key (subscription, lane, seq)
);

-- Registered processes. A process that stops beating is declared dead, and its leases become orphans. One whose session has ended,
-- and that does not come back soon, is declared dead well before that.
--   session_pid, session_started_at  the database session that it beats from; null if it beats from any connection
--   grace       how long it may be without that session
--   resumed_at  since when it has beaten without interruption
create table pubsub.processes (
    id                 bigint generated always as identity,
    host               text not null,
    os_pid             integer not null,
    version            text not null,
    started_at         timestamptz not null default clock_timestamp(),
    beat_at            timestamptz not null default clock_timestamp(),
    resumed_at         timestamptz not null default clock_timestamp(),
    grace              interval not null default '0.5 s',
    server_started_at  timestamptz,
    session_pid        integer,
    session_started_at timestamptz,
    constraint processes_pkey primary key (id)
);

-- Finds the last version of a process's row first. Every claim reads that row (pubsub.require_registered), and an old snapshot
-- keeps one version of it alive for each beat since then.
create index processes_beat_idx on pubsub.processes (id, beat_at);

-- The processes that run an ordered subscription, the newest version of the payload that each knows (null: it has not said), and
-- the lanes that each claims from. This only spreads the work. The leases see to it that no two processes have events of one lane
-- at a time.
create table pubsub.runners (
    subscription integer not null,
    process      bigint not null,
    version      integer,
    constraint runners_pkey primary key (subscription, process)
);

create table pubsub.lanes (
    subscription integer not null,
    lane         integer not null,
    process      bigint,
    constraint lanes_pkey primary key (subscription, lane)
);

-- Claimed batches: one row from claim to settle.
--   token         rises with every claim: the fence of pubsub.settle
--   event_ids     the events not yet settled, in the order in which they are begun
--   from_mailbox  whether the events were claimed from the mailbox, or from the log
--   start_limit   how far the process may have got: an event of this lease has not started while that many or more of those
--                 that the process has claimed for the subscription before it are not settled; null: it may have
create sequence pubsub.leases_token_seq as bigint;

create table pubsub.leases (
    token        bigint not null default nextval('pubsub.leases_token_seq'),
    subscription integer not null,
    lane         integer not null,
    process      bigint not null,
    event_ids    bigint[] not null,
    from_mailbox boolean not null,
    start_limit  integer,
    claimed_at   timestamptz not null default clock_timestamp(),
    constraint leases_pkey primary key (token),
    constraint leases_start_limit_check check (start_limit >= 1)
);

create index leases_process_idx on pubsub.leases (process);

create index leases_lane_idx on pubsub.leases (subscription, lane, token) where lane > 0;

-- Deliveries with a state of their own: retried, snoozed, returned, parked or orphaned. Each has a copy of its event, so that
-- the log's retention need not wait for it.
--   attempt     starts so far
--   panics      how many of them ended with a panic of the handler
--   crashes     how many of them ended with the death of their process: from the first on, the event is a suspect, which a
--               process claims only while it handles nothing else for the subscription
--   due_at      infinity: parked behind an earlier event of its key, in an ordered subscription
--   orphaned_by  the process whose death was counted last; it takes that back if it lives
--   token       the lease that holds it, or null while it waits for due_at
--   last_error  why the last attempt did not succeed
--   needs       the version that a process must know to claim it, after a process with an older version has refused it; or null
--   replay      the subscription had read past the event before, and was moved back (pubsub.seek)
create table pubsub.mailbox (
    subscription integer not null,
    lane         integer not null,
    event_id     bigint not null,
    channel      text collate "C" not null,
    key          text collate "C",
    payload      jsonb not null,
    headers      jsonb,
    version      integer not null,
    published_at timestamptz not null,
    attempt      integer not null,
    panics       integer not null,
    crashes      integer not null,
    due_at       timestamptz not null,
    token        bigint,
    last_error   text,
    replay       boolean not null default false,
    needs        integer,
    orphaned_by  bigint,
    constraint mailbox_pkey primary key (subscription, event_id)
);

create index mailbox_orphaned_idx on pubsub.mailbox (orphaned_by) where orphaned_by is not null;

-- Deliveries that wait, by the version that they need, and suspects apart: nobody walks over deliveries that are not for him.
create index mailbox_due_idx on pubsub.mailbox (subscription, lane, (coalesce(needs, 0)), (crashes > 0), due_at, event_id)
    where token is null;

-- Finds the deliveries of a key, in ordered subscriptions.
create index mailbox_key_idx on pubsub.mailbox (subscription, key, event_id) where lane > 0 and key is not null;

-- Deliveries given up, kept until somebody redrives them.
--   reason  exhausted    failed at its last attempt
--           rejected     the handler said that no attempt can succeed
--           undecodable  the payload is not what the subscriber's type can read
--           panicked     its handler panicked as often as the subscription allows
--           crashed      its process died as often as the subscription allows, or at the last attempt
create table pubsub.dead_letters (
    subscription integer not null,
    event_id     bigint not null,
    channel      text collate "C" not null,
    key          text collate "C",
    payload      jsonb not null,
    headers      jsonb,
    version      integer not null,
    published_at timestamptz not null,
    attempt      integer not null,
    panics       integer not null,
    crashes      integer not null,
    reason       text not null,
    error        text,
    died_at      timestamptz not null default clock_timestamp(),
    replay       boolean not null default false,
    orphaned_by  bigint,
    constraint dead_letters_pkey primary key (subscription, event_id),
    constraint dead_letters_reason_check check (
        reason in ('exhausted', 'rejected', 'undecodable', 'panicked', 'crashed')
    )
);

create index dead_letters_orphaned_idx on pubsub.dead_letters (orphaned_by) where orphaned_by is not null;

-- The processes that sleep, and those that have reported that they are awake. Publishers ring the bell for a subscription only
-- if a process sleeps and none is awake. The table is unlogged: a crash of the server disconnects all processes, and they poll
-- again when they are back.
--   until  the time until which the row counts; a process that has died does not remove its row
--
-- Queries ask for rows whose time is not over, and every row has a later time than those before it. So they read the rows of
-- the last moments only, even if an old snapshot keeps the removed rows of many hours.
create unlogged table pubsub.waiters (
    subscription integer not null,
    process      bigint not null,
    is_awake     boolean not null,
    until        timestamptz not null,
    channel      text collate "C"
);

create index waiters_until_idx on pubsub.waiters (subscription, until);

-- For publishers, who ask whether anybody sleeps on a channel.
create index waiters_channel_idx on pubsub.waiters (channel, until) where not is_awake;

-- The position of a subscription's lane before it was last moved back. The events that it reads again are replays.
--   snapshot, until  the lane had passed the events that are visible in the snapshot and have ids up to `until`; null: any id
create table pubsub.replays (
    subscription integer not null,
    lane         integer not null,
    snapshot     pg_snapshot not null,
    until        bigint,
    constraint replays_pkey primary key (subscription, lane)
);

-- The cluster that the log belongs to: two rows with the same content, written by pubsub.write_identity. Their system column
-- xmin shows whether the log was moved (migrations/functions/restore.sql).
--   floor              ids up to this were published before the log was moved here: their transaction ids mean nothing here
--   system_identifier  the cluster's identifier; null if this role may not read it
--   timeline           the timeline of its write-ahead log; null if this role may not read it
create table pubsub.log_identity (
    marker            smallint not null,
    floor             bigint not null,
    system_identifier bigint,
    timeline          integer,
    noted_at          timestamptz not null default clock_timestamp(),
    constraint log_identity_pkey primary key (marker),
    constraint log_identity_marker_check check (marker in (1, 2))
);

-- Shows whether a restore is complete: pg_restore, and the script of pg_dump, fill materialized views last.
create materialized view pubsub.restore_marker as select true as complete;

-- The server's incarnation: one row, or none when it has just begun.
--   incarnation  the tokens of this incarnation are above it
create unlogged table pubsub.incarnations (
    incarnation bigint not null
);

-- The deduplication keys that were published lately.
--   channel   the channel's id
--   event_id  the event that was published with the key; it may have left the log
create table pubsub.dedupe_keys (
    channel      integer not null,
    key          text collate "C" not null,
    event_id     bigint not null,
    published_at timestamptz not null default clock_timestamp(),
    constraint dedupe_keys_pkey primary key (channel, key),
    constraint dedupe_keys_key_check check (octet_length(key) <= 1024)
);

create index dedupe_keys_published_at_idx on pubsub.dedupe_keys (channel, published_at);

-- The shape of each version of a channel's payload, as it was declared last.
--   fingerprint  the fingerprint of the shape; equal shapes have equal fingerprints
create table pubsub.channel_versions (
    channel     text collate "C" not null,
    version     integer not null,
    fingerprint bigint not null,
    declared_at timestamptz not null default clock_timestamp(),
    constraint channel_versions_pkey primary key (channel, version),
    constraint channel_versions_channel_fkey foreign key (channel) references pubsub.channels (name)
);

-- The schemas of payloads, one per version of a channel.
--   schema  JSON Schema, draft 2020-12, of the payloads that readers accept
create table pubsub.schemas (
    channel     text collate "C" not null,
    version     integer not null,
    schema      jsonb not null,
    declared_at timestamptz not null default clock_timestamp(),
    constraint schemas_pkey primary key (channel, version),
    constraint schemas_channel_fkey foreign key (channel) references pubsub.channels (name),
    constraint schemas_version_check check (version >= 1),
    constraint schemas_schema_check check (jsonb_typeof(schema) in ('object', 'boolean'))
);

-- The functions and views that are for others than the owner.
--   object    the signature of a function, or the name of a view
--   audience  publisher   publishes, and reads nothing
--             subscriber  runs subscriptions: all that a process does but publish
--             observer    reads the state, but no events
create table pubsub.audiences (
    object   text collate "C" not null,
    audience text collate "C" not null,
    constraint audiences_pkey primary key (object, audience),
    constraint audiences_audience_check check (audience in ('publisher', 'subscriber', 'observer'))
);
