//! Every cap of the emulator, each with its reason. Where Google documents a limit, the value is the same here.

use std::time::Duration;

/// Largest gRPC message accepted: a full publish request (10 MB) with room for its framing.
pub(crate) const MAX_GRPC_MESSAGE_BYTES: usize = 16 << 20;

/// Largest JSON body accepted: a full publish request whose data is in base64 (4/3 of 10 MB) with room for names.
pub(crate) const MAX_JSON_BODY_BYTES: usize = 16 << 20;

/// Most changes that the store commits together. The cap bounds how long one fsync can delay a response.
pub(crate) const MAX_BATCH_CHANGES: usize = 1_000;

/// Size of the in-memory page cache of the database. The operating system caches the rest of the file.
pub(crate) const STORE_CACHE_BYTES: usize = 16 << 20;

/// Most characters of a rejected value that an error message repeats.
pub(crate) const MAX_SHOWN_CHARS: usize = 80;

/// How long `stop` lets requests in progress finish before it cancels them.
pub(crate) const STOP_GRACE_PERIOD: Duration = Duration::from_secs(3);

/// How many bytes of a rejected request are still read, so that the sender receives the response. Beyond that, the
/// connection is closed.
pub(crate) const MAX_UNREAD_BYTES: usize = 64 << 20;
/// How long reading those bytes may take.
pub(crate) const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Pub/Sub: largest message, and largest publish request (documented).
pub(crate) const MAX_MESSAGE_BYTES: usize = 10_000_000;
/// Pub/Sub: most messages in one publish request (documented).
pub(crate) const MAX_PUBLISH_MESSAGES: usize = 1_000;
/// Pub/Sub: most attributes of a message (documented).
pub(crate) const MAX_ATTRIBUTES: usize = 100;
/// Pub/Sub: longest attribute key (documented).
pub(crate) const MAX_ATTRIBUTE_KEY_BYTES: usize = 256;
/// Pub/Sub: longest attribute value (documented).
pub(crate) const MAX_ATTRIBUTE_VALUE_BYTES: usize = 1_024;
/// Pub/Sub: longest ordering key (documented: 1 KB).
pub(crate) const MAX_ORDERING_KEY_BYTES: usize = 1_024;
/// Pub/Sub: longest filter (documented).
pub(crate) const MAX_FILTER_BYTES: usize = 256;
/// Pub/Sub: deepest nesting of a filter. The parser is recursive.
pub(crate) const MAX_FILTER_DEPTH: usize = 32;
/// Pub/Sub: most unacknowledged bytes of one subscription. The backlog is kept in memory as well as on disk. A publish
/// beyond this is rejected, so that a forgotten subscription cannot exhaust the memory.
pub(crate) const MAX_BACKLOG_BYTES: usize = 1 << 30;
/// Pub/Sub: most messages in one response.
pub(crate) const MAX_DELIVERY_MESSAGES: usize = 1_000;
/// Pub/Sub: bytes after which a response is full; less than what clients accept by default (4 MB).
pub(crate) const MAX_DELIVERY_BYTES: usize = 1 << 20;
/// Pub/Sub: how long a unary pull waits for messages; below the shortest default deadline of the clients (60 s).
pub(crate) const PULL_TIMEOUT: Duration = Duration::from_secs(20);
/// Pub/Sub: interval of empty responses, which show a client of protocol version 1 that the stream is alive.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(25);
/// Pub/Sub: how long an unacknowledged message is kept by default (documented: 7 days).
pub(crate) const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// Pub/Sub: longest configurable retention (documented: 31 days).
pub(crate) const MAX_RETENTION: Duration = Duration::from_secs(31 * 86_400);
/// Pub/Sub: how often messages past their retention are removed. Retention is in days, so precision does not matter.
pub(crate) const RETENTION_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Pub/Sub: delay before a message is delivered again if its dead letter topic could not take it.
pub(crate) const DEAD_LETTER_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Default and largest size of a page in lists.
pub(crate) const MAX_PAGE_SIZE: usize = 1_000;

