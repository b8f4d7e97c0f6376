-- Checking payloads against JSON Schema. Only strict channels call this (pubsub.require_shape).

-- The part of a schema that `#/$defs/Name` refers to. A reference that leads nowhere, or into another document, accepts
-- everything.
create or replace function pubsub.referred(reference text, root jsonb) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp begin atomic
    select coalesce(
               root #> array(
                   select replace(replace(p.step, '~1', '/'), '~0', '~')
                     from unnest(string_to_array(substr(reference, 3), '/')) with ordinality p (step, nth)
                    where substr(reference, 3) <> ''
                    order by p.nth
               ), 'true'
           );
end;

-- Describes what a part of a schema accepts: `a string or null`. A word that is no kind stays as it is.
create or replace function pubsub.in_words(part jsonb, root jsonb) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    if part ? '$ref' then
        part := pubsub.referred(part ->> '$ref', root);
    end if;
    if part ? 'const' then
        return (part -> 'const')::text;
    elsif part ? 'enum' then
        return (select string_agg(e.value::text, ' or ') from jsonb_array_elements(part -> 'enum') e);
    elsif not part ? 'type' then
        return 'a value';
    end if;
    return (
        select string_agg(
                   case
                       when k.kind in ('array', 'object', 'integer') then 'an '
                       when k.kind in ('string', 'number', 'boolean') then 'a '
                       else ''
                   end || k.kind,
                   ' or '
               )
          from jsonb_array_elements_text(
                   case jsonb_typeof(part -> 'type') when 'array' then part -> 'type' else jsonb_build_array(part -> 'type') end
               ) k (kind)
    );
end
$$;

