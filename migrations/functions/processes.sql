-- Processes: registering, beating, leaving, and taking over from the dead.

-- The registered processes. Only the last version of each row is read, whatever an old snapshot keeps: here and below, the
-- primary key is read from the end of the process's part.
create or replace view pubsub.current_processes as
select p.*
  from pubsub.registrations r
 cross join lateral (
     select * from pubsub.processes p
      where (p.id, p.beat_at) <= (r.process, 'infinity') order by p.id desc, p.beat_at desc limit 1
 ) p
 where p.id = r.process;

-- Raises PB006 unless a process is registered. It is not if it has left, or was declared dead and may not know yet: its lease would
-- have no owner, and the events would wait for the janitor. Raises PB005 if the log was moved.
create or replace function pubsub.require_registered(process bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    -- This repeats the first line of pubsub.require_recognized, to save each claim the call.
    if current_setting('pubsub.recognized', true) is distinct from 'pubsub.log_identity'::regclass::oid::text then
        perform pubsub.require_recognized();
    end if;
    if not exists (select from pubsub.registrations r where r.process = require_registered.process) then
        raise exception using errcode = 'PB006', constraint = 'PB006',
            message = format('process %s is not registered', coalesce(process::text, 'null')),
            hint = 'It may have been declared dead. Register again with pubsub.register_process.';
    end if;
end
$$;

-- Registers a running process and returns its id. Raises PB005 if the log was moved and needs pubsub.rebase, and 55000 if
-- somebody has changed what the proofs of claim.sql and restore.sql rest on.
--   was  the id under which it was declared dead although it lives. That death counts for none of its events: a crash and an
--        attempt of each are taken back, and those that became dead letters by it are redriven
create or replace function pubsub.register_process(host text, os_pid integer, version text, was bigint default null)
returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    new_id bigint;
    unfit  record;
begin
    perform pubsub.recognize();
    for unfit in
        select format('the sequence %s caches or skips numbers', q.seqrelid::regclass) as fault,
               format('alter sequence %s increment 1 no cycle cache 1', q.seqrelid::regclass) as repair
          from pg_sequence q
         where q.seqrelid = any ('{pubsub.db_events_id_seq, pubsub.leases_token_seq, pubsub.processes_id_seq}'::regclass[])
           and (q.seqcache <> 1 or q.seqincrement <> 1 or q.seqcycle)
        union all
        select format('the ids of events continue at %s, below the cursors', pubsub.log_sequence()), 'select pubsub.rebase()'
         where pubsub.log_sequence() < (select max(coalesce(c.window_end, c.read_sequence)) from pubsub.positions() c)
        union all
        select format('the trigger %I of %s is disabled', t.tgname, t.tgrelid::regclass),
               format('alter table %s enable trigger all', t.tgrelid::regclass)
          from pg_trigger t
         where t.tgrelid in ('pubsub.db_events'::regclass, 'pubsub.settled'::regclass) and t.tgenabled in ('D', 'R') and not t.tgisinternal
        union all
        select format('a crash of the server would %s %s', case c.relpersistence when 'u' then 'empty' else 'keep' end, c.oid::regclass),
               format('alter table %s set %s', c.oid::regclass, case c.relpersistence when 'u' then 'logged' else 'unlogged' end)
          from pg_class c
         where c.relnamespace = 'pubsub'::regnamespace
           and c.relname ~ '^(db_events_[0-9]+|subscriptions|cursors|leases|settled|mailbox|dead_letters|log_identity|incarnations)$'
           and (c.relname = 'incarnations') <> (c.relpersistence = 'u')
    loop
        raise exception using errcode = 'object_not_in_prerequisite_state', message = unfit.fault,
            hint = format('Run "%s".', unfit.repair);
    end loop;
    insert into pubsub.processes (host, os_pid, version)
    values (register_process.host, register_process.os_pid, register_process.version)
    returning id into new_id;
    insert into pubsub.registrations values (new_id);
    -- Left behind if somebody has acknowledged a whole lease without naming them.
    delete from pubsub.settled s where not exists (select from pubsub.leases l where l.token = s.token);
    update pubsub.mailbox m set crashes = m.crashes - 1, attempt = greatest(m.attempt - 1, 0), orphaned_by = null
     where m.orphaned_by = was and m.crashes > 0;
    perform pubsub.redrive(d.channel, s.name, d.event_id)
       from pubsub.dead_letters d join pubsub.subscriptions s on s.id = d.subscription
      where d.orphaned_by = was and d.reason = 'crashed';
    return new_id;
end
$$;

-- Records one heartbeat. False: the process was declared dead, its leases are gone, and it must register again.
-- It is also false after five waits for pubsub.reclaim, which is not known to happen.
--   lives_with_session  whether the calling session ends when the process does. Then a process whose session has ended is
--                       dead unless it beats from another one within `grace`. A process that beats from any connection of a
--                       pool passes false: only its silence tells that it is dead.
--   pause               a longer time between two beats is an interruption: half the silence after which it is dead
create or replace function pubsub.beat(
    process bigint, lives_with_session boolean default true, grace interval default '0.5 s', pause interval default '3 s'
) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    -- How often it may wait for somebody who lowers the time of its row.
    most       constant integer := 5;
    -- How many waiting deliveries it moves at most, so that it takes no longer than a beat may.
    most_moved constant integer := 10000;
    beaten_at  constant timestamptz := clock_timestamp();
    behind     interval;
begin
    for attempt in 1 .. most loop
        update pubsub.processes p
           set beat_at = beaten_at, set_back = p.beat_at - beaten_at,
               resumed_at = case
                   when s.started_at = p.server_started_at and beaten_at <@ tstzrange(p.beat_at, p.beat_at + pause) then p.resumed_at
                   else beaten_at
               end,
               grace = beat.grace, server_started_at = s.started_at,
               session_pid = case when lives_with_session then pg_backend_pid() end,
               session_started_at = case when lives_with_session then s.session_started_at end
          from (
              select max(a.backend_start) filter (where a.pid = pg_backend_pid()) as session_started_at,
                     greatest(pg_postmaster_start_time(), max(a.backend_start) filter (where a.backend_type = 'checkpointer'))
                         as started_at
                from pg_stat_get_activity(null) a
          ) s
         where p.id = beat.process and p.beat_at >= (
                   select n.beat_at from pubsub.processes n where n.id = beat.process order by n.id desc, n.beat_at desc limit 1
               )
        returning p.set_back into behind;
        -- After a wait for pubsub.reclaim, which has noticed that the clock was set back, the row is too old for the condition.
        exit when found or not exists (select from pubsub.registrations r where r.process = beat.process);
    end loop;
    -- The clock was set back, and this is the first beat since then: waiting deliveries come earlier by as much. Locked ones are skipped,
    -- because every pubsub.reclaim waits for this row.
    if behind > interval '1 second' and not exists (
        select from pubsub.current_processes q where q.id <> beat.process and q.beat_at <= beaten_at
    ) then
        update pubsub.mailbox m set due_at = m.due_at - behind
          from (
              select w.subscription, w.event_id from pubsub.mailbox w
               where w.due_at > beaten_at and w.due_at < 'infinity' and w.token is null
               limit most_moved for update skip locked
          ) waiting
         where (m.subscription, m.event_id) = (waiting.subscription, waiting.event_id);
    end if;
    return behind is not null;
end
$$;

-- Ends the leases of a process. Each of their events goes to the mailbox as an orphan, due at once. Returns how many events.
-- Skips leases that are being settled at this moment.
--   action  'crash' if the process died, 'retry' if it stopped. This is what happens to events that may have started, as far
--           as leases.start_limit tells. The attempt of the other events does not count
create or replace function pubsub.orphan_leases(process bigint, action text, error text) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    held     record;
    lease    pubsub.leases;
    orphaned bigint := 0;
begin
    for held in
        with counted as materialized (
            select c.token, sum(cardinality(c.event_ids)) over claimed - cardinality(c.event_ids) as events_before
              from pubsub.leases c
             where c.process = orphan_leases.process
            window claimed as (partition by c.subscription order by c.token)
        )
        select l as lease, counted.events_before
          from pubsub.leases l
          join counted on counted.token = l.token
         order by l.subscription, l.lane, l.token for update of l skip locked
    loop
        lease := held.lease;
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lease.lane, lease.subscription);
        perform pubsub.dispose(lease, (
            select jsonb_agg(case
                       when held.events_before + e.ordinal > lease.start_limit
                           then jsonb_build_object('id', e.id, 'action', 'return')
                       else jsonb_build_object('id', e.id, 'action', action, 'error', error)
                   end)
              from unnest(lease.event_ids) with ordinality e (id, ordinal)
        ));
        with ended as (delete from pubsub.leases l where l.token = lease.token),
             settled as (delete from pubsub.settled s where s.token = lease.token returning s.event_id)
        select orphaned + cardinality(lease.event_ids) - count(*) into orphaned from settled;
    end loop;
    return orphaned;
