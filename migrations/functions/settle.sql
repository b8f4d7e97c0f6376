-- Settling: writing the outcomes of the events of a lease.
--
-- A delivery that did not succeed is described by a disposition, one JSON object each:
--   {"id": 17, "action": "retry", "delay": "2.5 seconds", "error": "connection refused"}
-- Actions:
--   retry        failed: again after `delay`, or dead (exhausted) when this was the last attempt
--   panic        the handler panicked: as retry, or dead (panicked) when it was one panic too many
--   snooze       not now: again after `delay`, the attempt does not count
--   return       never started: again at once, the attempt does not count
--   reject       no attempt can succeed: dead (rejected)
--   undecodable  not readable as the subscriber's type: dead (undecodable)
--   too_new      of a version that the subscriber does not know: left to one that does, the attempt does not count
--   crash        its process died: again after `delay`, or dead (crashed) when it was one death too many or the last
--                attempt

-- The deliveries of a lease that have a disposition. Ids outside the lease are ignored: the lease is the fence. So are those that
-- pubsub.settle_in has settled. Each is looked up by its key, whatever the planner believes of the tables: hence the limits.
create or replace function pubsub.described_deliveries(lease pubsub.leases, channel text, dispositions jsonb)
returns table (
    id bigint, key text, payload jsonb, headers jsonb, version integer, published_at timestamptz, attempt integer,
    panics integer, crashes integer, action text, delay interval, error text, replay boolean, needs integer
)
language sql stable begin atomic
    with described as (
        select d.id, d.action, least(greatest(coalesce(d.delay, interval '0'), interval '0'), interval '36500 days') as delay, d.error
          from jsonb_to_recordset(dispositions) as d (id bigint, action text, delay interval, error text)
         where d.id = any ((lease).event_ids)
           and not exists (select from pubsub.settled s where (s.token, s.event_id) = ((lease).token, d.id))
    )
    select e.id, e.key, e.payload, e.headers, e.version, e.published_at, 1, 0, 0, d.action, d.delay, d.error,
           exists (
               select from pubsub.replays r where (r.subscription, r.lane) = ((lease).subscription, (lease).lane)
                  and pubsub.is_behind(e.xid, e.id, r.snapshot, r.until, pubsub.log_floor())
           ), null::integer
      from described d
     cross join lateral (
         select * from pubsub.db_events e where e.channel = described_deliveries.channel and e.id = d.id limit 1
     ) e
     where not (lease).from_mailbox
    union all
    select m.event_id, m.key, m.payload, m.headers, m.version, m.published_at, m.attempt, m.panics, m.crashes, d.action,
           d.delay, coalesce(d.error, m.last_error), m.replay, m.needs
      from described d
     cross join lateral (
         select * from pubsub.mailbox m where m.subscription = (lease).subscription and m.event_id = d.id limit 1
     ) m
     where (lease).from_mailbox and m.token = (lease).token;
end;

-- Moves events of a lease to the mailbox or to the dead letters, as their dispositions say. Nothing else decides why a delivery
-- dies. The caller holds the lease's row lock, and its lane's claiming lock.
create or replace function pubsub.dispose(lease pubsub.leases, dispositions jsonb) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    -- One time for all of them, so that those that are due together come in publish order.
    disposed_at constant timestamptz := clock_timestamp();
    reader      pubsub.subscriptions;
    unknown     text;
    buried      text[];
begin
    select d ->> 'action' into unknown from jsonb_array_elements(dispositions) d
     where coalesce(d ->> 'action', '') <> all ('{retry, panic, snooze, return, reject, undecodable, too_new, crash}')
     limit 1;
    if found then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('"%s" is not an action of a disposition', regexp_replace(unknown, '[\u0001-\u001f\u007f-\u009f]', '?', 'g')),
            hint = 'The actions are retry, panic, snooze, return, reject, undecodable, too_new and crash.';
    end if;
    select * into reader from pubsub.subscriptions s where s.id = lease.subscription;
    with counted as (
        select d.*,
               d.attempt - (d.action in ('snooze', 'return', 'too_new'))::integer as attempts,
               d.panics + (d.action = 'panic')::integer as panicked,
               d.crashes + (d.action = 'crash')::integer as crashed,
               case when d.action = 'crash' then lease.process end as orphaned_by
          from pubsub.described_deliveries(lease, reader.channel, dispositions) d
    ),
    judged as (
        select c.*,
               case
                   when c.action = 'reject' then 'rejected'
                   when c.action = 'undecodable' then 'undecodable'
                   when c.action = 'panic' and c.panicked >= reader.max_panics then 'panicked'
                   when c.action in ('retry', 'panic') and c.attempts >= reader.max_attempts then 'exhausted'
                   when c.action = 'crash' and (c.crashed >= reader.max_crashes or c.attempts >= reader.max_attempts)
                       then 'crashed'
               end as reason
          from counted c
    ),
    died as (
        insert into pubsub.dead_letters (
            subscription, event_id, channel, key, payload, headers, version, published_at, attempt, panics, crashes,
            reason, error, replay, orphaned_by
        )
        select lease.subscription, j.id, reader.channel, j.key, j.payload, j.headers, j.version, j.published_at,
               j.attempts, j.panicked, j.crashed, j.reason, j.error, j.replay, j.orphaned_by
          from judged j
         where j.reason is not null
        on conflict on constraint dead_letters_pkey do nothing
    ),
    buried as (
        delete from pubsub.mailbox m
         where m.subscription = lease.subscription
           and m.event_id = any (array(
                   select j.id from judged j where j.reason is not null union all
                   select s.event_id from pubsub.settled s where s.token = lease.token and lease.from_mailbox
               ))
           and (m.token = lease.token or not lease.from_mailbox)
        returning m.key
    ),
    revived as (
        insert into pubsub.mailbox as m (
            subscription, lane, event_id, channel, key, payload, headers, version, published_at, attempt, panics, crashes,
            due_at, last_error, replay, needs, orphaned_by
        )
        select lease.subscription, pubsub.lane_of(j.key, j.id, reader.lanes), j.id, reader.channel, j.key, j.payload,
               j.headers, j.version, j.published_at, j.attempts, j.panicked, j.crashed, disposed_at + j.delay, j.error,
               j.replay, case when j.action = 'too_new' then j.version else j.needs end, j.orphaned_by
          from judged j
         where j.reason is null
        on conflict on constraint mailbox_pkey do update
           set attempt = excluded.attempt, panics = excluded.panics, crashes = excluded.crashes, due_at = excluded.due_at,
               last_error = excluded.last_error, needs = coalesce(excluded.needs, m.needs), token = null,
               orphaned_by = coalesce(excluded.orphaned_by, m.orphaned_by)
    )
    select array_agg(distinct b.key) into buried from buried b;
    if lease.lane > 0 then
        perform pubsub.park(lease.subscription, lease.event_ids, buried);
    end if;
