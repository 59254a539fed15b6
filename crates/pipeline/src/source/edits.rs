//! Edit lists: which part of a track is presented when (ISO/IEC 14496-12, 8.6.6). Pure arithmetic.
//!
//! Each track has its own time line, the *media* time of its samples. The file's time line, which players show and clip
//! times refer to, is the *movie* time. An edit list maps one to the other: each entry presents a stretch of media for
//! some time, and an empty entry presents nothing. Files that were cut without re-encoding have one. So have most files
//! with B-frames or AAC, where the first entry skips what a decoder needs before the first sample.
//!
//! GStreamer's demuxer applies edit lists, but ends a track too early if an entry skips media at the track's head. The
//! demuxer therefore gets the file without edit lists (see [`crate::source::header`]), and times are mapped here.

/// One entry that presents media. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Its start on the file's time line.
    pub movie_ns: i64,
    /// Its start in the track's media.
    pub media_ns: i64,
    /// Its length; `None` for the rest of the track.
    pub length_ns: Option<i64>,
}

impl Edit {
    fn movie_end(&self) -> i64 {
        self.length_ns.map_or(i64::MAX, |length| self.movie_ns.saturating_add(length))
    }

    fn media_end(&self) -> i64 {
        self.length_ns.map_or(i64::MAX, |length| self.media_ns.saturating_add(length))
    }

    fn movie_time(&self, media_ns: i64) -> i64 {
        media_ns - self.media_ns + self.movie_ns
    }
}

/// The position of a sample on the file's time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is presented at this time. Times before the first entry are extrapolated.
    At(i64),
    /// No entry presents it, but later samples may be presented.
    CutOut,
    /// It is after the last entry.
    After,
}

/// The audible part of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudiblePart {
    /// Its start on the file's time line, nanoseconds.
    pub movie_ns: i64,
    /// How much of the buffer is before it, nanoseconds.
    pub skip_ns: i64,
    /// Its length, nanoseconds.
    pub length_ns: i64,
}

/// The entries of one track that present media, in movie order. Without entries, movie time equals media time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditList {
    entries: Vec<Edit>,
    /// Whether the clip starts before the first entry, where nothing is presented.
    starts_in_gap: bool,
}

/// The clip contains a position at which the edit list jumps back in the media, nanoseconds on the file's time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoesBack(pub i64);

impl EditList {
    /// No list.
    pub const NONE: Self = Self { entries: Vec::new(), starts_in_gap: false };

    /// The edit list of a track. Entries must be in movie order.
    pub fn new(edits: Vec<Edit>) -> Self {
        Self { entries: edits, starts_in_gap: false }
    }

    /// The part of the list that a clip from `start_ns` to `end_ns` of the movie uses. Media is read in one direction
    /// only, so a clip that contains a jump back is refused.
    pub fn within(&self, start_ns: i64, end_ns: i64) -> Result<Self, GoesBack> {
        let overlapping = |edit: &&Edit| edit.movie_ns < end_ns && edit.movie_end() > start_ns;
        let mut kept: Vec<Edit> = self.entries.iter().filter(overlapping).copied().collect();
        if kept.is_empty() {
            // The clip is in a gap, or outside of all entries. The next entry, or else the last one, determines how
            // times continue.
            let next = self.entries.iter().find(|edit| edit.movie_ns >= end_ns).or(self.entries.last());
            kept.extend(next);
        }
        match kept.windows(2).find(|pair| pair[1].media_ns < pair[0].media_end()) {
            Some(pair) => Err(GoesBack(pair[1].movie_ns)),
            None => {
                let starts_in_gap = kept.first().is_some_and(|first| first.movie_ns > start_ns);
                Ok(Self { entries: kept, starts_in_gap })
            }
        }
    }

    /// The position of the sample at media time `media_ns` on the file's time line.
    pub fn place(&self, media_ns: i64) -> Placed {
        let Some(first) = self.entries.first() else { return Placed::At(media_ns) };
        if media_ns < first.media_ns && !self.starts_in_gap {
            return Placed::At(first.movie_time(media_ns));
        }
        match self.entries.iter().find(|edit| (edit.media_ns..edit.media_end()).contains(&media_ns)) {
            Some(edit) => Placed::At(edit.movie_time(media_ns)),
            None if self.entries.last().is_some_and(|last| media_ns >= last.media_end()) => Placed::After,
            None => Placed::CutOut,
        }
    }

    /// The audible parts of an audio buffer, and whether the buffer extends beyond the last entry.
    pub fn audible_parts(&self, media_ns: i64, length_ns: i64) -> (Vec<AudiblePart>, bool) {
        let Some((first, last)) = self.entries.first().zip(self.entries.last()) else {
            return (vec![AudiblePart { movie_ns: media_ns, skip_ns: 0, length_ns }], false);
        };
        let end_ns = media_ns + length_ns;
        let part = |edit: &Edit| {
            // Media before the first entry is not audible, but determines where the audio before a clip is.
            let begin = if edit == first && !self.starts_in_gap { media_ns } else { media_ns.max(edit.media_ns) };
            let length_ns = end_ns.min(edit.media_end()) - begin;
            let parts = AudiblePart { movie_ns: edit.movie_time(begin), skip_ns: begin - media_ns, length_ns };
            (length_ns > 0).then_some(parts)
        };
        (self.entries.iter().filter_map(part).collect(), end_ns > last.media_end())
    }

