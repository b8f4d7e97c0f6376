-- Rights: the audience of every function and view, and the grants to roles.
--
-- Nothing in this schema is open to all roles. A function that other roles may call acts with its owner's rights. So other
-- roles need no rights on tables, except that publishers insert into the log. The administrator of the cluster creates the
-- roles, and pubsub.grant_rights takes any role that exists.
--
-- The owner is the role that migrates. A function or a view for other roles is listed in pubsub.audiences, below.
-- tests/it/roles/privileges.rs has the whole matrix, and fails for a function or view that is not in it. This file is installed
-- last.

-- Grants a role the rights of an audience: on the functions and views that pubsub.audiences lists for it, and on the schema and
-- its tables as far as the audience needs them.
create or replace function pubsub.grant_rights(role name, audience text) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    routine  regprocedure;
    relation regclass;
begin
    -- `public` is refused, because `grant .. to "public"` would be a grant to all roles.
    if not exists (select from pg_roles r where r.rolname = grant_rights.role) then
        raise exception using errcode = 'undefined_object', message = format('role "%s" does not exist', role);
    elsif audience is null or audience not in ('publisher', 'subscriber', 'observer') then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('"%s" is not an audience', coalesce(audience, 'null')),
            hint = 'The audiences are publisher, subscriber and observer.';
    end if;
    execute format('grant usage on schema pubsub to %I', role);
    for routine in
        select p.oid::regprocedure
          from pg_proc p
          join pubsub.audiences a on a.object = p.oid::regprocedure::text and a.audience = grant_rights.audience
         where p.pronamespace = 'pubsub'::regnamespace
    loop
        execute format('grant execute on routine %s to %I', routine, role);
    end loop;
    for relation in
        select c.oid::regclass
          from pg_class c
          join pubsub.audiences a on a.object = c.relname and a.audience = grant_rights.audience
         where c.relnamespace = 'pubsub'::regnamespace
           and c.relkind = 'v'
    loop
        execute format('grant select on %s to %I', relation, role);
    end loop;
    if audience = 'publisher' then
        -- The columns xid, id and published_at are left out, because a publisher that chose them could make cursors skip
        -- events.
        execute format('grant insert (channel, key, payload, headers, version, fingerprint) on pubsub.db_events to %I', role);
        execute format('grant select (id) on pubsub.db_events to %I', role);
        execute format('grant usage on sequence pubsub.db_events_id_seq to %I', role);
    elsif to_regclass('pubsub.schema_history') is not null then
        execute format('grant select on pubsub.schema_history to %I', role);
    end if;
end
$$;

-- Revokes every right that a role was granted in this schema. The role keeps the rights that it has as a member of other roles.
create or replace function pubsub.revoke_rights(role name) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    execute format('revoke all on all routines in schema pubsub from %I', role);
    execute format('revoke all on all tables in schema pubsub from %I', role);
    execute format('revoke all on all sequences in schema pubsub from %I', role);
    execute format('revoke all on schema pubsub from %I', role);
end
$$;

-- Grants the functions and views of an audience to the roles that were granted a part of the audience before.
create or replace function pubsub.grant_additions() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    holder record;
begin
    -- An object of one audience alone tells which roles were granted that audience.
    for holder in
        with granted as (
            select p.oid::regprocedure::text as object, g.grantee
              from pg_proc p
             cross join lateral aclexplode(p.proacl) g
             where p.pronamespace = 'pubsub'::regnamespace
               and g.grantee not in (0, p.proowner)
            union all
            select c.relname, g.grantee
              from pg_class c
             cross join lateral aclexplode(c.relacl) g
             where c.relnamespace = 'pubsub'::regnamespace
               and c.relkind = 'v'
               and g.grantee <> c.relowner
        ),
        telling as (
            select a.object, min(a.audience) as audience from pubsub.audiences a group by a.object having count(*) = 1
        )
        select distinct r.rolname as role, t.audience
          from granted g
          join telling t on t.object = g.object
          join pg_roles r on r.oid = g.grantee
    loop
        perform pubsub.grant_rights(holder.role, holder.audience);
    end loop;
end
$$;