end
$$;

-- Settles events of a lease, if it is still the caller's. Otherwise it returns false and writes nothing: the process was declared
-- dead, or the events were settled before. Events that neither argument names stay leased.
--   acknowledged  events that are done; null means all of the lease that `dispositions` does not name
--   dispositions  events that are not done, as above
create or replace function pubsub.settle(
    process bigint, token bigint, acknowledged bigint[] default null, dispositions jsonb default null
) returns boolean
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
declare
    lease     pubsub.leases;
    disposed  bigint[] := '{}';
    remaining bigint[] := '{}';
    done      text[];
begin
    -- Most leases are from the log, and end with everything done. They are looked up by the token: an index of the process's leases
    -- would have those that ended since the oldest snapshot, too. Hence the comparison that no index can answer.
    if acknowledged is null and dispositions is null then
        delete from pubsub.leases l
         where l.token = settle.token and l.process is not distinct from settle.process and not l.from_mailbox;
        if found then
            return true;
        end if;
    end if;
    select * into lease from pubsub.leases l
     where l.token = settle.token and l.process is not distinct from settle.process for update;
    if not found then
        return false;
    end if;
    if lease.lane > 0 and (lease.from_mailbox or dispositions is not null) then
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lease.lane, lease.subscription);
    end if;
    if dispositions is not null then
        begin
            disposed := array(select (d ->> 'id')::bigint from jsonb_array_elements(dispositions) d);
            perform count((d ->> 'delay')::interval) from jsonb_array_elements(dispositions) d;
        exception when data_exception then
            raise exception using errcode = 'invalid_parameter_value',
                message = 'the dispositions cannot be read: ' || regexp_replace(sqlerrm, '[\u0001-\u001f\u007f-\u009f]', '?', 'g');
        end;
    end if;
    -- A settlement that is sent again may name events that were settled before, but only if it names those that are done.
    perform from (select unnest(disposed) union all select distinct unnest(acknowledged)) d (id)
      group by d.id
     having d.id is null or count(*) > 1 or (acknowledged is null and d.id <> all (lease.event_ids));
    if found then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'a settlement names no event of the lease, or an event twice';
    end if;
    if dispositions is not null then
        perform pubsub.dispose(lease, dispositions);
    end if;
    if acknowledged is not null then
        remaining := array(
            select e.id from unnest(lease.event_ids) with ordinality e (id, ordinal)
             where e.id <> all (acknowledged) and e.id <> all (disposed)
             order by e.ordinal
        );
    end if;
    if lease.from_mailbox then
        with acknowledged as (
            delete from pubsub.mailbox m
             where m.subscription = lease.subscription and m.event_id = any (lease.event_ids)
               and m.event_id <> all (remaining) and m.token = lease.token
            returning m.key
        )
        select array_agg(distinct a.key) into done from acknowledged a;
        if lease.lane > 0 then
            perform pubsub.park(lease.subscription, null, done);
        end if;
    end if;
    if remaining = '{}' then
        with ended as (delete from pubsub.settled s where s.token = lease.token)
        delete from pubsub.leases l where l.token = lease.token;
    else
        with ended as (delete from pubsub.settled s where s.token = lease.token and s.event_id <> all (remaining))
        update pubsub.leases l set event_ids = remaining where l.token = lease.token;
    end if;
    return true;
end
$$;

-- Returns the events that a process holds for a subscription under leases that it does not know to the mailbox. The claims'
-- answers were lost with their connections. The result is the number of events.
--   known  the tokens that the process knows
create or replace function pubsub.return_unknown(subscription integer, process bigint, known bigint[]) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    lease    pubsub.leases;
    returned bigint := 0;
begin
    for lease in
        select * from pubsub.leases l
         where l.subscription = return_unknown.subscription and l.process = return_unknown.process
           and l.token <> all (array_remove(coalesce(known, '{}'), null))
         order by l.lane, l.token for update
    loop
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lease.lane, lease.subscription);
        perform pubsub.dispose(lease, (
            select jsonb_agg(jsonb_build_object('id', e.id, 'action', 'return')) from unnest(lease.event_ids) e (id)
        ));
        with ended as (delete from pubsub.leases l where l.token = lease.token),
             settled as (delete from pubsub.settled s where s.token = lease.token returning s.event_id)
        select returned + cardinality(lease.event_ids) - count(*) into returned from settled;
    end loop;
    return returned;
end
$$;
