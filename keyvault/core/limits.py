"""Every bound of the system (I9), with its unit and its reason."""

# Sizes ------------------------------------------------------------------------------------------------------

ENTRY_BYTES_MAX = 65_535
"""One ledger entry: C2SP tlog-tiles stores entries with a 16-bit length."""
PAYLOAD_BYTES_MAX = 24_576
"""One payload. It must fit into one entry with all that is said of it, see RECORD_BYTES_MAX; an exchange payload stands
there twice."""
TYPED_DATA_DEPTH_MAX = 16
"""Nesting of EIP-712 structs and arrays. Known protocols need at most 5."""
TYPED_DATA_NODES_MAX = 1_024
"""JSON values in one typed-data payload: bounds the time of hashing."""
TYPED_DATA_TYPES_MAX = 64
"""Struct types of one typed-data payload: bounds the text of encodeType. Seaport, the largest known, has 4."""
TYPED_DATA_SCHEMAS_REMEMBERED = 64
"""Compiled type sets kept for reuse; a bot signs one or two. Each is at most some 200 kB."""
ADDRESSES_REMEMBERED = 1_024
"""Addresses whose EIP-55 checksum was found right; each is 42 characters."""
RLP_DEPTH_MAX = 4
"""Transaction, access list, its entry, its storage keys."""
ACCESS_LIST_ITEMS_MAX = 256
"""Addresses and storage keys of one access list."""
EXCHANGE_PARAMETERS_MAX = 64
"""Parameters in one exchange request. Binance's longest documented order has fewer than 30."""
EXCHANGE_FACT_CHARS_MAX = 128
"""A symbol, coin, address or tag. The longest addresses that venues know have some 110 characters."""
EXCHANGE_VALUE_CHARS_MAX = 12 * EXCHANGE_FACT_CHARS_MAX
"""The same as it stands in a query: at most 4 bytes of UTF-8 for a character, 3 characters for a byte. Known before
anything is decoded; lists of orders have no such bound but that of the payload."""
RECORD_BYTES_MAX = 55_296
"""Payload, signing input and facts of one request: leaves 10 KB of an entry for everything else in it."""
EXCHANGE_SKEW_MS_MAX = 10_000
"""How far an exchange request's own timestamp may be from our clock. Binance accepts 60 s later, 1 s earlier."""
STATEMENT_BYTES_MAX = 8_192
"""One statement as canonical JSON: the longest, of a signature that eight rules escalate, has some 5 kB."""
MEMBER_SIGNATURE_BYTES_MAX = 80
"""One signature of a member: Ed25519 has 64 bytes, ECDSA P-256 as DER at most 72."""
POLICY_BYTES_MAX = 40_960
"""One policy document: must fit into one entry with its authorization."""
POLICY_RULES_MAX = 500
"""Rules in a policy; every one is evaluated for every effect."""
POLICY_LIMITS_MAX = 64
"""Limits in a policy; each keeps a running window per key."""
POLICY_FILE_BYTES_MAX = 262_144
"""A policy as YAML: POLICY_BYTES_MAX of protobuf, with room for names of fields, indentation and comments."""
POLICY_FILE_DEPTH_MAX = 8
"""Nesting of a policy file; a well-formed one has 4."""
POLICY_PROBLEMS_MAX = 100
"""Problems reported for one policy file: more are not read by anybody."""
POLICY_VALUES_MAX = 1_000
"""Names or addresses in one condition."""
POLICY_VALUE_CHARS_MAX = 256
"""One name or address in a condition. The longest principal has 211 characters."""
QUORUM_CHARS_MAX = 640
"""One quorum as text: eight parts with the longest names have some 620."""
QUORUM_PARTS_MAX = 8
"""Groups that one quorum asks; bounds the check of who counts where (2^8 sets of groups, 18 alternatives)."""
QUORUM_DEPTH_MAX = 4
"""Levels of ``and`` and ``or`` in one quorum: deeper, nobody can say who must sign."""
PERMISSIONS_REMEMBERED = 1_024
"""Answers of policies without escalation that are kept for reuse: making one takes a fifth of a decision."""
MEMBERS_MAX = 1_024
"""Members of an enclave; some 50 bytes each in a charter, which must fit into one entry."""
MEMBER_KEYS_MAX = 8
"""Approval keys of one member."""
MEMBER_PRINCIPALS_MAX = 8
"""Certificates' names under which one member asks for signatures."""
GROUPS_MAX = 64
"""Groups of members."""
CHARTER_BYTES_MAX = 57_344
"""One charter document: must fit into one entry with the statement that asks for it."""
CHARTER_FILE_BYTES_MAX = 524_288
"""A charter as YAML: MEMBERS_MAX members with a key, a name of a certificate and a group each, some 400 bytes."""
CHARTER_FILE_DEPTH_MAX = 8
"""Nesting of a charter file; a well-formed one has 5."""
OPEN_PROPOSALS_MAX = 16_384
"""Proposals that wait for approvals; each is some kilobytes of memory, with its payload."""
PRINCIPAL_PROPOSALS_MAX = 2_048
"""Open proposals of one asker: bounds what one bot, or one member, can make others look at."""
LAST_RESORT_PROPOSALS_MAX = 64
"""Open proposals of who leads a pair, and of leaving a quarantine, each: beside all others, which cannot be got rid of
where a node stands or is in quarantine."""
MEMBER_LAST_RESORT_PROPOSALS_MAX = 8
"""Of these, of one member: a few attempts, and eight members must be thieves before there is no room."""
CLOSED_PROPOSALS_REMEMBERED = 1_024
"""Proposals that ended and are still shown; the ledger has them all."""
VETOES_REMEMBERED = 16_384
"""Subjects that were vetoed, so that a second attempt says so; the oldest is forgotten first."""
DESTINATIONS_REMEMBERED = 65_536
"""Destinations that are known as seen; further ones look new for ever, which warns too often, never too rarely."""
INCARNATIONS_MAX = 64
"""New beginnings of one ledger, each by a quorum; whoever needs more has another problem."""
KEYS_MAX = 1_000
"""Key versions of one enclave in its token: SoftHSM opens two files per object in the token on every search."""
GRPC_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""One gRPC message, either way. 256 requests of a stream message with ordinary payloads are far smaller."""
GRPC_METADATA_BYTES_MAX = 16 * 1024
"""Headers of one call."""
PAGE_ENTRIES_MAX = 1_000
"""Ledger entries in one answer; reading them holds the event loop for some milliseconds."""
PAGE_BYTES_MAX = 1024 * 1024
"""Bytes of ledger entries in one answer."""
STREAM_BATCH_MAX = 256
"""Requests in one SignStream message."""
STREAM_MESSAGE_BYTES_MAX = 1024 * 1024
"""Results in one SignStream message, so that it fits the 4 MiB that clients take, with room."""
EXPLANATION_CHARS_MAX = 500
"""Text of a refusal in the ledger."""
WRAPPED_SECRET_BYTES_MIN = 424
"""An imported secret: RSA-OAEP of an AES key (RSA-3072: 384 bytes), and AES-KWP of the shortest, 32 bytes (40)."""
WRAPPED_SECRET_BYTES_MAX = 648
"""An imported secret: RSA-OAEP of an AES key (RSA-4096: 512 bytes), and AES-KWP of the longest, 128 bytes (136).