    /// The media time at which reading must start to present the movie from `movie_ns` on.
    pub fn media_time(&self, movie_ns: i64) -> i64 {
        let Some(first) = self.entries.first() else { return movie_ns };
        let entry = self.entries.iter().rev().find(|edit| edit.movie_ns <= movie_ns).unwrap_or(first);
        (movie_ns - entry.movie_ns + entry.media_ns).min(entry.media_end())
    }

    /// The end, on the file's time line, of a track whose media ends at `media_end_ns`.
    pub fn movie_end(&self, media_end_ns: i64) -> i64 {
        let end = |edit: &Edit| edit.movie_end().min(edit.movie_time(media_end_ns));
        self.entries.iter().map(end).max().unwrap_or(media_end_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn list(edits: &[(i64, i64, Option<i64>)]) -> EditList {
        let edit = |(movie, media, length): &(i64, i64, Option<i64>)| Edit {
            movie_ns: movie * S,
            media_ns: media * S,
            length_ns: length.map(|length| length * S),
        };
        EditList::new(edits.iter().map(edit).collect())
    }

    #[test]
    fn without_a_list_movie_time_is_media_time() {
        let none = EditList::default();
        assert_eq!(none.place(7 * S), Placed::At(7 * S));
        assert_eq!((none.media_time(7 * S), none.movie_end(9 * S)), (7 * S, 9 * S));
        assert_eq!(none.audible_parts(S, S).0, [AudiblePart { movie_ns: S, skip_ns: 0, length_ns: S }]);
    }

    #[test]
    fn media_skipped_at_the_head_is_before_the_movie() {
        let cut = list(&[(0, 3, Some(4))]);
        assert_eq!(cut.place(2 * S), Placed::At(-S));
        assert_eq!(cut.place(5 * S), Placed::At(2 * S));
        assert_eq!(cut.place(7 * S), Placed::After);
        assert_eq!((cut.media_time(2 * S), cut.movie_end(8 * S)), (5 * S, 4 * S));
    }

    #[test]
    fn an_empty_edit_at_the_head_delays_the_track() {
        let late = list(&[(1, 0, None)]);
        assert_eq!(late.place(0), Placed::At(S));
        assert_eq!((late.media_time(3 * S), late.movie_end(8 * S)), (2 * S, 9 * S));
    }

    #[test]
    fn media_between_two_entries_is_cut_out() {
        let cut = list(&[(0, 0, Some(2)), (2, 5, Some(2))]).within(S, 3 * S).unwrap();
        assert_eq!(cut.place(S), Placed::At(S));
        assert_eq!(cut.place(3 * S), Placed::CutOut);
        assert_eq!(cut.place(5 * S), Placed::At(2 * S));
        let parts = cut.audible_parts(4 * S, 2 * S);
        assert_eq!(parts, (vec![AudiblePart { movie_ns: 2 * S, skip_ns: S, length_ns: S }], false));
        assert_eq!(cut.audible_parts(6 * S, 2 * S).0, [AudiblePart { movie_ns: 3 * S, skip_ns: 0, length_ns: S }]);
        assert!(cut.audible_parts(6 * S, 2 * S).1);
    }

    #[test]
    fn a_clip_within_one_of_two_swapped_entries_is_accepted_but_not_across_both() {
        let swapped = list(&[(0, 4, Some(4)), (4, 0, Some(4))]);
        let second = swapped.within(5 * S, 6 * S).unwrap();
        assert_eq!(second.place(S), Placed::At(5 * S));
        assert_eq!(second.place(0), Placed::At(4 * S));
        assert_eq!(swapped.within(3 * S, 5 * S), Err(GoesBack(4 * S)));
    }

    #[test]
    fn media_skipped_before_a_gap_is_not_presented_in_it() {
        let late = list(&[(1, 3, Some(2))]).within(0, 2 * S).unwrap();
        assert_eq!((late.place(2 * S), late.place(3 * S)), (Placed::CutOut, Placed::At(S)));
        let part = AudiblePart { movie_ns: S, skip_ns: S, length_ns: S };
        assert_eq!(late.audible_parts(2 * S, 2 * S).0, [part]);
    }

    #[test]
    fn a_clip_outside_of_every_entry_keeps_the_nearest_one() {
        let late = list(&[(3, 0, Some(2))]);
        assert_eq!(late.within(0, S).unwrap().entries, late.entries);
        assert_eq!(late.within(8 * S, 9 * S).unwrap(), late);
    }
}
