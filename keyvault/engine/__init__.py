"""The imperative heart of one enclave: decide, sign, commit, answer."""