-- Applies pubsub.audiences to the functions that this transaction has created or replaced: closes them to all roles, makes those of
-- an audience act with their owner's rights, and grants them to the roles that were granted the rest of the audience before. Other
-- functions in this schema are somebody else's, even those that share a name with ours.
create or replace function pubsub.apply_audiences() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    log_owner constant regrole := (select c.relowner from pg_class c where c.oid = 'pubsub.db_events'::regclass);
    current   constant xid := pg_current_xact_id()::xid;
    other     record;
    missing   text;
    routine   record;
begin
    -- A function with the rights of another owner would fail at the tables, or have more rights than it needs.
    select o.name, o.owner into other
      from (
          select p.oid::regprocedure::text, p.proowner::regrole
            from pg_proc p
           where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current
          union all
          select c.oid::regclass::text, c.relowner::regrole
            from pg_class c
           where c.relnamespace = 'pubsub'::regnamespace and c.xmin = current
      ) o (name, owner)
     where o.owner <> log_owner
     limit 1;
    if found then
        raise exception using errcode = 'invalid_object_definition',
            message = format('%s belongs to %s, and the log to %s', other.name, other.owner, log_owner),
            hint = 'One role owns the whole schema: migrate as the role that migrated first.';
    end if;
    -- From here on, the signature of a function stands for it, and not its name.
    update pubsub.audiences a
       set object = p.oid::regprocedure::text
      from pg_proc p
     where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current and p.proname = a.object;
    select a.object into missing
      from pubsub.audiences a
     where a.object not like '%(%'
       and to_regclass('pubsub.' || a.object) is null;
    if found then
        raise exception using errcode = 'undefined_function',
            message = format('this transaction has not created pubsub.%s', missing),
            hint = 'Run all files of functions in one transaction.';
    end if;
    for routine in
        select p.oid::regprocedure as signature,
               p.prorettype = 'trigger'::regtype
                   or exists (select from pubsub.audiences a where a.object = p.oid::regprocedure::text) as is_for_others,
               coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false) as is_pinned
          from pg_proc p
         where p.pronamespace = 'pubsub'::regnamespace and p.xmin = current
    loop
        execute format('revoke all on routine %s from public', routine.signature);
        if routine.is_for_others and not routine.is_pinned then
            raise exception using errcode = 'invalid_function_definition',
                message = format('%s is for others and does not set its search_path', routine.signature);
        elsif routine.is_for_others then
            execute format('alter routine %s security definer', routine.signature);
        end if;
    end loop;
    perform pubsub.grant_additions();
end
$$;

-- Refuses new arguments of a function that is for other roles: the one with the old arguments is still there, and a call could mean
-- either.
do $$
declare
    changed text;
begin
    select p.proname into changed
      from pg_proc p
      join pubsub.audiences a on a.object = p.oid::regprocedure::text
      join pg_proc s
        on s.pronamespace = p.pronamespace and s.proname = p.proname and s.xmin = pg_current_xact_id()::xid
     where p.pronamespace = 'pubsub'::regnamespace
       and s.oid <> p.oid;
    if found then
        raise exception 'the arguments of pubsub.% have changed: it needs a new name', changed;
    end if;
end
$$;

-- The functions and views that are for other roles than the owner.
delete from pubsub.audiences;

insert into pubsub.audiences (object, audience)
select object, 'publisher' from unnest('{
    list_schemas, publish, publish_all_once, publish_once
}'::text[]) object
union all
select object, 'subscriber' from unnest('{
    absent_processes, advance_idle_cursors, beat, claim, claim_mailbox, close_partitions, declare_channel,
    declare_schema, declare_version, detach_partition, drop_partition, ensure_partitions, forget_dedupe_keys, lag,
    leave, list_dead_letters, list_schemas, next, next_due, next_removal, no_publisher_at_work, reclaim,
    reclaim_strays, recognize, redrive, register_process, removal_steps, remove_expired_waiters, report_awake, resume,
    return_unknown, seek, set_dedupe_window, set_retention, set_unread_limit, settle, skip_ids, start_waiting,
    stop_running, stop_waiting, subscribe, suspend_unread, tidy, unread_subscriptions, unsubscribe, xmin_holders
}'::text[]) object
union all
select object, 'observer' from unnest('{
    absent_processes, count_unread, lag, list_schemas, observed_dead_letters, observed_lanes, observed_leases,
    observed_mailbox, observed_processes, observed_subscriptions, observed_waiters, unread_subscriptions, xmin_holders
}'::text[]) object;

select pubsub.apply_audiences();
