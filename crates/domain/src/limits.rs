//! Every limit of the system, each with its reason.

/// Clips in one batch: a product rule. The typical Export All has 1 to 60.
pub const MAX_CLIPS: usize = 1_000;

/// Longest clip, milliseconds. Shorts are 15-120 s. An hour is a whole talk, and bounds an attempt's disk space, time
/// and frames.
pub const MAX_CLIP_MS: i64 = 3_600_000;

/// Shortest clip, milliseconds: three frames at 30 fps. A shorter window is a mistake.
pub const MIN_CLIP_MS: i64 = 100;

/// Latest end of a window, milliseconds: 24 h. A later time was given in the wrong unit.
pub const MAX_SOURCE_MS: i64 = 24 * 3_600_000;

/// Characters of an id. Firestore allows 1,500 bytes, but ids are also parts of object names, labels and log lines.
pub const MAX_ID_CHARS: usize = 128;

/// Bytes of an object name: the limit of Cloud Storage.
pub const MAX_OBJECT_NAME_BYTES: usize = 1_024;

/// Bytes of an output prefix. This leaves room in the object name for clip id, hash and suffix.
pub const MAX_PREFIX_BYTES: usize = 768;

/// Bytes of one request. 1,000 clips with long ids take about 300 kB, their keyframes 500 kB more. The limit of Pub/Sub
/// is 10 MB.
pub const MAX_REQUEST_BYTES: usize = 2 << 20;

/// Bytes of one source object: hours of high-bitrate video. Sources are read by range, so this only excludes errors.
pub const MAX_SOURCE_BYTES: u64 = 64 << 30;

/// Shortest side of a source picture, pixels. Smaller pictures are icons, and windows of them round to zero.
pub const MIN_SOURCE_SIDE: u32 = 16;

/// Longest side of a source picture, pixels: the highest level of the H.264 and HEVC decoders in use.
pub const MAX_SOURCE_SIDE: u32 = 8_192;

/// Keyframes of one crop path: ten a second over two minutes, which is the longest usual clip. The path is smooth
/// between keyframes, so the denser samples of a tracker would add jitter and no precision.
pub const MAX_KEYFRAMES: usize = 1_200;

/// Keyframes of one batch. The dispatcher's record holds the whole request in one document of at most 1 MiB. A keyframe
/// takes about 50 bytes of it, and 1,000 clips without keyframes take 300 kB.
pub const MAX_BATCH_KEYFRAMES: usize = 10_000;

/// Bytes of writable memory that a pipeline process may have. Measured: 430 MiB for 1080p, 1.3 GiB for 2160p60. A
/// source that needs more has false metadata. Beyond the limit only this process dies.
pub const MAX_PIPELINE_BYTES: u64 = 4 << 30;

/// Bytes of the largest file that an attempt may write, for a clip of this length. The highest cap of a rendition is
/// 84 Mbit/s (2160p60), which is 10.5 MB a second; 16 MiB leaves room for audio, for the header, and for an encoder
/// that exceeds its cap for a while. The constant is for clips of a few frames. Beyond the limit only the media process
/// dies.
pub fn max_output_bytes(clip_ms: i64) -> u64 {
    const BASE: u64 = 64 << 20;
    const PER_SECOND: u64 = 16 << 20;
    BASE + clip_ms.clamp(0, MAX_CLIP_MS).unsigned_abs().div_ceil(1_000) * PER_SECOND
}

/// Seconds without progress after which an attempt is ended and another follows. The longest steps between two reports
/// are a frame of 2160p, which takes well under a second, and a range of the source that Cloud Storage retries.
pub const MAX_STALL_SECONDS: u64 = 120;

/// Attempts at a clip whose media process crashes, hangs, runs out of time or makes a bad clip, before the clip fails.
/// Two may be caused by an instance; a third is attributed to the clip. Each may occupy an instance's memory for
/// minutes.
pub const MAX_CRASHES: u32 = 3;

/// Consecutive clips that the GPU fails and the CPU makes, before the GPU is tested again. Two clips of one batch may
/// share an unusual source. The test occupies one engine for seconds, and a healthy GPU passes it.
pub const MAX_GPU_FAILURES: u32 = 3;

