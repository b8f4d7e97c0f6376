-- Settling one delivery in the handler's own transaction, together with what the handler writes: it inserts a row into
-- pubsub.settled, and locks nothing that others need. A deferred trigger checks at the commit that the lease still has the event, and
-- locks the lease until the commit is on the disk. Whoever ends the lease, or takes the event out of it, locks it first (`for
-- update`): it finds the committed row, and leaves the event alone, or the commit fails. The row counts until its lease ends
-- (pubsub.described_deliveries).

-- Settles an event of a lease as done in the caller's transaction, or raises PB010: the lease is not the caller's any more, or does
-- not have the event, or the event was settled before, in this transaction or another.
create or replace function pubsub.settle_in(process bigint, token bigint, event_id bigint) returns void
language plpgsql volatile set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
begin
    insert into pubsub.settled (token, event_id)
    select l.token, settle_in.event_id from pubsub.leases l
     where l.token = settle_in.token and l.process = settle_in.process and settle_in.event_id = any (l.event_ids)
    on conflict on constraint settled_pkey do nothing;
    if not found then
        raise exception using errcode = 'PB010', constraint = 'PB010',
            message = format('event %s cannot be settled under lease %s of process %s', event_id, token, process),
            hint = 'The lease was taken over, or the event was settled before.';
    end if;
end
$$;

-- Refuses a commit whose lease does not have the event any more. The row is gone if the same transaction has ended the lease.
create or replace function pubsub.confirm_lease() returns trigger
language plpgsql set plan_cache_mode = force_generic_plan set search_path = pg_catalog, pg_temp as $$
begin
    perform from pubsub.leases l where l.token = new.token and new.event_id = any (l.event_ids) for key share;
    if not found and exists (select from pubsub.settled s where (s.token, s.event_id) = (new.token, new.event_id)) then
        raise exception using errcode = 'PB010', constraint = 'PB010',
            message = format('lease %s lost event %s before the transaction that settles it could commit', new.token, new.event_id),
            hint = 'The lease was taken over, or the event was settled otherwise.';
    end if;
    return null;
end
$$;

do $$
begin
    if not exists (select from pg_trigger t where t.tgrelid = 'pubsub.settled'::regclass and t.tgname = 'confirm_lease') then
        create constraint trigger confirm_lease after insert on pubsub.settled deferrable initially deferred
        for each row execute function pubsub.confirm_lease();
        -- Also with session_replication_role = replica.
        alter table pubsub.settled enable always trigger confirm_lease;
    end if;
end
$$;

-- Tells of each event, under the token at its place, whether a committed transaction has settled it, for as long as the lease lasts.
create or replace function pubsub.are_settled(tokens bigint[], event_ids bigint[]) returns boolean[]
language sql stable set search_path = pg_catalog, pg_temp
return array(
    select exists (select from pubsub.settled s where s.token = d.token and s.event_id = d.event_id)
      from unnest(are_settled.tokens, are_settled.event_ids) with ordinality d (token, event_id, place)
     order by d.place
);