Of a secret in a token ``keyvault.core.wrap.secret_bounds`` has the bounds, which follow from the hash.
"""
TRANSPORT_KEY_DER_BYTES_MAX = 800
"""A token's public RSA key as SubjectPublicKeyInfo: RSA-3072 has 422 bytes, RSA-4096 has 550."""
RSA_BITS_MIN = 3_072
"""A key for which secrets are wrapped: 128 bits of security (NIST SP 800-57 part 1, table 2)."""
RSA_BITS_MAX = 4_096
"""A key for which the wrapping key is wrapped; more costs a worker time and gives nothing."""
RSA_EXPONENT_MIN = 65_537
"""Public exponent of a key for which the wrapping key is wrapped (FIPS 186-5, appendix A.1.1)."""
WRAPPED_WRAPPING_KEY_BYTES_MIN = 384
"""RSA-OAEP for an RSA key of RSA_BITS_MIN."""
WRAPPED_WRAPPING_KEY_BYTES_MAX = 512
"""RSA-OAEP for an RSA key of RSA_BITS_MAX."""
WRAPPED_KEY_BYTES_MIN = 40
"""A key under the wrapping key: AES-KWP of 32 bytes, an Ed25519 seed or the shortest HMAC secret."""
WRAPPED_KEY_BYTES_MAX = 256
"""A key under the wrapping key: AES-KWP of 128 bytes (HMAC-SHA512) has 136, that of a P-256 key as PKCS#8 with its
public half and parameters some 160; tokens may write PKCS#8 at more length."""
WRAPPED_IMPORT_KEY_BYTES_MIN = 1_700
"""The import key under the wrapping key: AES-KWP of RSA-3072 as PKCS#8 has some 1,800 bytes."""
WRAPPED_IMPORT_KEY_BYTES_MAX = 2_600
"""The same of RSA-4096: some 2,390 bytes."""
CHALLENGE_BYTES = 32
"""What a key signs to prove that it is there: fresh each time."""
WRAPPING_KEY_CHECK_BYTES = 32
"""By what tokens find out that they hold the same wrapping key: a SHA-256."""
KEY_CHECK_BYTES = 32
"""By what tokens find out that they hold the same HMAC secret: an HMAC, cut to this."""
TOKEN_TRANSPORT_KEY_MS = 45_000
"""Making an RSA-3072 key in a token: 0.4 s on a fast machine, two primes' luck and a slow one's many times over."""
TOKEN_OBJECT_ID_BYTES_MAX = 64
"""CKA_ID of a token object."""
TOKEN_FRAME_BYTES_MAX = 1024 * 1024
"""One message between server and worker: TOKEN_BATCH_MAX inputs of PAYLOAD_BYTES_MAX, and their names."""
PIN_FILE_BYTES_MAX = 256
"""A PIN file; PKCS#11 tokens take at most 255 bytes."""
TOKEN_WORKERS_MAX = 16
"""Worker processes of one token, some 30 MB each."""
TOKEN_LANES_MAX = 16
"""Lanes (sessions, threads) of one worker. Network HSMs saturate near 30 threads."""
INTEGER_BYTES_MAX = 64
"""One amount or chain id on the wire. EVM integers have 32 bytes; a highest fee is a product of two of them."""
NOTE_BYTES_MAX = 65_536
"""One signed note: a checkpoint of three lines and its signatures. C2SP's Go tools read lines up to this."""
NOTE_SIGNATURES_MAX = 100
"""Signatures on one note, as Go's x/mod/sumdb/note."""
COSIGNERS_MAX = 64
"""Witnesses and groups of a policy for cosignatures: C2SP tlog-policy recommends room for 32 of each."""
COSIGNER_POLICY_BYTES_MAX = 65_536
"""One such policy: lines of some hundred bytes, and comments."""
CHECKPOINTS_KEPT_MAX = 10_000
"""Checkpoints in a folder that an auditor kept: one an hour for a year."""
PROBLEMS_MAX = 100
"""Problems that an audit lists; more are counted. The first one is what matters."""
PROOF_HASHES_MAX = 63
"""Hashes in one inclusion or consistency proof: C2SP tlog-witness."""
EVIDENCE_BYTES_MAX = 16 * 1024 * 1024
"""One bundle of evidence: hundreds of changes of charter and policy, thousands of usual size. Reading it as JSON takes
some twenty times as much memory at worst."""
EVIDENCE_DEPTH_MAX = 8
"""Arrays and objects within each other in a bundle of evidence; a right one has 5."""
EVIDENCE_ENTRIES_MAX = 16_384
"""Ledger entries in one bundle of evidence; each is decoded, and most have a signature to be verified."""
BACKUP_SEGMENT_ENTRIES = 1_024
"""Entries in one file of a backup, 64 MiB at most, which are in memory at once. It is in the names of the files."""
BACKUP_MANIFEST_BYTES_MAX = 64 * 1024 * 1024
"""Manifest of a backup: a line of 200 bytes for each segment, so some 300 million entries."""
CONFIG_BYTES_MAX = 65_536
"""``keyvault.toml``; a default one has 1.2 kB."""
SECRET_FILE_BYTES_MAX = 16_384
"""A PIN or one private key as PEM; RSA-4096 has 3.2 kB."""
LOG_VALUE_CHARS_MAX = 1_000
"""One value in a log line: longer ones are cut, so that no caller fills the disk with one request."""
LOG_ITEMS_MAX = 32
"""Items of a list or table in a log line."""
LOG_DEPTH_MAX = 3
"""Tables within tables in a log line."""
METRIC_CODES_MAX = 64
"""Distinct fault codes kept apart in metrics; each is a time series for ever."""
CERTIFICATE_HOSTS_MAX = 32
"""Extra names in one server certificate."""
AGENT_MESSAGE_BYTES_MAX = 262_144
"""One message to or from an SSH agent: what OpenSSH's own programs take (AGENT_MAX_LEN)."""
AGENT_KEYS_MAX = 2_048
"""Keys in one SSH agent: as OpenSSH's own programs."""
AGENT_KEYS_TOLD_MAX = 20
"""Keys of an SSH agent that an error names: more are not read by anybody."""
AGENT_TEXT_CHARS_MAX = 80
"""Comment or type of an agent's key as it is shown: it comes from elsewhere and may be anything."""
PASSPHRASE_CHARS_MIN = 8
"""Passphrase of a new approval key: NIST SP 800-63B, section 5.1.1.1."""

