"""What are we asked to sign? Bytes in, Intent out; one file per format; no policy here."""
