-- Where the nodes of all enclaves run, as they say themselves: it advises who leads, and decides nothing. A node that lies
-- here, or another who writes here, can have leads handed over for nothing; what a leader writes goes by its epoch.
--
-- Unlogged, because a sign of life is no news to the standbys: no commit here waits for one, and a server that crashes
-- forgets all, which the nodes tell anew within a second. No foreign key: its check would lock the row of the lease.

CREATE UNLOGGED TABLE keyvault.node (
    enclave text NOT NULL,
    address text NOT NULL CHECK (length(address) BETWEEN 1 AND 261),  -- a DNS name and a port
    place text NOT NULL CHECK (place ~ '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$'),
    holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 64),
    eligible boolean NOT NULL,
    beat bigint NOT NULL,             -- grows with every sign of life; readers go by that it does, on clocks of their own
    told_at timestamptz NOT NULL,     -- only for clearing up
    PRIMARY KEY (enclave, address)
) WITH (fillfactor = 10);

-- A sign of life. What gave none for a minute is cleared up when a new node comes; of one enclave there are 16 at most.
CREATE FUNCTION keyvault.report(
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

-- All nodes of all enclaves, and which of them the lease names.
CREATE FUNCTION keyvault.nodes()
RETURNS TABLE (
    enclave text, place text, holder text, address text, beat bigint, eligible boolean, leads boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT node.enclave, node.place, node.holder, node.address, node.beat, node.eligible, node.holder = head.holder
    FROM keyvault.node AS node JOIN keyvault.head AS head ON head.enclave = node.enclave
    ORDER BY node.enclave, node.address LIMIT 1000
$$;

REVOKE ALL ON FUNCTION keyvault.report, keyvault.nodes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keyvault.report, keyvault.nodes TO keyvault_server;
