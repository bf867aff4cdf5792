"""Every bound of the system (I9), with its unit and its reason."""

# Sizes ------------------------------------------------------------------------------------------------------

ENTRY_BYTES_MAX = 65_535
"""One ledger entry: C2SP tlog-tiles stores entries with a 16-bit length."""
PAYLOAD_BYTES_MAX = 24_576
"""One payload. Payload, signing input and effects must fit into one entry; an exchange payload stands in it twice."""
TYPED_DATA_DEPTH_MAX = 16
"""Nesting of EIP-712 structs and arrays. Known protocols need at most 5."""
TYPED_DATA_NODES_MAX = 4_096
"""JSON values in one typed-data payload: bounds the time of hashing."""
RLP_DEPTH_MAX = 4
"""Transaction, access list, its entry, its storage keys."""
ACCESS_LIST_ITEMS_MAX = 256
"""Addresses and storage keys of one access list."""
EXCHANGE_PARAMETERS_MAX = 64
"""Parameters in one exchange request. Binance's longest documented order has fewer than 30."""
EXCHANGE_SKEW_MS_MAX = 10_000
"""How far an exchange request's own timestamp may be from our clock. Binance accepts at most 60 s later, 1 s earlier."""
ENVELOPE_BYTES_MAX = 16_384
"""One signed statement: canonical JSON and its signatures."""
ENVELOPE_SIGNATURES_MAX = 32
"""Signatures on one statement."""
POLICY_BYTES_MAX = 49_152
"""One policy document: must fit into one entry with its authorization."""
POLICY_RULES_MAX = 500
"""Rules in a policy; every one is evaluated for every effect."""
POLICY_LIMITS_MAX = 64
"""Limits in a policy; each keeps a running window per key."""
POLICY_VALUES_MAX = 1_000
"""Names or addresses in one condition."""
MEMBERS_MAX = 64
"""Members of an enclave."""
MEMBER_KEYS_MAX = 8
"""Approval keys of one member."""
KEYS_MAX = 1_000
"""Keys of one enclave: SoftHSM opens two files per object in the token on every search."""
GRPC_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""One gRPC message, either way. 256 requests of a stream message with ordinary payloads are far smaller."""
STREAM_BATCH_MAX = 256
"""Requests in one SignStream message."""
EXPLANATION_CHARS_MAX = 500
"""Text of a refusal in the ledger."""
WRAPPED_SECRET_BYTES_MAX = 1_024
"""RSA-OAEP blob of an imported secret (RSA-4096: 512 bytes)."""

# Time -------------------------------------------------------------------------------------------------------

STATEMENT_LIFE_MS_MAX = 7 * 24 * 3600 * 1000
"""Between signing a statement and its use: a week is enough for any ceremony."""
WINDOW_MS_MIN = 1_000
"""Shortest sliding window: the finest bucket is one second."""
WINDOW_MS_MAX = 7 * 24 * 3600 * 1000
"""Longest sliding window: the coarsest buckets cover a week."""
TOKEN_DEADLINE_MS = 3_000
"""One message to a token worker. Slower means hung: the worker is killed."""
TOKEN_START_MS = 15_000
"""A new worker: load the module, log in, resolve objects, pass its self-test."""
DRAIN_MS_MAX = 10_000
"""From SIGTERM until calls in flight are cut."""
CHECKPOINT_INTERVAL_MS = 1_000
"""A checkpoint at most this long after an event, one token signature each."""

# Queues -----------------------------------------------------------------------------------------------------

INBOX_MAX = 4_096
"""Commands that wait for a decision. At 5,000 a second the last one waits under a second."""
DECIDE_BATCH_MAX = 64
"""Commands decided in one go, so that the event loop is never held for more than some milliseconds."""
TOKEN_BATCH_MAX = 32
"""Signatures in one message to a worker: bounds what one hung worker delays."""
TOKEN_QUEUE_MAX = 512
"""Decided requests that wait for a token worker."""
COMMIT_BATCH_MAX = 256
"""Events in one transaction."""
STREAM_IN_FLIGHT_MAX = 1_024
"""Unanswered requests of one stream; further messages are not read until answers left."""
RECENT_REQUESTS_MAX = 8_192
"""Answers kept in memory for quick retries; older ones are found through the store."""
CALLS_MAX = 2_048
"""RPCs at once; more get RESOURCE_EXHAUSTED from gRPC itself."""