MEMBER_FREEZES_MAX = 64
"""Principals and venues that stay frozen at one member's word; a bound for all would let one keep others from freezing.
The keys there are and the enclave can always be frozen besides."""
HOOKS_MAX = 8
"""Webhooks of one server; each has a thread of its own."""
HOOK_URL_CHARS_MAX = 2_048
"""URL of a webhook."""
HOOK_SECRET_BYTES_MIN = 24
"""Key of a webhook's signatures: Standard Webhooks asks for 24 to 64 bytes."""
HOOK_SECRET_BYTES_MAX = 64
"""As HOOK_SECRET_BYTES_MIN."""
HOOK_ANSWER_BYTES_MAX = 16_384
"""What is read of a webhook's answer: only its status counts. At least 8,192: what the reader asks for at once."""
NOTICE_SUMMARY_CHARS_MAX = 1_000
"""Plain words in a notice; the ledger has them all."""

# Time -------------------------------------------------------------------------------------------------------

PROPOSAL_LIFE_MS = 24 * 3600 * 1000
"""How long a proposal is open unless its asker says otherwise: every time zone has had a working day."""
PROPOSAL_LIFE_MS_MAX = 7 * 24 * 3600 * 1000
"""Longest life of a proposal, and so of every approval: a week is enough for any ceremony."""
DELAY_MS_MAX = 5 * 24 * 3600 * 1000
"""Longest delay of a duty: approvals must fit before it in the life of a proposal."""
BREAK_GLASS_DELAY_MS_MIN = 24 * 3600 * 1000
"""Shortest delay of break-glass: whoever still has a voice must see it coming, and can veto."""
DESTRUCTION_DAYS_MIN = 7
"""From the decision to destroy a key until it is gone: as in cloud key services; a mistake shows within a week."""
DESTRUCTION_DAYS = 30
"""The same, unless the asker says otherwise."""
CRYPTOPERIOD_DAYS_MAX = 3_650
"""Longest time until a key is due for rotation; NIST SP 800-57 part 1, 5.3.6 names at most a few years for signing."""
ROTATION_NOTICE_MS = 14 * 24 * 3600 * 1000
"""How long before its due date a rotation is warned of, and proposed where that was asked for."""
HOOK_TIMEOUT_MS = 5_000
"""How long a webhook may take to take one notice, from connection to answer; finding the address comes on top."""
HOOK_PAUSE_MS_MIN = 500
"""Bound of the random pause before a notice is sent again; doubles."""
HOOK_AGE_MS_MAX = 600_000
"""How long a notice is worth sending: after an outage people need the newest ones, and the ledger has them all."""
HOOK_CLOSE_MS = 2_000
"""How long a stop waits for notices that are queued."""
HOOK_SKEW_S = 300
"""How far the time of a delivery may be from the receiver's clock: as the libraries of Standard Webhooks."""
ROTATION_LOOK_MS = 60_000
"""Between two looks for keys that are due for rotation and proposals that expired, to tell people."""
GOVERNANCE_INTERVAL_MS = 1_000
"""Between two looks at what fell due: delays that ended, keys to be destroyed, rotations."""
BACKDATING_MS_MAX = 60_000
"""How much earlier than a fact before it an approved signature may be dated: it waits for the token some seconds
(SIGN_WAIT_MS_MAX). An auditor takes more for an attempt to sign what had expired."""
WINDOW_MS_MIN = 1_000
"""Shortest sliding window: the finest bucket is one second."""
WINDOW_MS_MAX = 7 * 24 * 3600 * 1000
"""Longest sliding window: the coarsest buckets cover a week."""
WINDOW_BUCKETS_SPARE = 64
"""Buckets kept beyond the longest window of a tier: room for late charges and for clocks that step back."""
WINDOW_CELLS_MAX = 65_536
"""Parts of signatures (who, what, where, which asset, to whom) that are counted apart; one takes about a kilobyte."""
WINDOW_CELLS_ANYWHERE_MAX = 4_096
"""Those that are counted without their destinations when there is no more room for new ones."""
WINDOW_REST_MS = 24 * 3600 * 1000
"""How much longer than the longest window nothing must be charged to a cell before its place is given away."""
WINDOW_SWEEP_MS = 10 * 60 * 1000
"""How often at most the cells are searched for those that rest: it takes some milliseconds."""
WINDOW_SWEEP_SHARE = 16
"""Less than one in so many cells at rest is not worth making the tallies again."""
WINDOW_SLOTS_MAX = 65_536
"""Replacement slots that are remembered, the latest ones; what replaces an older one counts in full."""
WINDOW_SLOT_PARTS_MAX = 128
"""Parts of all signatures for one slot that are counted as one; beyond it the newest counts in full."""
WINDOW_PLANS_MAX = 4_096
"""Shapes of signatures for which it is remembered which limits they are about."""
QUOTA_GROUPS_MAX = 256
"""Groups of one limit (destinations, venues, assets) in one answer about quotas: those that used most."""
TOKEN_DEADLINE_MS = 3_000
"""One message to a token worker. Slower means hung: the worker is killed."""
TOKEN_EXPIRY_MS = 250
"""How often requests that wait for the token are held against their deadlines."""
TOKEN_START_MS = 15_000
"""A new worker: load the module, log in, resolve objects, pass its self-test."""
TOKEN_RESPAWN_MS_MIN = 100
"""Pause before a worker that failed twice without any success is started again; doubles."""
TOKEN_RESPAWN_MS_MAX = 5_000
"""Longest pause between two starts of a worker: how late a repaired token is noticed."""
TOKEN_DOWN_MS_MAX = 5_000
"""Without any worker for longer, health says NOT_SERVING: an ordinary replacement takes far less."""
TOKEN_LOOK_MS = 1_000
"""Between two looks at whether any worker of the token is there."""
TOKEN_CLOSE_MS = 1_000
"""From the end of a worker's sockets until it is killed: lets an object that is being written be finished."""
DRAIN_MS_MAX = 10_000
"""From SIGTERM until calls in flight are cut."""
ANCHOR_INTERVAL_MS = 10_000
"""Between two writes of the token's anchor: so much of a lost ledger may go unnoticed by the token alone."""
ANCHOR_WAIT_MS = 1_000
"""Longest that the start or the end of a term waits for the token to remember it."""
CHECKPOINT_INTERVAL_MS = 1_000
"""A checkpoint at most this long after an event, one token signature each."""
TOKEN_DEADLINE_MS_MIN = 100
"""Shortest configurable token deadline: below, a busy machine looks like a hung token."""
TOKEN_DEADLINE_MS_MAX = 30_000
"""Longest configurable token deadline: above, a hung token holds its callers longer than they wait."""
CERTIFICATE_DAYS_MAX = 825
"""Life of a leaf certificate: longer ones are refused by some TLS stacks, and a lost key should not last."""
AUTHORITY_DAYS = 3_650
"""Life of a local certificate authority."""
CERTIFICATE_BACKDATE_MS = 300_000
"""A new certificate is valid from this long ago: clocks of other machines may be behind."""