/// Transient failures of a clip (a service that does not answer, a full disk) before the clip fails with the last one.
/// The queue waits 1, 2, 4 s and so on up to half a minute between attempts, and each call is retried for a minute. So
/// outages of ten minutes go unnoticed, and work that always fails is not repeated a hundred times.
pub const MAX_TRANSIENT_FAILURES: u32 = 10;

/// Attempts at a clip that are lost with their worker before the clip fails. Workers die for many reasons that no clip
/// causes (an instance that is taken away without warning), so the limit is well above [`MAX_CRASHES`]. But a clip that
/// kills workers must end at some point.
pub const MAX_LOST_ATTEMPTS: u32 = 10;

/// Deliveries of a job before the queue dead-letters it: the maximum of Pub/Sub. The limits above end a clip much
/// earlier. Only a job that was interrupted again and again, or whose status could not be read, gets this far.
pub const MAX_DELIVERY_ATTEMPTS: u32 = 100;

/// Attempts of a clip's generation whose ends its document records: at most 8 kB, and more than the deliveries of a
/// job.
pub const MAX_ATTEMPTS_REMEMBERED: usize = 128;

/// Earlier generations of a clip whose ends its document records, the latest ones. Each is a retry by a person.
pub const MAX_HISTORY: usize = 10;

/// Characters of the cause in a new failure. Our own sentences have up to 250. The answer of a foreign server, which
/// may be a whole web page, is cut to what identifies it.
pub const MAX_CAUSE_CHARS: usize = 440;

/// Characters of a failure's message: the cause and the context before it.
pub const MAX_MESSAGE_CHARS: usize = 600;

/// Characters of a failure's code. Ours have up to 25.
pub const MAX_CODE_CHARS: usize = 64;

/// Invalid fields that one failure names. A reader corrects a kind of mistake, not a thousand fields. Together with the
/// next two limits this is at most 200 kB of a document.
pub const MAX_DETAILS: usize = 100;

/// Characters of an invalid field's path. Ours have up to 40, but the name of an unknown field may have any length.
pub const MAX_FIELD_CHARS: usize = 200;

/// Characters of what is wrong with a field.
pub const MAX_REASON_CHARS: usize = 300;

/// Characters of the name of an encoder or a decoder, or of a driver's version.
pub const MAX_LABEL_CHARS: usize = 128;

/// Bytes of a URL in a document. A signed URL of the longest object name has about 4,500, since each byte of the name
/// may take three.
pub const MAX_URL_BYTES: usize = 8_192;

/// Longest run of an attempt's media process, milliseconds: forty times the length of the clip, and a quarter of an
/// hour for the first bytes of the source and for the shortest clips. 1080p30 takes 0.6 times the clip's length on two
/// cores, and 2160p60 eight times that. A shared machine may take four times as long, and loudness normalization may
/// make a clip twice. The limit is 5.5 hours, since leases end after 6.
pub fn attempt_deadline_ms(clip_ms: i64) -> i64 {
    const BASE_MS: i64 = 15 * 60_000;
    const MAX_MS: i64 = 330 * 60_000;
    clip_ms.max(0).saturating_mul(40).saturating_add(BASE_MS).min(MAX_MS)
}

/// Days after which status documents and request records may be deleted.
pub const RETENTION_DAYS: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_larger_than_any_rendition_and_not_much_larger() {
        assert_eq!(max_output_bytes(0), 64 << 20);
        assert_eq!(max_output_bytes(1), 80 << 20);
        let (hour, of_cap) = (max_output_bytes(MAX_CLIP_MS), 84_000_000 / 8 * 3_600);
        assert!(of_cap < hour && hour < 2 * of_cap, "{hour}");
        assert_eq!(max_output_bytes(i64::MAX), hour);
    }

    #[test]
    fn the_deadline_follows_the_length_of_the_clip_and_is_shorter_than_a_lease() {
        assert_eq!(attempt_deadline_ms(0), 900_000);
        assert_eq!(attempt_deadline_ms(60_000), 3_300_000);
        assert_eq!(attempt_deadline_ms(MAX_CLIP_MS), 5 * 3_600_000 + 1_800_000);
        assert_eq!(attempt_deadline_ms(i64::MAX), attempt_deadline_ms(MAX_CLIP_MS));
    }
}
