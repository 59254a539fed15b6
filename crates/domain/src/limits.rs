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

/// Attempts at a clip whose media process crashes, hangs, runs out of time or makes a bad clip, before the clip fails. Two can be bad
/// luck with a machine; a third is the clip's doing, and each may cost a machine its memory for minutes.
pub const MAX_CRASHES: u32 = 3;

/// Clips in a row that a GPU fails, though the CPU makes them, before the GPU is tested again. Two clips of one batch
/// may share an odd source; the test costs seconds of one engine, and a healthy GPU passes it.
pub const MAX_GPU_FAILURES: u32 = 3;

/// Attempts at a clip that meet something that may pass (a service that does not answer, a full disk) before the
/// clip fails with that. The queue waits 1, 2, 4 s and so on up to half a minute between them, and each call holds out for a minute
/// by itself: outages of ten minutes pass unnoticed, and work that always fails is not done a hundred times.
pub const MAX_TRANSIENT_FAILURES: u32 = 10;

/// Attempts at a clip that vanish together with their worker before the clip fails. Workers die of many things that no clip causes
/// (a machine taken away without warning), so it is well above [`MAX_CRASHES`]; but a clip that kills workers must end some day.
pub const MAX_LOST_ATTEMPTS: u32 = 10;

/// Delivery attempts before the queue sets a job aside; the most that Pub/Sub can be told. The bounds above end a clip long before:
/// what gets this far was interrupted again and again, or nobody could read its status.
pub const MAX_DELIVERY_ATTEMPTS: u32 = 100;

/// Attempts of a clip's generation whose ends are remembered in its document: more than deliveries of one job, and 8 kB at most.
pub const MAX_ATTEMPTS_REMEMBERED: usize = 128;

/// Earlier generations of a clip whose ends are remembered in its document. Each is a person's retry; who retries more often reads
/// the latest.
pub const MAX_HISTORY: usize = 10;

/// Characters of the cause that a failure is made with. A sentence of ours has up to 250, and a foreign server's
/// answer, which may be a whole web page, adds as much as shows what it is.
pub const MAX_CAUSE_CHARS: usize = 440;

/// Characters of a failure's message: the cause, and what we say before it.
pub const MAX_MESSAGE_CHARS: usize = 600;

/// Characters of a failure's code. Ours have up to 25.
pub const MAX_CODE_CHARS: usize = 64;

/// Bad fields that one failure names. Who reads them corrects a kind of mistake, not a thousand fields; together with
/// the two bounds that follow this is 200 kB of a document at most.
pub const MAX_DETAILS: usize = 100;

/// Characters of a bad field's path. Ours have up to 40; an unknown field's name may be of any length.
pub const MAX_FIELD_CHARS: usize = 200;

/// Characters of what is wrong with a field.
pub const MAX_REASON_CHARS: usize = 300;

/// Characters of the name of an encoder, a decoder or a driver's version.
pub const MAX_LABEL_CHARS: usize = 128;

/// Bytes of an address in a document. A signed URL of the longest object name has about 4,500, since each byte of the
/// name may take three.
pub const MAX_URL_BYTES: usize = 8_192;

/// Longest time of an attempt's media process, milliseconds. Forty times the clip: 1080p30 takes 0.6 times the clip's length on two
/// cores, 2160p60 eight times that, a machine that is shared four times as much again, and loudness can make a clip twice. A
/// quarter of an hour more for the source's first bytes, and for the shortest clips. At most 5.5 hours, since leases end after 6.
pub fn attempt_deadline_ms(clip_ms: i64) -> i64 {
    const BASE_MS: i64 = 15 * 60_000;
    const LONGEST_MS: i64 = 330 * 60_000;
    clip_ms.max(0).saturating_mul(40).saturating_add(BASE_MS).min(LONGEST_MS)
}

/// Days after which status documents and request records may be deleted.
pub const RETENTION_DAYS: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_time_by_the_length_of_its_clip_and_less_than_its_lease() {
        assert_eq!(attempt_deadline_ms(0), 900_000);
        assert_eq!(attempt_deadline_ms(60_000), 3_300_000);
        assert_eq!(attempt_deadline_ms(MAX_CLIP_MS), 5 * 3_600_000 + 1_800_000);
        assert_eq!(attempt_deadline_ms(i64::MAX), attempt_deadline_ms(MAX_CLIP_MS));
    }
}