SIGN_WAIT_MS_MAX = 10_000
"""How long a request waits for the token, whatever deadline its caller set or forgot."""
CLIENT_RETRY_MS_MIN = 50
"""Bound of the SDK's first random pause before it asks again; doubles with each failure in a row."""
CLIENT_RETRY_MS_MAX = 2_000
"""Largest such bound: how late a bot may notice that its server is back."""
CLIENT_ADDRESSES_MAX = 8
"""Servers of one enclave that an SDK client knows: three in three places, and as many again while they move."""
CLIENT_ATTEMPT_MS = 3_000
"""One attempt of the SDK where there is one server: as long as a message to the token may take."""
CLIENT_FAILOVER_ATTEMPT_MS = 1_000
"""One attempt where there are several: a server that vanished without a word is found by nothing sooner."""
CLIENT_FAILOVER_PAUSE_MS_MAX = 500
"""Largest bound of the random pause after every server failed: a take-over takes seconds, and is to be seen soon."""
CLIENT_CONNECT_MS = 3_000
"""One attempt to connect where there are several servers; gRPC's 20 s would miss that a host is back."""
CLIENT_KEEPALIVE_MS = 20_000
"""Between two pings of the SDK on a silent connection; the server refuses more than one in 10 s."""
CLIENT_KEEPALIVE_ANSWER_MS = 5_000
"""Without an answer to a ping for so long, the connection is dead."""
AGENT_ANSWER_MS = 5_000
"""An SSH agent says which keys it has: it does so from memory."""
AGENT_SIGN_MS = 60_000
"""An SSH agent signs: a person may have to confirm first."""

