DROP FUNCTION keyvault.confirmed;

-- take_term, step_down and lease as version 1 has them. The numbers of the enclaves are new ones; nobody holds a lock yet.
ALTER TABLE keyvault.head
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