-- The first place where a value does not match a schema: its path, the expected kind, and the kind that was found. Null if the
-- value matches. Does not quote values, because they may be confidential.
--
-- Knows the keywords that the derives of schemars write: type, const, enum, minimum, maximum, the formats of whole numbers,
-- minLength, maxLength, properties, required, additionalProperties, patternProperties, items, prefixItems, minItems, maxItems,
-- anyOf, oneOf (taken for anyOf), allOf and $ref into the schema itself. Ignores everything else.
--
-- Raises PB008 after as many steps as the caller has written to the setting pubsub.steps_left: variants of variants may take 2^64.
create or replace function pubsub.mismatch(value jsonb, part jsonb, root jsonb, path text default '', depth integer default 0)
returns text[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    steps_left constant integer := nullif(
        set_config('pubsub.steps_left', (nullif(current_setting('pubsub.steps_left', true), '')::integer - 1)::text, true), ''
    );
    -- As deep as the Rust runtime reads, and shallow enough for any stack.
    max_depth constant integer := 64;
    -- A number that is written without a fraction is an integer.
    kind      constant text := case
        when jsonb_typeof(value) = 'number' and value #>> '{}' ~ '^-?[0-9]+$' then 'integer'
        else jsonb_typeof(value)
    end;
    found     text[];
    variants  jsonb;
    variant   jsonb;
    nearest   text[];
    is_tag    boolean;
    was_tag   boolean;
begin
    if part = 'true' or part = '{}' then
        return null;
    elsif part = 'false' then
        return array[path, 'nothing', kind];
    elsif depth > max_depth then
        return array[path, format('at most %s levels', max_depth), 'more'];
    elsif steps_left < 0 then
        raise exception using errcode = 'PB008', constraint = 'PB008', message = 'the declared shape takes too many steps to check a payload';
    end if;
    if part ? 'type' and not (part -> 'type' ? kind or part -> 'type' ? jsonb_typeof(value))
      or part ? 'const' and part -> 'const' <> value
      or part ? 'enum' and not exists (select from jsonb_array_elements(part -> 'enum') e where e.value = mismatch.value)
    then
        return array[path, pubsub.in_words(part, root), kind];
    end if;
    found := coalesce(
        case when kind in ('integer', 'number', 'string', 'array') then pubsub.mismatch_of_limits(value, part, path) end,
        case when kind in ('array', 'object') then pubsub.mismatch_of_parts(value, part, root, path, depth) end
    );
    -- References and variants come last, because the properties beside them hold the tag of a variant.
    if found is null and part ? '$ref' then
        found := pubsub.mismatch(value, pubsub.referred(part ->> '$ref', root), root, path, depth + 1);
    end if;
    if found is not null then
        return found;
    end if;
    for found in
        select pubsub.mismatch(mismatch.value, p.value, root, path, depth + 1)
          from jsonb_array_elements(coalesce(part -> 'allOf', '[]')) p
    loop
        if found is not null then
            return found;
        end if;
    end loop;
    foreach variants in array array[part -> 'anyOf', part -> 'oneOf'] loop
        nearest := null;
        for variant in select p.value from jsonb_array_elements(coalesce(variants, '[]')) p loop
            found := pubsub.mismatch(value, variant, root, path, depth + 1);
            if found is null then
                nearest := null;
                exit;
            end if;
            -- A variant with another tag is left out. Of the others, the nearest is the one that fails furthest inside.
            is_tag := found[2] like '"%';
            if nearest is null or was_tag and not is_tag
                or was_tag = is_tag and length(found[1]) > length(nearest[1]) then
                nearest := found;
                was_tag := is_tag;
            elsif was_tag = is_tag and found[1] = nearest[1] and found[2] <> nearest[2] then
                nearest[2] := nearest[2] || ' or ' || found[2];
            end if;
        end loop;
        if nearest is not null then
            return nearest;
        end if;
    end loop;
    return null;
end
$$;

-- pubsub.mismatch of a number, a string or an array with its limits: the range of the number, from `minimum` and `maximum` or
-- from the format of a whole number, the length of the string, and the number of items.
create or replace function pubsub.mismatch_of_limits(value jsonb, part jsonb, path text) returns text[]
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
    is_array constant boolean := jsonb_typeof(value) = 'array';
    unit     constant text := case when is_array then 'items' else 'characters' end;
    bits     constant integer := substring(part ->> 'format' from '^u?int(8|16|32|64)$');
    signed   constant boolean := part ->> 'format' like 'i%';
    size     numeric;
    lowest   numeric;
    highest  numeric;
begin
    if jsonb_typeof(value) = 'number' then
        size := value #>> '{}';
        lowest := greatest(
            (part ->> 'minimum')::numeric, case when signed then -trunc(2::numeric ^ (bits - 1)) when bits > 0 then 0 end
        );
        highest := least((part ->> 'maximum')::numeric, trunc(2::numeric ^ (bits - signed::integer)) - 1);
        return case when size < lowest or size > highest then
            array[path, 'a number' || coalesce(' from ' || lowest, '') || coalesce(' to ' || highest, ''), 'one beyond']
        end;
    end if;
    size := case when is_array then jsonb_array_length(value) else length(value #>> '{}') end;
    lowest := part ->> case when is_array then 'minItems' else 'minLength' end;
    highest := part ->> case when is_array then 'maxItems' else 'maxLength' end;
    return case
        when size < lowest then array[path, format('at least %s %s', lowest, unit), size::text]
        when size > highest then array[path, format('at most %s %s', highest, unit), size::text]
    end;
end
$$;

-- pubsub.mismatch of what is inside of an array or an object: each item, or the tag, the fields that must be there, and each
-- field that is there.
create or replace function pubsub.mismatch_of_parts(value jsonb, part jsonb, root jsonb, path text, depth integer) returns text[]
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    is_object constant boolean := jsonb_typeof(value) = 'object';
    tag       text;
    missing   text;
    inner_one record;
    found     text[];
begin
    if is_object then
        -- The tag of another variant comes first. With a wrong tag, the other differences do not matter.
        select p.key into tag from jsonb_each(coalesce(part -> 'properties', '{}')) p
         where p.value ? 'const' and mismatch_of_parts.value ? p.key
           and mismatch_of_parts.value -> p.key <> p.value -> 'const'
         limit 1;
        if tag is not null then
            return pubsub.mismatch(value -> tag, part -> 'properties' -> tag, root, path || '.' || tag, depth);
        end if;
        select r.name into missing
          from jsonb_array_elements_text(coalesce(part -> 'required', '[]')) with ordinality r (name, nth)
         where not value ? r.name
         order by r.nth limit 1;
        if missing is not null then
            return array[
                path || '.' || missing, pubsub.in_words(coalesce(part -> 'properties' -> missing, '{}'), root), 'nothing'
            ];
        end if;
    end if;
    if not (part ?| array['properties', 'additionalProperties', 'patternProperties', 'items', 'prefixItems']) then
        return null;
    end if;
    for inner_one in
        select path || '.' || f.key as path, f.value,
               coalesce(
                   part -> 'properties' -> f.key,
                   (select p.value from jsonb_each(part -> 'patternProperties') p where f.key ~ p.key limit 1),
                   part -> 'additionalProperties', 'true'
               ) as part
          from jsonb_each(case when is_object then value else '{}' end) f
        union all
        select format('%s[%s]', path, i.nth - 1), i.value,
               coalesce(part -> 'prefixItems' -> (i.nth - 1)::integer, part -> 'items', 'true')
          from jsonb_array_elements(case when is_object then '[]' else value end) with ordinality i (value, nth)
    loop
        found := case
            when is_object and inner_one.part = 'false' then array[inner_one.path, 'no such field', 'one']
            else pubsub.mismatch(inner_one.value, inner_one.part, root, inner_one.path, depth + 1)
        end;
        if found is not null then
            return found;
        end if;
    end loop;
    return null;
end
$$;
