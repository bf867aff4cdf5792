-- Only while there is no ledger: what stands in one is never thrown away by a migration.
DO $$
BEGIN
    IF EXISTS (SELECT FROM keyvault.head) THEN
        RAISE EXCEPTION 'there are ledgers in this database: drop the database by hand if you mean it';
    END IF;
END $$;
DROP TABLE keyvault.checkpoint, keyvault.entry, keyvault.head;
DROP FUNCTION
    keyvault.create_ledger, keyvault.append, keyvault.put_checkpoint, keyvault.take_term, keyvault.beat, keyvault.step_down,
    keyvault.lease, keyvault.not_synchronous, keyvault.fence, keyvault.append_only, keyvault.head_of, keyvault.entries, keyvault.find,
    keyvault.checkpoints, keyvault.newest_checkpoint;