INSTALL_PAUSE_MS_MIN = 500
"""Before what failed in a node's token is tried again; it doubles."""
INSTALL_PAUSE_MS_MAX = 15_000
"""Longest pause, and how long a node waits at most before it compares its token with the ledger again."""
REPORT_MS_MAX = 10_000
"""How long a report may take: it waits for a change that is being made."""
REPORTED_KEYS_MAX = 100
"""Proofs in one report of a node: each is verified, and they stand in one append."""
POSITION_WAIT_MS = 1_500
"""A node that follows waits so long for entries that a caller has seen elsewhere: three beats of an idle leader."""
NODES_MAX = 16
"""Nodes of one enclave that know of each other: three places and room for moves."""
EPOCH_MAX = 10**15
"""The last epoch. Statements can name it, and a term can follow every one below."""
EPOCH_LEAP_MAX = 10**9
"""From one term's epoch to the next: a lease may be taken in vain for years, and no leader can use all epochs up."""
CLOCK_LEAP_MS_MAX = 300_000
"""How far the wall clock may run ahead of the clock since boot while a server runs: NTP steps less. A fact of the
future holds for ever: statements must outlive it, and limits look as if their windows had passed."""
PAIR_AHEAD_MS_MAX = 300_000
"""How far past its own clock an entry may be dated that a follower confirms: clocks under NTP differ by far less."""
PAIR_FOLLOWERS_MAX = 2
"""Followers of a pair: every one of them must have an entry before it counts, so each more makes it stop more often."""
PAIR_ACK_MS = 2_000
"""A follower that does not say within this that it has the entries ends the term, as a silent database does."""
PAIR_CATCH_UP_MS = 600_000
"""A leader that waits for a follower to come up to date asks anew after this: a million entries and more."""
PAIR_BEAT_MS = 500
"""How often a leader tells those who follow how far everybody is, and those who only watch what is new."""
PAIR_SILENCE_MS = 3_000
"""After so long without a word of the leader a follower sends nobody there any more."""
PAIR_BATCH_BYTES_MAX = 3_500_000
"""Entries in one message to a follower: below what a message may have, with room for request keys and a checkpoint."""
PAIR_BATCH_ENTRIES_MAX = 256
"""Entries in one message to a follower, as in one append: folded at once, some 20 ms."""
PEER_ANSWER_MS = 300
"""A node that took over waits so long for what the other nodes have seen: what one that is dead costs the bots."""
PEER_LOOK_MS = 1_000
"""Between two such questions of a leader: so long it may lead on an older ledger once a node that knows better is back.
Each costs a handshake and one answer."""
CHALLENGE_INTERVAL_MS = 60_000
"""After so long a node that follows has every active key sign again: a token may have lost one."""
LEASE_BEAT_MS = 500
"""A leader that had no write acknowledged for so long renews its lease: three more chances before its term ends."""
LEASE_TERM_MS = 2_000
"""A term ends by itself so long after the sending of the last acknowledged write."""
LEASE_SILENCE_MS = 3_000
"""Without a sign of life for so long, by its own clock, a candidate takes over: half as long again as LEASE_TERM_MS, so
that the old term has ended even if the two clocks run 20 % apart each."""
LEASE_POLL_MS = 250
"""Between two looks at the lease, on average: what a killed leader costs. One read of one row in memory."""
LEASE_POLL_SPREAD_MS = 100
"""How far the pace of two nodes may lie apart, so that they do not look at the same moments for ever."""
LEASE_STALL_MS = 1_000
"""A leader that is woken so much too late does not know what it missed: half of LEASE_TERM_MS."""
LEASE_ABSTENTION_MS = 5_000
"""After a step-down that was asked for: how long a node leaves a free lease to the others; each looks every 0.3 s."""
LEASE_ABSTENTION_SPREAD_MS = 1_000
"""How far the abstentions of two nodes may lie apart."""
LEASE_HAND_OVER_MS = 4_000
"""From the wish to step down until the term is cut: a token answers within TOKEN_DEADLINE_MS, then comes one append."""