end
$$;

-- Removes a process with all that it holds. The arguments and the result are those of pubsub.orphan_leases.
create or replace function pubsub.end_process(process bigint, action text, error text) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    orphaned constant bigint := pubsub.orphan_leases(process, action, error);
    bell     text;
begin
    perform pubsub.stop_running(null, process);
    -- The bell may have rung for this process: it is passed on.
    for bell in
        with removed as (delete from pubsub.waiters w where w.process = end_process.process returning w.subscription)
        select distinct s.channel from removed r join pubsub.subscriptions s on s.id = r.subscription
    loop
        perform pubsub.ring_bell(bell);
    end loop;
    delete from pubsub.registrations r where r.process = end_process.process;
    delete from pubsub.processes p where p.id = end_process.process;
    -- The processes that run the orphans' subscriptions may sleep.
    perform pg_notify('pubsub', '') where orphaned > 0;
    return orphaned;
end
$$;

-- Stops a process: returns the events that it still holds to the mailbox, and ends its registration. The result is the number
-- of events. A process that has drained holds only events that it has started and could not finish in time.
create or replace function pubsub.leave(process bigint) returns bigint
language sql volatile set search_path = pg_catalog, pg_temp
return pubsub.end_process(process, 'retry', 'its process stopped before it was done');

-- Returns the processes whose heartbeat came from a session that has ended, although the server has not ended it, how many
-- processes are registered, and how long each absent one may be absent before it is dead. An absent process has died, or has
-- lost its connection and will be back in a moment. A session whose start is hidden from the schema's owner counts as the right one.
--   last_beats  one that was seen absent before, and has beaten since then, is absent anew
--
-- A process that has not beaten since the server last ended all sessions is not absent: its session was ended by the server.
-- The crash of one backend ends all sessions too, and then only the background processes have started again.
create or replace function pubsub.absent_processes()
returns table (absent bigint[], registered bigint, graces interval[], last_beats timestamptz[])
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    -- The sessions are read once, and not for each process: all processes call this several times a second.
    return query
    with sessions as materialized (select a.pid, a.backend_start, a.backend_type from pg_stat_get_activity(null) a),
    gone as materialized (
        select p.id, p.grace, p.beat_at from pubsub.current_processes p
         where p.server_started_at = greatest(
                   pg_postmaster_start_time(), (select max(s.backend_start) from sessions s where s.backend_type = 'checkpointer')
               )
           and p.session_pid is not null and not exists (
                   select from sessions s
                    where s.pid = p.session_pid and (s.backend_start is null or s.backend_start = p.session_started_at)
               )
    )
    select array(select g.id from gone g order by g.id), (select count(*) from pubsub.current_processes),
           array(select g.grace from gone g order by g.id), array(select g.beat_at from gone g order by g.id);
