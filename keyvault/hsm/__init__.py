"""PKCS#11 tokens behind worker processes: the server never has a PIN or a PKCS#11 handle."""