CONFIRMED_MS = 500
"""Between two looks at what the standbys have, each beside a write of PostgreSQL's leader: some 0.5 ms more for that
write. For twice this, signatures may be on one server only, after somebody turned the waiting off in an unknown way."""
SCHEMA_COMPARED_MS = 10_000
"""Between two comparisons of PostgreSQL's schema while a node leads, each beside a checkpoint: 2 to 5 ms."""

LEASE_PREFERENCE_MS = 600
"""So long a node leaves a free lease to the place that should take it first: two looks at the slowest pace. What it
costs if nobody is there."""
LEASE_BRIEF_ABSTENTION_MS = 1_200
"""As LEASE_ABSTENTION_MS, after a hand-over that only evens out: twice LEASE_PREFERENCE_MS. If its aim does not come,
perhaps nobody else is there."""
SPREAD_REPORT_MS = 1_000
"""Between two signs of life of a node that has a place: one small write that waits for no disk."""
SPREAD_PRESENCE_MS = 5_000
"""Without a sign of life for so long, by the reader's clock, a node is not there: five that were missed."""
SPREAD_READ_MS = 3_000
"""Longest sign of life with the reading after it; a database that takes longer gives no advice."""
SPREAD_SETTLE_MS = 5_000
"""So long nothing may have changed before enclaves are moved: every node has seen what the last change was."""
SPREAD_HOLD_MS = 30_000
"""A term lasts at least so long before its leader hands over only to even out: whatever stands in the table, an enclave
moves no more often."""
SPREAD_HOLD_MS_MAX = 960_000
"""Each hand-over that did not reach its aim doubles the time, up to this: 16 minutes."""
PLACE_CHARS_MAX = 32
"""Name of a place, as operators write it."""
SPREAD_NODES_MAX = 1_000
"""Nodes of all enclaves of one database that are read at once: 64 enclaves in 15 places."""

# Queues -----------------------------------------------------------------------------------------------------