end
$$;

-- Declares processes dead that were silent for longer than `silence`, and those of `absent` that still are absent. Makes
-- orphans of their events. Returns the dead processes that this call has taken over from. Any process may call it at any time;
-- no two callers take over from the same process.
--
-- A server that was frozen, read-only or restarted, or whose clock was set, silences all processes, and makes none of them dead.
-- So a silence counts only beside a witness, a process that has beaten without interruption for as long.
create or replace function pubsub.reclaim(silence interval, absent bigint[] default '{}')
returns table (process bigint, host text, os_pid integer, silent_for interval, orphans bigint)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    called_at constant timestamptz := clock_timestamp();
    witnessed boolean;
    gone      constant bigint[] := case when absent = '{}' then '{}' else array(
        select p from pubsub.absent_processes() a cross join unnest(a.absent) p where p = any (reclaim.absent)
    ) end;
    late      bigint[];
    dead      pubsub.processes;
begin
    if (silence > interval '0' and silence <= interval '36500 days') is not true then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('the silence of a dead process is longer than 0 and at most 36500 days, not %s', coalesce(silence::text, 'null'));
    end if;
    -- The clock was set back, and a process has beaten since. The silence of the others counts from now on.
    late := array(
        select c.id from pubsub.current_processes c
         where c.beat_at > called_at + interval '1 second'
           and exists (select from pubsub.current_processes w where w.beat_at between called_at - silence and called_at)
    );
    if late <> '{}' then
        update pubsub.processes p set beat_at = called_at where p.id = any (late) and p.beat_at > called_at;
    end if;
    witnessed := exists (
        select from pubsub.current_processes w where w.beat_at > called_at - silence / 2 and w.resumed_at < called_at - silence
    );
    late := array(
        select c.id from pubsub.current_processes c where c.id = any (gone) or witnessed and c.beat_at < called_at - silence
    );
    for dead in
        select p.* from pubsub.processes p join pubsub.registrations r on r.process = p.id
         where late <> '{}' and p.id = any (late) and (p.id = any (gone) or p.beat_at < called_at - silence)
         order by p.id for update of p, r skip locked
    loop
        return query select dead.id, dead.host, dead.os_pid, called_at - dead.beat_at, pubsub.end_process(
            dead.id, 'crash', regexp_replace(
                format('process %s on %s (pid %s) died', dead.id, dead.host, dead.os_pid), '[\u0001-\u001f\u007f-\u009f]', '?', 'g'
            )
        );
    end loop;
end
$$;

-- Makes orphans of leases whose process does not exist, because it was declared dead just before it claimed. Returns how many
-- events. This is rare, and scans all leases, so only the janitor calls it. It also removes waiter rows that have expired within the
-- last minute. Older ones go with their process: a search for them would read what an old snapshot keeps of removed rows.
create or replace function pubsub.reclaim_strays() returns bigint
language sql volatile set search_path = pg_catalog, pg_temp begin atomic
    -- Carried out after the query. The locks come in the order of pubsub.end_process.
    with expired as (
        delete from pubsub.waiters w using pubsub.subscriptions s
         where w.subscription = s.id and w.until between statement_timestamp() - interval '1 minute' and statement_timestamp()
    )
    select coalesce(sum(pubsub.orphan_leases(
               stray.process, 'crash', format('process %s was declared dead before it claimed', stray.process)
           )), 0)::bigint
      from (
          select distinct l.process from pubsub.leases l where not exists (select from pubsub.registrations r where r.process = l.process)
      ) stray;
end;
