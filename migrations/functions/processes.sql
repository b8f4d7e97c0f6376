-- Processes: registering, beating, leaving, and taking over from the dead.

-- Whether a process is registered: if not, it left, or was declared dead and may not have noticed yet.
create or replace function pubsub.is_registered(process bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- By processes_beat_idx, from its end: by the primary key it would read all versions of the row. The comparison of rows
    -- leaves the planner no other index.
    return coalesce(
        process = (
            select p.id
              from pubsub.processes p
             where (p.id, p.beat_at) <= (process, 'infinity')
             order by p.id desc, p.beat_at desc
             limit 1
        ),
        false
    );
end
$$;

-- Raises PB006 for a process that is not registered: most likely it was declared dead and has not noticed yet. A lease of
-- its own would belong to nobody, and its events would wait for the janitor. Raises PB005 if the log was moved.
create or replace function pubsub.require_registered(process bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The first line of pubsub.require_recognized, to spare each claim the call.
    if current_setting('pubsub.recognized', true) is distinct from 'pubsub.log_identity'::regclass::oid::text then
        perform pubsub.require_recognized();
    end if;
    if not pubsub.is_registered(process) then
        raise exception using
            errcode = 'PB006',
            message = format('process %s is not registered', coalesce(process::text, 'null')),
            hint = 'It may have been declared dead. Register again with pubsub.register_process.';
    end if;
end
$$;

-- Registers a running process and returns its id. Raises PB005 if the log was moved and needs pubsub.rebase.
create or replace function pubsub.register_process(host text, os_pid integer, version text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    new_id bigint;
begin
    perform pubsub.recognize();
    insert into pubsub.processes (host, os_pid, version)
    values (register_process.host, register_process.os_pid, register_process.version)
    returning id into new_id;
    return new_id;
end
$$;

-- One heartbeat. False: this process was declared dead, its leases are gone, and it must register again.
--   lives_with_session  the calling session lives as long as the process does, so that its end is the process's: one whose
--                       session has ended beats from another at once, or is dead. False for a process that beats from
--                       whatever connection it gets: only its silence is its death.
create or replace function pubsub.beat(process bigint, lives_with_session boolean default true) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update pubsub.processes p
       set beat_at = clock_timestamp(),
           session_pid = case when lives_with_session then a.pid end,
           session_started_at = case when lives_with_session then a.backend_start end
      from pg_stat_get_activity(pg_backend_pid()) a
     where p.id = beat.process;
    return found;
end
$$;

-- Ends the leases of a process: every event of theirs goes to the mailbox as an orphan of its own, due at once. Returns
-- how many. Leases that are being settled this very moment are left to their settlement.
--   action  'crash' if the process died, 'retry' if it stopped: what becomes of the events that may have begun, as far as
--           leases.begins tells. The attempt of the others does not count.
create or replace function pubsub.orphan_leases(process bigint, action text, error text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
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
         order by l.subscription, l.lane, l.token
           for update of l skip locked
    loop
        lease := held.lease;
        perform pg_advisory_xact_lock(hashtext('pubsub.claiming') + lease.lane, lease.subscription);
        perform pubsub.dispose(lease, (
            select jsonb_agg(
                       case
                           when held.events_before + e.ordinal > lease.begins then
                               jsonb_build_object('id', e.id, 'action', 'return')
                           else jsonb_build_object('id', e.id, 'action', action, 'error', error)
                       end
                   )
              from unnest(lease.event_ids) with ordinality e (id, ordinal)
        ));
        delete from pubsub.leases l where l.token = lease.token;
        orphaned := orphaned + cardinality(lease.event_ids);
    end loop;
    return orphaned;
end
$$;

-- When the server last ended everybody's session, as far as the caller may see. A crash of one backend ends all sessions
-- too, and then only the background processes know it.
create or replace function pubsub.sessions_began_at() returns timestamptz
language sql volatile
set search_path = pg_catalog, pg_temp
return (
    select greatest(pg_postmaster_start_time(), max(a.backend_start))
      from pg_stat_get_activity(null) a
     where a.backend_type = 'checkpointer'
);

-- Processes whose heartbeat came from a session that is gone, though the server has not ended it: the process has died, or
-- lost its connection and will be back in a moment. Judge by asking again. A session whose start the caller's role may not
-- see is taken for the right one.
create or replace function pubsub.absent_processes() returns setof bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The sessions are read once, and not for each process: all processes ask this several times a second.
    return query
    with sessions as materialized (
        select a.pid, a.backend_start, a.backend_type from pg_stat_get_activity(null) a
    )
    select p.id
      from pubsub.processes p
     where p.session_pid is not null
       and p.beat_at > greatest(
               pg_postmaster_start_time(),
               (select max(s.backend_start) from sessions s where s.backend_type = 'checkpointer')
           )
       and not exists (
               select from sessions s
                where s.pid = p.session_pid
                  and (s.backend_start is null or s.backend_start = p.session_started_at)
           );
end
$$;

-- How many processes are registered: they share the looks for dead ones.
create or replace function pubsub.count_processes() returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
return (select count(*) from pubsub.processes);

-- Declares processes dead that have been silent for longer than `silence`, and those of `absent` that still are, and makes
-- orphans of what they held. Returns the dead that this call took over from. Any process may call it at any time; two
-- callers never take the same one.
--
-- A restart of the server silences everybody: for the first `silence` after its start nobody is declared dead for that.
create or replace function pubsub.reclaim(silence interval, absent bigint[] default '{}')
returns table (process bigint, host text, os_pid integer, silent_for interval, orphans bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    latest constant timestamptz := case
        when pubsub.sessions_began_at() > clock_timestamp() - silence then '-infinity'
        else clock_timestamp() - silence
    end;
    gone   constant bigint[] := case
        when absent = '{}' then '{}'
        else array(select a from pubsub.absent_processes() a where a = any (absent))
    end;
    dead   pubsub.processes;
    moved  bigint;
begin
    for dead in
        select *
          from pubsub.processes p
         where p.beat_at < latest or p.id = any (gone)
         order by p.id
           for update skip locked
    loop
        moved := pubsub.orphan_leases(
            dead.id, 'crash', format('process %s on %s (pid %s) died', dead.id, dead.host, dead.os_pid)
        );
        perform pubsub.stop_running_all(dead.id);
        perform pubsub.leave_watch(dead.id);
        delete from pubsub.processes p where p.id = dead.id;
        process := dead.id;
        host := dead.host;
        os_pid := dead.os_pid;
        silent_for := clock_timestamp() - dead.beat_at;
        orphans := moved;
        return next;
        if moved > 0 then
            -- The orphans' subscriptions may be run by processes that sleep.
            perform pg_notify('pubsub', '');
        end if;
    end loop;
end
$$;

-- Makes orphans of leases whose process does not exist: claimed by one that had just been declared dead. Returns how many
-- events. Rare, and a scan of the leases: for the janitor.
create or replace function pubsub.reclaim_strays() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    stray    bigint;
    orphaned bigint := 0;
begin
    for stray in
        select distinct l.process
          from pubsub.leases l
         where not exists (select from pubsub.processes p where p.id = l.process)
    loop
        orphaned := orphaned
            + pubsub.orphan_leases(stray, 'crash', format('process %s was declared dead before it claimed', stray));
    end loop;
    return orphaned;
end
$$;

-- A process that stops: gives back what it still holds, and is gone. Returns how many events it gave back. One that
-- drained before holds nothing but what it had begun and could not finish in time.
create or replace function pubsub.leave(process bigint) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    returned bigint;
begin
    returned := pubsub.orphan_leases(leave.process, 'retry', 'its process stopped before it was done');
    perform pubsub.stop_running_all(leave.process);
    perform pubsub.leave_watch(leave.process);
    delete from pubsub.processes p where p.id = leave.process;
    if returned > 0 then
        perform pg_notify('pubsub', '');
    end if;
    return returned;
end
$$;
