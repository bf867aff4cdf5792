-- The ledgers of all enclaves that share this database, and the functions that are the only way to them.
--
-- Three roles, none of which can log in. keyvault_owner has the tables; nobody is a member of it but whoever migrates.
-- keyvault_server may execute what a server needs, and touch no table. keyvault_auditor may read. A login role of a
-- server gets `GRANT keyvault_server TO ...`, and nothing else.
--
-- An error of class KV is ours: KV001 the caller does not lead, or the ledger is not as it thinks; KV002 a commit would
-- not be synchronous; KV003 there is no such ledger; KV004 the tables are not what was made here.

CREATE TABLE keyvault.head (
    enclave text PRIMARY KEY CHECK (length(enclave) BETWEEN 1 AND 63),
    number int NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,  -- names the enclave's advisory locks
    size bigint NOT NULL CHECK (size >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    epoch bigint NOT NULL CHECK (epoch >= 0),
    settled bigint NOT NULL,     -- entries whose acknowledgement the leader had when it wrote last: none of them can vanish
    beat bigint NOT NULL,        -- grows with every sign of life of the leader; what it is counts for nothing
    holder text NOT NULL,        -- the process that leads; empty after it stepped down
    address text NOT NULL        -- where its node is called
) WITH (fillfactor = 10);        -- every append writes this row: room on its page keeps the update off the index

CREATE TABLE keyvault.entry (
    enclave text NOT NULL REFERENCES keyvault.head,
    idx bigint NOT NULL CHECK (idx >= 0),
    request_key bytea,
    body bytea NOT NULL CHECK (length(body) <= 65535),
    PRIMARY KEY (enclave, idx)
);
CREATE UNIQUE INDEX entry_request ON keyvault.entry (enclave, request_key) WHERE request_key IS NOT NULL;

CREATE TABLE keyvault.checkpoint (
    enclave text NOT NULL REFERENCES keyvault.head,
    size bigint NOT NULL,
    note bytea NOT NULL CHECK (length(note) <= 65536),
    PRIMARY KEY (enclave, size)
);

CREATE FUNCTION keyvault.append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$;
CREATE TRIGGER entries_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON keyvault.entry
    FOR EACH STATEMENT EXECUTE FUNCTION keyvault.append_only();
CREATE TRIGGER checkpoints_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON keyvault.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION keyvault.append_only();

-- An empty ledger, whose first epoch is after p_epoch: a ledger that is moved here had terms before. For whoever owns the
-- tables.
CREATE FUNCTION keyvault.create_ledger(p_enclave text, p_epoch bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO keyvault.head (enclave, size, root, epoch, settled, beat, holder, address)
        VALUES (p_enclave, 0, sha256(''), p_epoch, 0, 0, '', '')
$$;

-- What makes a commit that was acknowledged survive the loss of this server; NULL if nothing is missing.
-- pg_stat_replication shows its rows to members of pg_read_all_stats only, which keyvault_owner is.
CREATE FUNCTION keyvault.not_synchronous() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN pg_is_in_recovery() THEN 'this server is a standby'
        WHEN current_setting('fsync') <> 'on' THEN 'fsync is off'
        WHEN current_setting('full_page_writes') <> 'on' THEN 'full_page_writes is off'
        WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
            THEN 'synchronous_commit is ' || current_setting('synchronous_commit')
        WHEN current_setting('synchronous_standby_names') = '' THEN 'synchronous_standby_names is empty'
        WHEN NOT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
            THEN 'no synchronous standby is attached'
    END
$$;

-- Raise KV001 with the reason why this caller cannot write.
CREATE FUNCTION keyvault.fence(p_enclave text, p_epoch bigint, p_size bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at keyvault.head%ROWTYPE;
BEGIN
    SELECT * INTO at FROM keyvault.head WHERE enclave = p_enclave;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no ledger of enclave %', p_enclave USING ERRCODE = 'KV003';
    ELSIF at.epoch <> p_epoch THEN
        RAISE EXCEPTION 'epoch % is over: % leads in epoch %', p_epoch, at.holder, at.epoch USING ERRCODE = 'KV001';
    END IF;
    RAISE EXCEPTION 'the ledger has % entries, not % with the root expected', at.size, p_size USING ERRCODE = 'KV001';
END $$;

-- Fence, order, entries, head and the renewal of the lease, as one statement and so one transaction: a leader that stops
-- in the middle holds no lock. The row's lock is held to the commit, so a take-over comes before (nothing is written) or
-- waits. The settings are looked at in the same breath, because they can change from one append to the next.
CREATE FUNCTION keyvault.append(
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

CREATE FUNCTION keyvault.put_checkpoint(p_enclave text, p_epoch bigint, p_size bigint, p_note bytea) RETURNS void
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

-- Become the leader, or raise KV001 if somebody else did since the caller looked. p_seen_beat NULL: whoever leads.
-- The advisory lock lives as long as the caller's session: that it is gone tells others at once that the leader is.
CREATE FUNCTION keyvault.take_term(
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

-- A sign of life of a leader that has nothing to append. It commits as an append does, so its return also says that the
-- quorum is there.
CREATE FUNCTION keyvault.beat(p_enclave text, p_epoch bigint, p_settled bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyvault.head SET beat = beat + 1, settled = p_settled WHERE enclave = p_enclave AND epoch = p_epoch;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, 0);
    END IF;
END $$;

-- Give the term up: nobody can append in this epoch any more, and anybody may take the next one at once.
CREATE FUNCTION keyvault.step_down(p_enclave text, p_epoch bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyvault.head SET epoch = epoch + 1, beat = beat + 1, holder = '', address = ''
        WHERE enclave = p_enclave AND epoch = p_epoch;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, 0);
    END IF;
END $$;

-- What a candidate goes by. session_gone: the leader's session with this server ended, or never was with this one.
CREATE FUNCTION keyvault.lease(p_enclave text)
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

-- Reads.

CREATE FUNCTION keyvault.head_of(p_enclave text) RETURNS TABLE (size bigint, root bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, root FROM keyvault.head WHERE enclave = p_enclave
$$;

CREATE FUNCTION keyvault.entries(p_enclave text, p_start bigint, p_count bigint)
RETURNS TABLE (idx bigint, body bytea, request_key bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT idx, body, request_key FROM keyvault.entry
    WHERE enclave = p_enclave AND idx >= p_start AND idx < p_start + p_count ORDER BY idx
$$;

CREATE FUNCTION keyvault.find(p_enclave text, p_request_key bytea) RETURNS TABLE (idx bigint, body bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT idx, body FROM keyvault.entry WHERE enclave = p_enclave AND request_key = p_request_key
$$;

CREATE FUNCTION keyvault.checkpoints(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size
$$;

CREATE FUNCTION keyvault.newest_checkpoint(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size DESC LIMIT 1
$$;

-- Rights. A function may be executed by everybody unless that is taken away.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA keyvault FROM PUBLIC;
GRANT USAGE ON SCHEMA keyvault TO keyvault_server, keyvault_auditor;
GRANT EXECUTE ON FUNCTION
    keyvault.append, keyvault.put_checkpoint, keyvault.take_term, keyvault.beat, keyvault.step_down, keyvault.lease,
    keyvault.not_synchronous, keyvault.head_of, keyvault.entries, keyvault.find, keyvault.checkpoints,
    keyvault.newest_checkpoint
    TO keyvault_server;
GRANT EXECUTE ON FUNCTION
    keyvault.lease, keyvault.head_of, keyvault.entries, keyvault.find, keyvault.checkpoints, keyvault.newest_checkpoint
    TO keyvault_auditor;
