-- Who may do what: the audience of every function and view, and the rights that make a role one of an audience.
--
-- Nothing in this schema is open to everybody. A function that others may call acts with its owner's rights, so that nobody
-- but the owner needs any on a table; publishers alone have one, to insert into the log. Roles are made by whoever
-- administers the cluster, never here: the grant_* functions take any role that exists.
--
-- The owner is the role that migrates. A function or a view that is for others is listed in pubsub.audiences, below.
-- tests/it/privileges.rs has the whole matrix, and fails until a new one is in it. This file is installed last.

-- Gives a role the rights of an audience: on what pubsub.audiences lists for it, and on what is no function or view.
create or replace function pubsub.grant_audience(role name, audience text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    routine  regprocedure;
    relation regclass;
begin
    -- Checked, because "public" would be taken for everybody.
    if not exists (select from pg_roles r where r.rolname = grant_audience.role) then
        raise exception using
            errcode = 'undefined_object',
            message = format('role "%s" does not exist', grant_audience.role);
    end if;
    execute format('grant usage on schema pubsub to %I', role);
    for routine in
        select p.oid::regprocedure
          from pg_proc p
          join pubsub.audiences a on a.object = p.proname and a.audience = grant_audience.audience
         where p.pronamespace = 'pubsub'::regnamespace
    loop
        execute format('grant execute on routine %s to %I', routine, role);
    end loop;
    for relation in
        select c.oid::regclass
          from pg_class c
          join pubsub.audiences a on a.object = c.relname and a.audience = grant_audience.audience
         where c.relnamespace = 'pubsub'::regnamespace
           and c.relkind = 'v'
    loop
        execute format('grant select on %s to %I', relation, role);
    end loop;
    if audience = 'publisher' then
        -- Neither xid nor id nor published_at: whoever could choose them could make cursors skip events.
        execute format('grant insert (channel, key, payload, headers, version, fingerprint) on pubsub.db_events to %I', role);
        execute format('grant select (id) on pubsub.db_events to %I', role);
        execute format('grant usage on sequence pubsub.db_events_id_seq to %I', role);
    elsif to_regclass('pubsub.schema_history') is not null then
        execute format('grant select on pubsub.schema_history to %I', role);
    end if;
end
$$;

-- Lets a role publish, on every channel: with pubsub.publish, or by inserts into the log. It can read nothing.
create or replace function pubsub.grant_publisher(role name) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select pubsub.grant_audience(grant_publisher.role, 'publisher');
end;

-- Lets a role run every subscription: all that a process does, but for publishing.
create or replace function pubsub.grant_subscriber(role name) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select pubsub.grant_audience(grant_subscriber.role, 'subscriber');
end;

-- Lets a role read the views.
create or replace function pubsub.grant_observer(role name) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select pubsub.grant_audience(grant_observer.role, 'observer');
end;

-- Takes from a role every right that it was granted in this schema. What it has as a member of others stays.
create or replace function pubsub.revoke_rights(role name) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('revoke all on all routines in schema pubsub from %I', role);
    execute format('revoke all on all tables in schema pubsub from %I', role);
    execute format('revoke all on all sequences in schema pubsub from %I', role);
    execute format('revoke all on schema pubsub from %I', role);
end
$$;

-- Raises unless one role owns all of the schema. A function with the rights of another owner would fail at the tables; or
-- would have more than it needs, if a superuser ran one migration of many.
create or replace function pubsub.require_one_owner() returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    of_the_log constant regrole := (select c.relowner from pg_class c where c.oid = 'pubsub.db_events'::regclass);
    other      record;
begin
    select o.name, o.owner into other
      from (
          select p.oid::regprocedure::text, p.proowner::regrole
            from pg_proc p
           where p.pronamespace = 'pubsub'::regnamespace
          union all
          select c.oid::regclass::text, c.relowner::regrole
            from pg_class c
           where c.relnamespace = 'pubsub'::regnamespace
      ) o (name, owner)
     where o.owner <> of_the_log
     limit 1;
    if found then
        raise exception using
            errcode = 'invalid_object_definition',
            message = format('%s belongs to %s, and the log to %s', other.name, other.owner, of_the_log),
            hint = 'One role owns the whole schema: migrate as the role that migrated first.';
    end if;
end
$$;

-- Makes the rights in this schema what pubsub.audiences says: closes what is new to everybody, has what is for others act
-- with its owner's rights, and gives it to the roles that were granted the rest of its audience before.
create or replace function pubsub.apply_audiences() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    routine record;
    holder  record;
begin
    perform pubsub.require_one_owner();
    for routine in
        select p.oid::regprocedure as signature,
               p.prorettype = 'trigger'::regtype
                   or exists (select from pubsub.audiences a where a.object = p.proname) as is_for_others,
               coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false) as is_pinned
          from pg_proc p
         where p.pronamespace = 'pubsub'::regnamespace
    loop
        execute format('revoke all on routine %s from public', routine.signature);
        if routine.is_for_others and not routine.is_pinned then
            raise exception using
                errcode = 'invalid_function_definition',
                message = format('%s is for others and does not set its search_path', routine.signature);
        elsif routine.is_for_others then
            execute format('alter routine %s security definer', routine.signature);
        end if;
    end loop;
    -- An audience's own objects tell who was granted it; one that two audiences share does not.
    for holder in
        with granted as (
            select p.proname as object, g.grantee
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
        perform pubsub.grant_audience(holder.role, holder.audience);
    end loop;
end
$$;

-- What is not only for the owner.
delete from pubsub.audiences;

insert into pubsub.audiences (object, audience)
values
    ('publish',                'publisher'), ('publish_once', 'publisher'), ('publish_all_once', 'publisher'),
    ('set_dedupe_window', 'subscriber'), ('forget_dedupe_keys', 'subscriber'),
    ('declare_channel',        'subscriber'), ('declare_version', 'subscriber'),
    ('subscribe',              'subscriber'),
    ('register_process',       'subscriber'),
    ('beat',                   'subscriber'),
    ('leave',                  'subscriber'),
    ('absent_processes',       'subscriber'),
    ('absent_processes',       'observer'),
    ('count_processes',        'subscriber'),
    ('count_processes',        'observer'),
    ('reclaim',                'subscriber'),
    ('claim', 'subscriber'), ('claim_mailbox', 'subscriber'), ('next_due', 'subscriber'), ('settle', 'subscriber'),
    ('return_unknown',         'subscriber'),
    ('start_waiting',          'subscriber'),
    ('stay_awake',             'subscriber'),
    ('channel_is_quiet',       'subscriber'),
    ('stop_waiting',           'subscriber'),
    ('list_dead_letters',      'subscriber'),
    ('redrive',                'subscriber'),
    ('ensure_partitions',      'subscriber'),
    ('remove_expired_waiters', 'subscriber'),
    ('close_partitions', 'subscriber'), ('skip_ids', 'subscriber'), ('advance_idle_cursors', 'subscriber'),
    ('set_retention', 'subscriber'), ('set_unread_limit', 'subscriber'), ('suspend_unread', 'subscriber'),
    ('unread_subscriptions', 'subscriber'), ('unread_subscriptions', 'observer'), ('resume', 'subscriber'),
    ('removal_steps', 'subscriber'), ('next_removal', 'subscriber'), ('detach_partition', 'subscriber'),
    ('drop_partition', 'subscriber'), ('xmin_holders', 'subscriber'), ('xmin_holders', 'observer'),
    ('stop_running', 'subscriber'), ('recognize', 'subscriber'),
    ('seek', 'subscriber'),
    ('reclaim_strays',         'subscriber'),
    ('declare_schema',         'subscriber'),
    ('list_schemas', 'publisher'), ('list_schemas', 'subscriber'), ('list_schemas', 'observer'),
    ('count_unread',           'observer'),
    ('lag', 'subscriber'), ('lag', 'observer'),
    ('observed_lanes',         'observer'),
    ('observed_subscriptions', 'observer'),
    ('observed_processes',     'observer'),
    ('observed_leases',        'observer'),
    ('observed_mailbox',       'observer'),
    ('observed_dead_letters',  'observer'),
    ('observed_waiters',       'observer');

select pubsub.apply_audiences();
