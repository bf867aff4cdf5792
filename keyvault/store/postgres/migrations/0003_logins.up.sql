-- Whether a leader's session lives is asked of the server itself: by its process and when it began, which nobody can take
-- or hold. An advisory lock, as in version 1, can be held by whoever may connect: then no take-over came to an end.

ALTER TABLE keyvault.head
    DROP COLUMN number,                    -- named the locks
    ADD COLUMN session int,                -- the server process of the leader's writing session; NULL if nobody leads
    ADD COLUMN session_began timestamptz;  -- a process id comes again, and another server has it too

-- What the other nodes call: a target for gRPC, and part of an answer's metadata.
ALTER TABLE keyvault.head ADD CONSTRAINT head_address_check CHECK (length(address) <= 300 AND address ~ '^[!-~]*$');

-- Which login may use which enclave: a node of one must not take the term of another, nor read what it signs. Who is not
-- listed may nothing. Only the owner writes here: keyvault database admit.
--
-- KV006: the caller's login is not listed. session_user, because current_user is the owner in here; SET ROLE does not
-- change it. No foreign key: logins are listed before there is a ledger.

CREATE TABLE keyvault.login (
    login text NOT NULL CHECK (length(login) BETWEEN 1 AND 63),
    enclave text NOT NULL CHECK (length(enclave) BETWEEN 1 AND 63),
    PRIMARY KEY (login, enclave)
);
GRANT SELECT ON keyvault.login TO keyvault_auditor;

CREATE FUNCTION keyvault.check_login(p_enclave text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM keyvault.login WHERE login = session_user AND enclave = p_enclave) THEN
        RAISE EXCEPTION 'the login % is not admitted to enclave %: the owner of the database runs '
            'keyvault database admit % --enclave % --conninfo ...', session_user, p_enclave, session_user, p_enclave
            USING ERRCODE = 'KV006';
    END IF;
END $$;

-- Auditors, and superusers, read every ledger.
CREATE FUNCTION keyvault.check_reader(p_enclave text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(session_user, 'keyvault_auditor', 'MEMBER') THEN
        PERFORM keyvault.check_login(p_enclave);
    END IF;
END $$;

-- Become the leader, or raise KV001 if somebody else did since the caller looked. p_seen_beat NULL: whoever leads.
-- Nothing is waited for but the row of the head, which no other role can lock.
CREATE OR REPLACE FUNCTION keyvault.take_term(
    p_enclave text, p_holder text, p_address text, p_seen_epoch bigint, p_seen_beat bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at keyvault.head%ROWTYPE;
BEGIN
    PERFORM keyvault.check_login(p_enclave);
    UPDATE keyvault.head
        SET epoch = epoch + 1, beat = beat + 1, holder = p_holder, address = p_address, session = pg_backend_pid(),
            session_began = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
        WHERE enclave = p_enclave AND (p_seen_beat IS NULL OR (epoch = p_seen_epoch AND beat = p_seen_beat))
        RETURNING * INTO at;
    IF NOT FOUND THEN
        SELECT * INTO at FROM keyvault.head WHERE enclave = p_enclave;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no ledger of enclave %', p_enclave USING ERRCODE = 'KV003';
        END IF;
        RAISE EXCEPTION 'the lease moved on: % leads in epoch %', at.holder, at.epoch USING ERRCODE = 'KV001';
    END IF;
    RETURN at.epoch;
END $$;

-- Give the term up: nobody can append in this epoch any more, and anybody may take the next one at once.
CREATE OR REPLACE FUNCTION keyvault.step_down(p_enclave text, p_epoch bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM keyvault.check_login(p_enclave);
    UPDATE keyvault.head
        SET epoch = epoch + 1, beat = beat + 1, holder = '', address = '', session = NULL, session_began = NULL
        WHERE enclave = p_enclave AND epoch = p_epoch;
    IF NOT FOUND THEN
        PERFORM keyvault.fence(p_enclave, p_epoch, 0);
    END IF;
END $$;

-- What a candidate goes by. session_gone: the leader's session with this server ended, or never was with this one. Where
-- the server does not show when a session began (keyvault_owner lost pg_read_all_stats), a process of that number counts
-- as the leader's: others then wait until it has been silent.
CREATE OR REPLACE FUNCTION keyvault.lease(p_enclave text)
RETURNS TABLE (epoch bigint, beat bigint, holder text, address text, settled bigint, session_gone boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT head.epoch, head.beat, head.holder, head.address, head.settled, NOT EXISTS (
        SELECT FROM pg_stat_activity AS activity
        WHERE activity.pid = head.session AND (activity.backend_start = head.session_began) IS NOT FALSE
    )
    FROM keyvault.head AS head WHERE head.enclave = p_enclave
$$;

-- Whether a synchronous standby has everything before this place of the log. Whose commit was acknowledged may ask it of
-- what came before: if no standby has that, the commit waited for none, whatever made it so.
CREATE FUNCTION keyvault.confirmed(p_place pg_lsn) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_stat_replication
        WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum') AND flush_lsn >= p_place
    )
$$;

-- As before, for who is admitted.

CREATE OR REPLACE FUNCTION keyvault.append(
    p_enclave text, p_epoch bigint, p_size bigint, p_root bytea, p_new_root bytea,
    p_bodies bytea[], p_request_keys bytea[], p_synchronous boolean
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    PERFORM keyvault.check_login(p_enclave);
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
    PERFORM keyvault.check_login(p_enclave);
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
    PERFORM keyvault.check_login(p_enclave);
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
    PERFORM keyvault.check_login(p_enclave);
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

-- Reads, as before.

CREATE OR REPLACE FUNCTION keyvault.head_of(p_enclave text) RETURNS TABLE (size bigint, root bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT size, root FROM keyvault.head WHERE enclave = p_enclave
$$;

CREATE OR REPLACE FUNCTION keyvault.entries(p_enclave text, p_start bigint, p_count bigint)
RETURNS TABLE (idx bigint, body bytea, request_key bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT idx, body, request_key FROM keyvault.entry
    WHERE enclave = p_enclave AND idx >= p_start AND idx < p_start + p_count ORDER BY idx
$$;

CREATE OR REPLACE FUNCTION keyvault.find(p_enclave text, p_request_key bytea) RETURNS TABLE (idx bigint, body bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT idx, body FROM keyvault.entry WHERE enclave = p_enclave AND request_key = p_request_key
$$;

CREATE OR REPLACE FUNCTION keyvault.checkpoints(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size
$$;

CREATE OR REPLACE FUNCTION keyvault.newest_checkpoint(p_enclave text) RETURNS TABLE (size bigint, note bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT keyvault.check_reader(p_enclave);
    SELECT size, note FROM keyvault.checkpoint WHERE enclave = p_enclave ORDER BY size DESC LIMIT 1
$$;

REVOKE ALL ON FUNCTION keyvault.confirmed, keyvault.check_login, keyvault.check_reader FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keyvault.confirmed TO keyvault_server;
