//! Every cap of the system's inputs and of its patience, each with its reason.

/// Clips in one batch: a product rule. The typical Export All has 1 to 60.
pub const MAX_CLIPS: usize = 1_000;

/// Longest clip, milliseconds. Shorts are 15-120 s; an hour is a whole talk, and bounds an attempt's disk, time and frames.
pub const MAX_CLIP_MS: i64 = 3_600_000;

/// Shortest clip, milliseconds: three frames at 30 fps. Anything shorter is a slip of the mouse, not a clip.
pub const MIN_CLIP_MS: i64 = 100;

/// Latest end of a window, milliseconds: 24 h. Beyond it a time was given in the wrong unit.
pub const MAX_SOURCE_MS: i64 = 24 * 3_600_000;

/// Characters of an id. Firestore allows 1,500 bytes; ids are also parts of object names, labels and log lines.
pub const MAX_ID_CHARS: usize = 128;

/// Bytes of an object name in Cloud Storage; its own limit.
pub const MAX_OBJECT_NAME_BYTES: usize = 1_024;

/// Bytes of an output prefix: leaves room in the object name for clip id, hash and suffix.
pub const MAX_PREFIX_BYTES: usize = 768;

/// Bytes of one request: 1,000 clips with long ids are about 300 kB, their keyframes 500 kB more; Pub/Sub itself stops at 10 MB.
pub const MAX_REQUEST_BYTES: usize = 2 << 20;

/// Bytes of one source object: hours of high-bitrate video. Sources are read by range, so this bounds only absurdity.
pub const MAX_SOURCE_BYTES: u64 = 64 << 30;

/// Shortest side of a source picture, pixels. Smaller pictures are icons, and crops of them round to nothing.
pub const MIN_SOURCE_SIDE: u32 = 16;

/// Longest side of a source picture, pixels: the largest level of H.264 and HEVC decoders we run.
pub const MAX_SOURCE_SIDE: u32 = 8_192;

/// Keyframes of one crop path: ten a second over two minutes, the longest usual clip. The path is smooth between keyframes, so a
/// tracker's denser samples would add its tremor, not its aim.
pub const MAX_KEYFRAMES: usize = 1_200;

/// Keyframes of one batch. The dispatcher's record holds the whole request in one document of at most 1 MiB; a keyframe takes
/// about 50 bytes of it, and 1,000 clips without any take 300 kB.
pub const MAX_BATCH_KEYFRAMES: usize = 10_000;

/// Bytes of writable memory that a pipeline process may have. Measured: 430 MiB for 1080p, 1.3 GiB for 2160p60; what wants more is
/// a source that lies about itself. Beyond it the process dies, alone.
pub const MAX_PIPELINE_BYTES: u64 = 4 << 30;

/// Seconds without any sign of work after which a clip is given up and handed to another attempt. The slowest step between two signs
/// is a frame of 2160p, well under a second, or a range of the source that Cloud Storage retries.
pub const MAX_STALL_SECONDS: u64 = 120;

/// Attempts at a clip whose pipeline process crashes, before the clip fails. Two crashes can be bad luck with a machine.
pub const MAX_CRASHES: u32 = 3;

/// Delivery attempts before the queue sets a job aside. Interruptions (scale-in, deployments) count too, so it is well above
/// [`MAX_CRASHES`]; a poisonous job ends by its error code long before.
pub const MAX_DELIVERY_ATTEMPTS: u32 = 10;

/// Days after which status documents and request records may be deleted.
pub const RETENTION_DAYS: u64 = 30;
