//! Every cap of these servers, each with its reason. Where Google documents a limit, it is the same here.

use std::time::Duration;

/// Largest gRPC message taken in: a full publish request (10 MB) with room for its framing.
pub(crate) const GRPC_MESSAGE_BYTES: usize = 16 << 20;

/// Largest JSON body taken in: a full publish request whose data is written in base64 (4/3 of 10 MB) with room for names.
pub(crate) const JSON_BODY_BYTES: usize = 16 << 20;

/// Most writes committed together by the store; keeps one fsync from holding back an answer for long.
pub(crate) const STORE_BATCH: usize = 1_000;

/// Pages of the database kept in memory, in bytes; the system's own cache holds the rest of the file.
pub(crate) const STORE_CACHE_BYTES: usize = 16 << 20;

/// How long `stop` lets requests in progress finish before it cuts them off.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(3);

/// Bytes of a refused request that are still read, so that its sender meets the answer; beyond that it meets a closed connection.
pub(crate) const UNREAD_BYTES: usize = 64 << 20;
/// How long they may take.
pub(crate) const UNREAD_WAIT: Duration = Duration::from_secs(5);

/// Pub/Sub: largest message, and largest publish request (documented).
pub(crate) const MESSAGE_BYTES: usize = 10_000_000;
/// Pub/Sub: most messages in one publish request (documented).
pub(crate) const PUBLISH_MESSAGES: usize = 1_000;
/// Pub/Sub: most attributes of a message, and the longest key and value in bytes (documented).
pub(crate) const ATTRIBUTES: usize = 100;
/// Longest attribute key in bytes.
pub(crate) const ATTRIBUTE_KEY_BYTES: usize = 256;
/// Longest attribute value in bytes.
pub(crate) const ATTRIBUTE_VALUE_BYTES: usize = 1_024;
/// Pub/Sub: longest ordering key in bytes (documented: 1 KB).
pub(crate) const ORDERING_KEY_BYTES: usize = 1_024;
/// Pub/Sub: longest filter in bytes (documented).
pub(crate) const FILTER_BYTES: usize = 256;
/// Pub/Sub: deepest nesting of a filter; its parser recurses.
pub(crate) const FILTER_DEPTH: usize = 32;
/// Pub/Sub: unacknowledged bytes that one subscription may hold. The backlog is kept in memory as well as on disk; a publish
/// beyond this is refused rather than letting a forgotten subscription eat the machine.
pub(crate) const BACKLOG_BYTES: usize = 1 << 30;
/// Pub/Sub: messages and bytes in one response; smaller than what clients accept by default (4 MB).
pub(crate) const DELIVERY_MESSAGES: usize = 1_000;
/// Bytes after which a response is full.
pub(crate) const DELIVERY_BYTES: usize = 1 << 20;
/// Pub/Sub: how long a unary pull without messages waits; below the shortest default deadline of the clients (60 s).
pub(crate) const PULL_WAIT: Duration = Duration::from_secs(20);
/// Pub/Sub: an empty response this often tells a client of protocol version 1 that the stream lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(25);
/// Pub/Sub: how long an unacknowledged message is kept by default, and at most (documented: 7 and 31 days).
pub(crate) const RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// Longest retention.
pub(crate) const RETENTION_MAX: Duration = Duration::from_secs(31 * 86_400);
/// How often messages past their retention are looked for; days do not need precision.
pub(crate) const RETENTION_SWEEP: Duration = Duration::from_secs(60);
/// Pub/Sub: wait before a message is offered again whose dead letter topic could not take it.
pub(crate) const DEAD_LETTER_RETRY: Duration = Duration::from_secs(10);
/// Pages of lists, when the caller does not say and at most.
pub(crate) const PAGE: usize = 1_000;

