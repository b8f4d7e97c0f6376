-- Shapes of payloads, as JSON Schema. Processes declare them, other languages read them, and on strict channels every payload
-- must have its shape.
--
-- The publish trigger compares a payload's stored size with a limit from the channel's row. On a strict channel every payload
-- is above the limit and gets the full check, and other channels pay nothing (docs/decisions/0019-schemas.md).

-- Declares the shape of the payload of a channel's version, and whether payloads are checked. A process of an older version
-- does not change whether they are. A null schema leaves the shape unchanged. Raises PB008 if it takes too many steps to check.
create or replace function pubsub.declare_schema(channel text, version integer, schema jsonb, strict boolean default false)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    sample jsonb;
begin
    perform pubsub.require_declared(channel);
    -- Publishers need not be the first to find out that a schema cannot be read, or takes too many steps for one value.
    foreach sample in array case when schema is not null then '{null,true,0,0.5,"\"\"","[]","{}"}' else '{}' end::jsonb[] loop
        perform set_config('pubsub.steps_left', '10000', true);
        perform pubsub.mismatch(sample, schema, schema);
    end loop;
    if exists (
        select from jsonb_path_query(schema, '$.**.patternProperties.keyvalue().key', silent => true) p (pattern)
         where '' ~ (p.pattern #>> '{}') is null or p.pattern #>> '{}' ~ '\\[1-9]'
    ) then
        raise exception using errcode = 'PB008', constraint = 'PB008', message = 'a pattern of the declared shape takes too many steps: it refers back';
    end if;
    -- Writes only what changes: every process declares its schemas when it starts.
    insert into pubsub.channel_versions as v (channel, version, schema)
    select declare_schema.channel, declare_schema.version, declare_schema.schema where declare_schema.schema is not null
    on conflict on constraint channel_versions_pkey do update set schema = excluded.schema
     where v.schema is distinct from excluded.schema;
    update pubsub.channels c set strict = declare_schema.strict
     where c.name = declare_schema.channel and c.version <= declare_schema.version
       and c.strict <> declare_schema.strict;
end
$$;

-- Returns the shape of every version of every channel.
create or replace function pubsub.list_schemas()
returns table (channel text, version integer, description text, schema jsonb, strict boolean)
language sql stable set search_path = pg_catalog, pg_temp begin atomic
    select c.name, v.version, c.description, v.schema, c.strict
      from pubsub.channels c
      join pubsub.channel_versions v on v.channel = c.name and v.schema is not null
     order by c.name, v.version;
end;

-- Raises PB008 if a payload does not have the shape that was declared for its version. A version without a shape is not
-- checked: it may be newer than any that was declared.
create or replace function pubsub.require_shape(channel text, version integer, payload jsonb) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    declared   jsonb;
    mismatched text[];
begin
    select v.schema into declared from pubsub.channel_versions v
     where v.channel = require_shape.channel and v.version = require_shape.version;
    if declared is not null then
        perform set_config('pubsub.steps_left', (10000 + 2 * octet_length(payload::text))::text, true);
        mismatched := pubsub.mismatch(payload, declared, declared);
    end if;
    if mismatched is null then
        return;
    end if;
    raise exception using errcode = 'PB008', constraint = 'PB008',
        message = format(
            'a payload of channel "%s", version %s, does not have its declared shape: %s is expected%s, and there is %s',
            channel, version, mismatched[2],
            case when mismatched[1] <> '' then regexp_replace(
                format(' at "%s"', ltrim(mismatched[1], '.')), '[\u0001-\u001f\u007f-\u009f]', '?', 'g'
            ) end,
            pubsub.in_words(jsonb_build_object('type', mismatched[3]), declared)
        ), hint = 'The shape: select schema from pubsub.list_schemas(). Types made of it: pubsub schema export.';
end
$$;
