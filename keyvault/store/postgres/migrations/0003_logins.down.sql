DROP FUNCTION keyvault.confirmed;

-- All functions as versions 1 and 2 have them. The numbers of the enclaves are new ones; nobody holds a lock yet. Whoever
-- has a server's login may use every enclave again.
ALTER TABLE keyvault.head
    DROP CONSTRAINT head_address_check,
    DROP COLUMN session,
    DROP COLUMN session_began,
    ADD COLUMN number int NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY;

CREATE OR REPLACE FUNCTION keyvault.take_term(
    p_enclave text, p_holder text, p_address text, p_seen_epoch bigint, p_seen_beat bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at keyvault.head%ROWTYPE;
BEGIN
    UPDATE keyvault.head SET epoch = epoch + 1, beat = beat + 1, holder = p_holder, address = p_address
        WHERE enclave = p_enclave AND (p_seen_beat IS NULL OR (epoch = p_seen_epoch AND beat = p_seen_beat))
        RETURNING * INTO at;
    IF NOT FOUND THEN
        SELECT * INTO at FROM keyvault.head WHERE enclave = p_enclave;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no ledger of enclave %', p_enclave USING ERRCODE = 'KV003';
        END IF;
        RAISE EXCEPTION 'the lease moved on: % leads in epoch %', at.holder, at.epoch USING ERRCODE = 'KV001';
    END IF;
    PERFORM pg_advisory_lock(at.number, (at.epoch % 2147483648)::int);
    RETURN at.epoch;
END $$;

CREATE OR REPLACE FUNCTION keyvault.step_down(p_enclave text, p_epoch bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyvault.head SET epoch = epoch + 1, beat = beat + 1, holder = '', address = ''
        WHERE enclave = p_enclave AND epoch = p_epoch;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, 0);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION keyvault.lease(p_enclave text)
RETURNS TABLE (epoch bigint, beat bigint, holder text, address text, settled bigint, session_gone boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT head.epoch, head.beat, head.holder, head.address, head.settled, NOT EXISTS (
        SELECT FROM pg_locks AS lock
        WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 2
            AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND lock.classid = head.number::oid AND lock.objid = (head.epoch % 2147483648)::int::oid
    )
    FROM keyvault.head AS head WHERE head.enclave = p_enclave
$$;

CREATE OR REPLACE FUNCTION keyvault.append(
    p_enclave text, p_epoch bigint, p_size bigint, p_root bytea, p_new_root bytea,
    p_bodies bytea[], p_request_keys bytea[], p_synchronous boolean
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    IF p_synchronous AND (current_setting('synchronous_standby_names') = ''
            OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
            OR current_setting('fsync') <> 'on' OR current_setting('full_page_writes') <> 'on') THEN
        RAISE EXCEPTION 'a commit would not be synchronous: %', keyvault.not_synchronous() USING ERRCODE = 'KV002';
    END IF;
    UPDATE keyvault.head
        SET size = size + cardinality(p_bodies), root = p_new_root, settled = p_size, beat = beat + 1
        WHERE enclave = p_enclave AND epoch = p_epoch AND size = p_size AND root = p_root;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, p_size);
    END IF;
    INSERT INTO keyvault.entry (enclave, idx, request_key, body)
        SELECT p_enclave, p_size + each.place - 1, each.request_key, each.body
        FROM unnest(p_bodies, p_request_keys) WITH ORDINALITY AS each (body, request_key, place);
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> cardinality(p_bodies) THEN
        RAISE EXCEPTION 'the table of entries did not take every row: somebody changed it' USING ERRCODE = 'KV004';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION keyvault.put_checkpoint(p_enclave text, p_epoch bigint, p_size bigint, p_note bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at keyvault.head%ROWTYPE;
    newest keyvault.checkpoint%ROWTYPE;
BEGIN
    SELECT * INTO at FROM keyvault.head WHERE enclave = p_enclave FOR UPDATE;
    IF NOT FOUND OR at.epoch <> p_epoch THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, p_size);
    ELSIF p_size > at.size THEN
        RAISE EXCEPTION 'the ledger has % entries, the checkpoint %', at.size, p_size USING ERRCODE = 'KV001';
    END IF;
    SELECT * INTO newest FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size DESC LIMIT 1;
    IF newest.size = p_size AND newest.note = p_note THEN
        RETURN;
    ELSIF newest.size >= p_size THEN
        RAISE EXCEPTION 'a checkpoint of size % stands, so none of size % can follow', newest.size, p_size
            USING ERRCODE = 'KV001';
    END IF;
    INSERT INTO keyvault.checkpoint (enclave, size, note) VALUES (p_enclave, p_size, p_note);
END $$;

CREATE OR REPLACE FUNCTION keyvault.beat(p_enclave text, p_epoch bigint, p_settled bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyvault.head SET beat = beat + 1, settled = p_settled WHERE enclave = p_enclave AND epoch = p_epoch;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, 0);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION keyvault.report(
    p_enclave text, p_place text, p_holder text, p_address text, p_eligible boolean
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyvault.node
        SET place = p_place, holder = p_holder, eligible = p_eligible, beat = beat + 1, told_at = clock_timestamp()
        WHERE enclave = p_enclave AND address = p_address;
    IF FOUND THEN
        RETURN;
    END IF;
    DELETE FROM keyvault.node WHERE told_at < clock_timestamp() - interval '1 minute';
    IF NOT EXISTS (SELECT FROM keyvault.head WHERE enclave = p_enclave) THEN
        RAISE EXCEPTION 'there is no ledger of enclave %', p_enclave USING ERRCODE = 'KV003';
    ELSIF (SELECT count(*) FROM keyvault.node WHERE enclave = p_enclave) >= 16 THEN
        RAISE EXCEPTION 'enclave % has 16 nodes already', p_enclave USING ERRCODE = 'KV005';
    END IF;
    INSERT INTO keyvault.node (enclave, address, place, holder, eligible, beat, told_at)
        VALUES (p_enclave, p_address, p_place, p_holder, p_eligible, 1, clock_timestamp())
        ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION keyvault.head_of(p_enclave text) RETURNS TABLE (size bigint, root bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, root FROM keyvault.head WHERE enclave = p_enclave
$$;

CREATE OR REPLACE FUNCTION keyvault.entries(p_enclave text, p_start bigint, p_count bigint)
RETURNS TABLE (idx bigint, body bytea, request_key bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT idx, body, request_key FROM keyvault.entry
    WHERE enclave = p_enclave AND idx >= p_start AND idx < p_start + p_count ORDER BY idx
$$;

CREATE OR REPLACE FUNCTION keyvault.find(p_enclave text, p_request_key bytea) RETURNS TABLE (idx bigint, body bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT idx, body FROM keyvault.entry WHERE enclave = p_enclave AND request_key = p_request_key
$$;

CREATE OR REPLACE FUNCTION keyvault.checkpoints(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size
$$;

CREATE OR REPLACE FUNCTION keyvault.newest_checkpoint(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size DESC LIMIT 1
$$;

DROP FUNCTION keyvault.check_login, keyvault.check_reader;
DROP TABLE keyvault.login;