INBOX_MAX = 4_096
"""Requests that wait for a change of keys or policy to end, or facts that wait for the next append."""
VERIFY_HERE_MAX = 2
"""Signatures that a lane verifies itself; more go to its checker process. At so few the server is not busy."""
TOKEN_BATCH_MIN = 8
"""Queues up to this length are not split among lanes: the message costs more than the waiting saves."""
TOKEN_GATHER_MS = 2
"""How long a free lane waits for more jobs while many requests are under way: less than they would wait anyway."""
TOKEN_BATCH_MAX = 32
"""Signatures in one message to a worker: bounds what one hung worker delays."""
TOKEN_QUEUE_MAX = 2_048
"""Decided requests that wait for a token worker."""
LANE_QUEUE_MAX = 4
"""Batches that wait for one lane; more than one only after a caller gave up on its batch."""
TOKEN_STRIKES_MAX = 3
"""Wrong signatures in a row under one object id; then the object is not asked again until restart."""
COMMIT_BATCH_MAX = 256
"""Events in one transaction."""
STREAM_IN_FLIGHT_MAX = 256
"""Unanswered requests of one stream; further messages are not read until answers left."""
CLIENT_STREAM_BYTES_MAX = 1024 * 1024
"""Payload bytes of one SDK stream that are sent and not answered: all answers to them fit into one gRPC message."""
RULES_TOLD_MAX = 16
"""Names of rules in one answer: gRPC takes 16 KB of trailing metadata. The ledger has them all."""
APPROVAL_QUORUM_BYTES_MAX = 1_000
"""Whom an escalated request needs, in its answer: some gRPC clients take 8 KB of trailing metadata and no more."""
APPROVAL_SUMMARY_BYTES_MAX = 2_000
"""What is to be signed, in plain words, in the same answer. The proposal has the payload."""
REMARKS_TOLD_MAX = 64
"""Remarks shown with one proposal: more are not read by anybody."""
WATCHERS_MAX = 1_024
"""WatchProposal calls at once; each is a task that sleeps."""
PRINCIPAL_WATCHERS_MAX = 64
"""WatchProposal calls of one principal at once."""
PROPOSAL_PAGE_MAX = 500
"""Proposals in one answer, without their payloads."""
HOOK_QUEUE_MAX = 1_000
"""Notices that wait for one webhook; the oldest goes when there are more."""
HOOK_ADDRESSES_MAX = 4
"""Addresses of a webhook's name that are tried; they share HOOK_TIMEOUT_MS."""
HOOK_TRIES_MAX = 5
"""Attempts to deliver one notice: some 15 s in all, then it is lost."""
PRINCIPAL_STREAMS_MAX = 8
"""SignStream calls of one principal at once: bounds what one bot can make the server hold."""
PRINCIPAL_IN_FLIGHT_MAX = 1_024
"""Undecided and unanswered requests of one principal: half of what the queues of the enclave take."""
REFUSALS_PER_S_MAX = 100
"""Refusals of one principal that are recorded, on average; a ledger is for ever, and a bot may be owned."""
REFUSALS_BURST_MAX = 1_000
"""Refusals of one principal that are recorded at once."""
DESCRIPTORS_WANTED = 65_536
"""The server raises its soft limit of open files to this, as far as the hard limit lets it."""
POLICY_LISTS_MAX = 64
"""Lists, and tags, of a policy."""
POLICY_ASSETS_MAX = 1_000
"""Assets with a price in a policy."""
POLICY_MARKETS_MAX = 4_000
"""Markets in a policy: some hundreds at each of ten venues."""
FIRST_SEEN_MS_MAX = 90 * 86_400_000
"""Longest time that a destination can count as new: 90 days."""
PRICES_AHEAD_MS_MAX = 5 * 60 * 1000
"""How far ahead of our clock the date of a table of prices may be: whoever made it has another clock."""
PRICES_AGE_MS_MAX = 31 * 24 * 3600 * 1000
"""Longest life of a table of prices: one that nobody renews for a month says nothing of a market."""
VALIDITY_MS_MAX = 3_650 * 86_400_000
"""Longest validity that a cap can name: ten years. What lasts longer is without an end, and ``any`` says so."""
SLOT_MEMORY_ENTRIES = 65_536
"""Entries for which the first content of a slot is remembered, some 250 bytes each: days of a busy desk's nonces."""
HISTORY_LAG_MAX = 16_384
"""Entries that a decision may not have known when it was committed: all that can be under way, and room."""
PREDICATE_CHARS_MAX = 1_000
"""Characters of a rule's ``when``: longer ones are not read by the people who approve them."""
PREDICATE_PATTERNS_MAX = 8
"""Patterns (``matches``) in all predicates of a policy: each costs up to 130 microseconds, for each of 64 effects."""
PREDICATE_DEPTH_MAX = 12
"""Nesting of a rule's ``when``; the CEL compiler itself gives up at 32."""
DESCRIPTORS_MIN = 1_024
"""Below this hard limit the server warns: a connection is one descriptor, a worker three, each started with more."""
CALLS_MAX = 2_048
"""RPCs at once; more get RESOURCE_EXHAUSTED from gRPC itself."""

# Cosmos transactions ----------------------------------------------------------------------------------------

EFFECTS_MAX = 64
"""Effects of one payload: every one is held against every rule, and written into the ledger."""
COSMOS_MEMO_CHARS_MAX = 256
"""Memo of a transaction: what chains take unless they say otherwise (cosmos-sdk, x/auth, MaxMemoCharacters)."""
COSMOS_PACKET_MEMO_CHARS_MAX = 2_048
"""Memo of an IBC transfer: it may be a route through several chains as JSON, some 300 characters each."""
COSMOS_FEE_COINS_MAX = 8
"""Denominations of one fee; chains take one or two."""
PROTOBUF_ELEMENTS_MAX = 256
"""Elements of one list in a protobuf message: bounds the time of reading. dYdX cancels at most 100 orders at once."""

# Solana -----------------------------------------------------------------------------------------------------