/// Firestore: largest document in bytes, counted by the documented rules (1 MiB).
pub(crate) const DOCUMENT_BYTES: usize = 1 << 20;
/// Firestore: deepest nesting of maps and arrays (documented: 20).
pub(crate) const VALUE_DEPTH: usize = 20;
/// Firestore: longest value of a field in bytes (documented: 1 MiB - 89).
pub(crate) const FIELD_VALUE_BYTES: usize = (1 << 20) - 89;
/// Firestore: longest path of a field in bytes (documented).
pub(crate) const FIELD_PATH_BYTES: usize = 1_500;
/// Firestore: most dimensions of a vector (documented).
pub(crate) const VECTOR_DIMENSIONS: usize = 2_048;
/// Firestore: longest document or collection id in bytes (documented).
pub(crate) const ID_BYTES: usize = 1_500;
/// Firestore: most operands of IN and its relatives, and most disjunctions of a query once its filter is normalized
/// (documented: 30).
pub(crate) const DISJUNCTIONS: usize = 30;
/// Firestore: most filters, orders and ancestors of a query (documented).
pub(crate) const QUERY_PARTS: usize = 100;
/// Firestore: most fields under inequalities of a query (documented).
pub(crate) const INEQUALITY_FIELDS: usize = 10;
/// Firestore: most operands of NOT_IN (documented).
pub(crate) const NOT_IN_OPERANDS: usize = 10;
/// Firestore: most aggregations of a query (documented).
pub(crate) const AGGREGATIONS: usize = 5;
/// Firestore: deepest nesting of composite filters; evaluation recurses.
pub(crate) const QUERY_DEPTH: usize = 32;
/// Firestore: transactions open at once; each remembers what it read.
pub(crate) const TRANSACTIONS: usize = 10_000;
/// Firestore: life of a transaction (documented: 270 s).
pub(crate) const TRANSACTION_LIFE: Duration = Duration::from_secs(270);
/// Firestore: how often transactions past their life are looked for; those that read hold disk space.
pub(crate) const TRANSACTION_SWEEP: Duration = Duration::from_secs(60);
/// Firestore: streams that listen at once; each has a task and what its client was told.
pub(crate) const LISTENERS: usize = 10_000;
/// Firestore: targets of one stream. A web page puts all its listeners, and up to 100 documents in doubt, on one.
pub(crate) const LISTEN_TARGETS: usize = 1_000;
/// Firestore: documents of one target; their names and times are remembered, about 250 bytes each.
pub(crate) const LISTEN_DOCUMENTS: usize = 100_000;
/// Firestore: commits that wait for a listener, in number. One that is further behind looks at the store again, which is
/// cheaper by then.
pub(crate) const LISTEN_QUEUE_COMMITS: usize = 1_000;
/// Bytes of documents that wait for a listener; they are shared among listeners, but one slow client keeps them alive.
pub(crate) const LISTEN_QUEUE_BYTES: usize = 16 << 20;
/// Firestore: after this long without a response a listener is told that it is up to date. As the real service does; the
/// Node client takes 120 s of silence for a dead stream.
pub(crate) const LISTEN_SILENCE: Duration = Duration::from_secs(30);
/// Firestore: responses of a stream that were made and not yet taken by the transport.
pub(crate) const STREAM_RESPONSES: usize = 16;

/// Firestore in browsers: sessions at once; each may hold two of [`CHANNEL_BYTES`] and one request. A page has one, two while it writes.
pub(crate) const CHANNELS: usize = 500;
/// How long a browser may be silent before its session is forgotten: longer than the SDK waits (5 to 15 s) after a connection broke.
pub(crate) const CHANNEL_IDLE: Duration = Duration::from_secs(60);
/// How long an answer is held open. Each new request acknowledges arrays, and browsers keep the text of an answer until it ends.
pub(crate) const CHANNEL_LIFE: Duration = Duration::from_secs(60);
/// Bytes after which an answer ends, for the same reasons; less than [`CHANNEL_BYTES`], or nothing would ever be acknowledged.
pub(crate) const CHANNEL_ANSWER_BYTES: usize = 512 << 10;
/// Bytes that were said and not acknowledged, beyond which a stream waits for its browser; one response more may come on top.
pub(crate) const CHANNEL_BYTES: usize = 1 << 20;
/// What browsers are promised to hear something within; they wait half as long again before they take a connection for dead.
pub(crate) const CHANNEL_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// After this long without anything to say, a browser is told just that; early enough for the promise.
pub(crate) const CHANNEL_NOOP: Duration = Duration::from_secs(20);
/// Messages in one request, as many as the SDK sends, and messages that wait for their stream.
pub(crate) const CHANNEL_MESSAGES: usize = 1_000;
/// Bytes of messages that wait for their stream; a single larger one may wait alone.
pub(crate) const CHANNEL_FEED_BYTES: usize = 1 << 20;
/// How long a request waits for its messages to be taken in; the SDK gives a request up after 10 s.
pub(crate) const CHANNEL_FEED_WAIT: Duration = Duration::from_secs(5);

/// Storage: longest object name in bytes (documented).
pub(crate) const OBJECT_NAME_BYTES: usize = 1_024;
/// Storage: largest object metadata, as JSON (generous; Google allows 8 KiB of custom metadata).
pub(crate) const OBJECT_METADATA_BYTES: usize = 64 << 10;
/// Storage: bytes gathered in memory before they are hashed and written in one go; also the unit in which objects are read.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Storage: resumable uploads open at once, and how long one may lie idle. Each holds an open file, of which a process may
/// have 1,024 by default.
pub(crate) const UPLOADS: usize = 500;
/// Idle life of a resumable upload.
pub(crate) const UPLOAD_IDLE: Duration = Duration::from_secs(24 * 3_600);
