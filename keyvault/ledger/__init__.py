"""The transparency log as data and mathematics: codec, Merkle tree, notes, proofs, and the auditor's verifier."""