SOLANA_TRANSACTION_BYTES_MAX = 1_232
"""One legacy or v0 transaction with its signatures: the 1,280 bytes of IPv6's smallest MTU less 48 of headers. The
network takes nothing longer, and it bounds all work on a message."""
SOLANA_ADDRESSES_REMEMBERED = 8_192
"""Addresses whose text is kept, some 200 bytes each: a bot meets the same programs, mints and accounts all day."""
SOLANA_TOKEN_ACCOUNTS_REMEMBERED = 1_024
"""Associated token accounts that were derived, some 400 bytes each: one takes 100 microseconds to derive."""

# Meaning of payloads ----------------------------------------------------------------------------------------

CALL_DEPTH_MAX = 8
"""Calls within calls of one EVM payload. A Safe that sends a batch to a router's multicall has 4."""
ABI_DEPTH_MAX = 8
"""Arrays and tuples within each other in one argument of a contract call. Known functions need at most 4."""
ABI_ITEMS_MAX = 256
"""Items of one array in a contract call: each item of a batch is one effect or more."""
AUTHORIZATIONS_MAX = 16
"""Authorizations (EIP-7702) of one transaction: the signer of each is recovered, some 50 microseconds."""
BLOBS_MAX = 6
"""Blobs of one transaction: EIP-7594."""

# Exchanges --------------------------------------------------------------------------------------------------

EXCHANGE_ACCOUNT_CHARS_MAX = 128
"""Name of an API key. Coinbase's, the longest known, have 95 characters."""
EXCHANGE_PATH_CHARS_MAX = 256
"""Path of one request. Polymarket's, with an order's hash in it, have some 80 characters."""
EXCHANGE_WINDOW_MS = 5_000
"""How long a stamped request is good where we choose it: what the venues themselves assume."""
EXCHANGE_TOKEN_S = 120
"""Life of a Coinbase token: what the venue's own library asks for, and the longest that it takes."""

# Bitcoin ----------------------------------------------------------------------------------------------------

BITCOIN_INPUTS_MAX = 256
"""Inputs of one transaction. Each brings the transaction that it spends, so PAYLOAD_BYTES_MAX ends near 200."""
BITCOIN_OUTPUTS_MAX = 256
"""Outputs of one transaction; EFFECTS_MAX bounds those that are not change."""
PSBT_ENTRIES_MAX = 256
"""Key-value pairs in one map of a PSBT: a 16-of-16 multisig input, the largest that is signed, has some 40."""
PSBT_SIGNED_BYTES_MAX = 65_536
"""A PSBT after signing, in the SDK: PAYLOAD_BYTES_MAX, and some 110 bytes for each of BITCOIN_INPUTS_MAX signatures."""
UNREAD_CHARGES_REMEMBERED = 1_024
"""What raw digests use of limits, by key and caller, some 500 bytes each; a bot asks with a handful of keys."""
ASKED_MASKS_REMEMBERED = 1_024
"""Sets of conditions that effects ask for, some 300 bytes each; all known formats together have some 100."""
HASHES_REMEMBERED = 1_024
"""Keccak-256 of the domains of typed data and of short texts in it, some 300 bytes each; a bot uses a handful."""
HASHED_TEXT_CHARS_MAX = 64
"""Texts in typed data whose hash is remembered: names of protocols are shorter, and longer texts do not recur."""

# --- Simulations and what members are told of policies ---------------------------------------------------------------

PRINCIPAL_SIMULATIONS_MAX = 4
"""Simulations of one principal under way at once: each can ask 500 rules about 64 effects, beside all signing."""
OUTCOMES_TOLD_MAX = 2_048
"""Outcomes of rules in one answer, some 200 bytes each: it must fit the 4 MiB that clients take, with room."""
REPLAY_CHANGES_MAX = 1_000
"""Decisions that change, told one by one in a replay's report; all are counted."""
REPLAY_BEHIND_ENTRIES = 16
"""Entries that a replay's report may lack of the ledger when it is proposed, and a tenth of the ledger more: it is made
from a copy, and bots go on."""
REPLAY_TAIL_ENTRIES = 1_000
"""Newest entries in which a request is looked for when a report says of none."""
REPLAY_REPORT_BYTES_MAX = 8 * 1024 * 1024
"""A replay's report: its changes with 1.5 kB each, and sums for each key and rule."""
OUTCOMES_AT_ONCE = 128
"""Outcomes that are found out before anything else may run: about half a millisecond."""

# Cases of a policy ------------------------------------------------------------------------------------------

CASES_FILE_BYTES_MAX = 1_048_576
"""A file of cases: some 500, with payloads of 1 KiB as hex."""
CASE_REPEATED_MAX = 10_000
"""How often one earlier request of a case can be repeated: some 100 microseconds each."""
CASES_FILE_DEPTH_MAX = 24
"""Nesting in a file of cases: typed data within a case has up to 20."""

OUTCOMES_AT_ONCE = 32
"""Outcomes that are found out before anything else may run: a millisecond, if all of them must say why not."""