/// Firestore: largest document, counted by the documented rules (1 MiB).
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Firestore: deepest nesting of maps and arrays (documented: 20).
pub(crate) const MAX_VALUE_DEPTH: usize = 20;
/// Firestore: longest value of a field (documented: 1 MiB - 89).
pub(crate) const MAX_FIELD_VALUE_BYTES: usize = (1 << 20) - 89;
/// Firestore: longest path of a field (documented).
pub(crate) const MAX_FIELD_PATH_BYTES: usize = 1_500;
/// Firestore: most dimensions of a vector (documented).
pub(crate) const MAX_VECTOR_DIMENSIONS: usize = 2_048;
/// Firestore: longest document or collection ID (documented).
pub(crate) const MAX_ID_BYTES: usize = 1_500;
/// Firestore: most operands of IN and similar operators, and most disjunctions of a query after its filter is
/// normalized (documented: 30).
pub(crate) const MAX_DISJUNCTIONS: usize = 30;
/// Firestore: most filters, orders and ancestors of a query (documented).
pub(crate) const MAX_QUERY_PARTS: usize = 100;
/// Firestore: most fields with inequalities in a query (documented).
pub(crate) const MAX_INEQUALITY_FIELDS: usize = 10;
/// Firestore: most operands of NOT_IN (documented).
pub(crate) const MAX_NOT_IN_OPERANDS: usize = 10;
/// Firestore: most aggregations of a query (documented).
pub(crate) const MAX_AGGREGATIONS: usize = 5;
/// Firestore: deepest nesting of composite filters. Evaluation is recursive.
pub(crate) const MAX_QUERY_DEPTH: usize = 32;
/// Firestore: most open transactions. Each keeps a record of its reads.
pub(crate) const MAX_TRANSACTIONS: usize = 10_000;
/// Firestore: lifetime of a transaction (documented: 270 s).
pub(crate) const TRANSACTION_TTL: Duration = Duration::from_secs(270);
/// Firestore: how often expired transactions are removed. Those that have a snapshot hold disk space.
pub(crate) const TRANSACTION_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Firestore: most concurrent Listen streams. Each has a task and a record of what its client received.
pub(crate) const MAX_LISTENERS: usize = 10_000;
/// Firestore: most targets of one stream. A web page puts all its listeners, and up to 100 documents in doubt, on one
/// stream.
pub(crate) const MAX_LISTEN_TARGETS: usize = 1_000;
/// Firestore: most documents of one target. The server keeps their names and times, about 250 bytes each.
pub(crate) const MAX_TARGET_DOCUMENTS: usize = 100_000;
/// Firestore: most commits in a listener's inbox. A listener that is further behind reads the store again, which is
/// cheaper by then.
pub(crate) const MAX_INBOX_COMMITS: usize = 1_000;
/// Firestore: most bytes of documents in a listener's inbox. Listeners share the documents, but one slow client keeps
/// them in memory.
pub(crate) const MAX_INBOX_BYTES: usize = 16 << 20;
/// Firestore: after this long without a response, a listener is told that its targets are current, as in the real
/// service. The Node client considers a stream dead after 120 s of silence.
pub(crate) const LISTEN_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Firestore: most responses of a stream that the transport has not yet taken.
pub(crate) const MAX_STREAM_RESPONSES: usize = 16;

/// Firestore in browsers: most concurrent sessions. Each may hold two times [`MAX_CHANNEL_UNACKNOWLEDGED_BYTES`] and
/// one request. A page has one session, or two while it writes.
pub(crate) const MAX_CHANNEL_SESSIONS: usize = 500;
/// How long a browser may be silent before its session is removed: longer than the SDK waits (5 to 15 s) after a
/// connection broke.
pub(crate) const CHANNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a response stays open. Each new request acknowledges arrays, and browsers keep the text of a response in
/// memory until it ends.
pub(crate) const CHANNEL_RESPONSE_TTL: Duration = Duration::from_secs(60);
/// Bytes after which a response ends, for the same reasons. It must be less than [`MAX_CHANNEL_UNACKNOWLEDGED_BYTES`];
/// otherwise arrays would never be acknowledged.
pub(crate) const MAX_CHANNEL_RESPONSE_BYTES: usize = 512 << 10;
/// Unacknowledged bytes beyond which a stream waits for its browser. One more response may exceed the limit.
pub(crate) const MAX_CHANNEL_UNACKNOWLEDGED_BYTES: usize = 1 << 20;
/// The keep-alive interval that the handshake promises. Browsers wait half as long again before they consider a
/// connection dead.
pub(crate) const CHANNEL_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// After this long without data, a browser receives a `noop`; early enough to keep the promise.
pub(crate) const CHANNEL_NOOP_INTERVAL: Duration = Duration::from_secs(20);
/// Most messages in one request (the SDK's own limit), and most messages in a stream's queue.
pub(crate) const MAX_CHANNEL_MESSAGES: usize = 1_000;
/// Most bytes of messages in a stream's queue. A single larger message may be queued alone.
pub(crate) const MAX_CHANNEL_QUEUE_BYTES: usize = 1 << 20;
/// How long a request waits for its messages to be queued. The SDK gives up a request after 10 s.
pub(crate) const CHANNEL_QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Storage: longest object name (documented).
pub(crate) const MAX_OBJECT_NAME_BYTES: usize = 1_024;
/// Storage: largest object metadata, as JSON. Google allows 8 KiB of custom metadata.
pub(crate) const MAX_OBJECT_METADATA_BYTES: usize = 64 << 10;
/// Storage: most bytes of an object's custom metadata that download tokens may fill (documented: 8 KiB).
pub(crate) const MAX_CUSTOM_METADATA_BYTES: usize = 8 << 10;
/// Storage: size of the blocks in which uploads are buffered, hashed and written, and in which objects are read.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Storage: most open resumable uploads. Each holds an open file, of which a process may have 1,024 by default.
pub(crate) const MAX_UPLOADS: usize = 500;
/// Storage: how long a resumable upload may be idle.
pub(crate) const UPLOAD_IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
