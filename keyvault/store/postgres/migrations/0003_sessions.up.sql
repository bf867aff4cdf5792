-- Whether a leader's session lives is asked of the server itself: by its process and when it began, which nobody can take
-- or hold. An advisory lock, as in version 1, can be held by whoever may connect: then no take-over came to an end.

ALTER TABLE keyvault.head
    DROP COLUMN number,                    -- named the locks
    ADD COLUMN session int,                -- the server process of the leader's writing session; NULL if nobody leads
    ADD COLUMN session_began timestamptz;  -- a process id comes again, and another server has it too

-- Become the leader, or raise KV001 if somebody else did since the caller looked. p_seen_beat NULL: whoever leads.
-- Nothing is waited for but the row of the head, which no other role can lock.
CREATE OR REPLACE FUNCTION keyvault.take_term(
    p_enclave text, p_holder text, p_address text, p_seen_epoch bigint, p_seen_beat bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at keyvault.head%ROWTYPE;
BEGIN
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

REVOKE ALL ON FUNCTION keyvault.confirmed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keyvault.confirmed TO keyvault_server;
