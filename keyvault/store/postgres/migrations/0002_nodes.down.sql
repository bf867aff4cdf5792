-- Nothing is lost: the nodes tell it anew when it is there again.
DROP TABLE keyvault.node;
DROP FUNCTION keyvault.report, keyvault.nodes;
